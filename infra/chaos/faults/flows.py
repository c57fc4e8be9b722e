"""What strikes a whole flow: a sequence that no model can embed, and storage or a server that goes away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from flows.loopback import free_port
from glmstore.planning import resolve_view
from glmstore.sequences.normalise import seq_keys
from glmstore.store import FeatureStore
from infra.chaos.census import Census
from infra.chaos.flow import LENGTH, NAME, VIEW, benchmark
from infra.chaos.nest import ROOT
from infra.chaos.outcome import Outcome, Place

_CHUNK = 20
_START_S, _AWAY_S = 90, 10


def run(place: Place) -> Iterator[Outcome]:
    """Use one server for all; the short form has the sequence only."""
    port = free_port()
    env = {
        "PREFECT_HOME": str(place.folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "OMP_NUM_THREADS": "1",
        "GLMSTORE_WORKERS": "2",
    }
    with _server(port, env, place.folder):
        yield _poison(place, env)
        if place.short:
            return
        yield _outage(place, env)
        store, keys = _store(place.folder / "restart", 400, poisoned=False)
        flow = _flow(store, env, place.folder / "first.log", pause_s=1.0)
        outcome = Outcome("Prefect server stopped and started in the middle of a flow")
        _wait_until(lambda: _stored(store, keys) > 0 or flow.poll() is not None, 90)
    before = _stored(store, keys)
    outcome.trials = int(flow.poll() is None and 0 < before < len(keys))
    time.sleep(10)
    with _server(port, env, place.folder):
        flow.communicate(timeout=300)
        between = _stored(store, keys)
        outcome.require(between >= before, f"{before} vectors were stored, and {between} later")
        again = _flow(store, env, place.folder / "again.log", pause_s=0.0)
        said = _told(again)
        outcome.require(again.returncode == 0, f"the rerun ended with {again.returncode}: {said}")
        outcome.require(said.get("computed") == len(keys) - between, f"the rerun computed {said}")
    outcome.found = _census(store, keys, set(keys))
    outcome.proved = (
        f"{before} of {len(keys)} vectors stored when it stopped, {between} when the flow ended "
        f"with {flow.returncode}; a rerun computed the other {len(keys) - between} only"
    )
    yield outcome


def _poison(place: Place, env: dict[str, str]) -> Outcome:
    """One sequence's embedding is not a number: its chunk fails, named, and the others are stored."""
    outcome = Outcome("a poisoned chunk")
    store, keys = _store(place.folder / "poison", 5 * _CHUNK, poisoned=True)
    flow = _flow(store, env, place.folder / "poison.log", pause_s=0.0)
    failures = _told(flow).get("failures", [])
    bad = seq_keys(["T" * LENGTH])[0]
    outcome.trials = len(failures)
    outcome.require(flow.returncode == 1, f"the flow ended with {flow.returncode}")
    outcome.require(len(failures) == 1, f"failed: {failures}")
    outcome.require(all(bad in error for _, error in failures), f"key {bad} is not named: {failures}")
    missing = set(FeatureStore.open(store).missing(resolve_view(VIEW), keys))
    outcome.require(bad in missing and len(missing) <= _CHUNK, f"{len(missing)} vectors are missing")
    outcome.found = _census(store, keys, set(keys) - missing)
    outcome.proved = (
        f"{len(keys) - len(missing)} of {len(keys)} vectors stored; the flow failed naming the key"
    )
    return outcome


def _outage(place: Place, env: dict[str, str]) -> Outcome:
    """Storage is away when a flow opens its store, and again while its tasks write: the flow waits."""
    outcome = Outcome(f"storage away for {_AWAY_S} s as a flow begins, and again in its middle", expected=2)
    store, keys = _store(place.uri("outage"), 400, poisoned=False)
    log = place.folder / "outage.log"
    place.storage.kill()
    flow = _flow(store, env, log, pause_s=1.0)
    _wait_until(lambda: "again in" in log.read_text() or flow.poll() is not None, 90)
    outcome.trials += flow.poll() is None
    time.sleep(_AWAY_S)
    place.storage.start()
    _wait_until(lambda: _stored(store, keys) > 0 or flow.poll() is not None, 90)
    place.storage.kill()
    time.sleep(_AWAY_S)
    outcome.trials += flow.poll() is None
    place.storage.start()
    said = _told(flow)
    outcome.require(flow.returncode == 0, f"the flow ended with {flow.returncode}: {said}")
    outcome.require(said.get("computed") == len(keys), f"the flow computed {said}")
    outcome.found = _census(store, keys, set(keys))
    outcome.proved = f"one flow stored all {len(keys)} vectors and was never run again"
    return outcome


def _store(place: str | Path, n: int, *, poisoned: bool) -> tuple[str, list[str]]:
    store = FeatureStore.open(place)
    store.register_benchmark(*benchmark(n, poisoned=poisoned))
    return store.uri, store.benchmark_items(NAME)["seq_key"].to_list()


def _stored(uri: str, keys: list[str]) -> int:
    store = FeatureStore.open(uri, create=False)
    view = resolve_view(VIEW)
    return len(keys) - len(store.missing(view, keys)) if store.views().height else 0


def _census(uri: str, keys: list[str], known: set[str]) -> Census:
    """Hold what is stored against dinucleotides counted here."""
    found, store, view = Census(), FeatureStore.open(uri, create=False), resolve_view(VIEW)
    there = [key for key in keys if key not in set(store.missing(view, keys))]
    found.add("vectors", lost=len(known - set(there)))
    sequences = store.sequences(there)["sequence"].to_list()
    pairs = [a + b for a in "ACGT" for b in "ACGT"]
    counts = [[sum(s[i : i + 2] == p for i in range(len(s) - 1)) for p in pairs] for s in sequences]
    expected = (np.array(counts) / (LENGTH - 1)).astype(view.dtype)
    wrong = ~np.isclose(store.read(view, there).values, expected, rtol=1e-3).all(axis=1)
    found.add("numbers", partial=int(wrong.sum()))
    stored = [key for batch in store.scan(view) for key in batch.column("seq_key").to_pylist()]
    found.add("vectors", duplicated=len(stored) - len(set(stored)))
    return found


def _flow(store: str, env: dict[str, str], log: Path, pause_s: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "infra.chaos.flow", store, str(_CHUNK), str(pause_s)]
    with log.open("ab") as errors:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, env={**os.environ, **env}
        )


def _told(flow: subprocess.Popen[str]) -> dict[str, Any]:
    said, _ = flow.communicate(timeout=300)
    lines = [line for line in said.splitlines() if line.startswith("{")]
    told: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return told


@contextmanager
def _server(port: int, env: dict[str, str], folder: Path) -> Iterator[None]:
    """Run a Prefect server for the length of a block; what it recorded stays for the next one."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **env})
    try:
        _wait_until(lambda: server.poll() is not None or _answers(port), _START_S)
        if server.poll() is not None:
            raise RuntimeError(f"no Prefect server: {(folder / 'server.log').read_text()[-1000:]}")
        yield
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def _wait_until(holds: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s in vain")
        time.sleep(0.1)
