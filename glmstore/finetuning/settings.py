"""What a LoRA fine-tuning run may be told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field

from glmstore.config import Frozen

if TYPE_CHECKING:
    from glmstore.benchmarks.plans import FineTunePlan


class FineTuneSettings(Frozen):
    """Every choice that changes a fine-tuned model's numbers; the same for a model and its random twin.

    Learning rate and batch size were chosen on the validation items of sortseq_lac with gpn-mini, 2 epochs.
    """

    rank: int = Field(8, ge=1, description="LoRA rank r.")
    alpha: float = Field(16.0, gt=0, description="LoRA scaling; updates are multiplied by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the input of every LoRA update.")
    layer: int | Literal["mid", "last"] | None = Field(
        None,
        description="Layer whose token vectors the head averages; None: the model's default, as for probes.",
    )
    hidden: int | None = Field(
        None, ge=1, description="Width of the head's hidden layer; None: a linear head."
    )
    learning_rate: float = Field(1e-2, gt=0, description="Peak learning rate of AdamW.")
    other_learning_rates: tuple[float, ...] = Field(
        (),
        description="Peaks tried besides; the lowest validation loss decides, model by model.",
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay.")
    batch_size: int = Field(32, ge=1, description="Sequences a step.")
    epochs: int = Field(
        2, ge=1, description="Passes over the training items; the best on validation is kept."
    )
    max_train: int | None = Field(
        None, ge=1, description="Training items used, the first by seq_key; None: all."
    )
    max_valid: int | None = Field(
        2000, ge=1, description="Validation items used, the first by seq_key; None: all."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of training steps; 'auto' is bfloat16 where the device computes it natively."
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="One adapter is trained a seed.")
    n_resamples: int = Field(1000, ge=100, description="Bootstrap resamples of the interval.")

    def departures(self) -> Iterator[str]:
        """Say what departs from the default training, one phrase each; the layer is told by model."""
        rates = (self.learning_rate, *self.other_learning_rates)
        if rates != (FineTuneSettings().learning_rate,):
            yield f"learning rate {' or '.join(f'{rate:g}' for rate in rates)}"
        if self.max_train is not None:
            yield f"{self.max_train:,} training items"
        told = {"learning_rate", "other_learning_rates", "max_train", "layer", "seeds", "n_resamples"}
        for name, value in self.model_dump(exclude=told).items():
            if value != type(self).model_fields[name].default:
                yield f"{name.replace('_', ' ')} {value}"

    @classmethod
    def for_suite(cls, plan: FineTunePlan, seeds: tuple[int, ...]) -> Self:
        """Return the settings that a suite's plan stands for; one adapter, of the suite's first seed."""
        return cls(
            epochs=plan.epochs,
            max_train=plan.max_train,
            learning_rate=plan.learning_rates[0],
            other_learning_rates=plan.learning_rates[1:],
            seeds=seeds[:1],
        )
