"""Deployments: what prefect.yaml says, and what people have set in the UI since."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowFilter,
    FlowFilterId,
)
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse

from infra.serve.options import Options
from infra.serve.pages import every
from infra.serve.pools import Kind

_TIMEOUT_S = 300.0
Key = tuple[str, str]
"""Of a deployment: its name and its entry point."""

_NOT_WHEN = {"active", "slug", "replaces", "parameters"}
"""Of a schedule in the file: what does not say when."""


class DeployError(RuntimeError):
    """`prefect deploy` failed; carries what it said."""


async def deploy(options: Options, kind: Kind = "process") -> list[str]:
    """Create or update every deployment of the file; return their names.

    Runs in processes work in the folder they were deployed from, as Prefect does by default. In containers
    there is no such folder: flows are modules of the image, and nothing is pulled.

    Raises
    ------
    DeployError
        If one could not be.
    """
    asked = yaml.safe_load(options.deployments.read_text())
    async with get_client() as client:
        schedules = {key: found.schedules for key, found in (await _there(client, asked)).items()}
        wanted = with_schedules_kept(asked, schedules)
        with _file_of(wanted if kind == "process" else wanted | {"pull": []}) as file:
            await _prefect_deploy(file)
        there = (await _there(client, asked)).values()
        flows = FlowFilter(id=FlowFilterId(any_=[found.flow_id for found in there]))
        names = {flow.id: flow.name for flow in await every(client.read_flows, flow_filter=flows)}
    return sorted(f"{names[found.flow_id]}/{found.name}" for found in there)


async def _there(client: PrefectClient, asked: dict[str, Any]) -> dict[Key, DeploymentResponse]:
    """Return those deployments of the server that are the file's."""
    ours = {_key(entry) for entry in asked["deployments"]}
    named = DeploymentFilter(name=DeploymentFilterName(any_=sorted({name for name, _ in ours})))
    found = await every(client.read_deployments, deployment_filter=named)
    there = {(deployment.name, str(deployment.entrypoint)): deployment for deployment in found}
    return {key: there[key] for key in there.keys() & ours}


def _key(entry: dict[str, Any]) -> Key:
    return entry["name"], entry["entrypoint"]


def with_schedules_kept(asked: dict[str, Any], there: dict[Key, list[DeploymentSchedule]]) -> dict[str, Any]:
    """Return a file's content by which schedules that are on the server stay switched as they are.

    `prefect deploy` writes `active` anew, and where one schedule has no slug, as those made in the UI have
    none, it deletes all that the file does not name. So what needs no change is not mentioned.
    """
    entries = [_entry_kept(entry, there.get(_key(entry), [])) for entry in asked["deployments"]]
    return asked | {"deployments": entries}


def _entry_kept(entry: dict[str, Any], there: list[DeploymentSchedule]) -> dict[str, Any]:
    pairs = [(asked, _same(asked, there)) for asked in entry.get("schedules") or []]
    if all(found and found.slug and _as_asked(found, asked) for asked, found in pairs):
        return {key: value for key, value in entry.items() if key != "schedules"}
    kept = [asked | {"active": found.active} if found else asked for asked, found in pairs]
    return entry | {"schedules": kept}


def _same(asked: dict[str, Any], there: list[DeploymentSchedule]) -> DeploymentSchedule | None:
    """Return the schedule of this slug, else one without a slug that says the same."""
    slug = asked.get("slug")
    named = [schedule for schedule in there if slug and schedule.slug == slug]
    unnamed = [schedule for schedule in there if not schedule.slug and _as_asked(schedule, asked)]
    return next(iter(named + unnamed), None)


def _as_asked(there: DeploymentSchedule, asked: dict[str, Any]) -> bool:
    when = there.schedule.model_dump(mode="json")
    times = all(when.get(key) == value for key, value in asked.items() if key not in _NOT_WHEN)
    return times and (there.parameters or {}) == asked.get("parameters", {})


@contextmanager
def _file_of(content: dict[str, Any]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(content))
        yield file


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
