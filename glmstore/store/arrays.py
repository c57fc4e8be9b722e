"""From what a model hands over to what is stored: checked, cast and grouped, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from glmstore.errors import ConflictingFeaturesError, NonFiniteFeatureError, ShapeError
from glmstore.store.schema import KEY, VECTOR, vector_schema
from glmstore.views import FeatureView

_EXPONENT = {np.dtype(np.float16): (np.uint16, 0x7C00), np.dtype(np.float32): (np.uint32, 0x7F800000)}


@dataclass(frozen=True)
class Group:
    """Rows of one write that go to one table.

    Attributes
    ----------
    tokens
        T of a token-level view, None for a pooled one.
    keys
        Distinct sequence keys.
    values
        [N, W] of the stored number type, C-contiguous and finite; W is D or T * D.
    """

    tokens: int | None
    keys: list[str]
    values: np.ndarray

    def table(self, start: int, stop: int) -> pa.Table:
        """Return rows as Arrow, over the same memory."""
        values = self.values[start:stop]
        width = values.shape[1]
        flat = pa.array(values.reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, width)
        return pa.table(
            [pa.array(self.keys[start:stop], pa.string()), vectors],
            schema=vector_schema(self.values.dtype.name, width),
        ).select([KEY, VECTOR])


def prepare(
    view: FeatureView, dim: int, keys: Sequence[str], vectors: np.ndarray, lengths: np.ndarray | None
) -> list[Group]:
    """Check a whole write and return its rows by table.

    Parameters
    ----------
    view, dim
        What is written, and its width D.
    keys
        N well-formed keys; one may repeat if its vectors agree bit for bit.
    vectors
        Numbers [N, D], or [N, T, D] padded on the right for a token-level view.
    lengths
        Token counts [N] of a token-level view, 1 to T each; None: all T.

    Raises
    ------
    ShapeError
        If the arrays fit neither each other nor the view.
    NonFiniteFeatureError
        If a number is NaN, infinite, or does not fit the stored type; names the key.
    ConflictingFeaturesError
        If one key comes with two different vectors.
    """
    counts = _check_shapes(view, dim, len(keys), vectors, lengths)
    if counts is None:
        groups: list[tuple[int | None, np.ndarray]] = [(None, np.arange(len(keys)))] if len(keys) else []
    else:
        groups = [(int(t), np.flatnonzero(counts == t)) for t in np.unique(counts)]
    ready = []
    for tokens, rows in groups:
        chosen = vectors if len(rows) == len(keys) else vectors[rows]
        flat = (chosen if tokens is None else chosen[:, :tokens]).reshape(len(rows), -1)
        names = list(keys) if len(rows) == len(keys) else [keys[i] for i in rows.tolist()]
        ready.append(_distinct(view, tokens, names, _cast(view, names, flat)))
    _refuse_two_lengths(view, ready)
    return ready


def _check_shapes(
    view: FeatureView, dim: int, n: int, vectors: np.ndarray, lengths: np.ndarray | None
) -> np.ndarray | None:
    """Return the token counts [N], None for a pooled view."""
    expected = f"[{n}, tokens, {dim}]" if view.is_token_level else f"[{n}, {dim}]"
    ndim = 3 if view.is_token_level else 2
    good = vectors.ndim == ndim and vectors.shape[0] == n and vectors.shape[-1] == dim
    if not good or vectors.dtype.kind not in "biuf":
        raise ShapeError(
            f"view {view.name} with {n} keys takes numbers of shape {expected}; "
            f"got {vectors.dtype} of shape {list(vectors.shape)}."
        )
    if not view.is_token_level:
        if lengths is not None:
            raise ShapeError(f"view {view.name} is pooled and takes no token counts; leave `lengths` out.")
        return None
    width = vectors.shape[1]
    counts = np.full(n, width) if lengths is None else np.asarray(lengths)
    if counts.shape != (n,) or not np.issubdtype(counts.dtype, np.integer):
        raise ShapeError(
            f"`lengths` must be {n} whole numbers; got {counts.dtype} of shape {list(counts.shape)}."
        )
    if n and (counts.min() < 1 or counts.max() > width):
        raise ShapeError(f"token counts must lie in 1 to {width}; got {counts.min()} to {counts.max()}.")
    return counts


def _cast(view: FeatureView, keys: Sequence[str], flat: np.ndarray) -> np.ndarray:
    """Return `flat` in the stored type, C-contiguous, or refuse the first row that does not survive it."""
    dtype = np.dtype(view.dtype)
    if dtype not in _EXPONENT:
        whole = (flat >= 0) & (flat <= np.iinfo(dtype).max) & (flat == np.floor(flat))
        if not whole.all():
            _refuse(view, keys, flat, ~whole)
        return np.ascontiguousarray(flat, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        stored = np.ascontiguousarray(flat, dtype)
    unsigned, exponent = _EXPONENT[dtype]
    special = (stored.view(unsigned) & unsigned(exponent)) == exponent
    if special.any():
        _refuse(view, keys, flat, special)
    return stored


def _refuse(view: FeatureView, keys: Sequence[str], flat: np.ndarray, wrong: np.ndarray) -> None:
    row, column = np.argwhere(wrong)[0]
    value = float(flat[row, column])
    others = int(wrong.any(axis=1).sum()) - 1
    if np.isfinite(value):
        problem, cure = f"{value:g}, which {view.dtype} cannot hold", "Store the view with dtype='float32'"
    else:
        problem, cure = f"{value}", "Compute it in float32, or find what in the model overflows"
    raise NonFiniteFeatureError(
        f"the embedding of key {keys[row]} under view {view.name} is {problem} (number {column}"
        f"{f'; {others} more keys alike' if others else ''}). {cure}. Nothing was written."
    )


def _distinct(view: FeatureView, tokens: int | None, keys: list[str], values: np.ndarray) -> Group:
    """Keep the first row of each key; refuse a later one that differs."""
    first: dict[str, int] = {}
    repeats = [(i, j) for i, key in enumerate(keys) if (j := first.setdefault(key, i)) != i]
    for i, j in repeats:
        if values[i].tobytes() != values[j].tobytes():
            raise ConflictingFeaturesError(view.name, keys[i])
    if not repeats:
        return Group(tokens, keys, values)
    return Group(tokens, list(first), values[list(first.values())])


def _refuse_two_lengths(view: FeatureView, groups: Sequence[Group]) -> None:
    seen: set[str] = set()
    for group in groups:
        again = seen.intersection(group.keys)
        if again:
            raise ConflictingFeaturesError(view.name, min(again))
        seen.update(group.keys)
