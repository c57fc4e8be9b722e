"""Start writers, see what they were told, and kill them while they are writing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]
SECONDS = {"sequences": 0.01, "pooled": 0.02, "tokens": 0.04, "results": 0.02, "optimize": 0.2}
"""About how long each step takes on disk, so that kills fall everywhere in it."""

Step = tuple[str, int]


class Mother:
    """The process that forks the writers of all nests; see :mod:`infra.chaos.writer`.

    Attributes
    ----------
    in_step
        Whether every answer was read. Not once this process was told to end while it waited for one.
    """

    def __init__(self) -> None:
        self._started: subprocess.Popen[str] | None = None
        self.in_step = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started is not None:
            self._started.communicate()  # closes what it reads, which ends it

    @property
    def _process(self) -> subprocess.Popen[str]:
        """The process, started when it is first needed, with the environment of then."""
        if self._started is None:
            self._started = subprocess.Popen(
                [sys.executable, "-m", "infra.chaos.writer"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        return self._started

    def send(self, *words: object) -> int:
        """Give it a command and return its answer; RuntimeError if it gives none."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        self.in_step = False
        answer = self._process.stdout.readline()
        self.in_step = True
        if not answer:
            raise RuntimeError(f"no writers can be started: their mother ended with {self._process.wait()}")
        return int(answer)


class Nest:
    """Writers of one store and their notes.

    Parameters
    ----------
    mother
        Which forks them.
    uri
        Of the store they write to.
    folder
        Where their notes and what they say on standard error go.
    env
        Beside what the mother has.
    file_bytes
        Limit of the size of a file, None for none.
    """

    def __init__(
        self,
        mother: Mother,
        uri: str,
        folder: Path,
        env: Mapping[str, str] | None = None,
        file_bytes: int | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.uri, self.log, self.errors = uri, folder / "notes", folder / "errors"
        self.log.touch()
        self.errors.touch()
        self._mother, self._alive = mother, set[int]()
        self._settings = (uri, str(self.log), str(self.errors), dict(env or {}), file_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fork(self, *job: object) -> int:
        pid = self._mother.send(*self._settings, *job)
        self._alive.add(pid)
        return pid

    def write(self, numbers: Iterable[int]) -> int:
        """Start a writer of these chunks and return its process id."""
        return self._fork("write", list(numbers))

    def soak(self, base: int, seconds: float) -> int:
        """Start a writer of chunks 0, base, 1, base + 1, … for so long."""
        return self._fork("soak", base, seconds)

    def optimize(self, seconds: float) -> int:
        """Start a process that compacts and cleans for so long."""
        return self._fork("optimize", seconds)

    def reap(self, pid: int) -> int:
        """Wait for a process and return its exit code, negative for a signal."""
        code = self._mother.send("reap", pid)
        self._alive.discard(pid)
        return code

    def kill(self, pid: int) -> int:
        """Kill a process of this nest and return its exit code: that of its own end, if it was first."""
        os.kill(pid, signal.SIGKILL)  # not reaped yet, so the id is still its own
        return self.reap(pid)

    def notes(self) -> list[list[str]]:
        """Return the words of every note so far."""
        return [line.split(maxsplit=3) for line in self.log.read_text().splitlines()]

    def acknowledged(self) -> set[Step]:
        """Return every (step, chunk) that some writer saw return."""
        return {(note[1], int(note[2])) for note in self.notes() if note[0] == "done"}

    def started(self) -> set[int]:
        """Return every chunk that some writer began."""
        return {int(note[2]) for note in self.notes()}

    def failures(self) -> list[str]:
        """Return how writes failed: ``named …`` or ``unnamed …``."""
        return [note[3] for note in self.notes() if note[0] == "failed"]

    def close(self) -> None:
        """End whatever it started and that still runs."""
        for pid in list(self._alive):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if self._mother.in_step:
                self.reap(pid)


def kill_in_the_middle(
    nest: Nest, numbers: Iterable[int], chance: random.Random, slower: float = 1.0
) -> Step | None:
    """Kill a new writer some milliseconds into one of its writes; return the (step, chunk) it was in.

    None: it fell between two writes, or into one of something that was stored before. No other writer may be
    running: the last note of all is this one's.
    """
    known, before, skip = nest.acknowledged(), len(nest.notes()), chance.randint(0, 5)
    pid = nest.write(numbers)
    deadline = time.monotonic() + 60
    fresh = 0
    while time.monotonic() < deadline and fresh <= skip:
        fresh = sum(
            note[0] == "start" and note[1] != "open" and (note[1], int(note[2])) not in known
            for note in nest.notes()[before:]
        )
        time.sleep(0.0005)
    time.sleep(chance.uniform(0, slower * SECONDS.get(nest.notes()[-1][1], 0)))
    nest.kill(pid)
    word, step, number = nest.notes()[-1][:3]
    middle = word == "start" and step != "open" and (step, int(number)) not in known
    return (step, int(number)) if middle else None
