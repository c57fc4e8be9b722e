"""What a service needs in its server before it works: work pools and automations. Safe to repeat."""

from __future__ import annotations

from dataclasses import dataclass

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound

from infra.serve.automations import ensure_automations, notifies
from infra.serve.options import Options
from infra.serve.pools import Kind, Pool, pools, template, with_defaults
from infra.serve.results import ensure_result_storage, storage_environment


class PoolError(RuntimeError):
    """A pool of another kind is there under the name."""


@dataclass(frozen=True)
class Provisioned:
    """What is there now, for people."""

    pools: tuple[str, ...]
    automations: tuple[str, ...]
    environment: dict[str, str]
    """What workers find in their environment beside what every process of the service does."""
    notifies: bool
    """Whether anybody is told of failed runs."""


async def provision(options: Options, kind: Kind = "process", image: str = "") -> Provisioned:
    """Create or update pools, automations and, for a store in S3, the block of results.

    A GPU slot is one of the runs that the gpu pool takes at once.
    """
    wanted = pools(options.gpus)
    async with get_client() as client:
        environment = await ensure_result_storage(options)
        of_runs = environment | storage_environment() | {"GLMSTORE_STORE": options.store}
        for pool in wanted:
            await _ensure_pool(client, pool, kind, image, of_runs)
        automations = await ensure_automations(client, options)
    return Provisioned(
        pools=tuple(pool.name for pool in wanted),
        automations=tuple(automation.name for automation in automations),
        environment=environment,
        notifies=any(map(notifies, automations)),
    )


async def _ensure_pool(
    client: PrefectClient, pool: Pool, kind: Kind, image: str, environment: dict[str, str]
) -> None:
    """Create a pool; of one that is there change the number of runs, and what its containers are given."""
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
    if kind != "process":
        given = with_defaults(there.base_job_template, pool, image, environment)
        await client.update_work_pool(pool.name, WorkPoolUpdate(base_job_template=given))
