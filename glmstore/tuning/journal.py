"""The files of a study: its journal, the lock trials are handed out under, and who is still at work.

A study on disk is one Optuna journal, a file that processes append to. Every running worker holds an
operating-system lock on a file of its own, which goes with the process however it dies: a trial whose
worker's file is free has been abandoned.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock


@dataclass(frozen=True)
class StudyFiles:
    """Where a study called `name` lies in `folder`."""

    folder: Path
    name: str

    @property
    def journal(self) -> Path:
        """The Optuna journal."""
        return self.folder / f"{self.name}.journal"

    @property
    def place(self) -> str:
        """The journal, for people."""
        return str(self.journal)

    @property
    def dead_after_s(self) -> float:
        """How long a worker that was killed is still taken to be at work: not at all."""
        return 0.0

    def backend(self) -> JournalFileBackend:
        """Return Optuna's log, whose file is made if it is not there."""
        self._mend()
        return JournalFileBackend(str(self.journal))

    def prepare(self) -> None:
        """Make the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def forget(self) -> None:
        """Remove the study, if it is there."""
        self.journal.unlink(missing_ok=True)

    def _mend(self) -> None:
        """Cut off a last line that a writer was killed in the middle of; every line before it is whole."""
        if not self.journal.exists() or self.journal.read_bytes()[-1:] in {b"", b"\n"}:
            return
        lock = JournalFileSymlinkLock(str(self.journal))
        lock.acquire()
        try:
            content = self.journal.read_bytes()
            with self.journal.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)
        finally:
            lock.release()

    @contextmanager
    def handing_out(self) -> Iterator[None]:
        """Hold the lock under which trials are counted and handed out, by one worker at a time."""
        with FileLock(self.folder / f"{self.name}.lock"):
            yield

    @contextmanager
    def at_work(self) -> Iterator[str]:
        """Show, for as long as the block runs, that this worker is alive; give its name."""
        worker = uuid4().hex
        path = self._worker(worker)
        try:
            with FileLock(path):
                yield worker
        finally:
            path.unlink(missing_ok=True)

    def is_at_work(self, worker: str | None) -> bool:
        """Return whether the worker of this name still runs."""
        if worker is None or not (path := self._worker(worker)).exists():
            return False
        try:
            with FileLock(path, timeout=0):
                path.unlink(missing_ok=True)
        except Timeout:
            return True
        return False

    def _worker(self, name: str) -> Path:
        return self.folder / f"{self.name}.worker-{name}"
