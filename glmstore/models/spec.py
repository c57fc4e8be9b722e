"""What a model is, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from glmstore.config import Frozen
from glmstore.errors import LayerError, PoolingError, WeightsError
from glmstore.views import FeatureView, Pooling, Strand

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
            from glmstore.models.checkpoints.advice import how_to_get

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
