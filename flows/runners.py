"""Where a flow's tasks run: in threads here, or on a Dask cluster that is running already."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import urlsplit

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from glmstore.config import Settings
from glmstore.errors import RunnerError

if TYPE_CHECKING:
    from prefect_dask.task_runners import DaskTaskRunner

Threads: TypeAlias = ThreadPoolTaskRunner[PrefectConcurrentFuture[Any]]
THREADS = "threads"
IN_FLIGHT = 2
"""Tasks submitted for each that runs: enough that none waits for work, and few enough to hold in memory."""
_TRANSPORTS = {"dask": "tcp", "dask+tls": "tls"}


def scheduler_address(runner: str) -> str | None:
    """Return the address of the scheduler that a runner names; None for threads.

    Parameters
    ----------
    runner
        ``threads``, ``dask://HOST:PORT``, or ``dask+tls://HOST:PORT`` for a cluster with certificates.

    Raises
    ------
    RunnerError
        If it is none of these.
    """
    if runner == THREADS:
        return None
    if runner.startswith("ray:"):
        raise RunnerError(
            f"{runner}: Ray is not supported, because an external Ray swaps the address it is given for that "
            "of a network card and did not connect. Start a Dask cluster and give dask://HOST:PORT; "
            "infra/dask.md shows how."
        )
    try:
        parts = urlsplit(runner)
        transport, host, port = _TRANSPORTS.get(parts.scheme), parts.hostname, parts.port
    except ValueError:
        transport = host = port = None
    if transport is None or host is None or port is None or runner != f"{parts.scheme}://{parts.netloc}":
        raise RunnerError(f"{runner!r} is no runner: give {THREADS!r}, or dask://HOST:PORT of a scheduler.")
    return f"{transport}://{parts.netloc}"


def require_runner(runner: str) -> None:
    """Refuse up front what no task could run on.

    Raises
    ------
    RunnerError
        If prefect-dask is not installed, nothing answers at the address, or the cluster has no workers.
    """
    if address := scheduler_address(runner):
        from flows.cluster import connected

        with connected(address):
            pass


class ChosenRunner(TaskRunner[PrefectFuture[Any]]):
    """Runs a flow's tasks where the `runner` of its configuration says.

    A flow has a task runner as soon as it is defined, and its configuration only when it runs: so the choice
    is made when the first task is submitted.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._open = ExitStack()
        self._chosen: Threads | DaskTaskRunner | None = None

    def duplicate(self) -> ChosenRunner:
        """Return another one, which has not chosen yet."""
        return type(self)()

    def submit(self, task: Any, parameters: dict[str, Any], *rest: Any, **options: Any) -> PrefectFuture[Any]:
        """Submit a task; `rest` and `options` are Prefect's own.

        Raises
        ------
        RunnerError
            If the cluster cannot be reached, or its workers cannot reach the store or Prefect's API.
        """
        runner = self._choose()
        if isinstance(runner, ThreadPoolTaskRunner):
            return cast("PrefectFuture[Any]", runner.submit(task, parameters, *rest, **options))
        # Workers get the settings of this process; without a URL each would start a server of its own.
        with temporary_settings({PREFECT_API_URL: _api_url()}):
            return runner.submit(task, parameters, *rest, **options)

    def room(self) -> int:
        """Return how many tasks may be submitted and unfinished, for as many workers as there are now."""
        runner = self._choose()
        if isinstance(runner, ThreadPoolTaskRunner):
            return IN_FLIGHT * Settings().workers
        from flows.cluster import places

        return IN_FLIGHT * max(1, places(runner))

    def __exit__(self, *error: Any) -> None:
        """Stop the threads, or leave the cluster, which runs on."""
        self._open.__exit__(*error)
        self._chosen = None
        super().__exit__(*error)

    def _choose(self) -> Threads | DaskTaskRunner:
        if self._chosen is None:
            config = _running_config()
            address = scheduler_address(config.runner)
            if address is None:
                threads: Threads = ThreadPoolTaskRunner(max_workers=Settings().workers)
                self._chosen = self._open.enter_context(threads)
            else:
                from flows.cluster import connected, require_equipped

                dask = self._open.enter_context(connected(address))
                require_equipped(dask, config.store, _api_url())
                self._chosen = dask
        return self._chosen


def room() -> int:
    """Return how many tasks of the running flow may be submitted and unfinished at once."""
    context = FlowRunContext.get()
    runner = context.task_runner if context else None
    return runner.room() if isinstance(runner, ChosenRunner) else IN_FLIGHT * Settings().workers


def _running_config() -> Any:
    context = FlowRunContext.get()
    if context is None or "config" not in (context.parameters or {}):
        raise RunnerError("tasks are submitted from a flow whose single parameter is its `config`.")
    return cast("dict[str, Any]", context.parameters)["config"]


def _api_url() -> str:
    """Return where Prefect's API is, of the server it started by itself too."""
    return PREFECT_API_URL.value() or str(get_client(sync_client=True).api_url)
