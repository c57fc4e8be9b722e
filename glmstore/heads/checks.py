"""What every head asks of its data before it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from glmstore.errors import HeadError
from glmstore.heads.base import FitData, HeadSpec

MIN_TRAIN, MIN_VALID = 10, 2


def checked(data: FitData, spec: HeadSpec) -> FitData:
    """Return the data in the shape the head reads, labels as float64.

    Token-level features given to a head that reads vectors are flattened, [N, T, D] -> [N, T*D].

    Raises
    ------
    HeadError
        If the label kind, shapes, number of rows, a feature or the labels do not suit the head.
    """
    if data.kind not in spec.kinds:
        raise HeadError(
            f"head {spec.name} is for {' and '.join(spec.kinds)} labels, not {data.kind}; "
            f"use {'logistic, mlp or cnn' if data.kind == 'binary' else 'ridge, mlp or cnn'}."
        )
    train = _features(data.x_train, "training", spec)
    valid = _features(data.x_valid, "validation", spec)
    if train.shape[1:] != valid.shape[1:]:
        raise HeadError(
            f"head {spec.name}: training features are {list(train.shape[1:])} a row and validation features "
            f"{list(valid.shape[1:])}; read both from one view."
        )
    y_train = _labels(data.y_train, len(train), "training", MIN_TRAIN, data.kind, spec)
    y_valid = _labels(data.y_valid, len(valid), "validation", MIN_VALID, data.kind, spec)
    return FitData(train, y_train, valid, y_valid, data.kind)


def merged(spec: HeadSpec, defaults: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the defaults overridden by what was given.

    Raises
    ------
    HeadError
        If a name is not one of the head's hyperparameters.
    """
    unknown = sorted(set(given or {}) - set(defaults))
    if unknown:
        raise HeadError(
            f"head {spec.name} has no hyperparameter {unknown[0]!r}; it has {', '.join(defaults)}."
        )
    return {**defaults, **(given or {})}


def as_vectors(x: np.ndarray) -> np.ndarray:
    """Return features as [N, D], token-level ones flattened."""
    return x.reshape(len(x), -1) if x.ndim == 3 else x


def _features(x: np.ndarray, part: str, spec: HeadSpec) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim not in ({2, 3} if spec.input == "vector" else {3}) or 0 in x.shape[1:]:
        wanted = "[N, D] or [N, T, D]" if spec.input == "vector" else "[N, T, D]; ask for pooling 'tokens'"
        raise HeadError(f"head {spec.name}: {part} features are {list(x.shape)}, but it reads {wanted}.")
    if x.dtype.kind not in "fiub":
        raise HeadError(f"head {spec.name}: {part} features are of type {x.dtype}, not numbers.")
    if spec.input == "vector":
        x = as_vectors(x)
    if x.dtype.kind == "f":
        for row in range(0, len(x), 4096):
            finite = np.isfinite(x[row : row + 4096]).reshape(len(x[row : row + 4096]), -1).all(axis=1)
            if not finite.all():
                bad = row + int(np.argmin(finite))
                raise HeadError(
                    f"head {spec.name}: {part} features of row {bad} (0-based) hold NaN or infinity; "
                    f"embed that sequence again."
                )
    return x


def _labels(y: np.ndarray, n: int, part: str, least: int, kind: str, spec: HeadSpec) -> np.ndarray:
    y = np.asarray(y, np.float64)
    if y.shape != (n,):
        raise HeadError(f"head {spec.name}: {list(y.shape)} {part} labels for {n} rows of features.")
    if n < least:
        raise HeadError(f"head {spec.name}: {n} {part} rows are too few; it needs {least} at least.")
    if not np.isfinite(y).all():
        bad = int(np.argmin(np.isfinite(y)))
        raise HeadError(f"head {spec.name}: {part} label of row {bad} (0-based) is not finite.")
    if kind == "binary" and not np.isin(y, (0.0, 1.0)).all():
        raise HeadError(f"head {spec.name}: binary {part} labels have to be 0 or 1.")
    if (y == y[0]).all():
        raise HeadError(
            f"head {spec.name}: all {n} {part} labels are {y[0]:g}, so there is nothing to learn or to "
            f"choose by; check the label column and the split."
        )
    return y
