"""Checkpoints: written whole or not at all, loaded without unpickling code."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from glmstore.errors import WeightsError
from glmstore.models.architectures.gpn import GPNForMaskedLM

WEIGHTS, OPTIMIZER, STATE = "model.safetensors", "optimizer.pt", "state.json"
_PREFIX, _PARTIAL = "step-", ".partial-"


def save(
    out_dir: Path,
    step: int,
    network: GPNForMaskedLM,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    keep: int,
) -> Path:
    """Write ``out_dir/step-<n>`` under a temporary name, rename it, then drop all but the newest `keep`."""
    out_dir.mkdir(parents=True, exist_ok=True)
    for left_over in out_dir.glob(f"{_PARTIAL}*"):
        shutil.rmtree(left_over)
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=out_dir))
    save_file({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}, partial / WEIGHTS)
    torch.save(optimizer.state_dict(), partial / OPTIMIZER)
    (partial / STATE).write_text(json.dumps({**state, "step": step}, indent=1))
    final = out_dir / f"{_PREFIX}{step:09d}"
    if final.exists():
        shutil.rmtree(final)
    for written in (*partial.iterdir(), partial):
        _flush(written)
    partial.rename(final)
    _flush(out_dir)
    for old in checkpoints(out_dir)[:-keep]:
        shutil.rmtree(old)
    return final


def _flush(path: Path) -> None:
    """Wait until a file or folder lies on the disk, so that a rename cannot survive what it names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checkpoints(out_dir: Path) -> list[Path]:
    """Return the complete checkpoints in a run's folder, oldest first."""
    return sorted(p for p in out_dir.glob(f"{_PREFIX}*") if (p / STATE).is_file())


def newest(path: Path) -> Path:
    """Return `path` if it is a checkpoint, else the newest one within it.

    Raises
    ------
    WeightsError
        If there is none.
    """
    if (path / STATE).is_file():
        return path
    found = checkpoints(path)
    if not found:
        raise WeightsError(f"{path} holds no checkpoint. Give a run's out_dir or one of its step-* folders.")
    return found[-1]


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return the bookkeeping of a checkpoint.

    Raises
    ------
    WeightsError
        If it is damaged.
    """
    try:
        state: dict[str, Any] = json.loads((checkpoint / STATE).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"{checkpoint} is damaged ({error}). Delete it; the one before is used then."
        ) from error
    return state


def load(
    checkpoint: Path, network: GPNForMaskedLM, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Any]:
    """Put weights, and the optimizer's state if asked, in place; return the bookkeeping.

    Raises
    ------
    WeightsError
        If a file is missing, truncated or of another shape.
    """
    state = read_state(checkpoint)
    try:
        network.load_state_dict(load_file(checkpoint / WEIGHTS))
        if optimizer is not None:
            optimizer.load_state_dict(torch.load(checkpoint / OPTIMIZER, weights_only=True))
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise WeightsError(
            f"{checkpoint} does not load ({error}). Delete it; the one before is used then."
        ) from error
    return state
