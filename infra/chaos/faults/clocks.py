"""Clocks an hour off, of processes and of the storage, neither steal a lease nor keep a dead one."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

from infra.chaos.nest import ROOT
from infra.chaos.outcome import Outcome, Place
from infra.chaos.proxy import Proxy

_LEASE_S = 6.0
_LATE_S = 20.0
"""The most that the storage's whole seconds, a turn for each and a busy machine add."""
_SHIFTS = (3600, -3600)
_Contender = subprocess.Popen[str]


def run(place: Place) -> Iterator[Outcome]:
    """Hold a lease for longer than it lasts unrenewed against clocks that are off; then kill its holder."""
    outcome = Outcome("clocks an hour ahead and behind", expected=6 * 5)
    alive, after = place.pick(1, 3) * 1.5 * _LEASE_S, _LEASE_S + _LATE_S
    disk, s3 = str(place.folder / "leases"), place.uri("leases")
    with ExitStack() as stack:
        shifted = [
            stack.enter_context(Proxy(place.storage.port, ahead=timedelta(seconds=s))) for s in _SHIFTS
        ]
        holders = {uri: _start(stack, uri, 600, 0, "hold") for uri in (disk, s3)}
        for holder in holders.values():
            outcome.require(_line(holder)[0] == "held", "a lease that nobody had was not given")
        seconds = alive + after
        trying = [(uri, _start(stack, uri, seconds, by)) for uri in holders for by in _SHIFTS]
        trying += [(s3, _start(stack, s3, seconds, 0, through=proxy)) for proxy in shifted]
        time.sleep(alive)
        killed = {uri: _kill(holder) for uri, holder in holders.items()}
        latest, stolen = 0.0, 0
        for uri, contender in trying:
            said = contender.communicate(timeout=seconds + 60)[0].splitlines()
            outcome.require(contender.returncode == 0, f"a contender ended with {contender.returncode}")
            told = {word: float(number) for word, number in map(str.split, said)}
            outcome.trials += int(told.get("tried", 0))
            waited = told.get("held", math.inf) - killed[uri]
            stolen, latest = stolen + (waited < 0), max(latest, waited)
            outcome.require(waited >= 0, f"{contender.args!r}: took a live lease")
            outcome.require(waited < math.inf, f"{contender.args!r}: never got the lease of a dead holder")
    outcome.proved = (
        f"a lease of {_LEASE_S:.0f} s held for {alive:.1f} s, on disk and in S3, against others and storage "
        f"with clocks that are off: taken {stolen} times; all had it {latest:.1f} s after the holder died"
    )
    yield outcome


def _start(
    stack: ExitStack, uri: str, seconds: float, shift: int, *also: str, through: Proxy | None = None
) -> _Contender:
    words = [uri, "work", str(_LEASE_S), str(seconds), str(shift), *also]
    contender = subprocess.Popen(
        [sys.executable, "-m", "infra.chaos.contender", *words],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(through.environment if through else {})},
    )
    stack.callback(_kill, contender)
    return contender


def _line(contender: _Contender) -> list[str]:
    assert contender.stdout is not None  # noqa: S101 - it is a pipe
    return contender.stdout.readline().split() or ["nothing"]


def _kill(contender: _Contender) -> float:
    """Kill it, unless it has ended, and return when that was."""
    contender.kill()
    contender.wait()
    if contender.stdout is not None:
        contender.stdout.close()
    return time.monotonic()
