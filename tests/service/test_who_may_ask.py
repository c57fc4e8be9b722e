"""Who may use a service on loopback: its own pages and clients; no page of the web, no reader of `ps`."""

import json
import os
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from infra.serve.children import MARK
from infra.serve.guarded import guarded

EVIL = "https://evil.example"
SECRET = "a-secret-of-tests"  # noqa: S105  (it is none)


@pytest.fixture
def asking(service):
    with httpx.Client(base_url=f"{service.url}/api", timeout=120) as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("origin", [EVIL, "http://localhost:1", "null"])
def test_a_page_elsewhere_is_neither_let_in_nor_let_read(asking: httpx.Client, origin: str):
    wants = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    refused = asking.options("/deployments/", headers={"Origin": origin} | wants)
    assert refused.status_code == 400
    token = asking.get("/csrf-token", params={"client": "evil"}, headers={"Origin": origin})
    for answer in (refused, token):
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["application/json", "text/plain", None])
def test_nothing_is_changed_for_who_has_no_token(asking: httpx.Client, kind: str | None):
    headers = {"Origin": EVIL} | ({"Content-Type": kind} if kind else {})
    refused = asking.post("/flows/", content=b'{"name": "planted"}', headers=headers)
    assert (refused.status_code, refused.json()) == (403, {"detail": "Missing CSRF token."})
    assert asking.get("/flows/name/planted").status_code == 404


@pytest.mark.slow
def test_a_name_that_was_made_to_point_here_is_not_answered(asking: httpx.Client, service):
    for path in ("/csrf-token?client=evil", "/health", "/flows/filter"):
        refused = asking.get(path, headers={"Host": f"evil.example:{service.port}"})
        assert (refused.status_code, refused.text) == (400, "Invalid host header")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["events/in", "events/out", "logs/out"])
def test_websockets_are_opened_by_programs_and_own_pages_only(service, path: str):
    address = f"ws://127.0.0.1:{service.port}/api/{path}"
    for origin in (EVIL, f"http://localhost:{service.port + 1}", "null"):
        with pytest.raises(InvalidStatus, match="403"), connect(address, origin=origin):
            pytest.fail(f"{origin} was let in")
    for origin in (None, f"http://localhost:{service.port}"):
        with connect(address, origin=origin, subprotocols=["prefect"]) as opened:
            opened.send('{"type": "auth", "token": null}')
            assert json.loads(opened.recv(timeout=10))["type"] == "auth_success"


def test_who_is_asked_for_a_password_may_come_under_any_name():
    async def app(scope, receive, send):
        """Answer nothing."""

    assert guarded(app, ["http://127.0.0.1:4200"], has_password=True) is app
    assert guarded(app, ["*"], has_password=False) is app
    assert guarded(app, ["http://127.0.0.1:4200"], has_password=False) is not app


@pytest.mark.slow
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_pages_of_the_ui_are_let_in_under_both_their_names(asking: httpx.Client, service, name: str):
    origin = f"http://{name}:{service.port}"
    asked = asking.options("/flows/", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, origin)


def environments_of(home: Path) -> dict[str, dict[str, str]]:
    """Return what each process that a service started by itself finds in its environment, by its name."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            environment = process.environ()
            if environment.get("PREFECT_HOME") == str(home) and MARK in environment:
                found[environment[MARK].partition("/")[2]] = environment
    return found


@pytest.mark.slow
def test_only_the_server_knows_its_database_and_nobody_the_webhook(service, until):
    def all_there() -> dict[str, dict[str, str]] | None:
        found = environments_of(service.home)
        return found if set(found) == {"server", "worker-cpu", "worker-gpu-0"} else None

    environments = until("workers are there again", all_there, 30)
    server = environments.pop("server")
    assert SECRET in server["PREFECT_API_DATABASE_CONNECTION_URL"]
    assert (service.home / f"{SECRET}.db").is_file()
    of_server = ("PREFECT_SERVER_", "PREFECT_API_DATABASE_")
    for name, environment in environments.items():
        assert environment["PREFECT_API_URL"] == f"{service.url}/api", name
        assert not [key for key in environment if key.startswith(of_server)], name
        assert SECRET not in str(environment), name
    assert "SERVE_NOTIFY_URL" not in server


@pytest.mark.parametrize("said", ["on the command line", "by variable"])
def test_make_hands_a_webhook_on_where_ps_does_not_show_it(root: Path, tmp_path: Path, said: str):
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$@"\nenv\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    for made in (".run", ".service"):
        (tmp_path / made).touch()
    hook = f"https://hooks.example.org/{SECRET}"
    given = [f"NOTIFY_URL={hook}"] if said == "on the command line" else []
    env = {k: v for k, v in os.environ.items() if "NOTIFY" not in k and not k.startswith("MAKE")}
    told = subprocess.run(
        ["make", "serve", f"VENV={tmp_path}", "PORT=9411", *given],
        cwd=root,
        env=env if given else env | {"NOTIFY_URL": hook},
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    ).stdout.splitlines()
    assert told[0] == "-m infra.serve --port 9411"
    assert [line for line in told if SECRET in line] == [f"SERVE_NOTIFY_URL={hook}"]
