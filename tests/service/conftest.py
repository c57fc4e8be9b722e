"""One service for all of these tests, started as a user starts it: `python -m infra.serve`.

First everything of it is killed at once while a run is under way, as when a machine loses its power, and it
is started again. Then two runs lose their processes and their workers, one of them before it began; the tests
between wait for the outcome.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Pending, Running

from flows.loopback import free_port
from glmstore.store import FeatureStore
from infra.serve.children import MARK, RUN_ID
from infra.webhook import Receiver, Told

ROOT = Path(__file__).parents[2]
SILENT_S = 35.0
UNBEGUN_S = 75.0
STALE_S = 60.0
UP_S = 150.0

SECRET = "a-secret-of-tests"  # noqa: S105  (it is none)
"""In the webhook's address and in the database's: of what only the server needs to know."""

SLEEPER = '''
import os, time
from pathlib import Path
from prefect import flow

@flow
def nap(seconds: float):
    """Say where, and sleep."""
    Path(__file__).with_name("pid").write_text(str(os.getpid()))
    time.sleep(seconds)

@flow
def failing():
    """Fail with words that JSON and templates would stumble over."""
    raise ValueError('no "store" at\\n{{ home }} \\\\ 5 %')

@flow
def sleeper(seconds: float = 600.0):
    """Sleep in a flow of its own."""
    nap(seconds)
'''
DEPLOYED = """
deployments:
  - {name: zombie, entrypoint: sleeper.sleeper, work_pool: {name: gpu}}
  - {name: unbegun, entrypoint: sleeper.sleeper, work_pool: {name: cpu}}
  - {name: failing, entrypoint: sleeper.failing, work_pool: {name: cpu}}
"""


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    """Start a webhook's other end, of an address that is a secret."""
    with Receiver(SECRET) as server:
        yield server


@dataclass(frozen=True)
class Service:
    """A running service, and what was done to it."""

    url: str
    home: Path
    store: str
    env: dict[str, str]
    said: str
    automations: set[tuple[str, ...]]
    """As the service that was killed had left them."""
    run_of_crash: UUID
    killed_run: UUID
    killed_unbegun: UUID
    silent_from_start: UUID
    """Running without a single heartbeat: its process was killed before one arrived."""
    killed_at: datetime
    told: list[Told]
    """What the webhook was told so far; grows."""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def prefect(self, *words: str, cwd: Path = ROOT) -> str:
        return self.python("-m", "prefect", "--no-prompt", *words, cwd=cwd)

    def python(self, *words: str, cwd: Path = ROOT, **env: str) -> str:
        return subprocess.run(
            [sys.executable, *words],
            cwd=cwd,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout


T = TypeVar("T")


def wait_for(what: str, check: Callable[[], T], seconds: float) -> T:
    """Return the first true answer of `check`, asked twice a second."""
    begun = time.monotonic()
    while not (found := check()):
        if time.monotonic() - begun > seconds:
            pytest.fail(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.5)
    return found


def left_of(home: Path) -> list[psutil.Process]:
    """Return every living process that the service of this folder started."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            environment = process.environ()
            if MARK in environment and environment.get("PREFECT_HOME") == str(home):
                found.append(process)
    return found


def scattered_store(uri: Path) -> None:
    """Leave a store whose sequences lie in several files, as many small commits leave them."""
    for sequence in ("ACGTACGT", "CCGTACGA", "TTGTACGT", "GAGTACCT", "ACCTACGG"):
        FeatureStore.open(uri).add_sequences([sequence])


class Starter:
    """Starts the service of one folder, again and again."""

    def __init__(self, home: Path, hook: str) -> None:
        self.home, self.port, self.store = home, free_port(), home / "lab" / "store"
        self.url, self.out, self.sleeper = f"http://127.0.0.1:{self.port}", home / "out", home / "sleeper"
        foreign = ("PREFECT_", "GLMSTORE_STORE", "SERVE_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        ours = {"PREFECT_HOME": str(home), "GLMSTORE_DEVICE": "cpu", "COLUMNS": "100"}
        base = kept | ours | {"PYTHONPATH": str(self.sleeper)}
        database = f"sqlite+aiosqlite:///{home}/{SECRET}.db"
        self.own = base | {"SERVE_NOTIFY_URL": hook, "PREFECT_API_DATABASE_CONNECTION_URL": database}
        self.env = base | {"PREFECT_API_URL": f"{self.url}/api", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        scattered_store(self.store)
        self.sleeper.mkdir()
        (self.sleeper / "sleeper.py").write_text(SLEEPER)
        (self.sleeper / "prefect.yaml").write_text(DEPLOYED)

    def start(self, seed: int, deployments: Path = ROOT / "prefect.yaml") -> subprocess.Popen[bytes]:
        """Start it under a hash seed, told of its webhook, and wait until it is up."""
        told = ("--port", str(self.port), "--store", str(self.store), "--gpus", "1", "--grace", "5")
        patience = ("--silent", str(SILENT_S), "--unbegun", str(UNBEGUN_S), "--stale", str(STALE_S))
        deploy = ("--deployments", str(deployments))
        with self.out.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "infra.serve", *told, *patience, *deploy],
                cwd=ROOT,
                env=self.own | {"PYTHONHASHSEED": str(seed)},
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
            )
        over = lambda: process.poll() is not None or "Ctrl-C" in self.out.read_text()  # noqa: E731
        try:
            wait_for("the service is up", over, UP_S)
            assert process.poll() is None, self.out.read_text()
        except BaseException:
            process.terminate()
            process.wait(60)
            raise
        return process

    def sleeping(self, client: SyncPrefectClient) -> tuple[UUID, psutil.Process]:
        """Start a run in the gpu pool; return it and its process, once it is asleep."""
        (self.sleeper / "pid").unlink(missing_ok=True)
        run = self.run(client, "zombie")
        return run, psutil.Process(int(wait_for("the run began", lambda: _text(self.sleeper / "pid"), 60)))

    def run(self, client: SyncPrefectClient, deployment: str) -> UUID:
        """Start a run."""
        there = client.read_deployment_by_name(f"sleeper/{deployment}")
        return client.create_flow_run_from_deployment(there.id).id

    def silent(self, client: SyncPrefectClient) -> UUID:
        """Leave a run as one that is killed as soon as it is Running."""
        there = client.read_deployment_by_name("sleeper/unbegun")
        run = client.create_flow_run_from_deployment(there.id, state=Pending()).id
        client.set_flow_run_state(run, Running())
        return run

    def process_of(self, run: UUID) -> psutil.Process | None:
        """Return the process of a run, None where there is none yet."""
        for process in left_of(self.home):
            with suppress(psutil.NoSuchProcess):
                if process.environ().get(RUN_ID) == str(run):
                    return process
        return None


def kill(processes: list[psutil.Process]) -> None:
    """End processes at once, in this order."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def automations_of(client: SyncPrefectClient) -> set[tuple[str, ...]]:
    """Return what tells one automation from another, and from itself after a change."""
    found = client.request("POST", "/automations/filter", json={}).json()
    return {(a["id"], a["name"], a["updated"], a["trigger"]["id"]) for a in found}


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Service]:
    starter = Starter(tmp_path_factory.mktemp("service"), receiver.url)
    with temporary_settings({PREFECT_API_URL: f"{starter.url}/api"}), get_client(sync_client=True) as client:
        process = starter.start(seed=1, deployments=starter.sleeper / "prefect.yaml")
        try:
            run_of_crash, _ = starter.sleeping(client)
            automations = automations_of(client)
            process.send_signal(signal.SIGSTOP)  # it would start again what dies before it
            kill([*left_of(starter.home), psutil.Process(process.pid)])
            process.wait(10)
            wait_for("all is gone", lambda: not left_of(starter.home), 10)

            process = starter.start(seed=2)
            unbegun = starter.run(client, "unbegun")
            begun = wait_for("the run has a process", lambda: starter.process_of(unbegun), 60)
            kill([begun.parent(), begun])
            killed_run, asleep = starter.sleeping(client)
            kill([asleep.parent(), asleep])
            silent = starter.silent(client)
            yield Service(
                url=starter.url,
                home=starter.home,
                store=str(starter.store),
                env=starter.env,
                said=starter.out.read_text(),
                automations=automations,
                run_of_crash=run_of_crash,
                killed_run=killed_run,
                killed_unbegun=unbegun,
                silent_from_start=silent,
                killed_at=datetime.now(UTC),
                told=receiver.told,
            )
        finally:
            process.terminate()
            code = process.wait(60)
    assert (code, left_of(starter.home)) == (0, []), starter.out.read_text()
    assert "Ended: workers, then the server." in starter.out.read_text()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.fixture
def until() -> Callable[..., Any]:
    """Return a function that waits for something, and fails by name when it does not come."""
    return wait_for


@pytest.fixture
def silent_s() -> float:
    """Return the seconds of silence after which this service calls a run dead."""
    return SILENT_S


@pytest.fixture
def unbegun_s() -> float:
    """Return the seconds that a submitted run of this service has to begin."""
    return UNBEGUN_S


@pytest.fixture
def stale_s() -> float:
    """Return the seconds without upkeep that make a store of this service stale."""
    return STALE_S


@pytest.fixture
def automations_now() -> Callable[[], set[tuple[str, ...]]]:
    """Return a function that tells which automations there are now."""

    def ask() -> set[tuple[str, ...]]:
        with get_client(sync_client=True) as client:
            return automations_of(client)

    return ask


@pytest.fixture
def root() -> Path:
    """Return the repository's root."""
    return ROOT
