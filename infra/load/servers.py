"""The servers that are measured: Prefect on SQLite or Postgres; loopback only."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from flows.loopback import free_port

_START_S = 120
_DEBIAN = Path("/usr/lib/postgresql")


@contextmanager
def running(command: list[str], log: Path, url: str, env: Mapping[str, str]) -> Iterator[None]:
    """Run a server for the length of a block, from when it answers at `url`.

    Raises
    ------
    RuntimeError
        If it ends, or does not answer within two minutes.
    """
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=dict(env))
    try:
        begun = time.monotonic()
        while True:
            try:
                httpx.get(url, timeout=5)
                break
            except httpx.TransportError as error:
                if server.poll() is not None or time.monotonic() - begun > _START_S:
                    raise RuntimeError(f"{command[0]} did not start: {log.read_text()[-500:]}") from error
                time.sleep(0.2)
        yield
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def prefect_server(folder: Path, database: str | None) -> Iterator[dict[str, str]]:
    """Run a Prefect server; give the environment of its clients."""
    port = free_port()
    env = {
        **os.environ,
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    if database:
        env["PREFECT_API_DATABASE_CONNECTION_URL"] = database
    command = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--port", str(port)]
    api = f"http://127.0.0.1:{port}/api"
    with running(command, folder / "server.log", f"{api}/health", env):
        yield env | {"PREFECT_API_URL": api, "PREFECT_LOGGING_LEVEL": "ERROR"}


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a Postgres of its own; give its SQLAlchemy URL.

    Raises
    ------
    FileNotFoundError
        If Postgres is not installed.
    """
    found = sorted(_DEBIAN.glob("*/bin/initdb")) or [Path(p) for p in [shutil.which("initdb")] if p]
    if not found:
        raise FileNotFoundError("Postgres is not installed: infra/apt.sh installs it")
    binaries, data, port = found[-1].parent, folder / "data", free_port()
    # Postgres refuses to run as root; Debian's package brings a user for it.
    owner = pwd.getpwnam("postgres").pw_uid if os.geteuid() == 0 else None
    data.mkdir(parents=True)
    if owner is not None:
        for parent in (data, folder):
            os.chown(parent, owner, -1)
        for parent in folder.parents[:1]:
            parent.chmod(parent.stat().st_mode | 0o011)
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "prefect", "--auth=trust", "--no-sync"],
        check=True,
        capture_output=True,
        user=owner,
    )
    command = [str(binaries / "postgres"), "-D", str(data), "-k", str(data)]
    command += ["-h", "127.0.0.1", "-p", str(port)]
    with (folder / "postgres.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, user=owner)
    try:
        for _ in range(100):
            ready = [str(binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
            if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.2)
        else:
            raise RuntimeError((folder / "postgres.log").read_text()[-500:])
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(30)
