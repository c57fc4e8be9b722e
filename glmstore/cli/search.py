"""`glmstore similar`: the stored sequences whose embeddings lie nearest to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from glmstore.cli.console import emit_json, print_table
from glmstore.cli.inputs import Records
from glmstore.cli.options import Json, Store, View, help_text, open_existing

if TYPE_CHECKING:
    import numpy as np

    from glmstore.store import FeatureStore

HELP = """Find the stored sequences nearest to a sequence by cosine distance in one view.

A sequence that the view lacks is embedded with the view's model for the question; nothing is written.

  glmstore similar ACGTTGCAACGT --view gpn-mini/5/mean -k 5
"""


def add_to(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("similar", help=help_text(HELP))(similar)


def similar(
    sequence: Annotated[str, typer.Argument(metavar="SEQUENCE")],
    view: View,
    k: Annotated[int, typer.Option("-k", min=1, help="How many neighbours.")] = 10,
    store: Store = None,
    json: Json = False,
) -> None:
    """Find neighbours; HELP is what users read."""
    records = Records(["the sequence given"], [sequence]).normalised()
    opened = open_existing(store)
    found = opened.similar(view, _vector(opened, view, records), k)
    if json:
        emit_json(found.to_dicts())
        return
    rows = [(f"{row['distance']:.4f}", row["seq_key"], row["sequence"]) for row in found.to_dicts()]
    print_table(("distance", "key", "sequence"), rows)


def _vector(store: FeatureStore, view_name: str, records: Records) -> np.ndarray:
    """Return float [D] for the one sequence in `records`: stored, or computed as the view was."""
    from glmstore.errors import PoolingError
    from glmstore.sequences.normalise import seq_keys

    view = store.view(view_name)
    if view.is_token_level:
        raise PoolingError(f"{view.name} is token-level; neighbours are searched among pooled views.")
    keys = seq_keys(records.sequences)
    if not store.missing(view, keys):
        return store.read(view, keys).values[0]

    from glmstore.config import Settings
    from glmstore.extraction import embed
    from glmstore.models.catalogue import get_model

    entry = get_model(view.model)
    (query,) = records.normalised(max_nt=entry.spec.max_nt).sequences
    model = entry.load(Settings().device)
    (chunk,) = embed(
        model, [query], layer=view.layer, pooling=view.pooling, strand=view.strand, dtype=view.dtype
    )
    return chunk.values[0]
