"""SIGKILL in the middle of writes, one writer at a time and several at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from infra.chaos.census import Census, census
from infra.chaos.nest import kill_in_the_middle
from infra.chaos.outcome import Outcome, Place

_CHUNKS = 32


def run(place: Place) -> Iterator[Outcome]:
    """Kill writers on disk and in S3, then four at once in S3."""
    yield _one_by_one(place, "SIGKILL of a writer, on disk", str(place.folder / "store"), 1.0)
    yield _one_by_one(place, "SIGKILL of a writer, in S3", place.uri("kills"), 3.0)
    yield _four_at_once(place)


def _one_by_one(place: Place, name: str, uri: str, slower: float) -> Outcome:
    kills, found, points = place.pick(4, 24), Census(), Counter[str]()
    every = 4
    with place.nest(name, uri) as nest:
        for _ in range(4 * kills):
            known = nest.acknowledged()
            undone = [n for n in range(_CHUNKS) if ("results", n) not in known]
            if points.total() >= kills or not undone:
                break
            middle = kill_in_the_middle(nest, undone, place.chance, slower)
            if middle is not None:
                points[middle[0]] += 1
                if points.total() % every == 0:
                    found.join(census(uri, range(_CHUNKS), nest.acknowledged()))
        struck = points.total()
        rest = [n for n in range(_CHUNKS) if ("results", n) not in nest.acknowledged()]
        again = sorted({*rest[:2], *nest.started()})
        ended = nest.reap(nest.write(again))
        found.join(census(uri, range(_CHUNKS), nest.acknowledged()))
    where = ", ".join(f"{count} in {step}" for step, count in points.most_common())
    outcome = Outcome(name, "", struck, kills, found)
    outcome.proved = f"killed inside a write: {where}; a rerun stored everything"
    outcome.require(ended == 0, f"the rerun ended with {ended}")
    return outcome


def _four_at_once(place: Place) -> Outcome:
    """Two write the same chunks, two others; whichever is killed is followed by another at once."""
    uri, kills = place.uri("four"), place.pick(3, 16)
    # Each begins elsewhere, so that two meet at the same keys and two do not.
    size = place.pick(2, 16)
    shares = [range(size), range(size), range(size // 2, size + size // 2), range(size, 2 * size)]
    outcome = Outcome("SIGKILL among four writers of one view in S3", expected=kills)
    with place.nest("four", uri) as nest:
        running = [nest.write(share) for share in shares]
        while not nest.acknowledged():
            time.sleep(0.01)
        for i in range(kills):
            time.sleep(place.chance.uniform(0.05, 0.8))
            victim = i % len(running)
            code = nest.kill(running[victim])
            outcome.trials += code < 0
            running[victim] = nest.write(shares[victim])
        codes = [nest.reap(pid) for pid in running]
        outcome.require(codes == [0, 0, 0, 0], f"writers ended with {codes}: {nest.failures()}")
        everything = {n for share in shares for n in share}
        done = {number for step, number in nest.acknowledged() if step == "results"}
        outcome.require(done >= everything, f"chunks {sorted(everything - done)} were never finished")
        outcome.found = census(uri, everything, nest.acknowledged())
    outcome.proved = (
        f"{outcome.trials} of four racing writers killed; {len(everything)} chunks, each row once"
    )
    return outcome
