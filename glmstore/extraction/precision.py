"""Which precision a view is filled in: rows of two never lie in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glmstore.config import Precision
from glmstore.errors import UnknownNameError
from glmstore.extraction.hardware import Computed, resolve_precision
from glmstore.models.spec import ModelSpec

if TYPE_CHECKING:
    from glmstore.store import FeatureStore
    from glmstore.views import FeatureView, Provenance

_COMPUTED: dict[str, Computed] = {"float32": "float32", "bfloat16": "bfloat16"}


def precisions_for(
    store: FeatureStore,
    views: Sequence[FeatureView],
    precision: Precision,
    spec: ModelSpec,
    devices: Sequence[str],
) -> list[Computed]:
    """Return what each view is to be computed in, by all devices alike.

    Parameters
    ----------
    store
        A store, with the views or without them.
    views
        Of one model.
    precision
        ``auto`` is what a view is stored in, natively or emulated; for a new view it is bfloat16 where every
        device computes in it natively, else float32.
    spec
        Of the model.
    devices
        Torch devices that are to share the work, at least one.

    Raises
    ------
    ViewConflictError
        If a view is stored in another precision than the one asked for.
    """
    everywhere = {resolve_precision(precision, spec, device) for device in devices}
    new: Computed = "float32" if "float32" in everywhere else "bfloat16"
    found = []
    for view in views:
        stored = stored_origin(store, view) if precision == "auto" else None
        chosen = _COMPUTED.get(stored.precision, new) if stored is not None else new
        refuse_other_precision(store, view, chosen)
        found.append(chosen)
    return found


def refuse_other_precision(store: FeatureStore, view: FeatureView, precision: str) -> None:
    """Raise ViewConflictError, which says what to do, where a view is stored in another precision."""
    stored = stored_origin(store, view)
    if stored is not None:
        store.declare(view, stored.model_copy(update={"precision": precision}))


def stored_origin(store: FeatureStore, view: FeatureView) -> Provenance | None:
    """Return where the stored numbers of a view come from; None where it was never declared."""
    try:
        return store.provenance(view)
    except UnknownNameError:
        return None
