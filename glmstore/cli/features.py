"""`glmstore get` and `glmstore views`: read features back, and see which there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glmstore.cli.console import emit_json, print_table, to_stdout
from glmstore.cli.inputs import checked, read_sequences
from glmstore.cli.options import Json, Store, View, help_text, open_existing, stored_view

if TYPE_CHECKING:
    import numpy as np

    from glmstore.store import Features, FeatureStore

GET_HELP = """Read features in the order asked: of a sequence, of a key, or of every sequence of a file.

Prints a short form, or everything with --json or --out. Refuses, naming the keys, if the view lacks any.

  glmstore get ACGTTGCAACGT --view gpn-mini --json
  glmstore get promoters.fa --view gpn-mini --out promoters.npy
  glmstore get promoters.fa --view gpn-mini/8/max --out promoters.parquet
"""
VIEWS_HELP = """List the feature views of the store; --json adds the provenance of each.

  glmstore views
  glmstore views --json
"""
_KEY = re.compile(r"(?=.*[0-9bdef])[0-9a-f]{32}")
_SHOWN = 6
GIVEN = "the sequence given"


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command("get", help=help_text(GET_HELP))(get)
    app.command("views", help=help_text(VIEWS_HELP))(views)


def get(
    source: Annotated[str, typer.Argument(metavar="SEQUENCE|KEY|FILE")],
    view: View,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write to a .npy (values) or .parquet (keys and vectors) file."),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            "--sequence", metavar="COLUMN", help="Sequence column of a table.", show_default="sequence"
        ),
    ] = None,
    store: Store = None,
    json: Json = False,
) -> None:
    """Read features; GET_HELP is what users read."""
    if out is not None and out.suffix not in {".npy", ".parquet"}:
        raise typer.BadParameter(f"{out.name} must end in .npy or .parquet.", param_hint="--out")
    keys = _keys(source, column)
    opened = open_existing(store)
    chosen = stored_view(opened, view)
    name, features = chosen.name, opened.read(chosen, keys)
    if out is not None:
        _write(out, keys, features)
        to_stdout(f"{out}  {name}  {list(features.values.shape)} {features.values.dtype}")
    elif json:
        emit_json(
            [
                {"seq_key": k, "view": name, "vector": v.tolist()}
                for k, v in zip(keys, _each(features), strict=True)
            ]
        )
    else:
        for key, vector in zip(keys, _each(features), strict=True):
            to_stdout(f"{key}  {_short(vector)}")


def _keys(source: str, column: str | None) -> list[str]:
    from glmstore.sequences.normalise import seq_keys

    path = Path(source)
    if path.is_file():
        return seq_keys(read_sequences(path, column=column))
    if _KEY.fullmatch(source):
        return [source]
    return seq_keys(checked([source], [GIVEN]))


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


def _write(out: Path, keys: list[str], features: Features) -> None:
    import io

    import numpy as np

    from glmstore.report.atomic import write_atomically

    buffer = io.BytesIO()
    if out.suffix == ".npy":
        np.save(buffer, features.values)
    else:
        _frame(keys, features).write_parquet(buffer)
    write_atomically(out, buffer.getvalue())


def _frame(keys: list[str], features: Features) -> Any:
    import polars as pl

    vectors = [vector.astype("float32").tolist() for vector in _each(features)]
    inner = pl.List(pl.Float32)
    dtype = inner if features.values.ndim == 2 else pl.List(inner)
    return pl.DataFrame({"seq_key": keys, "vector": vectors}, schema={"seq_key": pl.String, "vector": dtype})


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
