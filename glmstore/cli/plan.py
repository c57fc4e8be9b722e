"""`glmstore plan`, and how every plan is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glmstore.cli.console import emit_json, print_table, to_stderr, to_stdout
from glmstore.cli.inputs import Ambiguous, input_file, read_sequences
from glmstore.cli.options import Json, Store, help_text, store_uri
from glmstore.cli.view_options import (
    AmbiguousLetters,
    Layer,
    SequenceColumn,
    ViewDType,
    ViewPooling,
    ViewStrand,
)

if TYPE_CHECKING:
    from glmstore.estimating import FeatureEstimate, FeatureRequest, Plan, Quantity

HELP = """Show what embedding would take, before any of it: sequences, bytes, memory, time and cost.

Nothing is computed, downloaded or written. Time is measured in a few seconds on this device, with random
weights of the true shape, so a model need not have been pulled. TARGET is a benchmark, a suite, a file of
sequences, or so many sequences of one length.

  glmstore plan sortseq_lac --model gpn-mini
  glmstore plan promoters.fa --model gpn-mini --layer all --price-per-hour 2.50
  glmstore plan 393328x230 --model nt-2.5b-multi-species --pooling tokens --dtype float32
"""


def add_to(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("plan", help=help_text(HELP))(plan)


def plan(
    target: Annotated[
        str,
        typer.Argument(
            metavar="BENCHMARK|SUITE|FILE|N×L", help="What to embed; 1000x230 is 1,000 sequences."
        ),
    ],
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="Model by name; may be repeated to compare.")
    ],
    layer: Layer = None,
    pooling: ViewPooling = None,
    strand: ViewStrand = "forward",
    dtype: ViewDType = "float16",
    column: SequenceColumn = None,
    ambiguous: AmbiguousLetters = "refuse",
    device: Annotated[
        str | None,
        typer.Option("--device", help="Torch device to time.", show_default="the settings'"),
    ] = None,
    price_per_hour: Annotated[
        float | None,
        typer.Option(
            "--price-per-hour", min=0.0, help="What the device costs, in any currency.", show_default="none"
        ),
    ] = None,
    store: Store = None,
    json: Json = False,
) -> None:
    """Plan an embedding run; HELP is what users read."""
    from glmstore.estimating import FeatureRequest, plan_embedding

    requests = [
        FeatureRequest(model=name, layer=layer, pooling=pooling, strand=strand, dtype=dtype)
        for name in dict.fromkeys(model)
    ]
    path = input_file(target)
    with timing_shown() as announce:
        found = plan_embedding(
            _read(path, column, ambiguous, requests) if path else target,
            requests,
            store_uri(store),
            title=path.name if path else target,
            device=device,
            price_per_hour=price_per_hour,
            announce=announce,
        )
    if json:
        emit_json(as_json(found))
        return
    _show_embedding(found)


def _read(path: Path, column: str | None, ambiguous: Ambiguous, requests: list[FeatureRequest]) -> list[str]:
    """Return the sequences of a file; what a model cannot take is named by its record."""
    from glmstore.models.catalogue import get_model

    specs = [get_model(r.model).spec for r in requests]
    limits = [s for s, r in zip(specs, requests, strict=True) if r.pooling != "windowed-mean"]
    shortest = min(limits, key=lambda s: s.max_nt or float("inf"), default=None)
    return read_sequences(path, column=column, ambiguous=ambiguous, model=shortest)


@contextmanager
def timing_shown() -> Iterator[Callable[[str], None]]:
    """Show on a terminal which model is being timed; yield what is to be told its name."""
    from rich.console import Console

    with Console(stderr=True).status("reading …") as status:
        yield lambda name: status.update(f"timing {name} for a few seconds …")


def as_json(found: Plan) -> dict[str, Any]:
    """Return a plan as JSON data, with what follows from it."""
    return found.model_dump(mode="json") | {
        "total_bytes": found.size.model_dump(mode="json"),
        "total_seconds": found.time.model_dump(mode="json"),
        "warnings": list(found.warnings),
    }


def _show_embedding(found: Plan) -> None:
    to_stdout(f"{found.title}, to be stored at {_place(found)}")
    for estimate in found.features:
        to_stdout("")
        print_table(("", "", "", ""), _rows(estimate), title=f"{estimate.title}, on {found.device}")
        for note in estimate.notes:
            to_stdout(f"  {note}")
    if len(found.features) > 1:
        to_stdout(f"\nall together: {_value(found.size)} to store, {_value(found.time)}")
    _show_rest(found)


def _rows(estimate: FeatureEstimate) -> list[tuple[str, str, str, str]]:
    sequences = f"{estimate.to_compute:,} to compute"
    of = f"{estimate.asked:,} asked, {estimate.present:,} in the store"
    rows = [("sequences", sequences, "exact", of)]
    shown = {
        "to store": estimate.size,
        "peak memory": estimate.memory,
        "time": estimate.time,
        "cost": estimate.cost,
        "a million: time": estimate.time_per_million,
        "a million: cost": estimate.cost_per_million,
    }
    return rows + [(name, _value(quantity), quantity.basis, quantity.how) for name, quantity in shown.items()]


def _value(quantity: Quantity) -> str:
    from glmstore.estimating.words import quantity_text

    return quantity_text(quantity)


def show_plan(found: Plan) -> None:
    """Print what a run would do."""
    from glmstore.estimating.words import feature_notes, summary

    if found.features:
        columns = ("features", "sequences", "in store", "to compute", "to store", "memory", "time")
        rows = [
            (
                *(f.title, f.asked, f.present, f.to_compute),
                *(_value(q) if f.to_compute else None for q in (f.size, f.memory, f.time)),
            )
            for f in found.features
        ]
        print_table(columns, rows)
    if found.work:
        work = [
            (w.stage, w.what, w.asked, w.present, w.to_do, _value(w.time) if w.to_do else None)
            for w in found.work
        ]
        to_stdout("")
        print_table(("stage", "what", "asked", "in store", "to do", "time"), work)
    _show_rest(found)
    for note in (*found.notes, *feature_notes(found)):
        to_stderr(note, style="dim")
    to_stderr(f"dry run of {found.title} on {found.device}, store {_place(found)}: nothing was written")
    to_stderr(summary(found), style="bold")


def _show_rest(found: Plan) -> None:
    """Print what cannot be planned, and last what has to be seen before a run."""
    if found.unplanned:
        to_stdout("")
        print_table(("cannot be planned", "why"), [(u.what, u.why) for u in found.unplanned])
    for warning in found.warnings:
        to_stderr(f"WARNING: {warning}", style="bold red")


def _place(found: Plan) -> str:
    from glmstore.estimating.quantity import bytes_text

    free = f", {bytes_text(found.free_bytes)} free" if found.free_bytes is not None else ""
    return f"{found.store} ({'there' if found.store_exists else 'not there yet'}{free})"
