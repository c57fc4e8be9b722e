"""What a suite is made of: which views, and which readers go over which benchmark."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from glmstore.config import Frozen
from glmstore.views import DType, Pooling


class ViewRequest(Frozen):
    """A model and how its features are taken; None means the model's own default."""

    model: str = Field(description="Registry name, for example gpn-mini or rand_init:gpn-mini:0.")
    layer: int | Literal["mid", "last"] | None = Field(None, description="Layer number, 'mid' or 'last'.")
    pooling: Pooling | None = Field(None, description="How token vectors become features.")
    dtype: DType = Field("float16", description="Stored number type.")


class TunePlan(Frozen):
    """The search every model gets alike."""

    head: str = Field("mlp", description="Head that is tuned.")
    trials: int = Field(8, ge=1, description="Trials for every model.")
    max_epochs: int = Field(8, ge=1, description="Longest training of a trial, and of the tuned probe.")


class ProbePlan(Frozen):
    """Which heads read which benchmark."""

    benchmark: str = Field(description="Benchmark with training items.")
    heads: tuple[str, ...] = Field(description="Heads on pooled views, and on flattened one-hot.")
    token_heads: tuple[str, ...] = Field((), description="Heads on token-level views.")
    token_models: tuple[str, ...] = Field((), description="Models whose token-level views token_heads read.")
    tune: TunePlan | None = Field(None, description="A head tuned alike for every model; None: none.")
    max_epochs: int | None = Field(None, description="Epoch limit of token heads; None: the head's own.")
    hyperparameters: dict[str, float | int | str] = Field(
        default_factory=dict, description="Overrides of the token heads' defaults."
    )

    @property
    def notes(self) -> tuple[str, ...]:
        """What limits the trained heads, one sentence each."""
        notes = []
        if self.token_heads:
            changed = ", ".join(f"{name} {value}" for name, value in self.hyperparameters.items())
            epochs = f"at most {self.max_epochs} epochs" if self.max_epochs else "the head's own epochs"
            heads = ", ".join(self.token_heads)
            notes.append(f"{self.benchmark}: {heads} with {changed or 'its defaults'}, {epochs}, one seed.")
        if tune := self.tune:
            limits = f"{tune.trials} trials of at most {tune.max_epochs} epochs for every model"
            notes.append(f"{self.benchmark}: {tune.head} tuned with {limits}.")
        return tuple(notes)


class FineTunePlan(Frozen):
    """LoRA on one benchmark."""

    benchmark: str = Field(description="Benchmark with training items.")
    models: tuple[str, ...] = Field(description="Models that take LoRA, and their random twins.")
    epochs: int = Field(2, ge=1, description="Passes over the training items.")
    max_train: int | None = Field(None, description="Training items used, drawn by hash; None: all.")
    learning_rates: tuple[float, ...] = Field(
        (3e-3, 1e-2, 3e-2), min_length=1, description="Peaks tried for every model; validation chooses."
    )


class VariantPlan(Frozen):
    """Zero-shot scoring."""

    benchmarks: tuple[str, ...] = Field(description="Benchmarks of variants and their measured effects.")
    models: tuple[str, ...] = Field(description="Models that score them, and their random twins.")
    scorers: tuple[str, ...] | None = Field(
        None, description="Scorers of every model; None: of llr, causal-llr and cosine those it can serve."
    )


class ExplainPlan(Frozen):
    """Attribution and global importance analysis of the one-hot CNN that the probes trained."""

    benchmark: str = Field(description="Benchmark with known sites.")
    n_backgrounds: int = Field(300, ge=10, description="Dinucleotide-shuffled backgrounds.")
