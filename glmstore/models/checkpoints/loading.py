"""Strict loading: every published tensor finds its place, or the first ones that do not are named."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from glmstore.errors import WeightsError

SHOWN = 5
"""Differences named in an error; the rest are counted."""
_UNREADABLE = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError,
               AssertionError, struct.error, SafetensorError, pickle.UnpicklingError)  # fmt: skip
"""What torch and safetensors raise on files that are cut off or are something else."""


class _WithoutInitialisation(TorchFunctionMode):
    """Leaves `torch.nn.init` out: weights that are loaded at once need not be drawn first."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def build_unfilled(build: Callable[[], nn.Module]) -> nn.Module:
    """Return a network whose weights are whatever the memory held; fill it with :func:`load_strict`."""
    with _WithoutInitialisation():
        return build()


def read_tensors(path: Path) -> Iterable[tuple[str, Tensor]]:
    """Yield names and tensors of a safetensors file (read lazily) or of a torch file (no pickled code).

    Raises
    ------
    WeightsError
        If the file is truncated, is neither, holds anything but tensors, or needs code to be read.
    """
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  (a handle, not a mapping)
                    yield name, file.get_tensor(name)
            return
        # Only the zip layout (torch 1.6 and later) can be mapped; older published files are read whole.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            state = torch.load(path, map_location="cpu", mmap=zipfile.is_zipfile(path), weights_only=True)
    except _UNREADABLE as error:
        raise WeightsError(f"{path} {_what_is_wrong(error)}") from error
    if isinstance(state, Mapping):
        state = state.get("state_dict", state)
    if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
        raise WeightsError(f"{path} holds something other than named tensors: it is no checkpoint.")
    yield from state.items()


def _what_is_wrong(error: Exception) -> str:
    # torch ends such messages with advice to switch the protection off, which is not passed on.
    if isinstance(error, pickle.UnpicklingError):
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code:
            return f"is refused: reading it would run {code.group(1)}, and code in weight files is never run."
        return "cannot be read: it is damaged, or pickled in a way that holds more than tensors."
    return (
        f"cannot be read, truncated or no checkpoint: {(str(error).strip() or repr(error)).splitlines()[0]}"
    )


def load_strict(
    network: nn.Module,
    files: Iterable[Path],
    *,
    owner: str,
    rename: Callable[[str], str] | None = None,
    ignored: tuple[str, ...] = (),
) -> None:
    """Fill a network with published weights, converted to its own float type.

    Parameters
    ----------
    network
        Parameters and persistent buffers under the published names.
    files
        Weight files.
    owner
        The model, for messages.
    rename
        Turns a published name into the network's, where the two differ by a prefix.
    ignored
        Regular expressions of published names (before renaming) that are left out knowingly.

    Raises
    ------
    WeightsError
        If a tensor is missing, unexpected, doubled, of another shape, or differs from one it should share its
        values with; lists the first differences, and leaves the network unusable.
    """
    places = network.state_dict(keep_vars=True)
    shapes = {name: tuple(t.shape) for name, t in places.items()}
    skip = [re.compile(pattern) for pattern in ignored]
    found: dict[str, tuple[int, ...]] = {}
    filled: dict[int, str] = {}
    with torch.no_grad():
        for path in files:
            for published, tensor in read_tensors(path):
                if any(pattern.fullmatch(published) for pattern in skip):
                    continue
                name = rename(published) if rename else published
                if name in found:
                    raise WeightsError(f"{owner}: tensor {name} is in its files twice ({path.name}).")
                found[name] = tuple(tensor.shape)
                if shapes.get(name) != found[name]:
                    continue
                place = places[name]
                if place.is_floating_point() and not tensor.is_floating_point():
                    raise WeightsError(
                        f"the checkpoint does not fit {owner}: {name} holds {str(tensor.dtype)[6:]}, as "
                        f"quantised weights do; take the float weights."
                    )
                twin = filled.setdefault(id(place), name)
                if twin != name and not place.is_meta and not torch.equal(place, tensor.to(place.dtype)):
                    raise WeightsError(
                        f"the checkpoint does not fit {owner}: {twin} and {name} are one tensor there, and "
                        f"differ in its files."
                    )
                place.copy_(tensor)
    # A parameter under two names (a tied decoder) is saved under either.
    shared = _aliases(places)
    report = differences(shapes, found, shared)
    if report:
        more = f" … and {len(report) - SHOWN} more" if len(report) > SHOWN else ""
        raise WeightsError(
            f"the checkpoint does not fit {owner}: {'; '.join(report[:SHOWN])}{more}. "
            f"Is it the checkpoint of another model, or another revision of it?"
        )


def differences(
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    shared: Mapping[str, frozenset[str]] | None = None,
) -> list[str]:
    """Return one line for each name that is missing, unexpected, or of another shape, in sorted order."""
    lines = []
    for name in sorted({*expected, *found}):
        if name not in expected:
            lines.append(f"unexpected {name} {list(found[name])}")
        elif name not in found:
            if not any(alias in found for alias in (shared or {}).get(name, ())):
                lines.append(f"missing {name} {list(expected[name])}")
        elif expected[name] != found[name]:
            lines.append(f"{name} is {list(found[name])}, not {list(expected[name])}")
    return lines


def _aliases(places: Mapping[str, Tensor]) -> dict[str, frozenset[str]]:
    groups: dict[int, set[str]] = {}
    for name, tensor in places.items():
        # By identity, not by address: tensors on the meta device have none.
        groups.setdefault(id(tensor), set()).add(name)
    return {name: frozenset(group) for group in groups.values() for name in group if len(group) > 1}
