"""Processes that run for as long as the service: started in order, restarted when they die, ended in reverse.

Why no library: supervisor and circus are steered through a control socket of their own and start everything
at once, honcho restarts nothing and ends everything when one dies. What is wanted here is less: wait for one
to answer before the next is started, and leave nothing behind, runs of a killed worker included.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MARK = "GLMSTORE_SERVED_BY"
"""Environment variable by which everything that a child starts is known again, orphans too."""

DEATHS, WITHIN_S = 5, 120.0
"""A child that dies so often in so many seconds is not started again."""

RUN_ID = "PREFECT__FLOW_RUN_ID"
"""Environment variable in which a run's process finds its id."""

STOP_S = 20.0
"""Seconds that a child has to end itself."""

LAST_WORDS = 15


class ChildDiedError(RuntimeError):
    """A child died, again and again or before it was of use; carries the end of its log."""


@dataclass
class Child:
    """One process of the service.

    Attributes
    ----------
    name
        Names its log file too.
    command
        Program and arguments.
    env
        Beside what this process has.
    grace_s
        Seconds that what it started has to end itself, once asked to.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    grace_s: float = 0.0
    process: asyncio.subprocess.Process | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS))

    @property
    def backoff_s(self) -> float:
        """Seconds to wait before it is started again: 1, 2, 4, … by how often it died of late."""
        return float(2 ** max(0, len(self.deaths) - 1))


class Children:
    """All processes of one service.

    Parameters
    ----------
    logs
        Folder of one log file a child.
    say
        Told one line about each event.
    """

    def __init__(self, logs: Path, say: Callable[[str], None]) -> None:
        self.logs, self._say = logs, say
        self._mark = uuid.uuid4().hex
        self._all: list[Child] = []
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        logs.mkdir(parents=True, exist_ok=True)

    def log(self, name: str) -> Path:
        """Return the log file of a child."""
        return self.logs / f"{name}.log"

    async def start(self, child: Child) -> None:
        """Start a child and keep it running."""
        await self._spawn(child)
        self._all.append(child)
        self._watchers[child.name] = asyncio.create_task(self._keep(child))

    async def until_broken(self) -> None:
        """Wait for a child that cannot be kept running.

        Raises
        ------
        ChildDiedError
            Then.
        """
        await asyncio.shield(self._broken)

    async def stop(self, hurry: asyncio.Event, *, but: str = "") -> set[str]:
        """End every child but one, last started first, and whatever they started.

        Parameters
        ----------
        hurry
            Set when nothing may take its time any more.
        but
            A child that goes on.

        Returns
        -------
        set of str
            Ids of the flow runs that were ended with them.
        """
        runs: set[str] = set()
        for child in reversed(self._all):
            if child.name != but:
                self._watchers[child.name].cancel()
                runs |= await self._end(child, hurry)
        return runs

    async def _spawn(self, child: Child) -> None:
        environment = {**os.environ, **child.env, MARK: f"{self._mark}/{child.name}"}
        with self.log(child.name).open("ab") as log:
            child.process = await asyncio.create_subprocess_exec(
                *_dying_with_us(child.command),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _keep(self, child: Child) -> None:
        while True:
            assert child.process is not None  # noqa: S101  (it was spawned)
            code = await child.process.wait()
            child.deaths.append(time.monotonic())
            often = len(child.deaths) == DEATHS and child.deaths[-1] - child.deaths[0] < WITHIN_S
            if often:
                self._give_up(child, code)
                return
            self._say(f"{child.name} ended with {_words(code)}; starting it again in {child.backoff_s:.0f} s")
            await asyncio.sleep(child.backoff_s)
            await self._spawn(child)

    def refuse_dead(self, name: str) -> None:
        """Refuse a child that has died at all: it never came to work.

        Raises
        ------
        ChildDiedError
            Then.
        """
        for child in self._all:
            if child.name == name and child.deaths:
                raise ChildDiedError(f"{name} does not start. {self._last_words(name)}")

    def _give_up(self, child: Child, code: int) -> None:
        if not self._broken.done():
            often = f"{child.name} died {DEATHS} times within {WITHIN_S:.0f} s, at last with {_words(code)}."
            self._broken.set_exception(ChildDiedError(f"{often} {self._last_words(child.name)}"))

    def _last_words(self, name: str) -> str:
        with self.log(name).open(errors="replace") as file:
            return f"The end of {self.log(name)}:\n{''.join(deque(file, LAST_WORDS))}"

    async def _end(self, child: Child, hurry: asyncio.Event) -> set[str]:
        """End what a child started, then itself: a worker that is asked first kills its runs unheard."""
        process = child.process
        assert process is not None  # noqa: S101  (it was spawned)
        own = self._marked(child.name)
        runs = {run for started in own if (run := _environment(started).get(RUN_ID))}
        started = [p for p in own if p.pid != process.pid]
        await _leave(started, hurry, child.grace_s)
        await _leave([p for p in self._marked(child.name) if p.pid == process.pid], hurry, STOP_S)
        await _leave(self._marked(child.name), hurry, 0)
        await process.wait()
        return runs

    def _marked(self, name: str) -> list[psutil.Process]:
        """Return the living processes that a child started at any depth, itself included."""
        mark = f"{self._mark}/{name}"
        return [process for process in psutil.process_iter() if _environment(process).get(MARK) == mark]


def processes_of_runs() -> set[str]:
    """Return the ids of flow runs that a process of this user carries on this machine."""
    found = (_environment(process).get(RUN_ID) for process in psutil.process_iter())
    return {run for run in found if run}


async def _leave(processes: list[psutil.Process], hurry: asyncio.Event, patience_s: float) -> None:
    """Ask processes to end, wait for them, and kill those that stay."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    until = time.monotonic() + patience_s
    while any(_alive(process) for process in processes):
        if hurry.is_set() or time.monotonic() > until:
            break
        await asyncio.sleep(0.1)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        found: dict[str, str] = process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return {}
    return found


def _dying_with_us(command: Sequence[str]) -> list[str]:
    """Let Linux end the command when this process is killed; elsewhere a killed service leaves it behind."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--", *command] if setpriv else list(command)


def _words(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
