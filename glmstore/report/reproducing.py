"""How a run is made again: its command line, and what of it nobody wrote down."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from glmstore.errors import UnknownNameError
from glmstore.report.panel import ZERO_SHOT
from glmstore.report.summary import STORED, SuiteSummary

if TYPE_CHECKING:
    from glmstore.benchmarks import BenchmarkSpec
    from glmstore.store import FeatureStore

OWN_TABLE = "own table"
"""Family of a benchmark made of a user's file."""

_COLUMN_SPLIT = re.compile(r"""column (["'])(?P<name>.+)\1""")


class Recipe(NamedTuple):
    """What runs something again.

    Attributes
    ----------
    command
        A command line.
    untold
        What the record does not say and the command lacks; empty where it is the very one that was given.
    """

    command: str
    untold: tuple[str, ...] = ()


def recipe(summary: SuiteSummary, store: FeatureStore) -> Recipe | None:
    """Return what runs this again; None for a report of whatever the store held.

    Parameters
    ----------
    summary
        Of the run.
    store
        Knows the benchmark that the run was over.
    """
    from glmstore.benchmarks.suites import SUITES

    if summary.command:
        return Recipe(summary.command)
    if summary.name == STORED:
        return None
    models = "the models asked for (--model)"
    if summary.name in SUITES:
        return Recipe("make demo" if summary.name == "demo" else f"make demo SUITE={summary.name}", (models,))
    try:
        spec = store.benchmark_spec(summary.name)
    except UnknownNameError:
        return Recipe(shlex.join(["glmstore", "run", summary.name]), (models, "how many seeds (--seeds)"))
    words, untold = _of_benchmark(spec), [models]
    if spec.family == OWN_TABLE:
        untold = ["the file's folder", "which column holds the sequences (COLUMN)", *untold]
    if spec.label_kind == ZERO_SHOT:
        untold.append("how many seeds (--seeds)")
    else:
        words += ["--seeds", str(len(summary.seeds))]
    return Recipe(shlex.join(words), tuple(untold))


def _of_benchmark(spec: BenchmarkSpec) -> list[str]:
    """Return the words that name a benchmark: its own name, or the file and what is known of its columns."""
    if spec.family != OWN_TABLE:
        return ["glmstore", "run", spec.name]
    words = ["glmstore", "run", spec.title, "--sequence", "COLUMN", "--label", spec.label]
    if column := _COLUMN_SPLIT.fullmatch(spec.split):
        return [*words, "--split", column["name"]]
    return [*words, "--split", "homology"] if spec.split.startswith("homology") else words
