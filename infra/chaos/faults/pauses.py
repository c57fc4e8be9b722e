"""A process that creates a table is paused, as a laptop or a virtual machine is, and another does it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from threading import Lock

from infra.chaos.census import census
from infra.chaos.outcome import Outcome, Place
from infra.chaos.proxy import Proxy

_AT_ONCE = 3
"""No more, so that none is away for the 30 s after which its client would ask again, and see the other."""
_POINTS = 12
"""The seventh is the commit of the table with its first rows."""
_CHUNKS = (0, 1, 2)
"""The first is the paused writer's; the others' make two versions, so that the first can be cleaned away."""


def run(place: Place) -> Iterator[Outcome]:
    """Pause a writer at each point, a few at once; let another fill the table; let the first go on.

    At every second point the other cleans away the first version of its table too.
    """
    points = (2, 6, 7) if place.short else range(1, _POINTS + 1)
    outcome = Outcome("creator of a table paused while another fills it, in S3", expected=len(points))
    where = [_pause(place, outcome, points[i : i + _AT_ONCE]) for i in range(0, len(points), _AT_ONCE)]
    outcome.proved = f"stopped with the answers to these requests on their way: {'; '.join(where)}"
    yield outcome


def _pause(place: Place, outcome: Outcome, points: Sequence[int]) -> str:
    with ExitStack() as stack:
        paused = [stack.enter_context(_Paused(place, n)) for n in points]
        for one in paused:
            one.wait()
        others = [(one, one.nest.write(_CHUNKS[1:])) for one in paused]
        codes = [one.nest.reap(pid) for one, pid in others]
        cleaning = [(one, one.nest.optimize(0.1)) for one in paused if one.n % 2 == 0]
        codes += [one.nest.reap(pid) for one, pid in cleaning]
        outcome.require(not any(codes), f"the others ended with {codes}")
        for one in paused:
            outcome.trials += one.held and ("pooled", 2) in one.nest.acknowledged()
            os.kill(one.pid, signal.SIGCONT)
        for one in paused:
            one.settle(outcome)
    return "; ".join(f"{one.n}: {one.at}" for one in paused)


class _Paused:
    """A writer of chunk 0 that is stopped once its n-th request about the table was carried out."""

    def __init__(self, place: Place, n: int) -> None:
        self.n, self.at, self.seen = n, "", 0
        self._begun, self._lock, self._pid = False, Lock(), Future[int]()
        self._proxy = Proxy(place.storage.port, watch=self._watch)
        self.nest = place.nest(f"after-{n}", place.uri(f"paused-{n}"), self._proxy.environment)

    def __enter__(self) -> _Paused:
        self._proxy.__enter__()
        self.pid = self.nest.write([0])
        self._pid.set_result(self.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self.nest.close()
        self._proxy.__exit__()

    def _watch(self, method: str, path: str) -> None:
        """Stop the writer at the n-th request from its first for the table on, whatever it is about."""
        with self._lock:
            self._begun = self._begun or "view_" in path
            self.seen += self._begun
            if self.seen == self.n and not self.at:
                os.kill(self._pid.result(10), signal.SIGSTOP)
                self.at = f"{method} {'lease' if '_leases' in path else path.split('/')[-1][-40:]}"

    def wait(self) -> None:
        """Wait until the writer is paused; TimeoutError where it never was."""
        deadline = time.monotonic() + 60
        while not self.held:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the writer sent {self.seen} requests about the table, not {self.n}")
            time.sleep(0.02)

    @property
    def held(self) -> bool:
        """Whether the writer is stopped now, by what the system says of it."""
        state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "T"

    def settle(self, outcome: Outcome) -> None:
        """Wait for it and count; if it failed, by name, run it again and count again."""
        code = self.nest.reap(self.pid)
        found = census(self.nest.uri, _CHUNKS, self.nest.acknowledged())
        found.notes = [f"stopped at {self.n}: {self.at}: {note}" for note in found.notes]
        outcome.found.join(found)
        unnamed = [said for said in self.nest.failures() if not said.startswith("named")]
        outcome.require(not unnamed, f"failed with what no flow would retry or explain: {unnamed}")
        if code:
            outcome.require(bool(self.nest.failures()), f"it ended with {code} and said nothing")
            again = self.nest.reap(self.nest.write([0]))
            outcome.require(again == 0, f"the rerun ended with {again}: {self.nest.failures()[-1:]}")
            outcome.found.join(census(self.nest.uri, _CHUNKS, self.nest.acknowledged()))
