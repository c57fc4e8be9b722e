"""Two optimizers at once beside writers, and a reader that stays at its snapshot through all of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from datetime import timedelta

from glmstore.store import FeatureStore
from infra.chaos.census import census
from infra.chaos.content import POOLED, TOKENS, Chunk
from infra.chaos.outcome import Outcome, Place

_BEFORE = range(2)


def run(place: Place) -> Iterator[Outcome]:
    """Do it on disk and, in the full form, in S3."""
    yield from _upkeep(place, "on disk", str(place.folder / "store"))
    if not place.short:
        yield from _upkeep(place, "in S3", place.uri("upkeep"))


def _upkeep(place: Place, where: str, uri: str) -> Iterator[Outcome]:
    seconds = place.pick(2, 15)
    busy = Outcome(f"two optimizers and two writers at once, {where}")
    reader = Outcome(f"a reader at a snapshot through optimize and cleanup, {where}", expected=3)
    with place.nest(where, uri) as nest:
        nest.reap(nest.write(_BEFORE))
        store = FeatureStore.open(uri, create=False)
        store.snapshot("then")
        before, files = _digest(uri), store.tables()["files"].sum()
        running = [nest.soak(100, seconds), nest.soak(200, seconds)]
        running += [nest.optimize(seconds), nest.optimize(seconds)]
        end = time.monotonic() + seconds
        while time.monotonic() < end or reader.trials < 2:
            reader.require(_digest(uri) == before, "other bytes were read while others optimized")
            reader.trials += 1
        codes = [nest.reap(pid) for pid in running]
        busy.trials = 1
        said = nest.failures() or [nest.errors.read_text()[-400:]]
        busy.require(codes == [0] * 4, f"writers and optimizers ended with {codes}: {said}")
        store.optimize(older_than=timedelta(0))
        after = store.tables()
        reader.require(_digest(uri) == before, "other bytes were read after the cleanup")
        reader.trials += 1
        busy.found = census(uri, nest.started(), nest.acknowledged())
    busy.proved = f"{len(nest.started())} chunks written meanwhile, every row there once"
    reader.proved = (
        f"read {reader.trials} times, bit-identical; {files} files then, {after['files'].sum()} now"
    )
    yield busy
    yield reader


def _digest(uri: str) -> str:
    """Return a digest of everything read at the snapshot, by a reader that opens the store anew."""
    store, digest = FeatureStore.open(uri, create=False).at("then"), hashlib.sha256()
    keys = [key for number in _BEFORE for key in Chunk(number).keys]
    for view in (POOLED, TOKENS):
        digest.update(store.read(view, keys).values.tobytes())
        digest.update(str(sum(batch.num_rows for batch in store.scan(view))).encode())
    return digest.hexdigest()
