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

from infra.serve.automations import ensure_automations
from infra.serve.options import Options
from infra.serve.pools import Kind, Pool, pools, template
from infra.serve.results import ensure_result_storage

GPU_SLOTS = "gpu"
_TIMEOUT_S = 300.0


class PoolError(RuntimeError):
    """A pool of another kind is there under the name."""


class DeployError(RuntimeError):
    """`prefect deploy` failed; carries what it said."""


@dataclass(frozen=True)
class Provisioned:
    """What is there now, for people."""

    pools: tuple[str, ...]
    automations: tuple[str, ...]
    environment: dict[str, str]
    """What workers find in their environment beside what every process of the service does."""


async def provision(options: Options, kind: Kind = "process", image: str = "") -> Provisioned:
    """Create or update pools, GPU slots, automations and, for a store in S3, the block of results."""
    wanted = pools(options.gpus)
    async with get_client() as client:
        environment = await ensure_result_storage(options)
        for pool in wanted:
            await _ensure_pool(client, pool, kind, image, environment | {"GLMSTORE_STORE": options.store})
        await client.upsert_global_concurrency_limit_by_name(GPU_SLOTS, max(1, options.gpus))
        names = await ensure_automations(client, options)
    return Provisioned(tuple(pool.name for pool in wanted), tuple(names), environment)


async def _ensure_pool(
    client: PrefectClient, pool: Pool, kind: Kind, image: str, environment: dict[str, str]
) -> None:
    """Create a pool; of one that is there only the number of runs is changed."""
    try:
        there = await client.read_work_pool(pool.name)
    except ObjectNotFound:
        await client.create_work_pool(
            WorkPoolCreate(
                name=pool.name,
                description=pool.description,
                type=kind,
                base_job_template=await template(client, pool, kind, image, environment),
                concurrency_limit=pool.limit,
            )
        )
        return
    if there.type != kind:
        raise PoolError(
            f"pool {pool.name} is of type {there.type}, not {kind}; delete it first to change that"
        )
    if there.concurrency_limit != pool.limit:
        await client.update_work_pool(pool.name, WorkPoolUpdate(concurrency_limit=pool.limit))


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
