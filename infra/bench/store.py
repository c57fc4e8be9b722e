"""The store beside HDF5, a memory map and polars: random rows, whole scans, and which keys are missing.

Every job reads the same numbers into NumPy memory and touches each byte once. HDF5 and the memory map are
told row numbers; the store is asked for sequence keys and looks the rows up.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import polars as pl

from glmstore.sequences.normalise import seq_key
from glmstore.store import FeatureStore
from glmstore.views import FeatureView, Provenance
from infra.bench.harness import BenchRow, at_least, at_most, interleaved, shown

ROWS, DIM, BLOCK = 300_000, 256, 8192
STORED, ASKED = 1_000_000, 100_000
TAKE, TAKES = 256, 5
TOKEN_ROWS, TOKENS, TOKEN_DIM = 4_000, 230, 96
COLD_ROUNDS = 3
GB, FLAT = 1e9, "flat.bin"
HDF5 = ("row_chunked", "blocks", "contiguous", "tokens")

POOLED = FeatureView(model="bench", revision="1", layer=0, pooling="mean")
COUNTS = FeatureView(model="bench", revision="1", layer=1, pooling="mean", dtype="uint8")
PER_TOKEN = FeatureView(model="bench", revision="1", layer=0, pooling="tokens")


@dataclass(frozen=True)
class Bench:
    """The same numbers, stored four ways.

    Attributes
    ----------
    store
        Holds `keys`, 1M of them under a view of four numbers and 300k under one of 256 x float16.
    row_chunked, blocks, contiguous
        HDF5 datasets [300k, 256] of float16: chunks=(1, 256), chunks=(64, 256), and without chunks.
    tokens
        Contiguous HDF5 dataset [4000, 230 * 96] of float16.
    """

    folder: Path
    store: FeatureStore
    keys: list[str]
    row_chunked: h5py.Dataset
    blocks: h5py.Dataset
    contiguous: h5py.Dataset
    tokens: h5py.Dataset

    def mapped(self) -> np.memmap:
        """Return a new memory map [300k, 256] of float16: pages of an old one would stay in memory."""
        return np.memmap(self.folder / FLAT, np.float16, "r", shape=(ROWS, DIM))


def measure() -> list[BenchRow]:
    """Return the rows of the bench; everything is made in a temporary folder and removed."""
    with _prepared() as bench:
        return [*_take(bench), *_scan_warm(bench), *_scan_cold(bench), *_scan_tokens(bench), *_missing(bench)]


def _take(bench: Bench) -> list[BenchRow]:
    rng, flat = np.random.default_rng(1), bench.mapped()
    picks = [rng.integers(0, ROWS, TAKE) for _ in range(TAKES)]
    asked = [[bench.keys[i] for i in pick] for pick in picks]

    def from_store() -> list[np.ndarray]:
        return [bench.store.read(POOLED, keys).values for keys in asked]

    def from_hdf5(dataset: h5py.Dataset) -> list[np.ndarray]:
        found = []
        for pick in picks:
            unique, inverse = np.unique(pick, return_inverse=True)
            found.append(dataset[unique][inverse])
        return found

    jobs: dict[str, Callable[[], list[np.ndarray]]] = {
        "store": from_store,
        "row-chunked": lambda: from_hdf5(bench.row_chunked),
        "blocks": lambda: from_hdf5(bench.blocks),
        "contiguous": lambda: from_hdf5(bench.contiguous),
        "memmap": lambda: [flat[pick] for pick in picks],
    }
    for name, job in jobs.items():
        for got, pick in zip(job(), picks, strict=True):
            if got.tobytes() != flat[pick].tobytes():
                raise AssertionError(f"{name} did not return the rows asked for")
    seconds = interleaved(jobs, rounds=7)
    wall = interleaved(jobs, rounds=3, clock="wall")
    per_take = f"store {seconds['store'] / TAKES * 1e3:.2f} ms CPU a take, key lookup included; warm"
    ratio = f"wall {wall['row-chunked'] / wall['store']:.1f}x; {per_take}"
    name = f"ordered take of {TAKE} random rows of {ROWS // 1000}k x {DIM} fp16"
    return [
        at_least(
            f"{name}: store v row-chunked HDF5 (1, {DIM})",
            seconds["row-chunked"] / seconds["store"],
            4,
            ratio,
        ),
        shown(f"{name}: store v HDF5 chunks (64, {DIM})", seconds["blocks"] / seconds["store"], "x"),
        shown(f"{name}: store v contiguous HDF5", seconds["contiguous"] / seconds["store"], "x"),
        shown(f"{name}: store v memmap", seconds["memmap"] / seconds["store"], "x"),
    ]


def _touch(values: np.ndarray) -> int:
    return int(np.bitwise_xor.reduce(values.reshape(-1).view(np.uint64)))


def _scan_store(bench: Bench, view: FeatureView) -> int:
    total = 0
    for batch in bench.store.scan(view, batch_size=BLOCK):
        total ^= _touch(batch.column("vector").flatten().to_numpy(zero_copy_only=True))
    return total


def _scan_blocks(rows: h5py.Dataset | np.memmap, block: int = BLOCK) -> int:
    total = 0
    for start in range(0, len(rows), block):
        total ^= _touch(np.asarray(rows[start : start + block]))
    return total


def _scans(bench: Bench) -> dict[str, Callable[[], int]]:
    jobs: dict[str, Callable[[], int]] = {
        "store": lambda: _scan_store(bench, POOLED),
        "row-chunked HDF5": lambda: _scan_blocks(bench.row_chunked),
        f"HDF5 chunks (64, {DIM})": lambda: _scan_blocks(bench.blocks),
        "contiguous HDF5": lambda: _scan_blocks(bench.contiguous),
        "memmap": lambda: _scan_blocks(bench.mapped()),
    }
    if len({job() for job in jobs.values()}) != 1:
        raise AssertionError("the scans did not read the same numbers")
    return jobs


def _scan_rows(seconds: Mapping[str, float], how: str, note: str) -> list[BenchRow]:
    size, name = ROWS * DIM * 2 / GB, f"pooled scan, {how}"
    speed = "; ".join(f"{job} {size / taken:.2f} GB/s" for job, taken in seconds.items())
    rows = [
        at_least(
            f"{name}: store v row-chunked HDF5 (1, {DIM})",
            seconds["row-chunked HDF5"] / seconds["store"],
            1.5,
            f"{note}; {speed}",
        )
    ]
    others = (f"HDF5 chunks (64, {DIM})", "contiguous HDF5", "memmap")
    return rows + [
        shown(f"{name}: store v {other}", seconds[other] / seconds["store"], "x") for other in others
    ]


def _scan_warm(bench: Bench) -> list[BenchRow]:
    return _scan_rows(
        interleaved(_scans(bench), rounds=3), "warm", "CPU time of all threads, in the page cache"
    )


def _scan_cold(bench: Bench) -> list[BenchRow]:
    jobs = _scans(bench)
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(COLD_ROUNDS):
        for name, job in jobs.items():
            _drop_from_page_cache(bench.folder)
            start = time.perf_counter()
            job()
            taken[name].append(time.perf_counter() - start)
    note = "wall time; before each, os.sync and posix_fadvise(DONTNEED) on every file"
    return _scan_rows({name: median(times) for name, times in taken.items()}, "cold", note)


def _drop_from_page_cache(folder: Path) -> None:
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def _scan_tokens(bench: Bench) -> list[BenchRow]:
    jobs: dict[str, Callable[[], int]] = {
        "store": lambda: _scan_store(bench, PER_TOKEN),
        "contiguous": lambda: _scan_blocks(bench.tokens, 64),
    }
    if len({job() for job in jobs.values()}) != 1:
        raise AssertionError("the two token scans did not read the same numbers")
    seconds = interleaved(jobs, rounds=5)
    size = TOKEN_ROWS * TOKENS * TOKEN_DIM * 2 / GB
    speed = "; ".join(f"{name} {size / taken:.2f} GB/s" for name, taken in seconds.items())
    name = f"token scan, {TOKEN_ROWS} x {TOKENS} x {TOKEN_DIM} fp16, warm: store v contiguous HDF5"
    return [shown(name, seconds["contiguous"] / seconds["store"], "x", f"shown, no target; {speed}")]


def _missing(bench: Bench) -> list[BenchRow]:
    rng = np.random.default_rng(2)
    strangers = [seq_key(f"N{i}") for i in range(ASKED // 2)]
    asked = [bench.keys[i] for i in rng.choice(STORED, ASKED // 2, replace=False)] + strangers
    asked = [asked[i] for i in rng.permutation(ASKED)]
    in_memory = pl.DataFrame({"seq_key": bench.keys})

    def anti_join() -> list[str]:
        joined = pl.DataFrame({"seq_key": asked}).join(
            in_memory, on="seq_key", how="anti", maintain_order="left"
        )
        return joined["seq_key"].to_list()

    def cached() -> list[str]:
        return bench.store.missing(COUNTS, asked)

    def fresh() -> list[str]:
        return FeatureStore.open(bench.folder / "store", create=False).missing(COUNTS, asked)

    if not anti_join() == cached() == fresh():
        raise AssertionError("the store and polars do not agree on what is missing")
    jobs = {"polars": anti_join, "cached": cached, "fresh": fresh}
    seconds, wall = interleaved(jobs, rounds=7), interleaved(jobs, rounds=5, clock="wall")
    rows = []
    name = f"missing, {ASKED // 1000}k asked of {STORED // 1_000_000}M stored"
    hows = {
        "cached": "keys read before, same version",
        "fresh": "store opened anew: keys read from disk and indexed",
    }
    for how, text in hows.items():
        note = (
            f"{text}; CPU {seconds[how] * 1e3:.0f} ms, polars {seconds['polars'] * 1e3:.0f} ms "
            f"(wall {wall[how] * 1e3:.0f} and {wall['polars'] * 1e3:.0f}); list in, list out"
        )
        rows.append(
            at_most(
                f"{name}: {how} v polars in-memory anti-join", seconds[how] / seconds["polars"], 1.5, note
            )
        )
    return rows


def _origin(dim: int) -> Provenance:
    nothing = {"weights_sha256": None, "tokenizer_sha256": None}
    return Provenance(model_spec={}, dim=dim, code_version="0", precision="float32", **nothing)


@contextmanager
def _prepared() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="glmstore-bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        store = FeatureStore.open(folder / "store")
        keys = store.add_sequences(_random_sequences(rng, STORED))
        store.declare(COUNTS, _origin(4))
        for start in range(0, STORED, 100_000):
            store.write(COUNTS, keys[start : start + 100_000], np.ones((100_000, 4), np.uint8))
        values = rng.standard_normal((ROWS, DIM), np.float32).astype(np.float16)
        store.declare(POOLED, _origin(DIM))
        for start in range(0, ROWS, 50_000):
            store.write(POOLED, keys[start : start + 50_000], values[start : start + 50_000])
        tokens = rng.standard_normal((TOKEN_ROWS, TOKENS, TOKEN_DIM), np.float32).astype(np.float16)
        store.declare(PER_TOKEN, _origin(TOKEN_DIM))
        for start in range(0, TOKEN_ROWS, 1000):
            store.write(PER_TOKEN, keys[start : start + 1000], tokens[start : start + 1000])
        store.optimize()
        values.tofile(folder / FLAT)
        with h5py.File(folder / "bench.h5", "w") as file:
            file.create_dataset("row_chunked", data=values, chunks=(1, DIM))
            file.create_dataset("blocks", data=values, chunks=(64, DIM))
            file.create_dataset("contiguous", data=values)
            file.create_dataset("tokens", data=tokens.reshape(TOKEN_ROWS, -1))
        del values, tokens
        with h5py.File(folder / "bench.h5", "r") as file:
            yield Bench(folder, store, keys, *(file[n] for n in HDF5))


def _random_sequences(rng: np.random.Generator, n: int, length: int = 24) -> list[str]:
    """Return `n` distinct sequences: the first letters spell a number, the rest are drawn."""
    digits = 12
    letters = rng.integers(0, 4, (n, length), dtype=np.uint8)
    letters[:, :digits] = (np.arange(n)[:, None] >> (2 * np.arange(digits))) & 3
    joined = np.frombuffer(b"ACGT", np.uint8)[letters].tobytes().decode("ascii")
    return [joined[i : i + length] for i in range(0, n * length, length)]
