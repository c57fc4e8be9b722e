"""`glmstore get` and `glmstore views`: read features back, and see which there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glmstore.cli.asked import Asked, embed_command, find_asked, lacking
from glmstore.cli.console import emit_json, print_table, to_stdout
from glmstore.cli.options import Json, Store, View, help_text, open_existing, stored_view
from glmstore.cli.view_options import AmbiguousLetters, SequenceColumn
from glmstore.errors import MissingFeaturesError, StoreError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from glmstore.store import Features, FeatureStore

GET_HELP = """Read features in the order asked: of a sequence, of a key, or of every sequence of a file.

Prints a short form, or everything with --json or --out. A .npy file holds the values; a .parquet file also
the key and the name of each record: its FASTA name, or line3 for the third line. Numbers stay of the view's
type. Refuses, naming records, if the view lacks any.

  glmstore get ACGTTGCAACGT --view gpn-mini --json
  glmstore get promoters.fa --view gpn-mini --out promoters.npy
  glmstore get promoters.fa --view gpn-mini/8/max --out promoters.parquet
"""
VIEWS_HELP = """List the feature views of the store; --json adds the provenance of each.

  glmstore views
  glmstore views --json
"""
_SHOWN = 6


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command("get", help=help_text(GET_HELP))(get)
    app.command("views", help=help_text(VIEWS_HELP))(views)


def get(
    source: Annotated[str, typer.Argument(metavar="SEQUENCE|KEY|FILE")],
    view: View,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write to a .npy or .parquet file in a folder that is there."),
    ] = None,
    column: SequenceColumn = None,
    ambiguous: AmbiguousLetters = "refuse",
    store: Store = None,
    json: Json = False,
) -> None:
    """Read features; GET_HELP is what users read."""
    if out is not None and out.suffix not in {".npy", ".parquet"}:
        raise typer.BadParameter(f"{out.name} must end in .npy or .parquet.", param_hint="--out")
    if out is not None and not out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {out.parent}.", param_hint="--out")
    asked = find_asked(source, column, ambiguous)
    opened = open_existing(store)
    chosen = stored_view(opened, view)
    try:
        features = opened.read(chosen, [one.key for one in asked])
    except MissingFeaturesError as error:
        command = embed_command(source, column, ambiguous, chosen, store)
        raise StoreError(lacking(asked, source, chosen, set(error.missing), command)) from error
    if out is not None:
        _write(out, asked, features)
        to_stdout(f"{out}  {chosen.name}  {list(features.values.shape)} {features.values.dtype}")
    elif json:
        emit_json(
            [
                {"record": one.record, "seq_key": one.key, "view": chosen.name, "vector": vector.tolist()}
                for one, vector in zip(asked, _each(features), strict=True)
            ]
        )
    else:
        for one, vector in zip(asked, _each(features), strict=True):
            name = f"{one.record}  " if one.record is not None else ""
            to_stdout(f"{name}{one.key}  {_short(vector)}")


def _each(features: Features) -> list[np.ndarray]:
    """Return one array a sequence, without the padding of token-level features."""
    if features.lengths is None:
        return list(features.values)
    return [values[:length] for values, length in zip(features.values, features.lengths, strict=True)]


def _short(vector: np.ndarray) -> str:
    flat = vector.ravel()[:_SHOWN]
    shape = " x ".join(map(str, vector.shape))
    more = ", …" if vector.size > _SHOWN else ""
    return f"[{shape}] {', '.join(f'{value:.4g}' for value in flat)}{more}"


def _write(out: Path, asked: list[Asked], features: Features) -> None:
    import io

    import numpy as np

    from glmstore.report.atomic import write_atomically

    buffer = io.BytesIO()
    if out.suffix == ".npy":
        np.save(buffer, features.values)
    else:
        _frame(asked, features).write_parquet(buffer)
    write_atomically(out, buffer.getvalue())


def _frame(asked: list[Asked], features: Features) -> pl.DataFrame:
    import polars as pl

    number = {"float16": pl.Float16, "float32": pl.Float32, "uint8": pl.UInt8}[features.values.dtype.name]
    inner = pl.List(number)
    return pl.DataFrame(
        {
            "record": [one.record for one in asked],
            "seq_key": [one.key for one in asked],
            "vector": [vector.tolist() for vector in _each(features)],
        },
        schema={
            "record": pl.String,
            "seq_key": pl.String,
            "vector": inner if features.values.ndim == 2 else pl.List(inner),
        },
    )


def views(store: Store = None, json: Json = False) -> None:
    """List views; VIEWS_HELP is what users read."""
    opened = open_existing(store)
    frame = opened.views()
    if json:
        emit_json([row | {"provenance": _provenance(opened, row["name"])} for row in frame.to_dicts()])
        return
    columns = ("name", "dim", "rows", "precision", "weights_sha256", "code_version")
    rows = [[_shown(row[column]) for column in columns] for row in frame.to_dicts()]
    print_table(("view", "D", "rows", "precision", "weights", "glmstore"), rows)


def _shown(value: Any) -> Any:
    """Shorten a sha256 to the digits that tell it apart."""
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else value


def _provenance(store: FeatureStore, name: str) -> dict[str, Any]:
    return store.provenance(name).model_dump(mode="json")
