"""A network of the true shape with made-up weights, of which only what a pass touches takes memory.

Large tensors are left without memory when the network is built, and filled when an operation first reads
them. So the first blocks of a model of many gigabytes can be timed on any machine, before anything of it was
downloaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from glmstore.errors import WeightsError
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.encoding import encode_letters, letter_table

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.base import Batch
    from glmstore.models.family import Architecture
    from glmstore.models.network import Network
    from glmstore.models.spec import ModelSpec
    from glmstore.models.tokenizers.base import Tokenizer

LARGE = 4096
"""Numbers from which on a tensor is left without memory; smaller ones are drawn as the architecture says."""
_DRAWN, _SPREAD = 1 << 16, 0.02


class _Hollow(TorchFunctionMode):
    """Makes ``torch.empty``, which parameters are allocated with, give large tensors on the meta device."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            size = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
            if math.prod(size) >= LARGE:
                kwargs["device"] = "meta"
        return func(*args, **kwargs)


class _FilledWhenRead(TorchFunctionMode):
    """Gives every operation, in place of a tensor without memory, one filled with small random numbers."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device
        self._filled: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with torch._C.DisableTorchFunction():
            args, kwargs = tree_map(self._real, args), tree_map(self._real, kwargs or {})
        return func(*args, **kwargs)

    def _real(self, value: Any) -> Any:
        if not (isinstance(value, Tensor) and value.is_meta):
            return value
        if id(value) not in self._filled:  # the hollow tensor is kept, so that its id stays its own
            self._filled[id(value)] = (value, _filled(value, self._device))
        return self._filled[id(value)][1]


def _moved(network: nn.Module, device: str) -> nn.Module:
    """Move the tensors that have memory to a device."""
    moved: nn.Module = network._apply(lambda t: t if t.is_meta else t.to(device))  # type: ignore[no-untyped-call]
    return moved


def _filled(like: Tensor, device: str) -> Tensor:
    """Return a tensor whose numbers repeat after 65,536: drawing billions would outlast the timing."""
    made = torch.empty(like.shape, dtype=like.dtype, device=device)
    if not like.is_floating_point():
        return made.zero_()
    flat, generator = made.view(-1), torch.Generator(device).manual_seed(0)
    flat[:_DRAWN].normal_(0, _SPREAD, generator=generator)
    done = min(_DRAWN, len(flat))
    while done < len(flat):
        more = min(done, len(flat) - done)
        flat[done : done + more] = flat[:more]
        done += more
    return made


class StandInTokenizer:
    """One token a nucleotide, for a vocabulary that is not here."""

    sha256 = ""
    strings: Sequence[str] = ("", *"ACGTN")
    mask_id = None
    _table = letter_table(range(1, 6))

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Return a batch, padded on the right, without special tokens."""
        return encode_letters(sequences, self._table, 0)


class RehearsedModel(LanguageModel):
    """A model of the true shape under made-up weights: what it costs is real, what it says is not.

    Attributes
    ----------
    stands_in
        Whether its vocabulary is missing, so that it reads more tokens than the model will.
    watch
        Called with the number of every layer that was computed; whatever it raises ends the pass.
    """

    def __init__(self, spec: ModelSpec, architecture: Architecture, device: str) -> None:
        with _Hollow():
            network = architecture.network()
        self.network: nn.Module = _moved(network, device).eval()
        self.spec, self.device = spec, torch.device(device)
        self._weights = _FilledWhenRead(device)
        self._columns = {}
        self.watch: Callable[[int], None] | None = None
        try:
            self.tokenizer: Tokenizer = architecture.tokenizer()
            self.stands_in = False
        except WeightsError:
            self.tokenizer, self.stands_in = StandInTokenizer(), True

    def layers(self, batch: Batch) -> Iterator[Tensor]:
        """Yield [B, T, D] of the embedding (layer 0), then of every block, each computed when asked for."""
        batch = batch.to(self.device)
        mask = None if bool(batch.attention_mask.all()) else batch.attention_mask
        states = cast("Network", self.network).states(batch.ids, mask)
        for number in count():
            with self._weights:
                state = next(states, None)
            if state is None:
                return
            if self.watch is not None:
                self.watch(number)
            yield state
