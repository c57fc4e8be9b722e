"""`glmstore run` that is interrupted or killed: it says so, leaves no server, and loses nothing stored."""

from __future__ import annotations

import csv
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from glmstore.store import FeatureStore

GLMSTORE = [sys.executable, "-c", "from flows.cli import main; main()"]
HOLDER = """
import time
from flows.temporary_server import prefect_server
from prefect.settings import PREFECT_API_URL
with prefect_server():
    print(PREFECT_API_URL.value(), flush=True)
    time.sleep(300)
"""


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    own = {"PREFECT_HOME": str(folder / "prefect"), "GLMSTORE_STORE": str(folder / "store")}
    patient = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180"}
    return kept | own | patient | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "COLUMNS": "120"}


def table(path: Path) -> Path:
    rng = np.random.default_rng(3)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seq", "activity"])
        for _ in range(400):
            sequence = "".join(rng.choice(list("ACGT"), size=80))
            writer.writerow([sequence, sequence.count("G") - sequence.count("T") + rng.normal()])
    return path


def with_ctrl_c(command: list[str], folder: Path, *, after: str) -> tuple[int, str]:
    """Run a command, and interrupt all of its process group, as a terminal does, once it has said `after`."""
    run = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert run.stdout is not None
    said = ""
    for line in run.stdout:
        said += line
        if after in line:
            os.killpg(run.pid, signal.SIGINT)
            break
    try:
        rest, _ = run.communicate(timeout=200)
    finally:
        run.kill()
    return run.returncode, said + rest


@pytest.mark.slow
def test_ctrl_c_ends_a_run_in_order_and_keeps_what_is_stored(tmp_path: Path) -> None:
    command = [*GLMSTORE, "run", str(table(tmp_path / "my.csv")), "--sequence", "seq", "--label", "activity"]
    code, said = with_ctrl_c(command, tmp_path, after="cells asked")
    assert code == 130, said[-2000:]
    assert "interrupted: stops when what is being computed is stored" in said
    assert "Traceback" not in said
    assert "Error logging" not in said
    with sqlite3.connect(tmp_path / "prefect" / "prefect.db") as database:
        states = dict(database.execute("select name, state_type from flow_run"))
    assert set(states.values()) <= {"CRASHED", "CANCELLED", "COMPLETED"}, states
    assert "CRASHED" in states.values()
    views = FeatureStore.open(tmp_path / "store", create=False).views()
    assert set(views["rows"]) == {400}, "what was stored before stays"


def test_the_server_of_a_run_starts_beside_a_package_of_its_name_and_ends_with_a_killed_run(
    tmp_path: Path,
) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("raise ImportError('flows of somebody else')")
    holder = subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDER],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        api = holder.stdout.readline().strip()
        assert httpx.get(f"{api}/health", timeout=60).json() is True
    finally:
        holder.kill()
        holder.communicate()
    deadline = time.monotonic() + 120
    while answers(api):
        assert time.monotonic() < deadline, "the server lives on"
        time.sleep(0.2)


def answers(api: str) -> bool:
    try:
        return httpx.get(f"{api}/health", timeout=10).is_success
    except httpx.TransportError:
        return False
