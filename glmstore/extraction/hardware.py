"""Where a model runs and in which precision."""

from __future__ import annotations

from typing import Literal

from glmstore.config import Precision, Settings
from glmstore.errors import DeviceError
from glmstore.models.spec import ModelSpec

Computed = Literal["float32", "bfloat16"]
"""A precision that models compute in; bfloat16 is autocast."""


def resolve_device(name: str | None = None) -> str:
    """Return a torch device: `name`, else `Settings.device`, with ``auto`` turned into the best there is.

    Raises
    ------
    DeviceError
        If it is no device, or not one of this machine; says which there are.
    """
    import torch

    wanted = name or Settings().device
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise DeviceError(f"{wanted!r} is no torch device; here there are: {_named_devices()}.") from error
    if (device.index or 0) >= _present().get(device.type, 0):
        raise DeviceError(
            f"this machine has no device {wanted!r}; here there are: {_named_devices()}. Name one of them "
            "(`--device`, or GLMSTORE_DEVICE), or 'auto' for the best."
        )
    return wanted


def _present() -> dict[str, int]:
    """Return how many devices of each kind this machine has."""
    import torch

    mps = torch.backends.mps.is_available()
    return {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(mps)}


def _named_devices() -> str:
    counts = _present()
    gpus = [f"cuda:{number}" for number in range(counts["cuda"])]
    return ", ".join(["cpu", *gpus, *(["mps"] if counts["mps"] else [])])


def lookahead(device: str) -> int:
    """Return how many batches are tokenised, and results fetched, beside the computation of one.

    A GPU computes by itself meanwhile; on a processor that work would take its cores from the model.
    """
    return 1 if device.startswith("cuda") else 0


def resolve_precision(precision: Precision | None, spec: ModelSpec, device: str) -> Computed:
    """Return what a model computes in on a device, whatever a store may hold of it.

    Parameters
    ----------
    precision
        ``auto`` is bfloat16 where the device computes in it natively, else float32; None: the settings'.
    spec
        Of the model; one without parameters counts letters and stays with float32, whatever is asked.
    device
        Torch device.
    """
    wanted = precision or Settings().precision
    if spec.n_parameters == 0:
        return "float32"
    if wanted != "auto":
        return wanted
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capable = torch.cpu.get_capabilities()
    native = device == "cpu" and bool(capable.get("avx512_bf16") or capable.get("amx_bf16"))
    return "bfloat16" if native else "float32"
