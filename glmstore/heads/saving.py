"""Fitted probes on disk: one safetensors file, with what is needed to build the probe again in its header."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glmstore.errors import WeightsError
from glmstore.heads.base import Probe
from glmstore.heads.linear import LinearProbe

if TYPE_CHECKING:
    from glmstore.heads.neural.probe import TorchProbe

FILE = "probe.safetensors"
FORMAT = 1


def save_probe(probe: Probe, folder: Path) -> Path:
    """Write a probe to ``folder/probe.safetensors``, replacing one that is there only when it is whole.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    WeightsError
        If the probe is of a kind that cannot be written, or the folder cannot be written to.
    """
    if isinstance(probe, LinearProbe):
        tensors = {"coefficients": probe.coefficients, "intercept": np.array([probe.intercept])}
        about: dict[str, Any] = {"type": "linear", "head": probe.head, "link": probe.link}
    else:
        tensors, about = _from_torch(probe)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / FILE, tensors, about | {"format": FORMAT})
    except OSError as error:
        raise WeightsError(f"{folder}: the probe cannot be written there ({error}).") from error
    return folder / FILE


def load_probe(folder: Path) -> Probe:
    """Read a probe that :func:`save_probe` wrote; a network lies on the CPU, in evaluation mode.

    Raises
    ------
    WeightsError
        If there is none, or it is damaged or of another version.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    try:
        with safe_open(path, "np") as file:
            about = json.loads((file.metadata() or {}).get("probe", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except FileNotFoundError:
        raise WeightsError(f"{folder} holds no {FILE}; train the probe again.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}); train the probe again.") from error
    if about.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is a probe of format {about.get('format')}, not {FORMAT}; train it again."
        )
    if about["type"] == "linear":
        return LinearProbe(
            about["head"], tensors["coefficients"], float(tensors["intercept"][0]), about["link"]
        )
    return _to_torch(path, tensors, about)


def _write(path: Path, tensors: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    from safetensors.numpy import save

    payload = save(tensors, {"probe": json.dumps(about, sort_keys=True)})
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _from_torch(probe: Probe | TorchProbe) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from glmstore.heads.neural.probe import TorchProbe

    if not isinstance(probe, TorchProbe):
        raise WeightsError(f"a probe of type {type(probe).__name__} cannot be written.")
    tensors = {k: v.detach().cpu().contiguous().numpy() for k, v in probe.module.state_dict().items()}
    about = {"head": probe.head, "kind": probe.kind, "architecture": dict(probe.architecture)}
    return tensors, {"type": "torch", **about}


def _to_torch(path: Path, tensors: dict[str, np.ndarray], about: dict[str, Any]) -> TorchProbe:
    import torch

    from glmstore.heads.neural.layers import ScoringModule
    from glmstore.heads.neural.networks import build
    from glmstore.heads.neural.probe import TorchProbe

    module = ScoringModule(build(about["head"], about["architecture"]))
    try:
        module.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()})
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not fit the network it names ({error}); train the probe again."
        ) from error
    return TorchProbe(about["head"], about["kind"], about["architecture"], module.eval())
