"""Many writers of one store for a long while."""

from __future__ import annotations

from collections.abc import Iterator

from infra.chaos.census import census
from infra.chaos.outcome import Outcome, Place


def run(place: Place) -> Iterator[Outcome]:
    """Let every writer write the same chunks and its own by turns."""
    writers, seconds = place.pick(4, 8), place.pick(5, 120)
    outcome = Outcome(f"{writers} writers for {seconds} s", expected=writers)
    with place.nest("soak", str(place.folder / "store")) as nest:
        codes = [nest.reap(pid) for pid in [nest.soak(10_000 * (w + 1), seconds) for w in range(writers)]]
        outcome.trials = sum(code == 0 for code in codes)
        outcome.require(not any(codes), f"writers ended with {codes}: {nest.failures()[:3]}")
        known = nest.acknowledged()
        outcome.found = census(nest.uri, nest.started(), known)
    outcome.proved = f"{len(known)} acknowledged writes of {len(nest.started())} chunks, same keys and others"
    yield outcome
