"""Leases: one holder at a time, on disk and in object storage, whatever happens to the others."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from glmstore import leases
from glmstore.errors import S3UnavailableError
from glmstore.leases import lease, sweep, try_lease
from glmstore.objects import open_objects
from glmstore.objects.local import LocalObjects
from infra.s3.server import ObjectStorage

DRIVER = Path(__file__).with_name("lease_driver.py")
SHORT, IN_S3, LONG = 5.0, 8.0, 120.0
"""Seconds of a lease that is to expire, or to be renewed beyond them, and of one that is to do neither.

A holder is renewed four times in them, and a request to S3 is given a twelfth: a machine that is so busy that
these are not enough fails the test.
"""
FAR_LESS = LONG / 2
"""Seconds within which happens what does not wait for the end of a lease of LONG."""

Start = Callable[..., "Contender"]


class Contender:
    """A process that takes a lease; see lease_driver.py."""

    def __init__(self, *words: object) -> None:
        command = [sys.executable, str(DRIVER), *map(str, words)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.line() == ["ready"]

    def line(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def after_refusals(self) -> list[str]:
        """Return the next line that says something else than that another process holds it."""
        while (line := self.line()) == ["refused"]:
            pass
        return line

    def let_go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def close(self) -> None:
        with self.process:
            self.process.kill()


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Contender] = []

    def one(*words: object) -> Contender:
        started.append(Contender(*words))
        return started[-1]

    yield one
    for contender in started:
        contender.close()


@pytest.fixture
def bucket(s3: ObjectStorage, tmp_path: Path) -> str:
    return f"{s3.bucket('leases')}/{tmp_path.name}"


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have leases of any length looked at again after a hundredth of a second."""
    monkeypatch.setattr(leases, "random", SimpleNamespace(uniform=lambda *_: 0.01))


def until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + FAR_LESS
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def numbers(uri: str) -> list[int]:
    return [int(name.rpartition("/")[2]) for name in open_objects(uri).names("_leases/")]


@pytest.mark.usefixtures("looks_often")
def test_of_many_that_ask_at_once_one_holds_it_at_a_time(tmp_path: Path) -> None:
    inside, most, turns = 0, 0, 0
    counting = threading.Lock()

    def turn(_: int) -> int:
        nonlocal inside, most, turns
        with lease(str(tmp_path), "work", LONG) as held:
            with counting:
                inside, turns = inside + 1, turns + 1
                most = max(most, inside)
            time.sleep(0.005)
            with counting:
                inside -= 1
            return held.number

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(turn, range(24)))
    assert (most, turns) == (1, 24)
    assert sorted(won) == list(range(24)), "a number was won twice, or was passed over"
    assert numbers(str(tmp_path)) == [23], "only the last one is kept"


def test_a_second_process_waits_for_the_first_and_has_it_as_soon_as_it_is_let_go(
    tmp_path: Path, start: Start
) -> None:
    first = start(tmp_path, "work", LONG)
    assert first.line()[0] == "held"
    second = start(tmp_path, "work", LONG)
    with try_lease(str(tmp_path), "work", LONG) as refused:
        assert refused is None
    assert second.line() == ["refused"]
    first.let_go()
    word, ended = first.line()
    _, _, began = second.after_refusals()
    assert word == "kept"
    assert 0 <= float(began) - float(ended) < FAR_LESS


def test_other_names_and_other_stores_do_not_wait(tmp_path: Path) -> None:
    with (
        lease(str(tmp_path / "a"), "work", 60),
        try_lease(str(tmp_path / "a"), "other work", 60) as other,
        try_lease(str(tmp_path / "b"), "work", 60) as elsewhere,
    ):
        assert other is not None
        assert elsewhere is not None


def test_a_killed_holder_holds_up_the_next_for_no_longer_than_its_seconds(
    tmp_path: Path, start: Start
) -> None:
    first = start(tmp_path, "work", SHORT)
    assert first.line()[0] == "held"
    first.process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    with lease(str(tmp_path), "work", LONG) as held:  # the seconds that count are those of the holder
        assert time.monotonic() - killed < FAR_LESS
        assert held.number == 1


def test_a_holder_that_lives_keeps_it_for_longer_than_its_seconds(tmp_path: Path) -> None:
    with lease(str(tmp_path), "work", SHORT) as held:
        until = time.monotonic() + 1.5 * SHORT
        while time.monotonic() < until:
            with try_lease(str(tmp_path), "work", SHORT) as taken:
                assert taken is None
            time.sleep(0.1)
        assert not held.lost


@pytest.mark.parametrize("shift", [3600, -3600])
def test_a_clock_that_is_an_hour_off_steals_nothing_and_loses_nothing(
    tmp_path: Path, start: Start, shift: int
) -> None:
    with lease(str(tmp_path), "work", LONG) as held:
        astray = start(tmp_path, "work", LONG, shift)
        assert [astray.line() for _ in range(3)] == [["refused"]] * 3
        assert not held.lost
        assert numbers(str(tmp_path)) == [held.number]
        ends = time.monotonic()
    word, number, began = astray.after_refusals()
    assert (word, number) == ("held", str(held.number + 1))
    assert 0 <= float(began) - ends < FAR_LESS


def test_an_error_within_lets_go_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lease(str(tmp_path), "work", 60):
        raise ZeroDivisionError
    with try_lease(str(tmp_path), "work", 60) as held:
        assert held is not None


def test_a_holder_that_cannot_renew_it_knows_that_it_may_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = LocalObjects.put

    def away_for_the_first(objects: LocalObjects, name: str, data: bytes) -> None:
        if name.endswith("/000000000000"):
            raise S3UnavailableError("storage is away")
        put(objects, name, data)

    monkeypatch.setattr(LocalObjects, "put", away_for_the_first)
    with lease(str(tmp_path), "work", 1.0) as held:
        until(lambda: held.lost)
        with lease(str(tmp_path), "work", LONG) as next_one:
            assert next_one.number == held.number + 1
            assert held.lost, "it never comes back to one that another has taken"


def test_what_lies_in_the_store_does_not_slow_a_lease(tmp_path: Path) -> None:
    looked: list[str] = []
    table = tmp_path / "view.lance" / "data"
    table.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        walk = os.walk
        patch.setattr(os, "walk", lambda top: looked.append(str(top)) or walk(top))
        with lease(str(tmp_path), "work", 60):
            pass
    assert looked
    assert all(Path(folder).parent == tmp_path / "_leases" for folder in looked), looked


def test_only_leases_that_nobody_touched_for_a_day_are_swept(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with lease(str(tmp_path), name, 60):
            pass
        if name == "old":
            (left,) = (path for path in (tmp_path / "_leases").rglob("*") if path.is_file())
            os.utime(left, (time.time() - 90_000,) * 2)
    assert sweep(str(tmp_path)) == 1
    assert not left.exists()
    assert len(numbers(str(tmp_path))) == 1


def test_in_object_storage_one_wins_and_a_killed_one_is_waited_for_no_longer(
    bucket: str, start: Start
) -> None:
    first = start(bucket, "work", IN_S3)
    assert first.line()[0] == "held"
    second = start(bucket, "work", LONG)
    with try_lease(bucket, "work", LONG) as refused:
        assert refused is None
    time.sleep(1.2 * IN_S3)  # it is renewed, so nobody else has it yet
    assert second.process.poll() is None
    assert numbers(bucket) == [0]
    first.process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    word, number, began = second.after_refusals()
    assert (word, number) == ("held", "1")
    assert float(began) - killed < FAR_LESS
