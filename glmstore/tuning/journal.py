"""The files of a study: its journal, the lock trials are handed out under, and who is still at work.

A study is one Optuna journal, a file that processes append to, so it lies in a local folder and not in object
storage. Every running worker holds an operating-system lock on a file of its own, which goes with the process
however it dies: a trial whose worker's file is free has been abandoned.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from glmstore.errors import StudyError


@dataclass(frozen=True)
class StudyFiles:
    """Where a study called `name` lies in `folder`."""

    folder: Path
    name: str

    @property
    def journal(self) -> Path:
        """The Optuna journal."""
        return self.folder / f"{self.name}.journal"

    def load(self, pruner: optuna.pruners.BasePruner) -> optuna.Study:
        """Return the study, made if it is not there; a higher score is better.

        Raises
        ------
        StudyError
            If the journal is damaged.
        """
        # Optuna's own handler writes a line a trial to stderr; its records still reach the root logger.
        optuna.logging.disable_default_handler()
        self._mend()
        try:
            return optuna.create_study(
                study_name=self.name,
                storage=JournalStorage(JournalFileBackend(str(self.journal))),
                direction="maximize",
                load_if_exists=True,
                pruner=pruner,
            )
        except (ValueError, KeyError) as error:
            raise StudyError(f"{self.journal} is damaged ({error}); delete it to search anew.") from error

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
        with FileLock(path):
            yield worker
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
