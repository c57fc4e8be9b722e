"""Computing again what a store holds, and no more than that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from glmstore.models.spec import ModelSpec
    from glmstore.store import FeatureStore
    from glmstore.views import FeatureView


def make_room(store: FeatureStore, view: FeatureView, keys: Sequence[str], spec: ModelSpec) -> None:
    """Take the features of these sequences out of a view, so that they are computed again.

    What else the view holds stays, for it may be others' work. Where all of it is asked for, or where it was
    made by other weights than `spec` has now, the view is dropped, and its origin is recorded anew.

    Parameters
    ----------
    store
        A store, with the view or without it.
    view
        What is to be filled.
    keys
        Of the sequences; they need not be in the store.
    spec
        Of the view's model.

    Raises
    ------
    SequenceKeyError
        If a key is malformed; nothing is taken out.
    """
    stored = store.views().filter(pl.col("view_id") == view.view_id)
    for record in stored.iter_rows(named=True):
        absent = store.missing(view, keys)
        asked_whole = len(set(keys)) - len(absent) == record["rows"]
        origin = (record["weights_sha256"], record["dim"])
        if asked_whole or origin != (spec.weights_sha256, spec.width(view.pooling)):
            store.drop(view)
        else:
            store.forget(view, keys)
