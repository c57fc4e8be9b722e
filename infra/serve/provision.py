"""What a service needs in its server: work pools, automations, deployments. Safe to repeat."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound

from infra.serve.automations import ensure_automations
from infra.serve.options import Options
from infra.serve.pools import Kind, Pool, pools, template, with_defaults
from infra.serve.results import ensure_result_storage, storage_environment

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
    """Create or update pools, automations and, for a store in S3, the block of results.

    A GPU slot is one of the runs that the gpu pool takes at once.
    """
    wanted = pools(options.gpus)
    async with get_client() as client:
        environment = await ensure_result_storage(options)
        of_runs = environment | storage_environment() | {"GLMSTORE_STORE": options.store}
        for pool in wanted:
            await _ensure_pool(client, pool, kind, image, of_runs)
        names = await ensure_automations(client, options)
    return Provisioned(tuple(pool.name for pool in wanted), tuple(names), environment)


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
        given = with_defaults(there.base_job_template, image, environment)
        await client.update_work_pool(pool.name, WorkPoolUpdate(base_job_template=given))


async def deploy(options: Options, kind: Kind = "process") -> list[str]:
    """Create or update every deployment; return their names.

    Runs in processes work in the folder they were deployed from, as Prefect does by default. In containers
    there is no such folder: flows are modules of the image, and nothing is pulled.

    Raises
    ------
    DeployError
        If one could not be.
    """
    with _pulling(options.deployments, nothing=kind != "process") as file:
        await _prefect_deploy(file)
    async with get_client() as client:
        flows = {flow.id: flow.name for flow in await client.read_flows()}
        return sorted(f"{flows[d.flow_id]}/{d.name}" for d in await client.read_deployments())


@contextmanager
def _pulling(deployments: Path, *, nothing: bool) -> Iterator[Path]:
    """Yield the file of deployments, or a copy of it by which nothing is pulled before a run."""
    if not nothing:
        yield deployments
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "prefect.yaml"
        copy.write_text(yaml.safe_dump(yaml.safe_load(deployments.read_text()) | {"pull": []}))
        yield copy


async def _prefect_deploy(file: Path) -> None:
    command = ("-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file))
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
