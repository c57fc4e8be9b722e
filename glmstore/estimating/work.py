"""Cells that a run would train or score, and those that the store holds already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from glmstore.attribution.explain import ExplainSettings
from glmstore.attribution.explain import plan_cells as explanation_cells
from glmstore.errors import FetchError
from glmstore.estimating.history import History
from glmstore.estimating.plan import Unplanned, Work
from glmstore.finetuning import plan_cell as adapter_cell
from glmstore.models.catalogue import get_model
from glmstore.planning import explained_job, plan_probes
from glmstore.report.text import head_text
from glmstore.variants.planning import plan_cells as variant_cells
from glmstore.workspace import Workspace

if TYPE_CHECKING:
    from glmstore.benchmarks.plans import ExplainPlan, ProbePlan, VariantPlan, ViewRequest
    from glmstore.estimating.shelf import Shelf
    from glmstore.finetuning import FineTuneSettings
    from glmstore.results import Cell
    from glmstore.store import FeatureStore
    from glmstore.variants.zero_shot import ZeroShotSettings


class Ledger:
    """Collects what is to be done in a store.

    Parameters
    ----------
    shelf
        The store, and the benchmarks.
    force
        Count what the store holds as still to be done.

    Attributes
    ----------
    work, unplanned, notes
        What was found so far.
    """

    def __init__(self, shelf: Shelf, *, force: bool = False) -> None:
        self.shelf, self.force = shelf, force
        self.work: list[Work] = []
        self.unplanned: list[Unplanned] = []
        self.notes: list[str] = []
        self._history = History(shelf.store)

    def holder(self, benchmark: str) -> FeatureStore | None:
        """Return where a benchmark can be read; None, and a word about it, where its files are not here."""
        try:
            return self.shelf.holder(benchmark)
        except FetchError as error:
            self.leave(benchmark, str(error))
            return None

    def leave(self, what: str, why: str) -> None:
        """Say once that something cannot be planned."""
        if (found := Unplanned(what=what, why=why)) not in self.unplanned:
            self.unplanned.append(found)

    def with_weights(self, models: Iterable[str]) -> set[str]:
        """Return the models whose weights are here, and say which are not; cells are named by weights."""
        asked = list(dict.fromkeys(models))
        absent = [name for name in asked if get_model(name).spec.revision is None]
        for name in absent:
            why = f"its weights are not here; `glmstore models pull {name}` first, or a run will fail on it"
            self.leave(name, why)
        return {name for name in asked if name not in absent}

    def count(self, stage: str, what: str, cells: Sequence[Cell], *, anew: bool = False) -> list[Cell]:
        """Note cells of one kind; return those that are left to do: all of them, if they are made anew."""
        distinct = {cell.key: cell for cell in cells}
        store = None if self.force or anew else self.shelf.store
        done = store.completed(distinct) if store is not None else set()
        left = [cell for key, cell in distinct.items() if key not in done]
        if cells:
            time = self._history.time(cells[0], len(left))
            self.work.append(
                Work(
                    stage=stage, what=what, asked=len(distinct), present=len(distinct) - len(left), time=time
                )
            )
        return left


def note_probes(
    ledger: Ledger, probes: Sequence[ProbePlan], models: Sequence[ViewRequest], seeds: tuple[int, ...]
) -> None:
    """Note the probe cells of these plans, head by head; errors as of `glmstore.planning.plan_probes`."""
    here = ledger.with_weights(m.model for m in models)
    usable = [m for m in models if m.model in here]
    for plan in probes:
        store = ledger.holder(plan.benchmark)
        if store is None:
            continue
        kinds: dict[tuple[str, str], list[Cell]] = {}
        for job in plan_probes(store, [plan], usable, seeds):
            kinds.setdefault((job.cell.head, job.cell.protocol), []).append(job.cell)
        for (head, protocol), cells in kinds.items():
            ledger.count("probes", f"{head_text(head, protocol)} on {plan.benchmark}", cells)


def note_adapters(ledger: Ledger, benchmark: str, models: Sequence[str], settings: FineTuneSettings) -> None:
    """Note the LoRA cells; errors as of :func:`glmstore.finetuning.plan_cell`."""
    store, here = ledger.holder(benchmark), ledger.with_weights(models)
    if store is not None:
        cells = [adapter_cell(store, benchmark, model, settings) for model in models if model in here]
        rates = 1 + len(settings.other_learning_rates)
        tried = f", {rates} learning rates each" if rates > 1 else ""
        ledger.count("adapters", f"lora on {benchmark}{tried}", cells)


def note_variants(ledger: Ledger, plan: VariantPlan, settings: ZeroShotSettings) -> dict[str, set[str]]:
    """Note the zero-shot cells, scorer by scorer; one that would fail is named, and the others go on.

    Returns
    -------
    dict
        Benchmark -> models that are left to be scored by a scorer on embeddings.

    Raises
    ------
    UnknownNameError
        As of :func:`glmstore.variants.planning.plan_cells`.
    """
    present = ledger.with_weights(plan.models)
    models = [name for name in plan.models if name in present]
    embedded: dict[str, set[str]] = {}
    for benchmark in plan.benchmarks:
        store = ledger.holder(benchmark)
        if store is None:
            continue
        variants = store.benchmark_items(benchmark).height
        found = variant_cells(store, benchmark, models, plan.scorers, settings)
        ledger.notes += [note for note in found.notes if note not in ledger.notes]
        for cell, error in found.refused:
            ledger.leave(f"{cell.head} on {benchmark} with {cell.model}", f"would fail: {error}")
        kinds: dict[str, list[Cell]] = {}
        for cell in found.cells:
            kinds.setdefault(cell.head, []).append(cell)
        for scorer, cells in kinds.items():
            left = ledger.count("variants", f"{scorer} on {benchmark}, {variants:,} variants", cells)
            embedded.setdefault(benchmark, set()).update(cell.model for cell in left if cell.view != "-")
    return embedded


def note_explanations(
    ledger: Ledger,
    plan: ExplainPlan,
    probes: Sequence[ProbePlan],
    models: Sequence[ViewRequest],
    seeds: tuple[int, ...],
) -> None:
    """Note the explanations of the one-hot CNN.

    Raises
    ------
    HeadError
        If no probe can be explained.
    UnknownNameError
        If no sites are known for the benchmark.
    """
    store = ledger.holder(plan.benchmark)
    if store is None:
        return
    own = [probe for probe in probes if probe.benchmark == plan.benchmark]
    here = [m for m in models if get_model(m.model).spec.revision is not None]
    job = explained_job(plan_probes(store, own, here, seeds), plan.benchmark)
    cells = explanation_cells(job.cell, ExplainSettings(n_backgrounds=plan.n_backgrounds))
    # Without their figures, explanations are made again even where their rows are stored.
    figures = Workspace.of(ledger.shelf.uri).has_figures
    ledger.count("explanations", f"known sites of {plan.benchmark}", cells, anew=not figures)
