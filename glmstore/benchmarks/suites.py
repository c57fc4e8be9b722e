"""Suites: named lists of benchmarks, with the models, controls and readers that go over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal

from pydantic import Field

from glmstore.benchmarks.plans import ExplainPlan, FineTunePlan, ProbePlan, TunePlan, VariantPlan, ViewRequest
from glmstore.config import Frozen
from glmstore.errors import UnknownNameError
from glmstore.heads.base import TrainedKind
from glmstore.models.catalogue import get_model

MANY_SEEDS = 5
DEFAULT_MODELS = ("gpn-mini",)
CAGI5 = ("cagi5_ldlr", "cagi5_sort1", "cagi5_f9", "cagi5_pklr")
GUE_TF = tuple(f"gue_tf_{i}" for i in range(5))


class Suite(Frozen):
    """What `run_suite` does."""

    name: str = Field(description="What it is called.")
    summary: str = Field(description="One line for people.")
    models: tuple[ViewRequest, ...] = Field(
        description="Models under test and their controls, as pooled views."
    )
    probes: tuple[ProbePlan, ...] = Field((), description="Probes on frozen features.")
    finetune: FineTunePlan | None = Field(None, description="LoRA adapters; None: none.")
    variants: VariantPlan | None = Field(None, description="Zero-shot scores; None: none.")
    explain: ExplainPlan | None = Field(None, description="What is attributed; None: nothing.")
    seeds: tuple[int, ...] = Field((0,), description="Seeds of every probe; intervals want five.")

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Every benchmark of the suite, each once, in order."""
        names = [plan.benchmark for plan in (*self.probes, self.finetune, self.explain) if plan]
        names += self.variants.benchmarks if self.variants else ()
        return tuple(dict.fromkeys(names))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the suite's numbers has to know, one sentence each."""
        notes = [f"Probe seeds: {len(self.seeds)}. {_twins_in_words([m.model for m in self.models])}"]
        if len(self.seeds) < MANY_SEEDS:
            more = f"full runs {MANY_SEEDS}" if self.name in SUITES else f"--seeds {MANY_SEEDS} trains more"
            notes.append(f"Fewer than {MANY_SEEDS} seeds: intervals are rough; {more}.")
        for plan in self.probes:
            notes += plan.notes
        if tuned := self.finetune:
            used = f"{tuned.max_train or 'all'} training items"
            rates = f"the best of {len(tuned.learning_rates)} learning rates on validation"
            notes.append(f"{tuned.benchmark}: LoRA on {used}, {tuned.epochs} epochs, one seed, {rates}.")
        return tuple(notes)

    def without(self, benchmarks: set[str]) -> Suite:
        """Return the suite less everything that needs one of `benchmarks`."""
        tuned, explained, variants = self.finetune, self.explain, self.variants
        scored = tuple(b for b in variants.benchmarks if b not in benchmarks) if variants else ()
        changes = {
            "probes": tuple(p for p in self.probes if p.benchmark not in benchmarks),
            "finetune": tuned if tuned and tuned.benchmark not in benchmarks else None,
            "explain": explained if explained and explained.benchmark not in benchmarks else None,
            "variants": variants.model_copy(update={"benchmarks": scored}) if variants and scored else None,
        }
        return self.model_copy(update=changes)


def twins(model: str, n: int) -> tuple[str, ...]:
    """Return the names of `n` random twins of a model."""
    return tuple(f"rand_init:{model}:{seed}" for seed in range(n))


def with_twins(models: tuple[str, ...], n: int) -> tuple[str, ...]:
    """Return every name once, each model followed by its `n` random twins.

    Controls have no twins, nor have models whose weights cannot be drawn anew: adapters, Evo 2. The
    leaderboard says of the latter that the twin is missing.

    Raises
    ------
    UnknownNameError
        If a model is not known.
    """
    names: list[str] = []
    for model in models:
        entry = get_model(model)
        tested = entry.spec.control == "none" and entry.untrained is not None
        names += (entry.name, *(twins(entry.name, n) if tested else ()))
    return tuple(dict.fromkeys(names))


def _twins_in_words(names: list[str]) -> str:
    """Return how many random twins each model under test has."""
    count = Counter(twin_of for name in names if (twin_of := _drawn_from(name)))
    tested = [name for name in names if get_model(name).spec.control == "none"]
    numbers = {count[name] for name in tested}
    if len(numbers) == 1:
        return f"Random twins of each model: {numbers.pop()}."
    return f"Random twins: {', '.join(f'{count[name]} of {name}' for name in tested) or 'none'}."


def _drawn_from(name: str) -> str | None:
    spec = get_model(name).spec
    return spec.twin_of if spec.control == "random_twin" else None


def panel(models: tuple[str, ...], n_twins: int, *, one_hot: bool = True) -> tuple[ViewRequest, ...]:
    """Return the models with their control panel: random twins, k-mer frequencies, one-hot.

    A control that was asked for by name is there once, as the panel reads it.
    """
    names = dict.fromkeys((*with_twins(models, n_twins), "kmer4"))
    requests = [ViewRequest(model=name) for name in names if name != "onehot"]
    if one_hot:
        requests.append(ViewRequest(model="onehot", pooling="tokens", dtype="uint8"))
    return tuple(requests)


_SMALL_CNN: dict[str, float | int | str] = {"width": 0.5, "learning_rate": 1e-3}


def _published(name: str, summary: str, models: tuple[str, ...], n_seeds: int, gue: bool) -> Suite:
    with_one_twin = with_twins(models, 1)
    by_token = [name for name in with_one_twin if "tokens" in get_model(name).spec.poolings]
    tunable = tuple(name for name in with_one_twin if get_model(name).spec.lora_targets is not None)
    lora = FineTunePlan(benchmark="sortseq_lac", models=tunable, epochs=2, max_train=6000)
    sortseq = ProbePlan(
        benchmark="sortseq_lac",
        heads=("ridge",),
        token_heads=("cnn",),
        token_models=("onehot",),
        tune=TunePlan(),
        max_epochs=6,
        hyperparameters=_SMALL_CNN,
    )
    lentimpra = sortseq.model_copy(
        update={
            "benchmark": "lentimpra_hepg2_inoue2017",
            "token_models": tuple(dict.fromkeys((*by_token, "onehot"))),
            "max_epochs": 15,
            "tune": TunePlan(trials=16, max_epochs=40),
        }
    )
    return Suite(
        name=name,
        summary=summary,
        models=panel(models, n_seeds),
        probes=(sortseq, lentimpra, *(ProbePlan(benchmark=b, heads=("logistic",)) for b in GUE_TF if gue)),
        finetune=lora if tunable else None,
        variants=VariantPlan(benchmarks=CAGI5, models=with_twins(models, n_seeds)),
        explain=ExplainPlan(benchmark="sortseq_lac"),
        seeds=tuple(range(n_seeds)),
    )


def _demo(models: tuple[str, ...]) -> Suite:
    summary = "Sort-seq whole, lentiMPRA HepG2 and CAGI5, with few seeds: minutes on two cores."
    return _published("demo", summary, models, n_seeds=2, gue=False)


def _full(models: tuple[str, ...]) -> Suite:
    summary = "The demo with the five GUE transcription-factor sets, five random twins and five seeds."
    return _published("full", summary, models, n_seeds=5, gue=True)


SuiteName = Literal["demo", "full"]
SUITES: dict[str, Callable[[tuple[str, ...]], Suite]] = {"demo": _demo, "full": _full}


def get_suite(name: str, models: tuple[str, ...] = DEFAULT_MODELS) -> Suite:
    """Return the suite called `name`, with `models` under test.

    Raises
    ------
    UnknownNameError
        If there is none; suggests the nearest.
    """
    if name not in SUITES:
        raise UnknownNameError("suite", name, SUITES, "A file of your own is run as `glmstore run FILE.csv`.")
    return SUITES[name](models)


def single_benchmark_suite(
    benchmark: str,
    kind: TrainedKind,
    *,
    models: tuple[str, ...] = DEFAULT_MODELS,
    n_seeds: int = 3,
    one_hot: bool = True,
) -> Suite:
    """Return a suite over one benchmark: the linear head and the tuned MLP, with every control.

    The strongest control that reads letters, a convolutional network on one-hot, is trained once beside them.

    Parameters
    ----------
    benchmark
        Its name in the store or the registry.
    kind
        Decides the linear head: ridge or logistic.
    models
        Models under test.
    n_seeds
        Probe seeds, and random twins of each model.
    one_hot
        Whether one-hot is among the controls; only equal lengths can be flattened.
    """
    linear = "ridge" if kind == "regression" else "logistic"
    probes = ProbePlan(benchmark=benchmark, heads=(linear,), tune=TunePlan())
    if one_hot:
        network = {"token_heads": ("cnn",), "token_models": ("onehot",), "max_epochs": 15}
        probes = probes.model_copy(update={**network, "hyperparameters": _SMALL_CNN})
    return Suite(
        name=benchmark,
        summary=f"{benchmark} with {linear} and a tuned MLP{', and a CNN on one-hot' if one_hot else ''}",
        models=panel(models, n_seeds, one_hot=one_hot),
        probes=(probes,),
        seeds=tuple(range(n_seeds)),
    )


def zero_shot_suite(benchmark: str, *, models: tuple[str, ...] = DEFAULT_MODELS, n_twins: int = 3) -> Suite:
    """Return a suite that scores the variants of one benchmark with the models and their random twins."""
    scored = with_twins(models, n_twins)
    return Suite(
        name=benchmark,
        summary=f"zero-shot scores on {benchmark}",
        models=panel(models, n_twins),
        variants=VariantPlan(benchmarks=(benchmark,), models=scored),
    )
