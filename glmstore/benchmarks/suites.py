"""Suites: named lists of benchmarks, with the models, controls and readers that go over them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from glmstore.config import Frozen
from glmstore.errors import UnknownNameError
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
    batch: int = Field(4, ge=1, description="Trials one task runs.")
    max_epochs: int = Field(8, ge=1, description="Longest training of a trial, and of the tuned probe.")


class ProbePlan(Frozen):
    """Which heads read which benchmark."""

    benchmark: str
    heads: tuple[str, ...] = Field(description="Heads on pooled views (and on flattened one-hot).")
    token_heads: tuple[str, ...] = Field((), description="Heads on token-level views.")
    token_models: tuple[str, ...] | None = Field(None, description="Models given to token_heads; None: all but k-mers.")
    tune: TunePlan | None = None
    max_epochs: int | None = Field(None, description="Epoch limit of untuned torch heads; None: the protocol's.")
    hyperparameters: dict[str, float | int | str] = Field(
        default_factory=dict, description="Overrides of the torch heads' defaults."
    )


class FineTunePlan(Frozen):
    """LoRA on one benchmark."""

    benchmark: str
    models: tuple[str, ...]
    epochs: int = Field(2, ge=1)
    max_train: int | None = Field(None, description="Training items used, drawn by hash; None: all.")


class VariantPlan(Frozen):
    """Zero-shot scoring."""

    benchmarks: tuple[str, ...]
    models: tuple[str, ...]
    scorers: tuple[str, ...] = ("llr", "cosine")


class ExplainPlan(Frozen):
    """Attribution and global importance analysis with the probe that one probe cell trained."""

    benchmark: str
    n_backgrounds: int = Field(300, ge=10, description="Dinucleotide-shuffled backgrounds.")


class Suite(Frozen):
    """What `run_suite` does."""

    name: str
    summary: str = Field(description="One line for people.")
    models: tuple[ViewRequest, ...] = Field(description="Models under test and their controls, as pooled views.")
    probes: tuple[ProbePlan, ...] = ()
    finetune: FineTunePlan | None = None
    variants: VariantPlan | None = None
    explain: ExplainPlan | None = None
    seeds: tuple[int, ...] = (0,)

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Every benchmark of the suite, each once, in order."""
        names = [plan.benchmark for plan in self.probes]
        names += [*self.variants.benchmarks] if self.variants else []
        names += [p.benchmark for p in (self.finetune, self.explain) if p]
        return tuple(dict.fromkeys(names))

    def without(self, benchmarks: set[str]) -> Suite:
        """Return the suite less everything that needs one of `benchmarks`."""
        variants = self.variants
        if variants:
            kept = tuple(b for b in variants.benchmarks if b not in benchmarks)
            variants = variants.model_copy(update={"benchmarks": kept}) if kept else None
        return self.model_copy(
            update={
                "probes": tuple(p for p in self.probes if p.benchmark not in benchmarks),
                "finetune": self.finetune if self.finetune and self.finetune.benchmark not in benchmarks else None,
                "explain": self.explain if self.explain and self.explain.benchmark not in benchmarks else None,
                "variants": variants,
            }
        )


def twins(model: str, n: int) -> tuple[str, ...]:
    """Return the names of `n` random twins of a model."""
    return tuple(f"rand_init:{model}:{seed}" for seed in range(n))


def _panel(model: str, n_twins: int) -> tuple[ViewRequest, ...]:
    controls = (*twins(model, n_twins), "kmer4")
    return (
        ViewRequest(model=model),
        *(ViewRequest(model=name) for name in controls),
        ViewRequest(model="onehot", pooling="tokens", dtype="uint8"),
    )


_CAGI5 = ("cagi5_ldlr", "cagi5_sort1", "cagi5_f9", "cagi5_pklr")
_GLM = "gpn-mini"
_TUNE = TunePlan()
_SMALL_CNN = {"width": 0.5, "learning_rate": 1e-3}


def _suite(name: str, summary: str, *, n_twins: int, seeds: tuple[int, ...], gue: bool) -> Suite:
    token_models = (_GLM, f"rand_init:{_GLM}:0", "onehot")
    return Suite(
        name=name,
        summary=summary,
        models=_panel(_GLM, n_twins),
        probes=(
            ProbePlan(
                benchmark="sortseq_lac",
                heads=("ridge",),
                token_heads=("cnn",),
                token_models=("onehot",),
                tune=_TUNE,
                max_epochs=6,
                hyperparameters=_SMALL_CNN,
            ),
            ProbePlan(
                benchmark="lentimpra_hepg2_inoue2017",
                heads=("ridge",),
                token_heads=("cnn",),
                token_models=token_models,
                tune=_TUNE,
                max_epochs=15,
                hyperparameters=_SMALL_CNN,
            ),
            *(ProbePlan(benchmark=f"gue_tf_{i}", heads=("logistic",)) for i in range(5) if gue),
        ),
        finetune=FineTunePlan(
            benchmark="sortseq_lac", models=(_GLM, f"rand_init:{_GLM}:0"), epochs=2, max_train=6000
        ),
        variants=VariantPlan(benchmarks=_CAGI5, models=(_GLM, *twins(_GLM, n_twins))),
        explain=ExplainPlan(benchmark="sortseq_lac"),
        seeds=seeds,
    )


SUITES: dict[str, Suite] = {
    s.name: s
    for s in (
        _suite(
            "demo",
            "Sort-seq whole, lentiMPRA HepG2 and CAGI5, with few seeds: minutes on two cores.",
            n_twins=2,
            seeds=(0, 1),
            gue=False,
        ),
        _suite(
            "full",
            "The demo with the five GUE transcription-factor sets, five twins and five seeds.",
            n_twins=5,
            seeds=(0, 1, 2, 3, 4),
            gue=True,
        ),
    )
}


def get_suite(name: str) -> Suite:
    """Return the suite called `name`.

    Raises
    ------
    UnknownNameError
        If there is none; suggests the nearest.
    """
    try:
        return SUITES[name]
    except KeyError:
        raise UnknownNameError("suite", name, SUITES) from None


def every_suite() -> Iterator[Suite]:
    """Iterate over the suites that ship with glmstore."""
    return iter(SUITES.values())
