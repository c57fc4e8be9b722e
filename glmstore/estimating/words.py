"""A plan as Markdown, for the Prefect UI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glmstore.estimating.plan import Plan
    from glmstore.estimating.quantity import Quantity


def quantity_text(quantity: Quantity) -> str:
    """Return a number with what it rests on, as far as it is not exact: ``≤ 707 MB``, ``~ 14 s``."""
    if quantity.text is None:
        return "unknown"
    sign = {"exact": "", "at most": "≤ "}.get(quantity.basis, "~ ")
    return f"{sign}{quantity.text}"


def summary(plan: Plan) -> str:
    """Return what is left to do in one sentence."""
    if plan.is_done:
        return "Nothing is left to do: the store holds everything."
    embeddings = sum(f.to_compute * len(f.layers) for f in plan.features)
    parts = [f"{embeddings:,} embeddings ({quantity_text(plan.size)})"] if embeddings else []
    for stage in dict.fromkeys(work.stage for work in plan.work):
        left = sum(work.to_do for work in plan.work if work.stage == stage)
        if left:
            parts.append(f"{left:,} {_cells(stage, left)}")
    done = "; ".join(parts) if parts else "nothing that can be counted from here"
    known = plan.time.text
    lacking = f", {plan.time.how}" if plan.time.how else ""
    return f"To do: {done}. Known time: {known}{lacking}." if known else f"To do: {done}. Time unknown."


def _cells(stage: str, n: int) -> str:
    if stage == "pretraining":
        return "steps of pretraining"
    return stage.removesuffix("s") if n == 1 else stage


def markdown(plan: Plan) -> str:
    """Return the whole plan as Markdown."""
    blocks = [f"# Dry run: {plan.title}", summary(plan)]
    blocks += [f"> **WARNING**: {warning}" for warning in plan.warnings]
    if plan.features:
        columns = ("features", "sequences", "in the store", "to compute", "to store", "peak memory", "time")
        rows = [
            (
                *(f.title, f"{f.asked:,}", f"{f.present:,}", f"{f.to_compute:,}"),
                *(quantity_text(q) if f.to_compute else "" for q in (f.size, f.memory, f.time)),
            )
            for f in plan.features
        ]
        blocks.append(_table(columns, rows))
    if plan.work:
        work = [
            (
                w.stage,
                w.what,
                f"{w.asked:,}",
                f"{w.present:,}",
                f"{w.to_do:,}",
                quantity_text(w.time) if w.to_do else "",
            )
            for w in plan.work
        ]
        blocks.append(_table(("stage", "what", "asked", "in the store", "to do", "time"), work))
    if plan.unplanned:
        blocks.append(_table(("cannot be planned", "why"), [(u.what, u.why) for u in plan.unplanned]))
    if notes := (*plan.notes, *feature_notes(plan)):
        blocks.append("\n".join(f"- {note}" for note in notes))
    blocks.append(
        f"Store: `{plan.store}`{'' if plan.store_exists else ' (not there yet)'}. Nothing was computed."
    )
    return "\n\n".join(blocks) + "\n"


def feature_notes(plan: Plan) -> list[str]:
    """Return what has to be known of the features' numbers, each once with the models it is true of."""
    models: dict[str, dict[str, None]] = {}
    for estimate in plan.features:
        for note in estimate.notes:
            models.setdefault(note, {})[estimate.model] = None
    return [f"{_few(list(names))}: {note}" for note, names in models.items()]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
