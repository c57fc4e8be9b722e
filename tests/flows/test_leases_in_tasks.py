"""What two runs want at once is computed once, and a killed run holds up another for seconds only."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from prefect.settings import PREFECT_API_URL

import tasks.probes
from flows.train_probes import TrainProbesConfig, train_probes
from glmstore.benchmarks.plans import ProbePlan, ViewRequest
from glmstore.config import Settings
from glmstore.extraction import materialize
from glmstore.planning import FeatureUse, plan_features, plan_probes, resolve_view
from glmstore.store import FeatureStore
from tasks.features import embed_chunk
from tasks.policies import alone
from tasks.probes import train_probe

DRIVER = Path(__file__).with_name("leased_flow_driver.py")
KMER = ViewRequest(model="kmer2")
RIDGE = ProbePlan(benchmark="toy_gc", heads=("ridge",))
EXPIRY = 5
FAR_LESS = 40
"""Seconds within which a run ends that does not wait for the usual lease of 60."""

pytestmark = pytest.mark.usefixtures("quiet")


class Note(NamedTuple):
    word: str
    pid: int
    vectors: int
    at: float


class Nest:
    """The process that forks the runs; see leased_flow_driver.py."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "GLMSTORE_LEASE_SECONDS": str(EXPIRY),
            "GLMSTORE_WORKERS": "2",
            "GLMSTORE_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._line() == "ready"

    def ask(self, *words: object) -> int:
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)
        return int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(timeout=120) == 0
        self.process.stdout.close()


@pytest.fixture(scope="module")
def nest() -> Iterator[Nest]:
    one = Nest()
    yield one
    one.close()


class Runs:
    """Flows in processes of their own, on one store and one Prefect server."""

    def __init__(self, nest: Nest, store: FeatureStore, journal: Path) -> None:
        self._nest, self._store, self._journal = nest, store, journal
        self._running: list[int] = []
        journal.touch()

    def start(self, pause: float) -> int:
        pid = self._nest.ask(self._store.uri, self._journal, pause)
        self._running.append(pid)
        return pid

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        assert self.wait(pid) == -signal.SIGKILL

    def wait(self, pid: int) -> int:
        self._running.remove(pid)
        return self._nest.ask(pid)

    def notes(self, word: str) -> list[Note]:
        lines = [line.split() for line in self._journal.read_text().splitlines()]
        return [Note(w, int(pid), int(n), float(at)) for w, pid, n, at in lines if w == word]

    def wait_for(self, met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not met():
            assert time.monotonic() < deadline, self._journal.read_text()
            time.sleep(0.02)

    def close(self) -> None:
        for pid in list(self._running):
            self.kill(pid)


@pytest.fixture
def runs(nest: Nest, toy_store: FeatureStore, tmp_path: Path) -> Iterator[Runs]:
    started = Runs(nest, toy_store, tmp_path / "journal")
    yield started
    started.close()


def lacking(store: FeatureStore) -> list[str]:
    return store.missing(resolve_view(KMER), store.benchmark_items("toy_gc")["seq_key"].to_list())


def test_two_runs_at_once_compute_each_vector_once(toy_store: FeatureStore, runs: Runs) -> None:
    both = [runs.start(pause=1.5), runs.start(pause=1.5)]
    assert [runs.wait(run) for run in both] == [0, 0]
    begun, ended = runs.notes("begin"), runs.notes("end")
    first_end = min(note.at for note in runs.notes("finished"))
    assert {note.pid for note in begun} <= set(both)
    assert all(note.at < first_end for note in begun)
    assert sum(note.vectors for note in begun) == sum(note.vectors for note in ended) == 240
    assert lacking(toy_store) == []


def test_a_run_killed_within_a_chunk_holds_up_another_for_no_longer_than_its_lease(
    toy_store: FeatureStore, runs: Runs
) -> None:
    first = runs.start(pause=60)
    runs.wait_for(lambda: len(runs.notes("begin")) == 2)  # one for each of its workers
    second = runs.start(pause=0)
    runs.wait_for(lambda: len([n for n in runs.notes("asks") if n.pid == second]) == 2)
    time.sleep(1)  # it looks again and again, and the first one lives
    runs.kill(first)
    killed = time.monotonic()
    assert runs.wait(second) == 0
    begun, ended = (runs.notes(word) for word in ("begin", "end"))
    assert [n.pid for n in begun if n.at < killed] == [first] * 2
    assert {n.pid for n in ended} == {second}
    assert sum(n.vectors for n in ended) == 240
    assert max(n.at for n in ended) - killed < FAR_LESS
    assert lacking(toy_store) == []


def test_a_run_that_starts_when_another_is_half_done_names_the_same_work(toy_store: FeatureStore) -> None:
    uses = [FeatureUse(benchmark="toy_gc", view=KMER)]
    before = plan_features(toy_store, uses, chunk=60).chunks
    half = toy_store.sequences(before[0].seq_keys[:30])["sequence"].to_list()
    materialize(toy_store, "kmer2", half, view=resolve_view(KMER))
    after = plan_features(toy_store, uses, chunk=60).chunks
    assert len(after[0].seq_keys) == 30
    assert [c.work_key for c in after] == [c.work_key for c in before]
    other = plan_features(
        toy_store, [FeatureUse(benchmark="toy_gc", view=ViewRequest(model="kmer3"))], chunk=60
    )
    assert len({c.work_key for c in (*before, *other.chunks)}) == 8


def test_a_chunk_waits_for_its_holder_and_computes_what_that_one_left(toy_store: FeatureStore) -> None:
    (chunk,) = plan_features(toy_store, [FeatureUse(benchmark="toy_gc", view=KMER)]).chunks
    sequences = toy_store.sequences(chunk.seq_keys)["sequence"].to_list()
    with ThreadPoolExecutor(1) as other:
        with alone(toy_store.uri, chunk.work_key):
            waiting = other.submit(embed_chunk.fn, chunk)
            materialize(toy_store, "kmer2", sequences[:200], view=resolve_view(KMER))
            assert not waiting.done()
        assert waiting.result(timeout=120) == 40


@pytest.fixture
def computed(toy_store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fill the view, and return the list that the key of every probe cell computed is added to."""
    materialize(toy_store, "kmer2", toy_store.sequences()["sequence"].to_list(), view=resolve_view(KMER))
    keys: list[str] = []
    run_cell = tasks.probes.run_cell

    def noted(store, cell, *rest, **options):
        keys.append(cell.key)
        return run_cell(store, cell, *rest, **options)

    monkeypatch.setattr(tasks.probes, "run_cell", noted)
    return keys


def test_a_cell_is_computed_by_one_of_two_tasks_and_again_where_that_is_forced(
    toy_store: FeatureStore, computed: list[str]
) -> None:
    (job,) = plan_probes(toy_store, [RIDGE], [KMER], (0,))
    with ThreadPoolExecutor(2) as threads:
        assert set(threads.map(train_probe.fn, [job, job])) == {job.cell.key}
    assert computed == [job.cell.key]
    assert FeatureStore.open(toy_store.uri).completed([job.cell.key]) == {job.cell.key}
    train_probe.fn(job, force=True)
    assert computed == [job.cell.key] * 2


def test_a_flow_that_is_forced_computes_its_cells_again(toy_store: FeatureStore, computed: list[str]) -> None:
    for force, times in ((False, 1), (False, 1), (True, 2)):
        train_probes(TrainProbesConfig(store=toy_store.uri, probes=(RIDGE,), models=(KMER,), force=force))
        assert len(computed) == times


def test_the_environment_says_how_long_a_killed_run_is_waited_for(
    toy_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMSTORE_LEASE_SECONDS", "7")
    with alone(toy_store.uri, "work") as held:
        assert b'"seconds": 7.0' in held.body()
    assert Settings(lease_seconds=60).lease_seconds == 60
    with pytest.raises(ValueError, match="greater than or equal to 5"):
        Settings(lease_seconds=1)  # an object store counts whole seconds
