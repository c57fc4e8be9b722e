"""Runs that a crash left behind: their processes are gone, and nobody is left to say so."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.settings import PREFECT_HOME
from prefect.states import Crashed

from infra.serve.children import processes_of_runs
from infra.serve.pages import every

_UNDER_WAY = FlowRunFilterState(
    type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
)


def worker_name(pool: str, number: int | None = None) -> str:
    """Return the name of a worker of this service, by which it is known again.

    The host's name is for people; what follows it differs between machines, users and Prefect homes.
    """
    machine = Path("/etc/machine-id")
    parts = (machine.read_text() if machine.is_file() else "", os.getuid(), PREFECT_HOME.value())
    own = blake2b(repr(parts).encode(), digest_size=3).hexdigest()
    return "-".join([pool, socket.gethostname(), own, *([] if number is None else [str(number)])])


async def end_abandoned(client: PrefectClient) -> list[str]:
    """Mark as Crashed the runs of this service that no process carries on; return their names.

    To be called while none of its workers runs. Prefect does not record where a run is, so a pool that
    others' workers have served too is left to the automations.
    """
    alive = processes_of_runs()
    left = []
    for pool in await every(client.read_work_pools):
        if pool.type == "process" and await _is_ours(client, pool.name):
            of_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool.name]))
            left += [run for run in await _under_way(client, of_pool) if str(run.id) not in alive]
    for run in left:  # grows by the flows that they called
        called = FlowRunFilterParentFlowRunId(any_=[run.id])
        children = await _under_way(client, parent=called)
        # One of a deployment has a process of its own, and is judged in its own pool.
        left += [child for child in children if child.deployment_id is None]
    await mark_crashed(client, [run.id for run in left], "Its process was gone when the service started.")
    return [run.name for run in left]


async def mark_crashed(client: PrefectClient, runs: Iterable[UUID], why: str) -> None:
    """Let runs that ended without a word be Crashed, unless they have an end by now."""
    ended: State[None] = Crashed(message=why)
    for run in runs:
        there = await client.read_flow_run(run)
        if there.state is None or not there.state.is_final():
            await client.set_flow_run_state(run, ended, force=True)


async def _is_ours(client: PrefectClient, pool: str) -> bool:
    own = re.compile(rf"{re.escape(worker_name(pool))}(-\d+)?")
    workers = await every(client.read_workers_for_work_pool, work_pool_name=pool)
    return bool(workers) and all(own.fullmatch(worker.name) for worker in workers)


async def _under_way(
    client: PrefectClient,
    pool: WorkPoolFilter | None = None,
    parent: FlowRunFilterParentFlowRunId | None = None,
) -> list[FlowRun]:
    wanted = FlowRunFilter(state=_UNDER_WAY, parent_flow_run_id=parent)
    return await every(client.read_flow_runs, flow_run_filter=wanted, work_pool_filter=pool)
