"""The job templates of the work pools cpu and gpu, for processes, containers or Kubernetes jobs."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

from prefect.client.orchestration import PrefectClient
from prefect.workers.process import ProcessWorker

from infra.serve.options import PREFECT_QUIET
from infra.serve.results import SET_UP

Kind = Literal["process", "docker", "kubernetes"]

RUN_ENVIRONMENT = PREFECT_QUIET | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
_PACKAGES = {"docker": "prefect-docker", "kubernetes": "prefect-kubernetes"}


@dataclass(frozen=True)
class Pool:
    """One pool: its name, what it is for, and how many runs it takes at once (None: any number)."""

    name: str
    description: str
    limit: int | None
    gpus_a_run: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """Of its runs in containers: one image, which may say cuda, is for both pools."""
        return {} if self.gpus_a_run else {"GLMSTORE_DEVICE": "cpu"}


def pools(gpus: int) -> tuple[Pool, Pool]:
    """Return both pools, the second for this many GPUs in all."""
    return (
        Pool("cpu", "Runs that need no GPU.", None),
        Pool("gpu", "Runs that embed or train: one a GPU at a time.", max(1, gpus), gpus_a_run=1),
    )


async def template(
    client: PrefectClient, pool: Pool, kind: Kind, image: str, environment: dict[str, str]
) -> dict[str, Any]:
    """Return the base job template of a pool: Prefect's own of that kind, with our defaults.

    Parameters
    ----------
    image
        Container image of runs; not used for processes, which have their worker's environment too.
    environment
        What a run in a container finds beside `RUN_ENVIRONMENT`.
    """
    if kind == "process":
        return ProcessWorker.get_default_base_job_template()
    known = await client.read_worker_metadata()
    found: dict[str, Any] = copy.deepcopy(known[_PACKAGES[kind]][kind]["default_base_job_configuration"])
    if kind == "kubernetes" and pool.gpus_a_run:
        spec = found["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
        spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = pool.gpus_a_run
    return with_defaults(found, pool, image, environment)


def with_defaults(
    template: dict[str, Any], pool: Pool, image: str, environment: dict[str, str]
) -> dict[str, Any]:
    """Return a container's job template with this image and these variables, all else as it is."""
    found = copy.deepcopy(template)
    variables = found["variables"]["properties"]
    variables["image"]["default"] = image
    others = {k: v for k, v in (variables["env"].get("default") or {}).items() if k not in SET_UP}
    variables["env"]["default"] = others | RUN_ENVIRONMENT | environment | pool.environment
    return found
