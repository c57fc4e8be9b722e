"""Processes whose clocks are an hour off cannot take a lease from its holder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from glmstore.leases import lease, try_lease
from infra.chaos.nest import ROOT
from infra.chaos.outcome import Outcome, Place

_LEASE_S = 6.0
_SHIFTS = (3600, -3600)


def run(place: Place) -> Iterator[Outcome]:
    """Hold a lease on disk and one in S3 for longer than they last unrenewed, against both clocks."""
    outcome = Outcome("clocks an hour ahead and behind", expected=4 * 5)
    seconds = place.pick(1, 3) * 1.5 * _LEASE_S
    taken = 0
    uris = (str(place.folder / "leases"), place.bucket.uri("leases"))
    with lease(uris[0], "work", _LEASE_S) as disk, lease(uris[1], "work", _LEASE_S) as s3:
        running = [_contender(uri, "work", seconds, shift) for uri in uris for shift in _SHIFTS]
        for contender in running:
            said, _ = contender.communicate(timeout=seconds + 60)
            outcome.require(contender.returncode == 0, f"a contender ended with {contender.returncode}")
            tries, won = map(int, said.split()) if said.strip() else (0, 0)
            outcome.trials, taken = outcome.trials + tries, taken + won
        outcome.require(taken == 0, f"a live lease was taken {taken} times")
        outcome.require(not (disk.lost or s3.lost), "the holder lost its lease")
    for uri in uris:
        with try_lease(uri, "work", _LEASE_S) as free:
            outcome.require(free is not None, f"the lease at {uri} was not free once it was let go")
    outcome.proved = (
        f"a lease of {_LEASE_S:.0f} s held for {seconds:.0f} s, on disk and in S3: taken {taken} times"
    )
    yield outcome


def _contender(uri: str, name: str, seconds: float, shift: int) -> subprocess.Popen[str]:
    words = [uri, name, str(_LEASE_S), str(seconds), str(shift)]
    return subprocess.Popen(
        [sys.executable, "-m", "infra.chaos.contender", *words],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
