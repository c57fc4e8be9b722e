"""What `glmstore run` is given, shows while it works, and says at its end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from glmstore.cli.console import WarningLines, emit_json, stdout, to_stderr
from glmstore.errors import ShapeError, UnknownNameError
from glmstore.logs import is_json

if TYPE_CHECKING:
    import polars as pl
    from rich.progress import Progress, TaskID

    from glmstore.benchmarks.base import Benchmark, BenchmarkSpec
    from glmstore.benchmarks.suites import Suite
    from glmstore.objects.places import Place
    from glmstore.report.summary import SuiteSummary
    from glmstore.store import FeatureStore

TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")


def find_suite(
    target: str,
    uri: str,
    *,
    models: tuple[str, ...],
    sequence: str,
    label: str,
    split: str,
    seeds: int,
    name: str | None = None,
) -> tuple[Suite, Benchmark | None]:
    """Return the suite that `target` stands for, and the benchmark that a table makes; nothing is written.

    Parameters
    ----------
    target
        A suite, a benchmark of the registry or the store, or a path to a table.
    uri
        The store.
    models
        Models under test, and further controls; empty for the suite's own.
    sequence, label, split
        How a table is read.
    name
        What a table's benchmark is called; None: as its file.
    seeds
        Probe seeds and random twins where the target is no suite.

    Raises
    ------
    UnknownNameError
        If nothing is called so; suggests the nearest.
    ShapeError
        If one-hot is asked for on sequences of different lengths.
    TableError, LabelError, SequenceError
        If the table cannot be used.
    """
    from glmstore.benchmarks import BENCHMARKS
    from glmstore.benchmarks.suites import DEFAULT_MODELS, SUITES, get_suite
    from glmstore.benchmarks.table import benchmark_from_table
    from glmstore.models import get_model

    tested = models or DEFAULT_MODELS
    for model in tested:
        get_model(model)
    if target in SUITES:
        return get_suite(target, tested), None
    if target in BENCHMARKS:
        return _suite_of(BENCHMARKS[target].spec, tested, seeds), None
    if target.endswith(TABLE_SUFFIXES) or Path(target).exists():
        benchmark = benchmark_from_table(Path(target), sequence=sequence, label=label, split=split, name=name)
        return _suite_of(benchmark.spec, tested, seeds), benchmark
    stored = _stored_specs(uri)
    if target in stored:
        return _suite_of(stored[target], tested, seeds), None
    known = {*SUITES, *BENCHMARKS.names(), *stored}
    raise UnknownNameError("suite, benchmark or file", target, known)


def require_runnable(suite: Suite) -> None:
    """Refuse a suite whose models cannot be loaded here, before a server is started or anything is written.

    Raises
    ------
    ModelUnavailableError
        If this machine lacks what a model needs.
    WeightsError
        If weights are not here; says how to get them.
    """
    from glmstore.models import get_model
    from glmstore.models.checkpoints.readiness import require_ready

    names = [request.model for request in suite.models]
    names += suite.finetune.models if suite.finetune else ()
    names += suite.variants.models if suite.variants else ()
    for name in dict.fromkeys(names):
        require_ready(get_model(name))


def register_own(benchmark: Benchmark, uri: str) -> None:
    """Register the benchmark that a table makes in the store, which is made if there is none."""
    from glmstore.data.fetch import Fetcher
    from glmstore.store import FeatureStore

    store, name = FeatureStore.open(uri), benchmark.name
    before = store.benchmark_digest(name) if name in store.benchmarks()["name"] else None
    was = store.benchmark_spec(name) if before else None
    store.register_benchmark(benchmark.spec, benchmark.load(Fetcher()))
    if was is not None and before != store.benchmark_digest(name):
        to_stderr(
            f"note: until now {name} was {was.title} with label {was.label}, of other rows or labels. Its "
            f"results stay in the store, and are no longer shown; to see both, give this one a --name.",
            style="yellow",
        )


def _stored_specs(uri: str) -> dict[str, BenchmarkSpec]:
    from glmstore.errors import StoreNotFoundError
    from glmstore.store import FeatureStore

    try:
        store = FeatureStore.open(uri, create=False)
    except StoreNotFoundError:
        return {}
    return {name: store.benchmark_spec(name) for name in store.benchmarks()["name"].to_list()}


def _suite_of(spec: BenchmarkSpec, models: tuple[str, ...], seeds: int) -> Suite:
    from glmstore.benchmarks.suites import single_benchmark_suite, zero_shot_suite

    if spec.label_kind == "variant_effect":
        return zero_shot_suite(spec.name, models=models, n_twins=seeds)
    equal_lengths = spec.sequence_length is not None
    if "onehot" in models and not equal_lengths:
        raise ShapeError(
            f"the sequences of {spec.name} differ in length, and one-hot is read letter by letter: leave it "
            f"out, or take kmer6 for a control."
        )
    return single_benchmark_suite(
        spec.name, spec.label_kind, models=models, n_seeds=seeds, one_hot=equal_lengths
    )


def show_outcome(uri: str, suite: Suite, *, json: bool) -> None:
    """Print the suite's leaderboard, what was done and left out, and where the report lies."""
    from glmstore.report.leaderboard import leaderboard
    from glmstore.report.record import load_summary
    from glmstore.report.terminal import print_leaderboard
    from glmstore.store import FeatureStore
    from glmstore.workspace import Workspace

    store, beside = FeatureStore.open(uri, create=False), Workspace.of(uri)
    summary = load_summary(beside.root)
    board = leaderboard(store)
    board = in_suite_order(board, suite)
    if json:
        done = summary.model_dump(mode="json") if summary else None
        emit_json({"summary": done, "report": str(beside.report), "leaderboard": board.to_dicts()})
        return
    print_leaderboard(board, _facts(store, suite), stdout())
    if summary:
        for line in closing_lines(summary, beside.report):
            to_stderr(line)


def in_suite_order(board: pl.DataFrame, suite: Suite) -> pl.DataFrame:
    """Return the rows of the suite's benchmarks, these in the suite's order, each one's rows as they were."""
    import polars as pl

    place = {name: i for i, name in enumerate(suite.benchmarks)}
    kept = board.filter(board["benchmark"].is_in(list(place)))
    order = pl.col("benchmark").replace_strict(place, return_dtype=pl.Int64)
    return kept.sort(order, maintain_order=True)


def _facts(store: FeatureStore, suite: Suite) -> dict[str, dict[str, float | int | str]]:
    stored = set(store.benchmarks()["name"].to_list())
    return {name: dict(store.benchmark_facts(name)) for name in suite.benchmarks if name in stored}


def closing_lines(summary: SuiteSummary, report: Place) -> list[str]:
    """Return what a run says last."""
    done = f"{summary.computed_cells:,} cells and {summary.computed_vectors:,} vectors computed"
    found = f"{summary.reused_cells:,} cells and {summary.reused_vectors:,} vectors found in the store"
    if not (summary.computed_cells or summary.computed_vectors or summary.failed_cells):
        done = "nothing computed"
    failed = f", {summary.failed_cells} failed" if summary.failed_cells else ""
    lines = [f"left out: {what}: {why}" for what, why in summary.left_out]
    return [
        *lines,
        f"{summary.name}: {done}, {found}{failed}, in {summary.seconds:.0f} s",
        f"report: {report}",
    ]


@contextmanager
def shown_progress() -> Iterator[None]:
    """Show the library's log on stderr while a flow runs: bars for counted work, lines for the rest.

    Where the log goes out as JSON, it does so here too.
    """
    if is_json():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    log = logging.getLogger("glmstore")
    before, kept = log.level, log.handlers[:]
    bars = Progress(*columns, TextColumn("[dim]{task.fields[item]}"), console=console)
    shown = bars if console.is_terminal else nullcontext()
    with shown:
        log.handlers = [_ProgressHandler(bars), *(h for h in kept if not isinstance(h, WarningLines))]
        log.setLevel(logging.INFO)
        try:
            yield
        finally:
            log.handlers = kept
            log.setLevel(before)


class _ProgressHandler(logging.Handler):
    """Turns records that carry `stage`, `done`, `of` and `item` into bars, and every other into a line."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.INFO)
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        fields = vars(record)
        if "stage" in fields and self._progress.console.is_terminal:
            self._advance(fields["stage"], fields["done"], fields["of"], fields["item"])
            return
        note, style = ("note: ", "yellow") if record.levelno >= logging.WARNING else ("", "dim")
        self._progress.console.print(f"{note}{record.getMessage()}", style=style, markup=False)

    def _advance(self, stage: str, done: int, of: int, item: str) -> None:
        if stage not in self._bars:
            self._bars[stage] = self._progress.add_task(stage, item=item)
        self._progress.update(self._bars[stage], completed=done, total=of, item=item)
