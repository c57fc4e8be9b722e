"""Exact float32 on GPUs, whose convolutions round what they read by default."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext


def exact_float32(device: str) -> AbstractContextManager[object]:
    """Keep the float32 convolutions of a GPU from rounding what they read to TF32, as they do by default.

    A view that is begun on a GPU and continued on a processor would else hold numbers of 10 bits and of 23.
    Changes nothing on other devices.
    """
    if not device.startswith("cuda"):
        return nullcontext()
    from torch.backends import cudnn

    kept = {"benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
    return cudnn.flags(enabled=cudnn.enabled, allow_tf32=False, **kept)
