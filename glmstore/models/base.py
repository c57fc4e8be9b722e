"""The one protocol every model holds to, and how models are registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from glmstore.models.spec import ModelSpec
from glmstore.views import Pooling, Provenance

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from glmstore.models.checkpoints.source import HubSource


class Batch(NamedTuple):
    """Tokenised sequences of one forward pass.

    A network that bins its input has fewer outputs T than inputs I; everywhere else the two are the same.

    Attributes
    ----------
    ids
        int64 [B, I], padded on the right.
    attention_mask
        bool [B, I], False on padding.
    special_mask
        bool [B, T], True on tokens that stand for no nucleotide (CLS, SEP, padding).
    spans
        int32 [B, T, 2], the 0-based half-open nucleotide interval of each token; (0, 0) on specials.
    lengths
        int64 [B], sequence lengths in nucleotides.
    """

    ids: Tensor
    attention_mask: Tensor
    special_mask: Tensor
    spans: Tensor
    lengths: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on another device; it may lie in pinned memory, and is then not waited for."""
        return Batch(*(t.to(device, non_blocking=t.is_pinned()) for t in self))

    def pinned(self) -> Batch:
        """Return the batch in page-locked memory, from where a GPU copies while the processor works on."""
        return Batch(*(t.pin_memory() for t in self))


@runtime_checkable
class GenomicLM(Protocol):
    """What a model does; everything else is derived from these."""

    spec: ModelSpec

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Tokenise normalised sequences; raises SequenceTooLongError past `spec.max_nt`."""
        ...

    def layers(self, batch: Batch) -> Iterator[Tensor]:
        """Yield the hidden states [B, T, D] of layer 0 (the embedding), 1, … up to `spec.n_layers`.

        Each is computed when it is asked for: whoever stops reading stops the forward pass, and no layer is
        kept alive but the one just yielded.
        """
        ...

    def hidden_states(self, batch: Batch, layer: int) -> Tensor:
        """Return [B, T, D] at `layer`; later layers are not computed."""
        ...

    def provenance(self, precision: str) -> Provenance:
        """Return what is written beside every view of this model."""
        ...


@runtime_checkable
class DirectPooling(GenomicLM, Protocol):
    """A model that pools without making hidden states first; extraction prefers this where it is there."""

    def pooled(self, batch: Batch, layer: int, pooling: Pooling) -> Tensor | None:
        """Return float32 [B, D], or None where this pooling needs the hidden states."""
        ...


@runtime_checkable
class MaskedLM(GenomicLM, Protocol):
    """A model that predicts nucleotides at masked positions."""

    def base_probs(self, sequences: Sequence[str], positions: Sequence[int]) -> Tensor:
        """Mask one position a sequence and return float32 [B, 4], p(A), p(C), p(G), p(T) there.

        Equal-length sequences; `positions` are 0-based. Computed in float32.
        """
        ...


@dataclass(frozen=True)
class Untrained:
    """How to build a model's random twin.

    Attributes
    ----------
    recipe
        Hex digits that stand for everything but the seed that decides the weights: shape and initialisation.
    build
        ``build(spec, seed, device)`` returns the twin, described by `spec`, in evaluation mode.
    """

    recipe: str
    build: Callable[[ModelSpec, int, str], GenomicLM]


class MachineNeeds(Protocol):
    """What a model asks of a machine beyond what the package brings, known before anything is downloaded."""

    def describe(self) -> str:
        """Return all of it, the size of the download included, in one sentence."""
        ...

    def lacking(self) -> list[str]:
        """Return what this machine lacks of it, one phrase each; empty where it can run."""
        ...


@dataclass(frozen=True)
class ModelEntry:
    """A model the registry knows: its description at once, its weights only when loaded.

    Attributes
    ----------
    spec
        The description.
    load
        ``load(device)`` returns the model in evaluation mode.
    untrained
        How its random twin is built; None where there are no weights to randomise.
    source
        Where its weights are published; None where they come with the package or there are none.
    needs
        What it asks of a machine; None for a model that runs wherever the package does.
    current
        Returns the entry as what is pulled now makes it; None where nothing can change under it.
    """

    spec: ModelSpec
    load: Callable[[str], GenomicLM]
    untrained: Untrained | None = None
    source: HubSource | None = None
    needs: MachineNeeds | None = None
    current: Callable[[], ModelEntry] | None = None

    @property
    def name(self) -> str:
        """Registry name."""
        return self.spec.name


@dataclass(frozen=True)
class DerivedModel:
    """A way of making a model from another, addressed as ``prefix:argument``.

    Attributes
    ----------
    name
        The prefix.
    usage
        How to write it, for messages ("rand_init:<model>:<seed>").
    build
        ``build(argument)`` returns the entry; raises a GlmstoreError naming what is wrong with the argument.
    """

    name: str
    usage: str
    build: Callable[[str], ModelEntry]
