"""A Dask cluster that is running already: reach it, and see that its workers can do a flow's work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

import glmstore
from glmstore.errors import GlmstoreError, RunnerError
from glmstore.store import FeatureStore

if TYPE_CHECKING:
    from prefect_dask.task_runners import DaskTaskRunner

SECONDS = 5
"""How long an answer may take: of the scheduler to the flow, and of Prefect's API to a worker."""


@contextmanager
def connected(address: str) -> Iterator[DaskTaskRunner]:
    """Yield a started task runner on the cluster of a scheduler, and leave the cluster at the end.

    Parameters
    ----------
    address
        As Dask writes it: ``tcp://HOST:PORT`` or ``tls://HOST:PORT``.

    Raises
    ------
    RunnerError
        If prefect-dask or a certificate is lacking, nothing answers in a few seconds, or there are no
        workers.
    """
    try:
        import dask
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise RunnerError(
            "tasks run on Dask through prefect-dask, which is not installed here: "
            "`pip install 'glmstore[service]'`, on the workers too."
        ) from error
    if address.startswith("tls://") and not dask.config.get("distributed.comm.tls.client.cert"):
        raise RunnerError(
            f"{address} asks for a certificate and Dask knows of none here: set "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__TLS__CLIENT__CERT and …__TLS__CLIENT__KEY; "
            "infra/dask.md has the rest."
        )
    with DaskTaskRunner(address=address, client_kwargs={"timeout": SECONDS}) as runner:
        if not places(runner):
            raise RunnerError(
                f"the Dask scheduler at {address} has no workers. Start some with "
                f"`dask worker {address} --nthreads 1`, one for each GPU."
            )
        yield runner


@contextmanager
def _answering(address: str) -> Iterator[None]:
    """Say what to do where the scheduler does not answer, or does not any more."""
    try:
        yield
    except OSError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunnerError(
            f"no Dask scheduler answers at {address} ({reason}). Start one with `dask scheduler --host HOST "
            f"--port PORT`, and workers with `dask worker {address} --nthreads 1`; infra/dask.md has the "
            f"rest. What the store holds is not computed again."
        ) from error


def places(runner: DaskTaskRunner) -> int:
    """Return how many tasks the workers that are there now run at once.

    Raises
    ------
    RunnerError
        If the scheduler does not answer.
    """
    with _answering(str(runner.address)):
        return sum(runner.client.nthreads().values())  # type: ignore[no-untyped-call]


def require_equipped(runner: DaskTaskRunner, store: str, api_url: str) -> None:
    """Refuse a cluster with a worker that cannot do the work, before any is submitted.

    Parameters
    ----------
    runner
        Started on the cluster.
    store
        URI of the feature store; the flow has made it already.
    api_url
        Of Prefect's API, to which workers tell how their tasks fare.

    Raises
    ------
    RunnerError
        Naming a worker and what it lacks, or if the scheduler does not answer.
    """
    known = (store, FeatureStore.open(store, create=False).store_id, api_url, glmstore.__version__)
    with _answering(str(runner.address)):
        answers = runner.client.run(lacking, *known, on_error="return")
    problems = {worker: str(answer) for worker, answer in answers.items() if answer}
    for worker, problem in problems.items():
        raise RunnerError(
            f"{len(problems)} of {len(answers)} Dask workers cannot do this work; {worker}: {problem}"
        )


async def lacking(store: str, store_id: str, api_url: str, version: str) -> str:
    """Return what this worker lacks, in words; empty where it lacks nothing. Does not hold up its tasks."""
    return await asyncio.to_thread(_lacking, store, store_id, api_url, version)


def _lacking(store: str, store_id: str, api_url: str, version: str) -> str:
    if glmstore.__version__ != version:
        return f"it has glmstore {glmstore.__version__} and the flow {version}. Install the same there."
    try:
        found = FeatureStore.open(store, create=False).store_id
    except (GlmstoreError, OSError) as error:
        found = ""
        reason = f"it cannot open the store: {error}"
    else:
        reason = f"what lies at {store} there is another store."
    if found != store_id:
        return f"{reason} Put the store on object storage (s3://…), or on a disk that all machines share."
    try:
        httpx.get(f"{api_url.rstrip('/')}/health", timeout=SECONDS)
    except httpx.HTTPError as error:
        return (
            f"it cannot reach Prefect's API at {api_url} ({error}). Start `prefect server start --host …` "
            f"where workers reach it, and set PREFECT_API_URL to it where the flow runs."
        )
    return ""
