"""Which device a plan is made for, and how much memory it has left."""

from __future__ import annotations

from pathlib import Path

from glmstore.errors import DeviceError
from glmstore.extraction.hardware import resolve_device

_MEMINFO = Path("/proc/meminfo")


def planned_device(name: str | None) -> str:
    """Return the torch device a run would use here.

    Parameters
    ----------
    name
        As users type it; None or "auto" takes the best there is.

    Raises
    ------
    DeviceError
        If it is no device, or this machine has none such: a time can only be measured where it is.
    """
    import torch

    resolved = resolve_device(name)
    try:
        device = torch.device(resolved)
    except RuntimeError as error:
        raise DeviceError(f"{resolved!r} is no torch device; write cpu, cuda, cuda:1 or mps.") from error
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= there.get(device.type, 0):
        raise DeviceError(
            f"this machine has no device {resolved!r}, so nothing can be timed on it. Plan where it is, or "
            f"pass --device cpu."
        )
    return resolved


def available_memory(device: str) -> int:
    """Return the bytes a new process could take on a device: free GPU memory, or free host memory."""
    import torch

    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    if _MEMINFO.is_file():
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    import os

    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def device_title(device: str) -> str:
    """Return what people call the device: a GPU's name, or the number of threads on CPU."""
    import torch

    if torch.device(device).type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(torch.device(device))})"
    return f"{device} ({torch.get_num_threads()} threads)" if device == "cpu" else device
