"""The Prefect server of one `glmstore run`, where none is set up.

Prefect would start one by itself, but among the processes that a Ctrl-C reaches: it would be gone before the
flows could record how they ended, and a killed run would leave it behind. This one knows of no terminal, and
ends when the process that started it does, however that ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from flows.loopback import free_port
from glmstore.errors import RunnerError

_GRACE_S = 10


@contextmanager
def prefect_server() -> Iterator[None]:
    """Let flows of this block have a server: the one that Prefect is set to use, else one of their own.

    Raises
    ------
    RunnerError
        If the server does not start.
    """
    if get_current_settings().api.url:
        yield
        return
    port = free_port()
    server = subprocess.Popen(  # noqa: S603  (this very module)
        [sys.executable, "-P", "-m", __name__, str(port)],  # not a `flows` of the folder one happens to be in
        stdin=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"},
    )
    try:
        api = f"http://127.0.0.1:{port}/api"
        _await(server, f"{api}/health")
        with temporary_settings({PREFECT_API_URL: api}):
            try:
                yield
            finally:  # what waits to be sent would be tried for minutes once the server is gone
                EventsWorker.drain_all(timeout=_GRACE_S)
                APILogWorker.drain_all(timeout=_GRACE_S)
    finally:
        server.terminate()
        try:
            server.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _await(server: subprocess.Popen[bytes], health: str) -> None:
    patience = get_current_settings().server.ephemeral.startup_timeout_seconds
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RunnerError(f"Prefect's server ended with code {server.returncode} as it started.")
        try:
            if httpx.get(health, timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RunnerError(
        f"Prefect's server did not answer within {patience} s; allow for more by "
        f"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS."
    )


def _serve(port: int) -> None:
    import uvicorn

    def end_with_parent() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, daemon=True).start()
    app = "prefect.server.api.server:create_app"
    uvicorn.run(app, factory=True, host="127.0.0.1", port=port, log_level="error", lifespan="on")


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
