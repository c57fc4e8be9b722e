"""`make serve`: what it says, what it sets up, what it schedules, and what it refuses."""

import asyncio
import os
import subprocess
import sys

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

from infra.serve.options import Options
from infra.serve.provision import provision

pytestmark = pytest.mark.slow


def start(root, env, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "infra.serve", *options]
    return subprocess.run(
        command, cwd=root, env=env, capture_output=True, text=True, timeout=180, check=False
    )


def test_it_says_where_everything_is_and_what_to_do_next(service):
    for words in (service.url, service.store, "maintain-store", "zombie runs", "stale store", "Quick run"):
        assert words in service.said
    assert f"PREFECT_API_URL={service.url}/api prefect deployment run" in service.said


def test_it_listens_on_loopback_only(service):
    listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    bound = {c.laddr.ip for c in listening if c.laddr.port == service.port}
    assert bound == {"127.0.0.1"}


def test_setting_up_again_changes_nothing(service, silent_s, unbegun_s, stale_s):
    async def there():
        async with get_client() as client:
            automations = await client.read_automations()
            pools = await client.read_work_pools()
            limits = await client.read_global_concurrency_limits(limit=100, offset=0)
        return (
            {(a.id, a.name, a.trigger.model_dump_json()) for a in automations},
            {(p.id, p.name, p.concurrency_limit) for p in pools},
            {limit.name for limit in limits if ":" not in limit.name},
        )

    patience = {"silent_s": silent_s, "unbegun_s": unbegun_s, "stale_s": stale_s}
    options = Options(store=service.store, port=service.port, **patience)
    before = asyncio.run(there())
    asyncio.run(provision(options))
    assert asyncio.run(there()) == before
    assert before[2] == set()  # the gpu pool's limit is what binds; a second one would bind nothing
    assert {(name, limit) for _, name, limit in before[1]} == {("cpu", None), ("gpu", 1)}


def test_schedules_create_runs_without_anybody_asking(service, until):
    def scheduled():
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name("maintain-store/maintain-store")
            of_it = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
            runs = client.read_flow_runs(deployment_filter=of_it)
        return [run for run in runs if run.auto_scheduled]

    found = until("runs are scheduled", scheduled, 90)
    assert all((run.expected_start_time.hour, run.expected_start_time.minute) == (1, 15) for run in found)


def test_no_service_of_the_server_breaks_down(service):
    log = (service.home / "logs" / "server.log").read_text(errors="replace")
    assert f"on 127.0.0.1, port {service.port}" in log
    broken = [line for line in log.splitlines() if "schedule" in line.lower() and "error" in line.lower()]
    assert broken == []
    assert "InvalidRequestError" not in log


def test_a_second_service_says_what_is_in_its_way(service, root, tmp_path):
    without_api = {k: v for k, v in service.env.items() if k != "PREFECT_API_URL"}
    same_home = start(root, without_api, "--port", str(service.port + 1))
    assert same_home.returncode == 2
    assert "Another `make serve` runs" in same_home.stdout
    same_port = start(root, without_api | {"PREFECT_HOME": str(tmp_path)}, "--port", str(service.port))
    assert same_port.returncode == 2
    assert f"Port {service.port} of 127.0.0.1 is taken by a Prefect server" in same_port.stdout
    assert "make serve PORT=" in same_port.stdout


def test_an_address_that_others_reach_needs_a_password(root, tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")} | {
        "PREFECT_HOME": str(tmp_path)
    }
    refused = start(root, env, "--host", "0.0.0.0")  # noqa: S104
    assert refused.returncode == 2
    assert "PREFECT_SERVER_API_AUTH_STRING" in refused.stdout


def test_a_store_that_no_run_could_open_is_refused(root, tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    refused = start(root, env | {"PREFECT_HOME": str(tmp_path)}, "--store", "memory://")
    assert refused.returncode == 2
    assert "lives in one process only" in refused.stdout
