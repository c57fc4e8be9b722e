"""A study in object storage: every record of its journal is an object, won by one writer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from optuna.storages.journal import BaseJournalBackend

from glmstore.leases import Held, lease, try_lease
from glmstore.objects import Objects, open_objects
from glmstore.objects.base import check_name

_READERS = 8
_DEAD_AFTER_S = 15.0


class ObjectJournal(BaseJournalBackend):
    """Optuna's log in object storage, for any number of writers: numbered objects, none written twice.

    A record has the next number for its name. Of several writers of a number one wins; the others read what
    it wrote and try the next one. So there is one order that all see, without a lock and without a gap.

    Parameters
    ----------
    objects
        Where studies lie.
    name
        Of the study.

    Raises
    ------
    ValueError
        By `read_logs`, if a record is missing or no JSON.
    StoreError
        If the storage refuses or does not answer.
    """

    def __init__(self, objects: Objects, name: str) -> None:
        self._objects, self._folder = objects, f"{check_name(name)}/"
        self._writer = uuid4().hex
        self._logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """Return the records from this number on, as far as they are written."""
        if not self._logs:
            self._read_all()
        while (record := self._objects.get(self._name(len(self._logs)))) is not None:
            self._add(record)
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records, in this order."""
        for log in logs:
            number = len(self._logs)
            # The writer and the number it tried first make the record unlike any other writer's.
            record = json.dumps({"writer": f"{self._writer}:{number}", "log": log}).encode()
            while not self._objects.put_new(self._name(len(self._logs)), record):
                self.read_logs(0)
            self._logs.append(json.loads(record)["log"])

    def forget(self) -> None:
        """Remove all records, the first one last: what remains after a failure is still a journal."""
        for name in reversed(self._objects.names(self._folder)):
            self._objects.delete(name)
        self._logs = []

    def _read_all(self) -> None:
        names = self._objects.names(self._folder)
        if names != [self._name(number) for number in range(len(names))]:
            raise ValueError(f"of its {len(names):,} records, some between the first and the last are gone")
        with ThreadPoolExecutor(_READERS) as pool:
            for record in pool.map(self._objects.get, names):
                if record is None:
                    raise ValueError("records were removed while it was read")
                self._add(record)

    def _add(self, record: bytes) -> None:
        try:
            self._logs.append(json.loads(record)["log"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"record {len(self._logs)} is none of a journal") from error

    def _name(self, number: int) -> str:
        return f"{self._folder}{number:09d}"


@dataclass(frozen=True)
class StudyObjects:
    """Where a study called `name` lies in ``s3://…``; the same as StudyFiles for files.

    A worker is known to live by a lease, so that it died shows only once that has expired.
    """

    folder: str
    name: str

    @property
    def place(self) -> str:
        """The journal, for people."""
        return f"{self.folder}/{self.name}"

    @property
    def dead_after_s(self) -> float:
        """How long a worker that was killed is still taken to be at work."""
        return _DEAD_AFTER_S

    def backend(self) -> ObjectJournal:
        """Return Optuna's log, which is there once something is written."""
        return ObjectJournal(open_objects(self.folder), self.name)

    def prepare(self) -> None:
        """Nothing has to be there before a study."""

    def forget(self) -> None:
        """Remove the study, if it is there."""
        self.backend().forget()

    def handing_out(self) -> AbstractContextManager[Held]:
        """Hold the lease under which trials are counted and handed out, by one worker at a time."""
        return lease(self.folder, f"study {self.name}", _DEAD_AFTER_S)

    @contextmanager
    def at_work(self) -> Iterator[str]:
        """Show, for as long as the block runs, that this worker is alive; give its name."""
        worker = uuid4().hex
        with lease(self.folder, self._worker(worker), _DEAD_AFTER_S):
            yield worker

    def is_at_work(self, worker: str | None) -> bool:
        """Return whether the worker of this name still runs, or did until a moment ago."""
        if worker is None:
            return False
        with try_lease(self.folder, self._worker(worker), _DEAD_AFTER_S) as free:
            return free is None

    def _worker(self, name: str) -> str:
        return f"study {self.name}, worker {name}"
