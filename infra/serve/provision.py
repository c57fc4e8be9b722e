"""What a service needs in its server: work pools, GPU slots, automations, deployments. Safe to repeat."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed
from prefect.workers.process import ProcessWorker

from infra.serve.automations import ensure_automations
from infra.serve.options import Options
from infra.serve.results import ensure_result_storage

GPU_SLOTS = "gpu"
_TIMEOUT_S = 300.0


class DeployError(RuntimeError):
    """`prefect deploy` failed; carries what it said."""


@dataclass(frozen=True)
class Provisioned:
    """What is there now, for people."""

    pools: tuple[str, ...]
    automations: tuple[str, ...]
    environment: dict[str, str]
    """What workers find in their environment beside what every process of the service does."""


async def provision(options: Options) -> Provisioned:
    """Create or update pools, GPU slots and automations."""
    async with get_client() as client:
        await _pool(client, "cpu", "Runs that need no GPU.", None)
        await _pool(client, "gpu", "Runs that embed or train: one a GPU at a time.", max(1, options.gpus))
        await client.upsert_global_concurrency_limit_by_name(GPU_SLOTS, max(1, options.gpus))
        names = await ensure_automations(client, options)
        environment = await ensure_result_storage(options)
    return Provisioned(("cpu", "gpu"), tuple(names), environment)


async def _pool(client: PrefectClient, name: str, description: str, limit: int | None) -> None:
    """Create a process pool; of one that is there only what this service decides is changed."""
    try:
        there = await client.read_work_pool(name)
    except ObjectNotFound:
        await client.create_work_pool(
            WorkPoolCreate(
                name=name,
                description=description,
                type=ProcessWorker.type,
                base_job_template=ProcessWorker.get_default_base_job_template(),
                concurrency_limit=limit,
            )
        )
        return
    if there.concurrency_limit != limit:
        await client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))


async def mark_crashed(runs: set[str]) -> None:
    """Let runs that were ended with the service be Crashed where they could not say so themselves."""
    ended: State[None] = Crashed(message="The service that ran it was stopped.")
    async with get_client() as client:
        for run in sorted(runs):
            there = await client.read_flow_run(UUID(run))
            if there.state is None or not there.state.is_final():
                await client.set_flow_run_state(there.id, ended, force=True)


async def deploy(options: Options) -> list[str]:
    """Create or update every deployment; return their names.

    Raises
    ------
    DeployError
        If one could not be.
    """
    command = ("-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(options.deployments))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise DeployError(f"prefect deploy failed:\n{said.decode(errors='replace')}")
    async with get_client() as client:
        flows = {flow.id: flow.name for flow in await client.read_flows()}
        return sorted(f"{flows[d.flow_id]}/{d.name}" for d in await client.read_deployments())
