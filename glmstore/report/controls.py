"""The control panel: which lines of a leaderboard a model's line has to be read beside."""

from __future__ import annotations

import re
from collections.abc import Iterable

from glmstore.report.panel import NO_VIEW, ZERO_SHOT, Entry, twin_family, view_tail

_KMER = re.compile(r"^kmer\d+$")


def random_twin(entry: Entry, lines: Iterable[Entry]) -> Entry | None:
    """Return the random twin a line has to be read beside: same contest, same layer, pooling and strand.

    A failed twin is returned only where no twin finished.
    """
    wanted = f"rand_init:{entry.row['model']}"
    found = [
        other
        for other in lines
        if wanted in {other.row["model"], twin_family(other.row["model"])}
        and entry.rivals(other)
        and view_tail(other.row["view"]) == view_tail(entry.row["view"])
    ]
    return max(found, key=lambda o: (o.ok, o.row["seeds"]), default=None)


def one_hot_control(entry: Entry, lines: Iterable[Entry]) -> Entry | None:
    """Return one-hot under the same head: of several the best, so that no weaker control is chosen."""
    rivals = [o for o in lines if o.row["model"] == "onehot" and entry.rivals(o)]
    return max(rivals, key=_strength, default=None)


def kmer_control(entry: Entry, lines: Iterable[Entry]) -> Entry | None:
    """Return the k-mer counts under the same head: of several k, or views, the best."""
    rivals = [o for o in lines if _KMER.match(o.row["model"]) and entry.rivals(o)]
    return max(rivals, key=_strength, default=None)


def best_sequence_control(entry: Entry, lines: Iterable[Entry]) -> Entry | None:
    """Return the finished line with the best value that knows nothing but the sequence, under any head.

    One-hot under a CNN is what a gene-regulation lab would train without a language model: a model that stays
    below it has not earned its embeddings, whatever it beats under a weaker head.
    """
    shared = ("benchmark", "split", "metric")
    rivals = [
        other
        for other in lines
        if other.row["control"] == "sequence"
        and other.ok
        and other.row["value"] is not None
        and all(entry.row[key] == other.row[key] for key in shared)
    ]
    return max(rivals, key=_strength, default=None)


def needs_one_hot(entry: Entry, label_kind: str | None) -> bool:
    """Whether one-hot can be asked for under the same head: it has no zero-shot score and no adapter."""
    return needs_sequence_control(label_kind) and entry.row["view"] != NO_VIEW


def needs_sequence_control(label_kind: str | None) -> bool:
    """Whether a control of the sequence alone can be asked for, under any head: not without training."""
    return label_kind != ZERO_SHOT


def _strength(line: Entry) -> tuple[bool, float]:
    value = line.row["value"]
    return line.ok, 0.0 if value is None else value if line.better == "higher" else -value
