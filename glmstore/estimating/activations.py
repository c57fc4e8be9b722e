"""What a batch takes on its way through a network, found by walking the network without computing anything.

The walk is the one that extraction makes, block by block, over tensors that have a shape and no memory
(torch's fake tensors). Every storage that an operation makes counts until it is let go. So windows of fixed
length, attention biases, masks, inner widths and Fourier transforms count as the code has them, and a new
family needs no formula of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from glmstore.models.checkpoints.loading import build_unfilled
from glmstore.models.tokenizers.fixed_length import NT_AT_ONCE

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.base import Batch
    from glmstore.models.family import Architecture
    from glmstore.models.network import Network
    from glmstore.models.tokenizers.fixed_length import Window

BLOCKS = 2
"""Blocks that are walked at most: within a network they are alike, and none is kept beside the next."""
POSITIONS = (16, 32)
"""Positions walked of a network that takes them one by one, in Python: its memory grows evenly with them."""


class LiveStorage(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Counts the bytes of the storages that operations make, for as long as anything refers to them.

    Parameters
    ----------
    weights
        What is there before and does not count, nor do views of it.

    Attributes
    ----------
    live, peak
        Bytes now, and the most there were.
    """

    def __init__(self, weights: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: int = 0
        self.peak: int = 0
        self._weights = [tensor.untyped_storage() for tensor in weights]
        self._there = {storage._cdata for storage in self._weights}
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count what it made."""
        if func is torch.ops.aten.nonzero.default and isinstance(args[0], FakeTensor):
            # How many there are depends on numbers that are not there; more than all there cannot be.
            found: Any = args[0].new_empty((args[0].numel(), args[0].ndim), dtype=torch.int64)
        else:
            found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        if func is torch.ops.aten.convolution.default:
            # The kernels read and write copies in a layout of their own.
            self.also(_size(args[0]) + _size(found))
        return found

    def also(self, size: int) -> None:
        """Count bytes that are taken for a moment."""
        self.peak = max(self.peak, self.live + size)

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        number, size = storage._cdata, int(storage.nbytes())
        if number in self._there or number in self._seen:
            return

        def gone(_: object) -> None:
            self.live -= size
            del self._seen[number]

        self._seen[number] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)


class Walk:
    """Walks batches through one network.

    Parameters
    ----------
    architecture
        Of the network; its weights are not needed, and take no memory.
    halves
        Whether it runs under bfloat16 autocast, which copies the weights of a block while it is computed.
    """

    def __init__(self, architecture: Architecture, *, halves: bool) -> None:
        self._halves = halves
        self._fake = FakeTensorMode()
        with self._fake:
            self._network: nn.Module = build_unfilled(architecture.network).eval()

    @property
    def window(self) -> Window | None:
        """What a network of fixed length reads; None for the others."""
        return getattr(self._network, "window", None)

    def peak(
        self, batch: Batch, layers: Sequence[int], *, masked: bool, strands: int = 1, copies: float = 0.0
    ) -> int:
        """Return the most bytes that are alive at once beside the weights.

        Parameters
        ----------
        batch
            As the model's tokenizer makes it; only its shape is read.
        layers
            Those from which something is taken.
        masked
            Whether sequences are padded.
        strands
            1, or 2 where both strands go through the network side by side.
        copies
            Float32 copies of a layer's vectors that are made while something is taken from it.
        """
        length = batch.ids.shape[1]
        walk = partial(self._walk, batch, layers, masked=masked, strands=strands, copies=copies)
        if not getattr(self._network, "position_by_position", False) or length <= POSITIONS[1]:
            return walk(length)
        few, more = POSITIONS
        first, second = walk(few), walk(more)
        return second + (second - first) * (length - more) // (more - few)

    def _walk(
        self, batch: Batch, layers: Sequence[int], length: int, *, masked: bool, strands: int, copies: float
    ) -> int:
        shape = (len(batch.ids), length)
        with self._fake, torch.no_grad():
            ids = torch.empty(shape, dtype=torch.int64)
            mask = torch.empty(shape, dtype=torch.bool) if masked else None
            with LiveStorage([*self._network.parameters(), *self._network.buffers()]) as storage:
                streams = [self._states(ids, mask, batch) for _ in range(strands)]
                for layer in range(min(max(layers), BLOCKS) + 1):
                    with torch.autocast("cpu", torch.bfloat16, enabled=self._halves):
                        hidden = [next(stream) for stream in streams]
                    if layer in layers or layer == BLOCKS:
                        storage.also(round(copies * 4 * hidden[0].numel()))
            found: int = storage.peak
        return found

    def _states(self, ids: Tensor, mask: Tensor | None, batch: Batch) -> Iterator[Tensor]:
        if self.window is not None:
            return self._through(self.window, batch)
        return cast("Network", self._network).states(ids, mask)

    def _through(self, window: Window, batch: Batch) -> Iterator[Tensor]:
        """Yield the only layer of a network of a fixed window, in parts as :meth:`Window.through` makes them.

        Which bins are taken depends on the letters, which are not there: any of them have the same size.
        """
        rows, tokens = batch.special_mask.shape
        at_once, parts = max(1, NT_AT_ONCE // window.length), []
        for start in range(0, rows, at_once):
            bins = self._network(torch.empty(min(at_once, rows - start), 4, window.length))
            places = torch.empty((len(bins), tokens, 1), dtype=torch.int64)
            parts.append(bins.gather(1, places.expand(-1, -1, bins.shape[-1])))
        yield torch.cat(parts)


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
