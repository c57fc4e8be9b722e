"""Object storage that is away, slow, busy, breaks off in the middle of an answer, or loses all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from infra.chaos.census import census
from infra.chaos.nest import Nest
from infra.chaos.outcome import Outcome, Place
from infra.chaos.proxy import Proxy

_ROUNDS = 8


def run(place: Place) -> Iterator[Outcome]:
    """Take the storage away in two ways, let it misbehave in five; the short form leaves out waiting."""
    away = place.pick(3, 10)

    def dead() -> None:
        place.storage.kill()
        time.sleep(away)
        place.storage.start()

    yield _away(place, f"storage killed and back after {away} s", dead)
    if not place.short:
        yield _away(place, f"storage hangs for {away} s", lambda: place.storage.pause(away))
    port = place.storage.port
    if place.short:
        every = Proxy(port, unavailable=0.05, truncated=0.05, unanswered=0.15, failing=0.15)
        yield _through(place, every, "all at once")
        return
    yield _through(place, Proxy(port, delay_s=0.05), "0.05 s before every request")
    yield _through(place, Proxy(port, unavailable=0.1), "503 for one request in ten")
    yield _through(place, Proxy(port, truncated=0.1), "one body in ten cut in half")
    lost = "one change in ten carried out and never answered"
    yield _through(place, Proxy(port, unanswered=0.1), lost)
    yield _through(place, Proxy(port, failing=0.1), "500 after one change in ten was carried out")


def _away(place: Place, name: str, fault: Callable[[], None]) -> Outcome:
    """Two writers run while the storage goes away; whoever failed is run again."""
    outcome = Outcome(name)
    label = name.split()[1]
    uri, numbers = place.uri(f"away-{label}"), range(place.pick(3, 16))
    with place.nest(label, uri) as nest:
        running = [nest.write(numbers), nest.write(reversed(numbers))]
        while sum(note[:2] == ["done", "pooled"] for note in nest.notes()) < 2:
            time.sleep(0.01)
        before = len(nest.acknowledged())
        fault()
        outcome.trials = int(before < len(numbers) * 4)
        codes = [nest.reap(pid) for pid in running]
        _settle(outcome, nest, codes, list(numbers))
    outcome.proved = f"{_told(codes)}; every row there after a rerun of the failed"
    return outcome


def _through(place: Place, proxy: Proxy, what: str) -> Outcome:
    """Two writers reach the storage through a proxy that misbehaves, each of its faults a number of times."""
    name, least = "-".join(proxy.faults), place.pick(2, 20)
    outcome = Outcome(f"storage {', '.join(proxy.faults)}: {what}", expected=least * len(proxy.faults))
    uri, size, numbers, codes = place.uri(f"through-{name}"), place.pick(1, 6), list[int](), list[int]()
    with proxy, place.nest(name, uri, proxy.environment) as nest:
        for _ in range(_ROUNDS):  # writers that fail early send few requests
            new = range(len(numbers), len(numbers) + size)
            numbers += new
            running = [nest.write(new), nest.write(reversed(new))]
            codes += [nest.reap(pid) for pid in running]
            struck = {fault: proxy.struck[fault] for fault in proxy.faults}
            if min(struck.values()) >= least:
                break
        outcome.trials = sum(struck.values())
        outcome.require(min(struck.values()) >= least, f"struck too seldom: {struck}")
        proxy.behave()
        _settle(outcome, nest, codes, numbers)
    hit = ", ".join(f"{count} {fault}" for fault, count in struck.items())
    outcome.proved = f"requests hit: {hit}; {_told(codes)}; every row there at the end"
    return outcome


def _told(codes: list[int]) -> str:
    failed = sum(code != 0 for code in codes)
    return f"{len(codes) - failed} of {len(codes)} writers went through, {failed} failed by name"


def _settle(outcome: Outcome, nest: Nest, codes: list[int], numbers: list[int]) -> None:
    """Count before and after whoever failed is run again, as a retry of its task would."""
    outcome.found.join(census(nest.uri, numbers, nest.acknowledged()))
    failures = nest.failures()
    outcome.require(
        len(failures) >= sum(code != 0 for code in codes), f"ended with {codes} and said: {failures}"
    )
    unnamed = [failure for failure in failures if not failure.startswith("named")]
    outcome.require(not unnamed, f"failed with what no flow would retry or explain: {unnamed}")
    if any(codes):
        code = nest.reap(nest.write(numbers))
        outcome.require(code == 0, f"the rerun ended with {code}: {nest.failures()[-1:]}")
    outcome.found.join(census(nest.uri, numbers, nest.acknowledged()))
    done = {number for step, number in nest.acknowledged() if step == "results"}
    outcome.require(done >= set(numbers), f"chunks {sorted(set(numbers) - done)} were never finished")
