"""Which zero-shot cells a list of models and scorers comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from glmstore.errors import GlmstoreError, ScorerError, UnknownNameError
from glmstore.models.catalogue import get_model
from glmstore.variants import SCORERS
from glmstore.variants.zero_shot import ZeroShotSettings, named_cell, plan_cell

if TYPE_CHECKING:
    from glmstore.models.spec import ModelSpec
    from glmstore.results import Cell
    from glmstore.store import FeatureStore

GENERIC = ("llr", "causal-llr", "cosine")
"""What models are scored by where no scorer is named, each by those it can serve."""


class CellPlan(NamedTuple):
    """The cells of one benchmark.

    Attributes
    ----------
    cells
        What can be computed, model by model.
    refused
        What was asked for and cannot be, with the reason; the others are not held up by it.
    notes
        Which generic scorers were left out for which models, a sentence a scorer.
    """

    cells: list[Cell]
    refused: list[tuple[Cell, GlmstoreError]]
    notes: list[str]


def serves(spec: ModelSpec, scorer: str) -> bool:
    """Return whether a model gives what a scorer needs."""
    try:
        SCORERS[scorer].check_serves(spec)
    except ScorerError:
        return False
    return True


def plan_cells(
    store: FeatureStore,
    benchmark: str,
    models: Sequence[str],
    scorers: Sequence[str] | None,
    settings: ZeroShotSettings,
) -> CellPlan:
    """Return the cells of some models on one benchmark.

    Parameters
    ----------
    store
        Holds the benchmark.
    benchmark
        One of variant effects.
    models
        Registry names.
    scorers
        Every model is asked for each of these, and refused where it cannot serve one; None: the scorers of
        `GENERIC` that a model can serve, and the others are left out.
    settings
        See :class:`ZeroShotSettings`.

    Raises
    ------
    UnknownNameError
        If a model, a scorer or the benchmark is not known: no cell can be named then.
    """
    plan, left_out = CellPlan([], [], []), dict[str, list[str]]()
    for model in models:
        spec = get_model(model).spec
        for scorer in GENERIC if scorers is None else scorers:
            if scorers is None and not serves(spec, scorer):
                left_out.setdefault(scorer, []).append(model)
                continue
            try:
                plan.cells.append(plan_cell(store, benchmark, model, scorer, settings))
            except UnknownNameError:
                raise
            except GlmstoreError as error:
                plan.refused.append((named_cell(store, benchmark, model, scorer, settings), error))
    plan.notes.extend(
        f"{scorer} is left out for {', '.join(dict.fromkeys(names))}, which cannot serve it."
        for scorer, names in left_out.items()
    )
    return plan
