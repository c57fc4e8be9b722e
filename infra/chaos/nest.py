"""Start writers, see what they were told, and kill them while they are writing."""

from __future__ import annotations

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


class Nest:
    """The process that forks the writers; see :mod:`infra.chaos.writer`.

    Parameters
    ----------
    uri
        Of the store they write to.
    folder
        Where their notes and what they say on standard error go.
    env
        Beside what this process has.
    file_bytes
        Limit of the size of a file, None for none.
    """

    def __init__(
        self, uri: str, folder: Path, env: Mapping[str, str] | None = None, file_bytes: int | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.uri, self.log, self.errors = uri, folder / "notes", folder / "errors"
        self.log.touch()
        limit = ["prlimit", f"--fsize={file_bytes}"] if file_bytes is not None else []
        self._alive: set[int] = set()
        with self.errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [*limit, sys.executable, "-m", "infra.chaos.writer", uri, str(self.log)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env={**os.environ, **(env or {}), "OMP_NUM_THREADS": "1"},
            )
        if self._line() != "ready":
            raise RuntimeError(f"no writers can be started: {self.errors.read_text()[-2000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        return self._process.stdout.readline().strip()

    def _send(self, line: str) -> int:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return int(self._line())

    def _fork(self, line: str) -> int:
        pid = self._send(line)
        self._alive.add(pid)
        return pid

    def write(self, numbers: Iterable[int]) -> int:
        """Start a writer of these chunks and return its process id."""
        return self._fork(f"write {','.join(map(str, numbers))}")

    def soak(self, base: int, seconds: float) -> int:
        """Start a writer of chunks 0, base, 1, base + 1, … for so long."""
        return self._fork(f"soak {base} {seconds}")

    def optimize(self, seconds: float) -> int:
        """Start a process that compacts and cleans for so long."""
        return self._fork(f"optimize {seconds}")

    def reap(self, pid: int) -> int:
        """Wait for a process and return its exit code, negative for a signal."""
        code = self._send(f"reap {pid}")
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
        """End the nest and whatever it started and that still runs."""
        for pid in list(self._alive):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self.reap(pid)
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


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
