"""Flows on a Dask cluster of one scheduler and two workers, started from Dask's own commands on loopback."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import polars as pl
import pytest

from flows.build_features import BuildFeaturesConfig, build_features
from flows.cluster import connected, places, require_equipped
from flows.loopback import free_port
from flows.runners import require_runner
from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec, Source
from glmstore.benchmarks.plans import ViewRequest
from glmstore.errors import RunnerError
from glmstore.planning import FeatureUse, resolve_view
from glmstore.store import FeatureStore

distributed = pytest.importorskip("distributed", reason="needs the extra 'service'")
DaskTaskRunner = pytest.importorskip("prefect_dask.task_runners").DaskTaskRunner

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests

N, CHUNK, LENGTH = 1800, 150, 230
VIEW = ViewRequest(model="gpn-mini", dtype="float32")
LOCAL = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
TOLERANCE = 2e-5
"""Standard deviations of a feature by which a vector may differ when its batch is another one."""


class Cluster:
    """A scheduler and two workers of one thread each; a worker's name is its address."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self.folder, self._running = folder, running
        place = folder / "scheduler.json"
        self._start("scheduler", "scheduler", *LOCAL, "--port", "0", "--scheduler-file", str(place))
        self.port = port_in(place)
        one = (*LOCAL, "--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
        self.workers = {
            name: self._start(name, "worker", f"tcp://127.0.0.1:{self.port}", *one, "--name", name)
            for name in ("a", "b")
        }
        self.client = running.enter_context(
            distributed.Client(f"tcp://127.0.0.1:{self.port}", set_as_default=False, timeout=120)
        )
        self.client.wait_for_workers(2, timeout=120)
        info = self.client.scheduler_info(n_workers=-1)["workers"]
        self.addresses = {worker["name"]: address for address, worker in info.items()}

    @property
    def runner(self) -> str:
        return f"dask://127.0.0.1:{self.port}"

    def ask(self, name: str, question: Callable[..., Any]) -> Any:
        return self.client.run(question, workers=[self.addresses[name]])[self.addresses[name]]

    def _start(self, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        settings = {
            "OMP_NUM_THREADS": "1",
            "GLMSTORE_DEVICE": "cpu",
            "GLMSTORE_LEASE_SECONDS": "5",
            "PREFECT_HOME": str(self.folder / name),
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        log = self._running.enter_context((self.folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], env=kept | settings, stdout=log, stderr=log
        )
        self._running.callback(_stop, process)
        return process


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait(60)


def port_in(scheduler_file: Path) -> int:
    """Return the port that a scheduler took, once it has said so."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return int(json.loads(scheduler_file.read_text())["address"].rpartition(":")[2])
        except (
            FileNotFoundError,
            json.JSONDecodeError,
        ):  # not there, or not whole yet
            assert time.monotonic() < deadline, "no Dask scheduler came up"
        time.sleep(0.05)


def loads() -> int:
    from glmstore.models.kept import KEPT_MODELS

    return KEPT_MODELS.loads


def chunks(dask_worker: Any) -> tuple[int, int]:
    """Tasks this worker has finished, and those it runs now."""
    return dask_worker.state.executed_count, dask_worker.state.executing_count


def count_sequences(dask_worker: Any) -> None:
    """Have a worker count the sequences that it embeds from now on; a stays in its third chunk."""
    from glmstore import metering

    told = metering.sequences_embedded

    def counted(model: str, number: int) -> None:
        counted.total += number
        told(model, number)
        if dask_worker.name == "a" and counted.total > 2 * CHUNK:
            time.sleep(600)

    counted.total = 0
    metering.sequences_embedded = counted


def sequences() -> int:
    """Sequences that this worker has embedded since."""
    from glmstore import metering

    return metering.sequences_embedded.total


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ExitStack() as running:
        yield Cluster(tmp_path_factory.mktemp("cluster"), running)


def longer(folder: Path) -> FeatureStore:
    letters = np.random.default_rng(11).choice(list("ACGT"), size=(N, LENGTH))
    items = pl.DataFrame(
        {
            "item_id": [f"item{i}" for i in range(N)],
            "sequence": ["".join(row) for row in letters],
            "label": np.arange(N, dtype=float),
            "split": ["train"] * (N - 200) + ["valid"] * 100 + ["test"] * 100,
            "cluster": [f"c{i}" for i in range(N)],
        }
    )
    spec = BenchmarkSpec(
        name="toy_long",
        title="Random sequences",
        family="MPRA regression",
        label_kind="regression",
        label="their number",
        metrics=("pearson_r",),
        split="by number",
        sequence_length=LENGTH,
        organism="none",
        sources=(Source(url="https://example.org/long.csv", sha256="0" * 64, licence="CC0-1.0"),),
        citation="made for tests",
    )
    store = FeatureStore.open(folder)
    store.register_benchmark(spec, BenchmarkData(items=items))
    return store


def config(store: FeatureStore, runner: str) -> BuildFeaturesConfig:
    uses = (FeatureUse(benchmark="toy_long", view=VIEW),)
    return BuildFeaturesConfig(store=store.uri, uses=uses, chunk=CHUNK, runner=runner)


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_costs_its_chunk_and_nothing_else(
    cluster: Cluster, tmp_path: Path
) -> None:
    here, there = longer(tmp_path / "here"), longer(tmp_path / "there")
    cluster.client.run(count_sequences)
    build_features(config(here, "threads"))
    at_kill: list[tuple[int, int]] = []
    over = threading.Event()

    def kill_while_it_computes() -> None:
        while not over.wait(0.02):
            finished, running = cluster.ask("a", chunks)
            if finished >= 2 and running:
                at_kill.append((cluster.ask("a", sequences), cluster.ask("a", loads)))
                cluster.workers["a"].send_signal(signal.SIGKILL)
                return

    killer = threading.Thread(target=kill_while_it_computes)
    killer.start()
    try:
        tally = build_features(config(there, cluster.runner))
    finally:
        over.set()
        killer.join()

    ((embedded, loaded),) = at_kill
    assert cluster.workers["a"].wait(60) == -signal.SIGKILL
    assert (tally.vectors_computed, tally.vectors_reused) == (N, 0)
    keys = here.sequences()["seq_key"].to_list()
    view = resolve_view(VIEW)
    assert sorted(there.sequences()["seq_key"].to_list()) == sorted(keys)
    assert there.missing(view, keys) == []
    assert there.views()["rows"].to_list() == [N], "no row twice"
    expected, got = here.read(view, keys).values, there.read(view, keys).values
    np.testing.assert_array_less(np.abs(got - expected) / expected.std(axis=0), TOLERANCE)

    assert embedded >= 2 * CHUNK
    assert embedded + cluster.ask("b", sequences) <= N + CHUNK, "one chunk at most was computed twice"
    assert loaded == cluster.ask("b", loads) == 1, "a worker keeps its model from chunk to chunk"


def test_a_worker_that_sees_another_store_or_no_prefect_api_is_named_before_any_work(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore.open(tmp_path / "store")
    store_id, known = FeatureStore.open(tmp_path / "other").store_id, FeatureStore.open
    with connected(f"tcp://127.0.0.1:{cluster.port}") as runner:
        with pytest.raises(RunnerError, match=r"cannot reach Prefect's API.*set PREFECT_API_URL"):
            require_equipped(runner, store.uri, f"http://127.0.0.1:{free_port()}/api")
        elsewhere = known(tmp_path / "store")
        elsewhere.store_id = store_id
        monkeypatch.setattr(FeatureStore, "open", lambda *_, **__: elsewhere)
        with pytest.raises(RunnerError, match=r"is another store.*\(s3://…\)"):
            require_equipped(runner, store.uri, "http://127.0.0.1:1/api")


def test_a_scheduler_without_workers_or_that_is_gone_is_refused(tmp_path: Path) -> None:
    with ExitStack() as running:
        own = ("--port", "0", "--scheduler-file", str(tmp_path / "scheduler.json"))
        scheduler = subprocess.Popen(
            [sys.executable, "-m", "dask", "scheduler", *LOCAL, *own],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        running.callback(_stop, scheduler)
        port = port_in(tmp_path / "scheduler.json")
        address = f"tcp://127.0.0.1:{port}"
        with pytest.raises(RunnerError, match="has no workers"):
            require_runner(f"dask://127.0.0.1:{port}")
        runner = running.enter_context(DaskTaskRunner(address=address, client_kwargs={"timeout": 15}))
        assert places(runner) == 0
        _stop(scheduler)
        with pytest.raises(RunnerError, match="is not computed again"):
            places(runner)
