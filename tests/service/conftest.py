"""One service for all of these tests, started as a user starts it: `python -m infra.serve`.

One of its runs loses its process and its worker at the start, so that the tests between wait for the outcome.
"""

from __future__ import annotations

import os
import signal
import socket
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
from prefect.settings import PREFECT_API_URL, temporary_settings

from glmstore.store import FeatureStore
from infra.serve.children import MARK

ROOT = Path(__file__).parents[2]
SILENT_S = 35.0
UP_S = 150.0

SLEEPER = '''
import os, time
from pathlib import Path
from prefect import flow
from prefect.concurrency.sync import concurrency

@flow
def sleeper(seconds: float = 600.0):
    """Hold a GPU slot and sleep."""
    with concurrency("gpu", strict=True, lease_duration=60):
        Path(__file__).with_name("pid").write_text(str(os.getpid()))
        time.sleep(seconds)
'''
DEPLOYED = """
deployments:
  - {name: zombie, entrypoint: "sleeper.py:sleeper", work_pool: {name: gpu}}
"""


@dataclass(frozen=True)
class Service:
    """A running service, and what was done to it."""

    url: str
    home: Path
    store: str
    env: dict[str, str]
    said: str
    killed_run: UUID
    killed_at: datetime

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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home, port = tmp_path_factory.mktemp("service"), free_port()
    store, sleeper = home / "lab" / "store", home / "sleeper"
    scattered_store(store)
    sleeper.mkdir()
    (sleeper / "sleeper.py").write_text(SLEEPER)
    (sleeper / "prefect.yaml").write_text(DEPLOYED)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "GLMSTORE_STORE", "SERVE_"))}
    own = {"PREFECT_HOME": str(home), "GLMSTORE_DEVICE": "cpu", "COLUMNS": "100"}
    url = f"http://127.0.0.1:{port}"
    env = kept | own | {"PREFECT_API_URL": f"{url}/api", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    options = ("--port", str(port), "--store", str(store), "--gpus", "1", "--silent", str(SILENT_S))
    out = home / "out"
    with out.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.serve", *options, "--grace", "5"],
            cwd=ROOT,
            env=kept | own,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
        )
    try:
        wait_for("the service is up", lambda: process.poll() is not None or "Ctrl-C" in out.read_text(), UP_S)
        assert process.poll() is None, out.read_text()
        service = Service(url, home, str(store), env, out.read_text(), UUID(int=0), datetime.now(UTC))
        service.prefect("deploy", "--all", cwd=sleeper)
        ran = service.prefect("deployment", "run", "sleeper/zombie")
        pid = int(wait_for("the run began", lambda: _text(sleeper / "pid"), 60))
        worker = psutil.Process(pid).ppid()
        os.kill(pid, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        killed_at = datetime.now(UTC)
        run = UUID(ran.split("UUID: ")[1].split()[0])
        with temporary_settings({PREFECT_API_URL: f"{url}/api"}):
            yield Service(url, home, str(store), env, service.said, run, killed_at)
    finally:
        process.terminate()
        code = process.wait(60)
    assert (code, left_of(home)) == (0, []), out.read_text()
    assert "Ended: workers, then the server." in out.read_text()


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
def root() -> Path:
    """Return the repository's root."""
    return ROOT
