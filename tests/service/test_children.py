"""Children of a service: started again when they die, given up on in the end, ended with all they started."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.serve import children as module
from infra.serve.children import RUN_ID, Child, ChildDiedError, Children

FOREVER = "import time; time.sleep(600)"
WITH_RUN = f"""
import os, subprocess, sys
run = os.environ | {{"PREFECT__FLOW_RUN_ID": "7"}}
subprocess.Popen([sys.executable, "-c", {FOREVER!r}], env=run, start_new_session=True).wait()
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""


def python(name: str, code: str, **more) -> Child:
    return Child(name, [sys.executable, "-c", code], {}, **more)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Child, "backoff_s", 0.0)


def runs(child: Child) -> list[psutil.Process]:
    """Return the run that a child started, once it is a program of its own with an environment of its own."""
    return [p for p in psutil.Process(child.process.pid).children() if RUN_ID in p.environ()]


async def until(check) -> None:
    async with asyncio.timeout(60):
        while not check():
            await asyncio.sleep(0.05)


def test_a_killed_child_is_started_again_and_that_is_said(tmp_path: Path):
    said: list[str] = []

    async def scene() -> None:
        children = Children(tmp_path, said.append)
        child = python("worker", FOREVER)
        await children.start(child)
        first = child.process.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: child.process.pid != first)
        second = child.process.pid
        await children.stop(asyncio.Event())
        assert not psutil.pid_exists(second)

    asyncio.run(scene())
    assert said == ["worker ended with signal SIGKILL; starting it again in 0 s"]


def test_a_child_that_keeps_dying_ends_the_whole_with_its_last_words(tmp_path: Path):
    async def scene() -> None:
        children = Children(tmp_path, lambda line: None)
        await children.start(python("worker", "raise SystemExit('no such pool')"))
        async with asyncio.timeout(120):
            await children.until_broken()

    with pytest.raises(ChildDiedError, match=r"worker died 5 times .* exit code 1(?s:.*)no such pool"):
        asyncio.run(scene())


def test_what_a_killed_child_left_behind_is_ended_too(tmp_path: Path):
    async def scene() -> None:
        children = Children(tmp_path, lambda line: None)
        child = python("worker", WITH_RUN)
        await children.start(child)
        await until(lambda: runs(child))
        (orphan,) = runs(child)
        os.kill(child.process.pid, signal.SIGKILL)
        await until(lambda: child.deaths)
        assert orphan.is_running()
        await children.stop(asyncio.Event())
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE

    asyncio.run(scene())


@pytest.mark.parametrize("hurried", [False, True])
def test_a_child_that_does_not_listen_is_killed_after_its_time_or_at_once(
    hurried: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "STOP_S", 1.0 if not hurried else 60.0)

    async def scene() -> float:
        children, hurry = Children(tmp_path, lambda line: None), asyncio.Event()
        child = python("worker", STUBBORN)
        await children.start(child)
        await until(lambda: "up" in (tmp_path / "worker.log").read_text())
        if hurried:
            hurry.set()
        begun = time.monotonic()
        await children.stop(hurry)
        assert not psutil.pid_exists(child.process.pid)
        return time.monotonic() - begun

    taken = asyncio.run(scene())
    assert taken < 40.0 if hurried else 1.0 <= taken < 40.0  # the child itself would last ten minutes


def test_one_child_can_outlive_the_others(tmp_path: Path):
    async def scene() -> None:
        children = Children(tmp_path, lambda line: None)
        server, worker = python("server", FOREVER), python("worker", FOREVER)
        await children.start(server)
        await children.start(worker)
        await children.stop(asyncio.Event(), but="server")
        assert not psutil.pid_exists(worker.process.pid)
        assert psutil.pid_exists(server.process.pid)
        await children.stop(asyncio.Event())
        assert not psutil.pid_exists(server.process.pid)

    asyncio.run(scene())


def test_ended_runs_are_named(tmp_path: Path):
    async def scene() -> set[str]:
        children = Children(tmp_path, lambda line: None)
        child = python("worker", WITH_RUN)
        await children.start(child)
        await until(lambda: runs(child))
        return await children.stop(asyncio.Event())

    assert asyncio.run(scene()) == {"7"}
