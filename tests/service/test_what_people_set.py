"""What people set in the UI outlives a restart of the service; the server may hold far more than is ours."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prefect.automations import AutomationCore, CallWebhook
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_CSRF_PROTECTION_ENABLED,
    temporary_settings,
)
from prefect.testing.utilities import prefect_test_harness

from infra.serve.automations import HOOK, ensure_automations, notifies
from infra.serve.deploying import deploy
from infra.serve.options import Options
from infra.serve.pages import every
from infra.serve.reconciling import end_abandoned

pytestmark = pytest.mark.slow

PAGE = 200
FLOWS = "from prefect import flow\n\n@flow\ndef upkeep():\n    pass\n\n@flow\ndef suite():\n    pass\n"


@pytest.fixture(scope="module")
def client() -> Iterator[SyncPrefectClient]:
    """Start a server as guarded as the service's, and return its client."""
    with (
        temporary_settings({PREFECT_SERVER_CSRF_PROTECTION_ENABLED: True}),
        prefect_test_harness(server_startup_timeout=240),
        get_client(sync_client=True) as client,
    ):
        client.create_work_pool(WorkPoolCreate(name="cpu", type="process"))
        yield client


class Deployed:
    """A file of deployments, and what the server has of it."""

    def __init__(self, folder: Path, client: SyncPrefectClient) -> None:
        self.file, self.client = folder / "prefect.yaml", client
        self.hour = 1
        (folder / "people.py").write_text(FLOWS)

    def again(self) -> tuple[DeploymentResponse, DeploymentResponse]:
        """Deploy, as every start of the service does; return both deployments."""
        off = {"slug": "nightly", "cron": f"30 {self.hour} * * *", "timezone": "UTC", "active": False}
        on = {"slug": "daily", "cron": "15 1 * * *"}
        entries = [
            {"name": "off", "entrypoint": "people.suite", "schedules": [off]},
            {"name": "on", "entrypoint": "people.upkeep", "schedules": [on]},
        ]
        pool = {"work_pool": {"name": "cpu"}}
        self.file.write_text(yaml.safe_dump({"deployments": [entry | pool for entry in entries]}))
        names = asyncio.run(deploy(Options(deployments=self.file)))
        assert names == ["suite/off", "upkeep/on"]
        off_now, on_now = (self.client.read_deployment_by_name(name) for name in names)
        return off_now, on_now


@pytest.fixture
def deployed(client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Deployed(tmp_path, client)


def switches(*deployments: DeploymentResponse) -> list[tuple[object, ...]]:
    return [(s.id, s.slug, s.active) for deployment in deployments for s in deployment.schedules]


def test_schedules_stay_switched_as_people_left_them(client: SyncPrefectClient, deployed: Deployed):
    off, on = deployed.again()
    assert [active for *_, active in switches(off, on)] == [False, True]
    client.update_deployment_schedule(off.id, off.schedules[0].id, active=True)
    client.update_deployment_schedule(on.id, on.schedules[0].id, active=False)
    client.create_deployment_schedules(on.id, [(CronSchedule(cron="0 12 * * 1"), True)])
    left = [client.read_deployment(deployment.id) for deployment in (off, on)]
    assert len(switches(*left)) == 3

    assert switches(*deployed.again()) == switches(*left)
    deployed.hour = 4  # what the file says of when goes on to count
    off, on = deployed.again()
    assert off.schedules[0].schedule == CronSchedule(cron="30 4 * * *", timezone="UTC")
    assert switches(off, on) == switches(*left)


def test_every_schedule_that_is_shipped_can_be_told_from_those_of_people(root: Path):
    shipped = yaml.safe_load((root / "prefect.yaml").read_text())["deployments"]
    schedules = [schedule for entry in shipped for schedule in entry.get("schedules", [])]
    assert len(schedules) == 4
    assert all(schedule["slug"] for schedule in schedules)


def test_whom_people_chose_to_tell_is_told_after_a_restart_too(client: SyncPrefectClient, automations_now):
    async def start(url: str | None):
        async with get_client() as ours:
            await ensure_automations(ours, Options(notify_url=url))
            (failed,) = await ours.read_automations_by_name("failed runs")
        return failed

    async def choose(failed, actions):
        async with get_client() as ours:
            chosen = AutomationCore(name=failed.name, trigger=failed.trigger, actions=actions)
            await ours.update_automation(failed.id, chosen)

    first = asyncio.run(start(None))
    assert not notifies(first)
    slack = Webhook(url="https://hooks.example.org/services/a/b").save("a-person-s", overwrite=True)
    theirs = CallWebhook(block_document_id=slack, payload="{{ flow.name }}")
    asyncio.run(choose(first, [theirs]))

    without = asyncio.run(start(None))
    assert without.actions == [theirs]
    given = asyncio.run(start("http://127.0.0.1:9/hook"))
    hook = client.read_block_document_by_name(HOOK, "webhook").id
    assert isinstance(given.actions[0], CallWebhook)
    assert [action.block_document_id for action in given.actions] == [hook, slack]
    assert asyncio.run(start(None)).actions == given.actions
    before = automations_now()
    again = asyncio.run(start("http://127.0.0.1:9/other"))
    assert again == given
    assert automations_now() == before
    assert again.id == first.id
    assert notifies(again)


def test_a_server_with_more_than_a_page_of_others_things_is_set_up_too(
    client: SyncPrefectClient, deployed: Deployed
):
    for number in range(PAGE + 1):
        client.create_flow_from_name(f"another-{number:03}")
        client.create_work_pool(WorkPoolCreate(name=f"another-{number:03}", type="docker"))
    there = client.read_flow_by_name("another-000")
    client.create_deployment(there.id, "off", entrypoint="another.flow")
    deployed.again()

    async def reconcile():
        async with get_client() as ours:
            return await end_abandoned(ours), await every(ours.read_work_pools)

    ended, pools = asyncio.run(reconcile())
    assert ended == []
    assert {pool.name for pool in pools} >= {f"another-{number:03}" for number in range(PAGE + 1)}
