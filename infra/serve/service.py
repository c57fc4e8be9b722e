"""The service itself: what is started in which order, and what it says meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from rich.console import Console

from glmstore.errors import GlmstoreError
from infra.serve.children import Child, Children
from infra.serve.options import Options
from infra.serve.words import show_ready

START_S = 180.0
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class CannotServeError(RuntimeError):
    """The service cannot start; the message says what to do."""


def check_place(options: Options) -> None:
    """Refuse a port that is taken, and an address that others reach unless a password is set.

    Raises
    ------
    CannotServeError
        Saying which, and what to do.
    """
    if options.host not in _LOOPBACK and not os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        raise CannotServeError(
            f"Others can reach {options.host}, and Prefect's server runs code for whoever reaches it. "
            "Set PREFECT_SERVER_API_AUTH_STRING=NAME:PASSWORD, or stay on 127.0.0.1 and use an ssh tunnel."
        )
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except OSError as error:
            who = "a Prefect server" if _answers(options) else "another program"
            raise CannotServeError(
                f"Port {options.port} of {options.host} is taken by {who} ({error.strerror}). "
                f"End it, or take another port: make serve PORT={options.port + 1}"
            ) from error


async def serve(options: Options, of_server: dict[str, str], home: Path, console: Console) -> None:
    """Start everything, keep it running until a signal comes, end everything.

    Parameters
    ----------
    of_server
        Environment of the server alone.

    Raises
    ------
    CannotServeError
        If the store, the server or a deployment is refused.
    ChildDiedError
        If a process cannot be kept running.
    """
    children = Children(home / "logs", lambda line: console.print(f"[yellow]{line}[/yellow]"))
    asked, hurry = asyncio.Event(), asyncio.Event()

    def leave() -> None:
        (hurry if asked.is_set() else asked).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, leave)
    try:
        await _first(asked.wait(), children.until_broken(), _bring_up(children, options, of_server, console))
        await _first(asked.wait(), children.until_broken())
    finally:
        console.print(f"\nEnding; runs have {options.grace_s:g} s to end (Ctrl-C again: at once) …")
        await _end(children, hurry, console)
        console.print("Ended: workers, then the server.")


async def _end(children: Children, hurry: asyncio.Event, console: Console) -> None:
    """End workers and runs, let the server know which runs those were, end it."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException

    from infra.serve.reconciling import mark_crashed

    try:
        if runs := await children.stop(hurry, but="server"):
            async with get_client() as client:
                await mark_crashed(client, map(UUID, sorted(runs)), "The service that ran it was stopped.")
    except (httpx.HTTPError, PrefectException) as error:
        problem = type(error).__name__
        console.print(f"The server could not be told which runs ended ({problem}); the next start tells it.")
    finally:
        await children.stop(hurry)


async def _bring_up(
    children: Children, options: Options, of_server: dict[str, str], console: Console
) -> None:
    begun = time.monotonic()
    from infra.serve.deploying import DeployError, deploy
    from infra.serve.provision import PoolError, provision

    console.print(f"Starting Prefect's server at {options.url} …")
    server = [sys.executable, "-m", "infra.serve.guarded", options.host, str(options.port)]
    await children.start(Child("server", server, of_server))
    store = asyncio.create_task(asyncio.to_thread(_open_store, options.store))
    await _until_healthy(children, options)
    await store
    try:
        found = await provision(options)
    except PoolError as error:
        raise CannotServeError(str(error)) from error
    await _end_abandoned(console)
    console.print("Starting workers and deploying …")
    for worker in _workers(options, found.environment):
        await children.start(worker)
    try:
        deployments = await deploy(options)
    except DeployError as error:
        raise CannotServeError(str(error)) from error
    show_ready(console, options, found, deployments, children.logs, time.monotonic() - begun)


async def _end_abandoned(console: Console) -> None:
    from prefect.client.orchestration import get_client

    from infra.serve.reconciling import end_abandoned

    async with get_client() as client:
        if left := await end_abandoned(client):
            console.print(f"Marked as Crashed, for their processes are gone: {', '.join(left)}", markup=False)


def _open_store(uri: str) -> None:
    """Open, and where there is none create, the store; on S3 this tries what the server promises."""
    from glmstore.store import FeatureStore

    try:
        FeatureStore.open(uri)
    except (GlmstoreError, OSError) as error:
        raise CannotServeError(f"The store {uri} cannot be opened: {error}") from error


async def _until_healthy(children: Children, options: Options) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(int(START_S * 2)):
            children.refuse_dead("server")
            try:
                if (await client.get(f"{options.api}/health", timeout=5)).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass  # it has not come up yet
            await asyncio.sleep(0.5)
    raise CannotServeError(f"The server did not answer within {START_S:.0f} s; see {children.log('server')}.")


def _workers(options: Options, environment: dict[str, str]) -> list[Child]:
    from infra.serve.reconciling import worker_name

    everywhere = environment | {"PREFECT_LOGGING_COLORS": "false"}
    cpu = _worker("cpu", worker_name("cpu"), options.cpu_runs)
    no_gpu = {"CUDA_VISIBLE_DEVICES": "", "GLMSTORE_DEVICE": "cpu"}
    children = [Child("worker-cpu", cpu, everywhere | no_gpu, options.grace_s)]
    visible = visible_gpus()
    stand_in = int(options.gpus == 1)  # without a GPU the CPU does; with more slots they are other machines'
    for number in range(min(options.gpus, len(visible) or stand_in)):
        own = {"CUDA_VISIBLE_DEVICES": visible[number]} if visible else no_gpu
        command = _worker("gpu", worker_name("gpu", number), 1)
        children.append(Child(f"worker-gpu-{number}", command, everywhere | own, options.grace_s))
    return children


def visible_gpus() -> list[str]:
    """Return the names under which CUDA shows this process its GPUs."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    return [str(i) for i, _ in enumerate(sorted(Path("/dev").glob("nvidia[0-9]*")))]


def _worker(pool: str, name: str, limit: int) -> list[str]:
    start = ("worker", "start", "--pool", pool, "--name", name, "--type", "process", "--limit", str(limit))
    return _prefect(*start)


def _prefect(*words: str) -> list[str]:
    return [sys.executable, "-m", "prefect", "--no-prompt", *words]


def _answers(options: Options) -> bool:
    try:
        return httpx.get(f"{options.api}/health", timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


async def _first(*jobs: Coroutine[Any, Any, Any]) -> None:
    """Wait for the first of these to end, cancel the others, and raise what it raised."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for task in done:
        task.result()
