"""Compose and Kubernetes: every pool is served, what is set twice agrees, and what is left out is refused."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cloudpickle
import psutil
import pytest
import yaml
from prefect.context import serialize_context
from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings

INFRA = Path(__file__).parents[2] / "infra"
TEXT = (INFRA / "compose.yaml").read_text()
EXAMPLE = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", (INFRA / "compose.env.example").read_text(), re.MULTILINE))
PASSWORDS = {name: "0123456789abcdef" for name in EXAMPLE if name.endswith("PASSWORD")}
CHOSEN = EXAMPLE | PASSWORDS
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([?-])([^}]*))?\})")


class MissingError(Exception):
    """A variable without which compose refuses to start."""


def composed(env: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the services that `docker compose up` starts with this infra/.env."""

    def value(match: re.Match[str]) -> str:
        name, what, word = match.groups()
        if name is None:
            return "$"
        if not env.get(name) and what == "?":
            raise MissingError(name)
        return env.get(name) or (word if what == "-" else "")

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: filled(part) for key, part in node.items()}
        if isinstance(node, list):
            return [filled(part) for part in node]
        return _VARIABLE.sub(value, node) if isinstance(node, str) else node

    services = filled(yaml.safe_load(TEXT)["services"])
    asked = env.get("COMPOSE_PROFILES", "").split(",")
    return {
        name: service
        for name, service in services.items()
        if not service.get("profiles") or set(service["profiles"]) & set(asked)
    }


def manifest(name: str, kind: str, of: str) -> dict[str, Any]:
    """Return one object of a file in infra/kubernetes."""
    documents = yaml.safe_load_all((INFRA / "kubernetes" / name).read_text())
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == of]
    return found


def container(of: Mapping[str, Any]) -> dict[str, Any]:
    (found,) = of["spec"]["template"]["spec"]["containers"]
    return found


def test_the_example_names_every_setting_of_compose():
    assert {name for name, _, _ in _VARIABLE.findall(TEXT) if name} == set(EXAMPLE)


@pytest.mark.parametrize("name", [*PASSWORDS, "COMPOSE_PROFILES", "MINIO_ROOT_USER", "S3_USER"])
def test_compose_refuses_to_start_without_a_password_or_someone_to_serve_the_gpu_pool(name: str):
    with pytest.raises(MissingError, match=name):
        composed(CHOSEN | {name: ""})


def test_the_example_holds_no_password():
    assert len(PASSWORDS) == 4
    assert not any(EXAMPLE[name] for name in PASSWORDS)


def test_passwords_made_as_the_example_says_arrive_whole_where_they_are_part_of_a_url():
    services = composed(CHOSEN)
    urls = [
        services["server"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"],
        services["bucket"]["environment"]["MC_HOST_minio"],
    ]
    assert [urlsplit(url).password for url in urls] == ["0123456789abcdef"] * 2
    assert [urlsplit(url).hostname for url in urls] == ["postgres", "minio"]


@pytest.mark.parametrize("profile", ["gpu", "no-gpu"])
@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_each_pool_has_one_service_that_serves_it_whatever_the_profile(pool: str, profile: str):
    services = composed(CHOSEN | {"COMPOSE_PROFILES": profile})
    serving = [name for name, s in services.items() if f"--pool {pool}" in " ".join(s.get("command", []))]
    assert len(serving) == 1, serving
    assert ("deploy" in services[serving[0]]) == (pool == profile)


def test_the_example_asks_for_no_gpu():
    assert EXAMPLE["COMPOSE_PROFILES"] == "no-gpu"
    assert "worker-no-gpu" in composed(CHOSEN)


def test_links_begin_with_the_public_url_in_compose():
    services = composed(CHOSEN | {"PUBLIC_URL": "https://flows.example.org"})
    server = services["server"]["environment"]
    assert server["PREFECT_UI_API_URL"] == "https://flows.example.org/api"
    for name in ("server", "setup", "worker-cpu"):
        assert services[name]["environment"]["PREFECT_UI_URL"] == "https://flows.example.org"


def test_links_begin_with_the_public_url_in_kubernetes():
    config = manifest("config.yaml", "ConfigMap", "glmstore")["data"]
    assert urlsplit(config["PREFECT_UI_URL"]).scheme == "http"
    env = {e["name"]: e for e in container(manifest("server.yaml", "Deployment", "prefect-server"))["env"]}
    source = env["PREFECT_UI_URL"]["valueFrom"]["configMapKeyRef"]
    assert source == {"name": "glmstore", "key": "PREFECT_UI_URL"}
    assert env["PREFECT_UI_API_URL"]["value"] == "$(PREFECT_UI_URL)/api"
    assert list(env).index("PREFECT_UI_URL") < list(env).index(
        "PREFECT_UI_API_URL"
    )  # else it stays unexpanded
    setup = container(manifest("setup.yaml", "Job", "setup"))
    assert {"configMapRef": {"name": "glmstore"}} in setup["envFrom"]


STAND_IN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (note("told"), os.kill(os.getpid(), signal.SIGINT)))

def note(*words):
    with open(os.environ["CALLED"], "a") as file:
        print(*words, file=file)

try:
    note(os.environ["CUDA_VISIBLE_DEVICES"], os.getpid(), *sys.argv[1:])
    time.sleep(300)
except KeyboardInterrupt:
    time.sleep(0.5)
"""
"""Ends as Prefect's worker does: SIGTERM has it send itself SIGINT."""


@contextmanager
def gpu_workers(folder: Path, gpus: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run what the GPU workers' container does; Prefect is a program that notes how it was called."""
    stub = folder / "prefect"
    stub.write_text(f"#!{sys.executable}\n{STAND_IN}")
    stub.chmod(0o755)
    service = composed(CHOSEN | {"COMPOSE_PROFILES": "gpu", "GPUS": str(gpus)})["worker-gpu"]
    env = {"PATH": f"{folder}:{os.environ['PATH']}", "GPUS": service["environment"]["GPUS"]}
    env["CALLED"] = str(folder / "called")
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a container does not begin by ignoring it
    process = subprocess.Popen([*service["entrypoint"], *service["command"]], env=env)
    try:
        yield process
    finally:
        for child in psutil.Process(process.pid).children() if process.poll() is None else []:
            child.kill()
        process.kill()
        process.wait()
        signal.signal(signal.SIGINT, before)


def called(folder: Path, times: int) -> dict[str, tuple[int, str]]:
    """Wait for so many workers; return the pid and the arguments of each by the GPU that it sees."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = (folder / "called").read_text().splitlines() if (folder / "called").exists() else []
        if len(lines) == times:
            return {gpu: (int(pid), rest) for gpu, pid, rest in (line.split(" ", 2) for line in lines)}
        time.sleep(0.05)
    raise AssertionError(lines)


def test_as_many_gpus_as_the_pool_has_slots_get_a_worker_each_that_sees_no_other(tmp_path: Path):
    services = composed(CHOSEN | {"COMPOSE_PROFILES": "gpu", "GPUS": "3"})
    assert services["setup"]["command"][-2:] == ["--gpus", "3"]
    (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "3", "capabilities": ["gpu"]}
    with gpu_workers(tmp_path, 3):
        workers = called(tmp_path, 3)
    assert sorted(workers) == ["0", "1", "2"]
    assert {words for _, words in workers.values()} == {
        "worker start --pool gpu --type process --limit 1",
    }


@pytest.mark.parametrize("how", ["told to end", "one worker dies"])
def test_the_gpu_workers_end_together_and_in_error_unless_told_to(tmp_path: Path, how: str):
    with gpu_workers(tmp_path, 2) as process:
        workers = called(tmp_path, 2)
        pids = [pid for pid, _ in workers.values()]
        os.kill(process.pid if how == "told to end" else pids[0], signal.SIGTERM)
        code = process.wait(timeout=60)
        assert (code == 0) == (how == "told to end")
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert (tmp_path / "called").read_text().count("told") == 2


def test_kubernetes_gives_the_gpu_pool_as_many_slots_as_it_starts_workers():
    setup = container(manifest("setup.yaml", "Job", "setup"))["command"]
    worker = manifest("workers.yaml", "Deployment", "worker-gpu")
    command = container(worker)["command"]
    assert command[-2] == "--limit"
    assert int(setup[setup.index("--gpus") + 1]) == worker["spec"]["replicas"] * int(command[-1])


@pytest.mark.parametrize(
    ("file", "name"),
    [("workers.yaml", "worker-cpu"), ("workers.yaml", "worker-gpu"), ("server.yaml", "prefect-server")],
)
def test_a_new_pod_waits_until_the_old_one_let_go_of_its_gpu_or_its_volume(file: str, name: str):
    assert manifest(file, "Deployment", name)["spec"]["strategy"] == {"type": "Recreate"}


def test_the_setup_job_which_cannot_be_changed_is_gone_some_time_after_it_ended():
    assert manifest("setup.yaml", "Job", "setup")["spec"]["ttlSecondsAfterFinished"] == 600


@pytest.mark.parametrize("file", ["README.md", "kubernetes/kustomization.yaml"])
def test_the_commands_for_kubernetes_make_the_namespace_first_and_take_the_old_job_away(file: str):
    steps = re.findall(
        r"kubectl .*?(namespace\.yaml|secret\.yaml|job setup|apply -k)", (INFRA / file).read_text()
    )
    assert steps == ["namespace.yaml", "secret.yaml", "job setup", "apply -k"]


def test_an_example_secret_lies_in_the_namespace_that_is_made():
    secrets = list(yaml.safe_load_all((INFRA / "kubernetes/secret.example.yaml").read_text()))
    space = manifest("namespace.yaml", "Namespace", "glmstore")["metadata"]["name"]
    assert {s["metadata"]["namespace"] for s in secrets} == {space}


def test_the_commands_by_hand_limit_the_gpu_pool_and_start_a_worker_for_each():
    header = (INFRA.parent / "prefect.yaml").read_text().partition("\nname:")[0]
    pools = {
        d["work_pool"]["name"]
        for d in yaml.safe_load((INFRA.parent / "prefect.yaml").read_text())["deployments"]
    }
    assert set(re.findall(r"work-pool create (\w+) --type process", header)) == pools
    assert set(re.findall(r"worker start --pool (\w+) --limit \d", header)) == pools
    assert "work-pool set-concurrency-limit gpu 1 " in header


def test_a_flow_that_knows_the_servers_database_would_tell_dask_workers():
    """What infra/dask.md warns of; should Prefect stop doing so, the warning can go."""
    with temporary_settings(
        {PREFECT_SERVER_DATABASE_CONNECTION_URL: "postgresql+asyncpg://prefect:told@db/prefect"}
    ):
        assert b"prefect:told@db" in cloudpickle.dumps(serialize_context())


def test_only_the_server_is_told_what_the_server_reads():
    services = composed(CHOSEN)
    told = {name for name, s in services.items() if "PREFECT_SERVER_" in str(s.get("environment"))}
    assert told == {"server"}
    files = [p for p in (INFRA / "kubernetes").glob("*.yaml") if "PREFECT_SERVER_" in p.read_text()]
    assert [p.name for p in files] == ["server.yaml"]
