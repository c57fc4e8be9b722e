"""Fresh weights from a generator of their own, whatever draws them and whatever other threads do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class DrawnFrom(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """While active, all that this thread draws on the CPU comes from one generator with this seed.

    Constructors of torch and transformers draw from torch's global generator and take no other. Seeding that
    one, as ``torch.manual_seed`` does, gives the same numbers, but in a process with several threads it also
    gives them to whoever else draws, and the network loses them.

    Parameters
    ----------
    seed
        The numbers are those that ``torch.manual_seed(seed)`` would give. The global state stays as it is.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation, with this generator where it draws and was given none."""
        kwargs = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded in func.tags and kwargs.get("generator") is None:
            first = next(iter(args), None)
            device = first.device if isinstance(first, torch.Tensor) else kwargs.get("device")
            if device is None or torch.device(device).type == "cpu":
                return _taking_a_generator(func)(*args, **{**kwargs, "generator": self.generator})
        return func(*args, **kwargs)


def _taking_a_generator(func: Any) -> Callable[..., Any]:
    """Return the overload of an operation that takes a generator.

    Raises
    ------
    NotImplementedError
        If it has none: its numbers would come from the global state unnoticed.
    """

    def arguments(overload: Any) -> list[str]:
        return [argument.name for argument in overload._schema.arguments]

    wanted, packet = {*arguments(func), "generator"}, func.overloadpacket
    # torch.randn(3), torch.randperm(3), … have a second overload that differs by the generator only.
    for candidate in (func, *(getattr(packet, name) for name in packet.overloads())):
        if set(arguments(candidate)) == wanted:
            chosen: Callable[..., Any] = candidate
            return chosen
    raise NotImplementedError(f"{func} draws random numbers and takes no generator.")
