"""What the parts of a service are told: places, addresses, GPUs, storage; how automations are compared."""

import asyncio
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
import typer
import yaml
from prefect.client.orchestration import get_client
from prefect.server.events.schemas.automations import EventTrigger
from prefect.settings import PREFECT_HOME, temporary_settings
from typer.testing import CliRunner

from glmstore.errors import StoreError
from infra.serve import service as module
from infra.serve import setup
from infra.serve.automations import _told, _wanted
from infra.serve.deploying import deploy, with_schedules_kept
from infra.serve.options import Options, lasting_store, withhold
from infra.serve.pools import RUN_ENVIRONMENT, Kind, pools, template, with_defaults
from infra.serve.provision import Provisioned
from infra.serve.reconciling import worker_name
from infra.serve.results import storage_environment

TOLD = """
import json
from infra.serve.automations import _told, _wanted
from infra.serve.options import Options
print(json.dumps([_told(wanted) for wanted in _wanted(Options(), None)]))
"""


def trigger(name: str) -> EventTrigger:
    """Return the trigger of an automation as the server reads it."""
    (wanted,) = [a for a in _wanted(Options(), None) if a.name == name]
    return EventTrigger.model_validate(wanted.trigger.model_dump(mode="json"))


def test_automations_compare_equal_under_every_hash_seed(root):
    command = [sys.executable, "-c", TOLD]
    seeds = [os.environ | {"PYTHONHASHSEED": str(seed)} for seed in (0, 1, 2)]
    running = [subprocess.Popen(command, cwd=root, env=env, stdout=subprocess.PIPE) for env in seeds]
    said = [process.communicate(timeout=240)[0] for process in running]
    assert said[0]
    assert said == [said[0]] * 3


def test_a_changed_automation_compares_unequal():
    one, other = (
        {a.name: _told(a) for a in _wanted(Options(silent_s=seconds), None)} for seconds in (90.0, 60.0)
    )
    assert {name for name in one if one[name] != other[name]} == {"zombie runs"}


def test_every_end_of_a_run_ends_the_watch_for_its_heartbeat():
    for name in ("Completed", "Skipped", "Failed", "Crashed", "Cancelled", "TimedOut"):
        assert trigger("zombie runs").expects(f"prefect.flow-run.{name}")
    assert not trigger("zombie runs").expects("prefect.flow-run.Running")


def test_a_run_is_watched_from_its_beginning_and_from_each_heartbeat():
    for name in ("zombie runs", "zombie runs elsewhere"):
        for beginning in ("Running", "heartbeat"):
            assert trigger(name).starts_after(f"prefect.flow-run.{beginning}")
        assert not trigger(name).starts_after("prefect.flow-run.Pending")


def test_a_run_that_began_or_waits_again_is_not_held_for_one_that_never_began():
    unbegun = trigger("runs that never began")
    for name in ("Running", "heartbeat", "AwaitingConcurrencySlot", "AwaitingRetry", "Failed", "Cancelled"):
        assert unbegun.expects(f"prefect.flow-run.{name}")
        assert not unbegun.starts_after(f"prefect.flow-run.{name}")
    assert unbegun.starts_after("prefect.flow-run.Pending")


@pytest.mark.parametrize("store", ["", " ", "memory://", "MEMORY://x"])
def test_a_store_without_a_place_is_refused(store: str):
    with pytest.raises(StoreError, match=r"needs a place|one process only"):
        lasting_store(store)


@pytest.mark.parametrize("below", ["", "/x"])
def test_a_store_that_cannot_be_made_is_refused_by_name(tmp_path, below: str):
    (tmp_path / "file").write_text("")
    with pytest.raises(module.CannotServeError, match="file"):
        module._open_store(f"{tmp_path}/file{below}")
    with pytest.raises(module.CannotServeError, match="/proc/nope"):
        module._open_store("/proc/nope")


def test_browsers_elsewhere_are_not_sent_to_their_own_machine(monkeypatch):
    monkeypatch.delenv("PREFECT_UI_API_URL", raising=False)
    everywhere = Options(host="0.0.0.0")  # noqa: S104
    here = f"http://{socket.gethostname()}:4200"
    assert everywhere.server_environment()["PREFECT_UI_API_URL"] == f"{here}/api"
    assert everywhere.environment()["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert Options().server_environment()["PREFECT_UI_API_URL"] == "http://127.0.0.1:4200/api"
    monkeypatch.setenv("PREFECT_UI_API_URL", "https://prefect.example.org/api")
    assert everywhere.server_environment()["PREFECT_UI_API_URL"] == "https://prefect.example.org/api"


@pytest.mark.parametrize(
    ("options", "more"),
    [
        (Options(), []),
        (Options(host="10.0.0.5"), ["http://10.0.0.5:4200"]),
        (Options(host="::1"), ["http://[::1]:4200"]),
        (Options(ui="https://prefect.example.org:443/glm"), ["https://prefect.example.org"]),
    ],
)
def test_pages_of_the_ui_may_read_the_api_and_no_others(monkeypatch, options: Options, more: list[str]):
    for name in ("UI_URL", "SERVER_CORS_ALLOWED_ORIGINS", "SERVER_CSRF_PROTECTION_ENABLED"):
        monkeypatch.delenv(f"PREFECT_{name}", raising=False)
    found = options.server_environment()
    allowed = ["http://127.0.0.1:4200", "http://localhost:4200", *more]
    assert sorted(found["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"].split(",")) == sorted(allowed)
    assert found["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"


def test_a_ui_that_others_open_by_an_address_of_this_machine_works_for_them(monkeypatch):
    of_card = [SimpleNamespace(family=socket.AF_INET, address="10.0.0.5")]
    monkeypatch.setattr("psutil.net_if_addrs", lambda: {"eth0": of_card})
    monkeypatch.delenv("PREFECT_UI_URL", raising=False)
    allowed = Options(host="0.0.0.0").origins  # noqa: S104
    assert {"http://10.0.0.5:4200", f"http://{socket.gethostname()}:4200"} <= set(allowed)
    assert "http://10.0.0.5:4200" not in Options().origins


def test_a_server_behind_tls_is_linked_by_its_own_address(monkeypatch, tmp_path):
    given = []

    async def provision(options, *rest):
        given.append(options)
        return Provisioned((), (), {}, notifies=False)

    async def deploy(*rest):
        return []

    monkeypatch.delenv("PREFECT_UI_URL", raising=False)
    monkeypatch.setattr(setup, "provision", provision)
    monkeypatch.setattr(setup, "deploy", deploy)
    told = ["--api", "https://prefect.example.org/api/", "--store", str(tmp_path)]
    app = typer.Typer()
    app.command()(setup.main)
    done = CliRunner().invoke(app, told, catch_exceptions=False)
    assert done.exit_code == 0
    assert [options.seen_as for options in given] == ["https://prefect.example.org"]


def test_what_a_person_set_for_the_server_counts_and_reaches_nobody_else(monkeypatch):
    of_server = {
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "https://lab.example.org",
        "PREFECT_SERVER_API_AUTH_STRING": "name:a-password-of-tests",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://prefect:a-password-of-tests@db/prefect",
        "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://prefect:a-password-of-tests@db/prefect",
    }
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.update(of_server)
    os.environ["SERVE_NOTIFY_URL"] = "https://hooks.example.org/a-secret-of-tests"
    everybody, server = Options().environment(), Options().server_environment()
    withhold()
    assert of_server.items() <= server.items()
    assert everybody["PREFECT_API_AUTH_STRING"] == "name:a-password-of-tests"  # by which clients are let in
    assert not of_server.keys() & os.environ.keys()
    assert "SERVE_NOTIFY_URL" not in os.environ


def test_every_gpu_has_one_worker_and_the_cpu_pool_none(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-7")
    cpu, first, second = module._workers(Options(gpus=5), {})  # three are other machines'
    assert cpu.env["CUDA_VISIBLE_DEVICES"] == ""
    assert cpu.env["GLMSTORE_DEVICE"] == "cpu"
    assert first.env["CUDA_VISIBLE_DEVICES"] == "2"
    assert second.env["CUDA_VISIBLE_DEVICES"] == "GPU-7"
    assert "GLMSTORE_DEVICE" not in first.env


@pytest.mark.parametrize(("asked", "workers"), [(0, 0), (1, 1), (3, 0)])
def test_without_a_gpu_the_cpu_stands_in_for_one_but_not_for_those_of_other_machines(
    monkeypatch, asked: int, workers: int
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    started = module._workers(Options(gpus=asked), {})[1:]
    assert [child.env["GLMSTORE_DEVICE"] for child in started] == ["cpu"] * workers


def test_workers_of_another_home_are_not_taken_for_ours(tmp_path):
    own = worker_name("gpu", 0)
    with temporary_settings({PREFECT_HOME: tmp_path}):
        assert worker_name("gpu", 0) != own
    assert worker_name("gpu", 0) == own


def test_people_are_told_the_address_that_a_proxy_gives_the_ui(monkeypatch):
    monkeypatch.setenv("PREFECT_UI_URL", "https://prefect.example.org/")
    assert Options(host="0.0.0.0").seen_as == "https://prefect.example.org"  # noqa: S104


def test_containers_learn_where_storage_is_and_not_who_may_use_it(monkeypatch):
    for name in ("ENDPOINT_URL", "ENDPOINT_URL_S3", "REGION", "DEFAULT_REGION", "PROFILE", "SESSION_TOKEN"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio:9000")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-name-of-tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-tests")
    assert storage_environment() == {"AWS_ENDPOINT_URL": "http://minio:9000", "AWS_REGION": "eu-west-1"}


def test_a_pool_that_is_there_gets_the_new_image_and_keeps_what_a_person_changed():
    there = {
        "job_configuration": {"changed": "by hand"},
        "variables": {"properties": {"image": {"default": "old"}, "env": {"default": {"OWN": "1"}}}},
    }
    there["variables"]["properties"]["env"]["default"]["AWS_ENDPOINT_URL"] = "http://where-it-was:9000"
    _, gpu = pools(1)
    given = with_defaults(there, gpu, "new", {"GLMSTORE_STORE": "s3://b/s"})
    assert given["job_configuration"] == {"changed": "by hand"}
    assert given["variables"]["properties"]["image"]["default"] == "new"
    assert given["variables"]["properties"]["env"]["default"] == RUN_ENVIRONMENT | {
        "OWN": "1",
        "GLMSTORE_STORE": "s3://b/s",
    }


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_one_image_for_both_pools_computes_on_the_cpu_where_it_gets_no_gpu(kind: Kind):
    class Client:
        async def read_worker_metadata(self):
            variables = {"properties": {"image": {}, "env": {"default": {}}}}
            container = {"resources": {"limits": {}}}
            spec = {"template": {"spec": {"containers": [container]}}}
            of_kind = {"job_configuration": {"job_manifest": {"spec": spec}}, "variables": variables}
            return {f"prefect-{kind}": {kind: {"default_base_job_configuration": of_kind}}}

    cpu, gpu = (
        asyncio.run(template(Client(), pool, kind, "glmstore:cuda", {"GLMSTORE_STORE": "s3://b/s"}))
        for pool in pools(2)
    )
    of_cpu, of_gpu = (found["variables"]["properties"]["env"]["default"] for found in (cpu, gpu))
    assert of_gpu == RUN_ENVIRONMENT | {"GLMSTORE_STORE": "s3://b/s"}  # the image says cuda
    assert of_cpu == of_gpu | {"GLMSTORE_DEVICE": "cpu"}
    spec = gpu["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    limits = spec["containers"][0]["resources"]["limits"]
    assert limits == ({"nvidia.com/gpu": 1} if kind == "kubernetes" else {})


def test_runs_in_processes_take_their_device_from_their_worker():
    for pool in pools(1):
        found = asyncio.run(template(None, pool, "process", "", {}))
        assert "default" not in found["variables"]["properties"]["env"]


@pytest.mark.slow
def test_runs_in_containers_do_not_look_for_the_folder_they_were_deployed_from(
    service, tmp_path, monkeypatch
):
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_SERVER_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, service.env[name])
    file = tmp_path / "prefect.yaml"
    deployment = {"entrypoint": "flows.maintain_store.maintain_store", "work_pool": {"name": "cpu"}}
    steps = {}
    for kind in ("process", "docker"):
        file.write_text(yaml.safe_dump({"deployments": [deployment | {"name": f"in-{kind}"}]}))
        asyncio.run(deploy(Options(deployments=file), kind))
        with get_client(sync_client=True) as client:
            steps[kind] = client.read_deployment_by_name(f"maintain-store/in-{kind}").pull_steps
    assert not steps["docker"]
    assert list(steps["process"][0]) == ["prefect.deployments.steps.set_working_directory"]


def test_a_server_that_has_nothing_yet_gets_the_file_as_it_is(root):
    asked = yaml.safe_load((root / "prefect.yaml").read_text())
    assert with_schedules_kept(asked, {}) == asked
