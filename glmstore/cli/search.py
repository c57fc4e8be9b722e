"""`glmstore similar`: the stored sequences whose embeddings lie nearest to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from glmstore.cli.asked import GIVEN
from glmstore.cli.console import emit_json, print_table
from glmstore.cli.inputs import checked
from glmstore.cli.options import Json, Store, View, help_text, open_existing, stored_view

if TYPE_CHECKING:
    import numpy as np

    from glmstore.config import Precision
    from glmstore.store import FeatureStore
    from glmstore.views import FeatureView

HELP = """Find the stored sequences nearest to a sequence by cosine distance in one view.

A sequence that the view lacks is embedded with the view's model for the question; nothing is written.

  glmstore similar ACGTTGCAACGT --view gpn-mini -k 5
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
    (clean,) = checked([sequence], [GIVEN])
    opened = open_existing(store)
    chosen = stored_view(opened, view)
    found = opened.similar(chosen, _vector(opened, chosen, clean), k)
    if json:
        emit_json(found.to_dicts())
        return
    rows = [(f"{row['distance']:.4f}", row["seq_key"], row["sequence"]) for row in found.to_dicts()]
    print_table(("distance", "key", "sequence"), rows)


def _vector(store: FeatureStore, view: FeatureView, sequence: str) -> np.ndarray:
    """Return the sequence's vector [D]: stored, or computed as the view was and kept nowhere."""
    import numpy as np

    from glmstore.errors import PoolingError, ViewConflictError
    from glmstore.sequences.normalise import seq_key

    if view.is_token_level:
        raise PoolingError(f"{view.name} is token-level; neighbours are searched among pooled views.")
    key = seq_key(sequence)
    if not store.missing(view, [key]):
        return np.asarray(store.read(view, [key]).values[0])

    from glmstore.extraction import embed
    from glmstore.extraction.hardware import resolve_device
    from glmstore.models.catalogue import get_model

    entry = get_model(view.model)
    checked([sequence], [GIVEN], model=None if view.pooling == "windowed-mean" else entry.spec)
    if (entry.spec.revision or entry.spec.name) != view.revision:
        raise ViewConflictError(
            f"{view.name} was computed with other weights than {view.model} has now, so a query embedded "
            f"today cannot be set against it. Fill a new view, or ask with a sequence the view holds."
        )
    (chunk,) = embed(
        entry.load(resolve_device()),
        [sequence],
        layer=view.layer,
        pooling=view.pooling,
        strand=view.strand,
        dtype=view.dtype,
        precision=_precision(store, view),
    )
    return np.asarray(chunk.values[0])


def _precision(store: FeatureStore, view: FeatureView) -> Precision:
    """Return the precision the view was computed in, so that the query's numbers mean the same."""
    return "bfloat16" if store.provenance(view).precision == "bfloat16" else "float32"
