"""The one protocol every model holds to, and the data that describe a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from glmstore.config import Frozen
from glmstore.errors import LayerError, PoolingError, WeightsError
from glmstore.views import FeatureView, Pooling, Provenance, Strand

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from glmstore.models.checkpoints.source import HubSource

Objective = Literal["mlm", "clm", "supervised", "none"]


class Pretraining(Frozen):
    """What a model has seen, for the overlap flag that goes with every result."""

    species: tuple[str, ...] = Field(description="Species, as Latin names; empty for an untrained model.")
    complete: bool = Field(
        True, description="Whether every species is listed; if not, the model may have seen any other too."
    )
    assembly: str | None = Field(description="Assembly of the corpus, if it is one genome.")
    chromosomes: tuple[str, ...] | None = Field(
        description="Chromosomes seen; None where unknown or whole genomes."
    )


class ModelSpec(Frozen):
    """What a model is, as data: capabilities are read here, never guessed from a name."""

    name: str
    family: str = Field(description="Architecture family, as published.")
    summary: str = Field(description="One line for people.")
    hub_id: str | None = Field(None, description="owner/name of the repository that publishes the weights.")
    revision: str | None = Field(
        description="40-hex hub revision or weights sha256; None until `glmstore models pull` records one."
    )
    weights_sha256: str | None = None
    tokenizer_sha256: str | None = None
    objective: Objective
    tokenization: str = Field(description="'character', '6-mer', 'bpe', …")
    max_nt: int | None = Field(description="Longest sequence in nucleotides; None: no limit.")
    dim: int = Field(gt=0)
    n_layers: int = Field(ge=0)
    default_layer: int = Field(ge=0, description="Used when no layer is asked for.")
    poolings: tuple[Pooling, ...] = Field(
        ("mean", "max", "tokens"),
        validate_default=True,
        description="What it offers; those that follow from others are added by themselves.",
    )
    default_pooling: Pooling = "mean"
    n_parameters: int = Field(ge=0)
    has_cls: bool = False
    causal: bool = False
    scores_masked_bases: bool = Field(False, description="One letter can be hidden and asked for.")
    rc_equivariant: bool = False
    lora_targets: str | tuple[str, ...] | None = Field(
        None, description="peft target_modules; None: no LoRA."
    )
    pretraining: Pretraining | None = None
    control: Literal["none", "random_twin", "shuffled_weights", "sequence", "noise", "label"] = Field(
        "none", description="What this model controls for; 'sequence' for one-hot and k-mer counts."
    )
    twin_of: str | None = Field(None, description="The model a random twin or an adapter was made from.")
    licence: str
    citation: str

    @field_validator("poolings")
    @classmethod
    def _with_those_that_follow(
        cls, poolings: tuple[Pooling, ...], info: ValidationInfo
    ) -> tuple[Pooling, ...]:
        follows: dict[Pooling, bool] = {
            "mean+max": {"mean", "max"} <= set(poolings),
            "windowed-mean": "mean" in poolings and info.data.get("max_nt") is not None,
            "nucleotides": "tokens" in poolings,
        }
        return tuple(dict.fromkeys([*poolings, *(name for name, there in follows.items() if there)]))

    def width(self, pooling: Pooling) -> int:
        """Return D, the width of a vector of this model under a pooling."""
        return 2 * self.dim if pooling == "mean+max" else self.dim

    def require_pooling(self, pooling: Pooling) -> None:
        """Refuse a pooling this model does not offer.

        Raises
        ------
        PoolingError
            Says which it offers.
        """
        if pooling not in self.poolings:
            raise PoolingError(f"{self.name} gives {', '.join(self.poolings)}; not {pooling!r}.")

    def resolve_layers(self, layers: int | str | None) -> tuple[int, ...]:
        """Turn ``"all"``, or layers as :meth:`resolve_layer` takes them with commas between, into numbers.

        Returns
        -------
        tuple of int
            Rising, each once.

        Raises
        ------
        LayerError
            If the model has no such layer.
        """
        if layers == "all":
            return tuple(range(self.n_layers + 1))
        parts = layers.split(",") if isinstance(layers, str) else [layers]
        return tuple(sorted({self.resolve_layer(p.strip() if isinstance(p, str) else p) for p in parts}))

    def resolve_layer(self, layer: int | str | None) -> int:
        """Turn ``None``, ``"mid"``, ``"last"`` or a number into a layer this model has.

        Raises
        ------
        LayerError
            If the model has no such layer.
        """
        if layer is None:
            return self.default_layer
        if layer == "mid":
            return (self.n_layers + 1) // 2
        if layer == "last":
            return self.n_layers
        try:
            number = int(layer)
        except ValueError:
            raise LayerError(f"layer {layer!r} is neither a number, 'mid' nor 'last'.") from None
        if not 0 <= number <= self.n_layers:
            raise LayerError(
                f"{self.name} has layers 0 to {self.n_layers} (0: embeddings); {number} is none of them."
            )
        return number

    def view(
        self,
        *,
        layer: int | str | None = None,
        pooling: Pooling | None = None,
        strand: Strand = "forward",
        dtype: Literal["float16", "float32", "uint8"] = "float16",
    ) -> FeatureView:
        """Return the feature view of this model under these choices.

        Raises
        ------
        LayerError, PoolingError
            If the model cannot give that layer or pooling.
        WeightsError
            If its weights are pinned to no revision yet, so that nothing says what the numbers would be; says
            how to get them, or those of the model it is made from.
        """
        if self.revision is None:
            from glmstore.models.checkpoints.source import how_to_get

            owner = self.twin_of or self.name
            raise WeightsError(
                f"no view of {self.name} can be named before the weights of {owner} are here. They are "
                f"{how_to_get(owner, self.hub_id)}."
            )
        chosen = pooling or self.default_pooling
        self.require_pooling(chosen)
        return FeatureView(
            model=self.name,
            revision=self.revision,
            layer=self.resolve_layer(layer),
            pooling=chosen,
            strand=strand,
            dtype=dtype,
        )


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
