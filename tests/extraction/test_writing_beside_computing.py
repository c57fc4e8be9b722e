"""Writing: a bounded buffer, commits beside the forward pass, errors that surface, kills that lose none."""

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from glmstore.errors import (
    ConflictingFeaturesError,
    HostMemoryError,
    NonFiniteFeatureError,
    PoolingError,
    StoreError,
    WorkerError,
)
from glmstore.extraction import materialize, materialize_many, running, workers, writing
from glmstore.extraction.filling import Work, fill_share
from glmstore.extraction.workers import split_evenly
from glmstore.extraction.writing import CommitWriter, Rows
from glmstore.models import get_model
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.store import FeatureStore

SEQUENCES = ["ACGT" * (i % 9 + 1) + "G" * (i % 31) + "A" * i for i in range(60)]


class Live:
    """How many bytes of the arrays it was shown are still in memory, and the most there ever were."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._lock = threading.Lock()

    def watch(self, array: np.ndarray) -> np.ndarray:
        with self._lock:
            self.now += array.nbytes
            self.peak = max(self.peak, self.now)
        weakref.finalize(array, self._gone, array.nbytes)
        return array

    def _gone(self, size: int) -> None:
        with self._lock:
            self.now -= size


def rows(n: int, start: int = 0, dim: int = 8) -> Rows:
    return Rows([f"{start + i}" for i in range(n)], np.ones((n, dim), np.float16), None)


def test_25_layers_of_many_sequences_never_hold_more_than_the_buffer_and_a_batch(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(writing, "COMMIT_BYTES", 4_000)
    monkeypatch.setattr(writing, "BUFFER_BYTES", 20_000)
    live, written = Live(), dict.fromkeys(range(25), 0)

    def slow_commit(view: int, group: Rows) -> None:
        time.sleep(2e-4)
        written[view] += len(group.keys)

    batch = 64 * 16 * 2
    with CommitWriter(slow_commit) as writer:
        for start in range(0, 64 * 100, 64):
            for view in range(25):
                given = rows(64, start, 16)
                live.watch(given.values)
                writer.add(view, given)
                del given
                assert writer.held <= 20_000
    assert set(written.values()) == {6_400}
    assert writer.peak <= 20_000 + batch
    # One more group may still be referred to by the commit that has just ended.
    assert live.peak <= 20_000 + batch + 4_000 + batch
    assert live.now == 0


def test_all_layers_of_a_model_stream_through_a_small_buffer(monkeypatch: pytest.MonkeyPatch):
    budget = 64_000
    monkeypatch.setattr(writing, "COMMIT_BYTES", 16_000)
    monkeypatch.setattr(writing, "BUFFER_BYTES", budget)
    monkeypatch.setattr("glmstore.extraction.batching.CPU_NT", 512)
    live, largest = Live(), 0
    made = running.Chunk

    def watched(indices, values, lengths):
        nonlocal largest
        largest = max(largest, values.nbytes)
        return made(indices, live.watch(values), lengths)

    monkeypatch.setattr(running, "Chunk", watched)
    store = FeatureStore.open("memory://")
    spec = get_model("gpn-mini").spec
    views = [spec.view(layer=layer, pooling="tokens") for layer in spec.resolve_layers("all")]
    sequences = SEQUENCES[:24]
    done = materialize_many(store, "gpn-mini", sequences, views)
    assert [d.computed for d in done] == [24] * 9
    total = sum(map(len, sequences)) * 96 * 2 * 9
    assert live.peak <= budget + 16_000 + 2 * largest < total / 4
    for view in views:
        assert store.missing(view, store.add_sequences(sequences)) == []


def tokens(n: int, width: int, start: int = 0) -> Rows:
    keys = [f"{start + i}" for i in range(n)]
    return Rows(keys, np.ones((n, width, 4), np.float16), np.full(n, width, np.int32))


def test_padding_to_a_long_row_makes_no_commit_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "COMMIT_BYTES", 20_000)
    sizes: list[int] = []
    keys: list[str] = []
    lengths: list[int] = []

    def commit(_view: int, group: Rows) -> None:
        sizes.append(group.values.nbytes)
        keys.extend(group.keys)
        lengths.extend(group.lengths.tolist())

    with CommitWriter(commit) as writer:
        for start, width in ((0, 20), (10, 21), (20, 400), (30, 20), (40, 500)):
            writer.add(0, tokens(1 if width >= 400 else 10, width, start))
    assert keys == [*map(str, range(20)), "20", *map(str, range(30, 40)), "40"]
    assert lengths == [20] * 10 + [21] * 10 + [400] + [20] * 10 + [500]
    assert sizes == [20 * 21 * 8, 400 * 8, 10 * 20 * 8, 500 * 8]


def test_short_rows_of_nearly_one_length_still_share_a_commit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "COMMIT_BYTES", 100_000)
    sizes: list[int] = []
    with CommitWriter(lambda _, group: sizes.append(group.values.nbytes)) as writer:
        for width in range(20, 80):
            writer.add(0, tokens(10, width))
    assert max(sizes) <= 100_000
    assert min(sizes[:-1]) > 90_000


def test_one_long_sequence_among_thousands_of_short_ones_takes_no_more_memory_than_itself():
    short = ["".join("ACGT"[i >> 2 * j & 3] for j in range(7)) + "ACGTACGTACGTA" for i in range(8_000)]
    store = FeatureStore.open("memory://")
    tracemalloc.start()
    try:
        done = materialize(store, "onehot", [*short, "ACGT" * 2_000], pooling="tokens")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.computed == 8_001
    # Padded to the long one, the rows would be 8,001 × 8,000 × 4 numbers, half a gigabyte.
    assert peak < 48 * 2**20
    found = store.read(done.view, store.add_sequences([short[1], "ACGT" * 2_000]))
    assert found.lengths.tolist() == [20, 8_000]


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 6.7 GiB"), MemoryError()])
def test_a_commit_that_does_not_fit_into_memory_says_what_it_was(error: MemoryError):
    def full(_view: int, _group: Rows) -> None:
        raise error

    with (
        pytest.raises(HostMemoryError, match=r"write 3 rows of 0 MiB \(.+\)\. What was") as raised,
        CommitWriter(full) as writer,
    ):
        writer.add(0, rows(3))
    assert raised.value.__cause__ is error


def test_a_commit_is_written_while_the_next_rows_are_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "COMMIT_ROWS", 4)
    begun, go_on = threading.Event(), threading.Event()

    def commit(_view: int, _group: Rows) -> None:
        begun.set()
        assert go_on.wait(20)

    with CommitWriter(commit) as writer:
        writer.add(0, rows(4))
        assert begun.wait(20)
        for start in range(4, 40, 4):
            writer.add(0, rows(4, start))
        go_on.set()
    assert writer.held == 0


def _add_for_ever(writer: CommitWriter) -> None:
    with writer:
        for start in count(step=writing.COMMIT_ROWS):
            writer.add(0, rows(writing.COMMIT_ROWS, start))


def test_what_a_commit_raises_comes_out_of_the_next_add_or_the_end():
    def refuse(_view: int, _group: Rows) -> None:
        raise ConflictingFeaturesError("toy", "0")

    with pytest.raises(ConflictingFeaturesError), CommitWriter(refuse) as writer:
        writer.add(0, rows(3))
    with pytest.raises(ConflictingFeaturesError):
        _add_for_ever(CommitWriter(refuse))
    assert "glmstore-writer" not in {thread.name for thread in threading.enumerate()}


def test_after_a_failed_commit_nothing_is_written(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "COMMIT_ROWS", 1)
    seen: list[str] = []

    def once(_view: int, group: Rows) -> None:
        seen.extend(group.keys)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        _add_for_ever(CommitWriter(once))
    assert seen == ["0"]


def test_an_error_of_the_caller_keeps_full_commits_and_drops_the_rest(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "COMMIT_ROWS", 4)
    seen: list[str] = []

    def interrupted() -> None:
        with CommitWriter(lambda _, group: seen.extend(group.keys)) as writer:
            writer.add(0, rows(4))
            writer.add(1, rows(3, 4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen == ["0", "1", "2", "3"]


def test_a_write_that_fails_stops_the_run_and_leaves_whole_commits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "COMMIT_ROWS", 8)
    monkeypatch.setattr("glmstore.extraction.batching.CPU_NT", 256)
    store, write, calls = FeatureStore.open("memory://"), FeatureStore.write, []

    def failing(self, view, keys, *features):
        calls.append(len(keys))
        if len(calls) == 3:
            raise StoreError("the disk is gone")
        return write(self, view, keys, *features)

    monkeypatch.setattr(FeatureStore, "write", failing)
    with pytest.raises(StoreError, match="the disk is gone"):
        materialize(store, "kmer2", SEQUENCES)
    view = get_model("kmer2").spec.view()
    assert len(SEQUENCES) - len(store.missing(view, store.add_sequences(SEQUENCES))) == sum(calls[:2])


def test_views_of_one_model_are_filled_in_one_pass(monkeypatch: pytest.MonkeyPatch):
    store, spec = FeatureStore.open("memory://"), get_model("gpn-mini").spec
    views = [
        spec.view(layer=layer, pooling=p) for layer in (2, 5) for p in ("mean", "mean+max", "nucleotides")
    ]
    materialize(store, "gpn-mini", SEQUENCES[:5], view=views[0])
    seen: list[str] = []
    encode = LanguageModel.encode
    monkeypatch.setattr(LanguageModel, "encode", lambda self, s: seen.extend(s) or encode(self, s))
    told: list[tuple[int, int]] = []
    done = materialize_many(store, "gpn-mini", SEQUENCES[:9], views, progress=lambda *at: told.append(at))
    assert [(d.asked, d.present, d.computed) for d in done] == [(9, 5, 4)] + [(9, 0, 9)] * 5
    assert sorted(seen) == sorted(SEQUENCES[:9])
    assert told[-1] == (9, 9)
    assert [store.provenance(v).dim for v in views[:3]] == [96, 192, 96]
    keys = store.add_sequences(SEQUENCES[:9])
    assert store.read(views[1], keys).values.shape == (9, 192)
    assert store.read(views[2], keys).lengths.tolist() == [len(s) for s in SEQUENCES[:9]]
    np.testing.assert_allclose(
        store.read(views[1], keys).values[:, :96], store.read(views[0], keys).values, atol=5e-3
    )


def test_the_same_view_twice_is_refused():
    view = get_model("kmer1").spec.view()
    with pytest.raises(PoolingError, match="twice"):
        materialize_many(FeatureStore.open("memory://"), "kmer1", ["ACGT"], [view, view])


KILLED = """
import os, signal, sys
from glmstore.extraction import materialize, writing
from glmstore.store import FeatureStore
writing.COMMIT_ROWS = 8
write, calls = FeatureStore.write, []
def dying(self, view, keys, *features):
    calls.append(keys)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, view, keys, *features)
FeatureStore.write = dying
import glmstore.extraction.batching as batching
batching.CPU_NT = 256
sequences = ["ACGT" * (i % 9 + 1) + "G" * (i % 31) + "A" * i for i in range(60)]
materialize(FeatureStore.open(sys.argv[1]), "kmer2", sequences)
"""


def test_a_killed_run_keeps_its_commits_and_the_next_does_the_rest(tmp_path: Path):
    run = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "store")], check=False)
    assert run.returncode == -signal.SIGKILL
    store = FeatureStore.open(tmp_path / "store", create=False)
    again = materialize(store, "kmer2", SEQUENCES)
    assert again.present >= 16
    assert again.present + again.computed == 60
    whole = FeatureStore.open("memory://")
    view = materialize(whole, "kmer2", SEQUENCES).view
    keys = whole.add_sequences(SEQUENCES)
    np.testing.assert_array_equal(store.read(view, keys).values, whole.read(view, keys).values)


def test_two_workers_fill_a_store_as_one_does(tmp_path: Path):
    store, alone = FeatureStore.open(tmp_path / "store"), FeatureStore.open("memory://")
    told: list[tuple[int, int]] = []
    done = materialize(
        store, "kmer2", SEQUENCES, devices=["cpu", "cpu"], progress=lambda *at: told.append(at)
    )
    assert (done.asked, done.present, done.computed) == (60, 0, 60)
    assert told[-1] == (60, 60)
    materialize(alone, "kmer2", SEQUENCES)
    keys = alone.add_sequences(SEQUENCES)
    one, two = alone.read(done.view, keys), FeatureStore.open(tmp_path / "store").read(done.view, keys)
    np.testing.assert_array_equal(one.values, two.values)
    assert materialize(store, "kmer2", SEQUENCES, devices=["cpu", "cpu"]).computed == 0


def test_a_process_settles_on_a_gpu_with_or_without_a_number(monkeypatch: pytest.MonkeyPatch):
    chosen: list[int] = []
    monkeypatch.setattr(torch._C, "_cuda_setDevice", chosen.append, raising=False)
    for name in ("cuda", "cuda:1"):
        workers._settle_on(name, threads=1)
    assert chosen == [1]


def test_a_worker_that_is_killed_is_named(tmp_path: Path):
    def kill_the_first() -> None:
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        children[0].kill()

    store, killer = FeatureStore.open(tmp_path / "store"), threading.Thread(target=kill_the_first)
    killer.start()
    with pytest.raises(WorkerError, match=r"30 sequences on cpu ended with exit code -9.*the same command"):
        materialize(store, "kmer2", SEQUENCES, devices=["cpu", "cpu"])
    killer.join()
    assert multiprocessing.active_children() == []


def test_what_goes_wrong_in_a_worker_is_raised_as_it_was(tmp_path: Path):
    store = FeatureStore.open(tmp_path / "store")
    view = get_model("kmer2").spec.view(dtype="uint8")
    with pytest.raises(ValueError, match=r"sequence [0-9a-f]{32} .* uint8 cannot hold"):
        materialize(store, "kmer2", SEQUENCES, view=view, devices=["cpu", "cpu"])


@pytest.mark.parametrize("force", [False, True])
def test_numbers_no_worker_can_store_leave_no_trace(tmp_path: Path, force: bool):
    store = FeatureStore.open(tmp_path / "store")
    view = get_model("kmer2").spec.view(dtype="uint8")
    with pytest.raises(NonFiniteFeatureError):
        materialize(store, "kmer2", SEQUENCES[9:], view=view, devices=["cpu", "cpu"], force=force)
    assert store.views().is_empty()
    assert store.sequences().is_empty()


def test_a_worker_whose_share_another_run_stored_meanwhile_keeps_nobody_waiting(tmp_path: Path):
    store = FeatureStore.open(tmp_path / "store")
    done = materialize(store, "kmer2", SEQUENCES)
    work = Work(store.uri, "kmer2", [done.view], ["float32"], force=False)
    told: list[str] = []

    class Parent:
        def checked(self) -> None:
            told.append("checked")

        def open(self) -> None:
            assert told == ["checked"], "the other processes are answered when all have checked their share"

    fill_share(store, work, SEQUENCES, "cpu", Parent(), lambda *_: None)
    assert told == ["checked"]


def test_workers_compute_again_what_is_forced(tmp_path: Path):
    store = FeatureStore.open(tmp_path / "store")
    view, keys = materialize(store, "kmer2", SEQUENCES[:30]).view, store.add_sequences(SEQUENCES)
    right = store.read(view, keys[:30]).values
    store.forget(view, keys[10:30])
    store.write(view, keys[10:30], np.zeros_like(right[:20]))
    done = materialize(store, "kmer2", SEQUENCES[20:40], devices=["cpu", "cpu"], force=True)
    assert (done.asked, done.present, done.computed) == (20, 0, 20)
    assert store.missing(view, keys) == keys[40:]
    np.testing.assert_array_equal(store.read(view, keys[20:30]).values, right[20:])
    assert not store.read(view, keys[10:20]).values.any()


def test_a_store_in_memory_cannot_be_shared():
    with pytest.raises(StoreError, match="in memory"):
        materialize(FeatureStore.open("memory://"), "kmer2", SEQUENCES, devices=["cpu", "cpu"])


def test_work_is_dealt_out_by_length():
    parts = split_evenly(SEQUENCES, 3)
    assert sorted(s for part in parts for s in part) == sorted(SEQUENCES)
    sizes = [sum(map(len, part)) for part in parts]
    assert max(sizes) < 1.1 * min(sizes)
    assert split_evenly(["A"], 2) == [["A"], []]
