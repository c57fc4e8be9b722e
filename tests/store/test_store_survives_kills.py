from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from glmstore.store import FeatureStore

DRIVER = Path(__file__).with_name("kill_driver.py")
KILLS = 24
MOST_WRITERS = 120
SECONDS = {"sequences": 0.01, "pooled": 0.02, "tokens": 0.04, "results": 0.02, "optimize": 0.2}
"""About how long each step takes, so that kills fall everywhere in it."""


@pytest.fixture(scope="module")
def driver() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill_driver", DRIVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Nest:
    """The process that forks the writers."""

    def __init__(self, place: Path, log: Path) -> None:
        self.log = log
        log.touch()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(DRIVER), str(place), str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _send(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._line()

    def start(self, seed: int) -> int:
        return int(self._send(str(seed)))

    def reap(self) -> int:
        return int(self._send("reap"))

    def notes(self) -> list[str]:
        return self.log.read_text().splitlines()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=30) == 0
        self._process.stdout.close()

    def acknowledged(self) -> set[tuple[str, int]]:
        """Every (step, chunk) that some writer saw return."""
        words = [note.split() for note in self.notes()]
        return {(step, int(number)) for word, step, number in words if word == "done"}


def kill_in_the_middle(nest: Nest, first: int, chance: random.Random) -> tuple[str, int] | None:
    """Kill a new writer some milliseconds into one of its writes; return the (step, chunk) it was in.

    None: it fell between two writes, or into one of something that was stored before.
    """
    known, before, skip = nest.acknowledged(), len(nest.notes()), chance.randint(0, 5)
    pid = nest.start(first)
    deadline = time.monotonic() + 30
    fresh = 0
    while time.monotonic() < deadline and fresh <= skip:
        started = [note.split() for note in nest.notes()[before:] if note.startswith("start")]
        fresh = sum((step, int(number)) not in known for _, step, number in started)
        time.sleep(0.0005)
    time.sleep(chance.uniform(0, SECONDS[nest.notes()[-1].split()[1]]))
    os.kill(pid, signal.SIGKILL)
    assert nest.reap() == -signal.SIGKILL
    word, step, number = nest.notes()[-1].split()
    middle = word == "start" and (step, int(number)) not in known
    return (step, int(number)) if middle else None


def test_no_kill_loses_an_acknowledged_row_or_shows_a_partial_one(tmp_path: Path, driver: ModuleType) -> None:
    place, chance = tmp_path / "store", random.Random(1)
    nest = Nest(place, tmp_path / "log")
    chunks = [driver.Chunk(i) for i in range(driver.CHUNKS)]
    killed: Counter[str] = Counter()
    for _ in range(MOST_WRITERS):
        known = nest.acknowledged()
        open_chunks = [c.number for c in chunks if not {("results", c.number)} <= known]
        if (killed.total() >= KILLS and len(killed) >= 4) or not open_chunks:
            break
        middle = kill_in_the_middle(nest, open_chunks[0], chance)
        killed.update([middle[0]] if middle else [])
        assert faults(place, driver, chunks, nest.acknowledged()) == []
    assert killed.total() >= KILLS, killed
    # Where a kill falls is chance; that results come after their predictions is tested without any.
    assert len(killed) >= 3, killed

    nest.start(0)
    assert nest.reap() == 0
    nest.close()
    everything = {(step, chunk.number) for step in driver.STEPS for chunk in chunks}
    assert faults(place, driver, chunks, everything) == []
    assert_nothing_more(place, driver)


def faults(place: Path, driver: ModuleType, chunks: list[Any], known: set[tuple[str, int]]) -> list[str]:
    """Open the store anew; say what was acknowledged and is not there bit for bit, or is there in part."""
    if not known:
        return []
    store = FeatureStore.open(place, create=False)
    keys = [key for chunk in chunks for key in chunk.keys]
    stored = {
        "sequences": set(store.sequences()["seq_key"]),
        "pooled": set(keys) - set(store.missing(driver.POOLED, keys)),
        "tokens": set(keys) - set(store.missing(driver.TOKENS, keys)),
    }
    completed = store.completed([chunk.cell for chunk in chunks])
    wrong: list[str] = []
    for chunk in chunks:
        # A write is one commit, but for token rows: one commit for each token count.
        parts = {"sequences": [range(driver.ROWS)], "pooled": [range(driver.ROWS)]}
        parts["tokens"] = [np.flatnonzero(chunk.lengths == tokens).tolist() for tokens in (5, 6)]
        for step, commits in parts.items():
            for rows in commits:
                there = sum(chunk.keys[i] in stored[step] for i in rows)
                if there != len(rows) and (there or (step, chunk.number) in known):
                    wrong.append(f"{there} of {len(rows)} rows of {step} {chunk.number}")
        if ("results", chunk.number) in known and chunk.cell not in completed:
            wrong.append(f"results {chunk.number} are gone")
    return wrong + other_numbers(store, driver, chunks, stored) + torn_cells(store, chunks, completed)


def other_numbers(
    store: FeatureStore, driver: ModuleType, chunks: list[Any], stored: dict[str, set[str]]
) -> list[str]:
    """Say which stored rows are not bit for bit what was written."""
    wrong = []
    for step, view in (("pooled", driver.POOLED), ("tokens", driver.TOKENS)):
        if not stored[step]:
            continue
        rows = [(chunk, i) for chunk in chunks for i, key in enumerate(chunk.keys) if key in stored[step]]
        read = store.read(view, [chunk.keys[i] for chunk, i in rows])
        written = np.stack([getattr(chunk, step)[i] for chunk, i in rows])
        if read.lengths is not None and read.lengths.tolist() != [int(chunk.lengths[i]) for chunk, i in rows]:
            wrong.append("token counts")
        if read.values.tobytes() != written[:, : read.values.shape[1]].tobytes():
            wrong.append(f"numbers of {step}")
    return wrong


def torn_cells(store: FeatureStore, chunks: list[Any], completed: set[str]) -> list[str]:
    """Say which cells are there without all their predictions, or the other way round."""
    predictions, wrong = store.predictions([chunk.cell for chunk in chunks]), []
    rows = store.results()
    for chunk in chunks:
        mine = predictions.filter(predictions["cell_key"] == chunk.cell)
        n_rows = rows.filter(rows["cell_key"] == chunk.cell).height
        if chunk.cell in completed:
            if not mine.equals(chunk.predictions().select(mine.columns)) or n_rows != 2:
                wrong.append(
                    f"cell {chunk.number} is completed with {len(mine)} predictions and {n_rows} rows"
                )
        elif n_rows or len(mine):
            wrong.append(f"cell {chunk.number} shows {n_rows} rows and {len(mine)} predictions")
    return wrong


def assert_nothing_more(place: Path, driver: ModuleType) -> None:
    store = FeatureStore.open(place, create=False)
    rows = driver.CHUNKS * driver.ROWS
    assert store.sequences().height == rows
    assert store.views()["rows"].to_list() == [rows, rows]
    assert sum(batch.num_rows for batch in store.scan(driver.POOLED)) == rows
    assert store.results().height == 2 * driver.CHUNKS
    assert store.check().problems == []


def test_concurrent_writers_of_the_same_and_other_keys_lose_and_double_nothing(
    tmp_path: Path, driver: ModuleType
) -> None:
    place = tmp_path / "store"
    nest = Nest(place, tmp_path / "log")
    for first in (0, 0, 3, 16):
        nest.start(first)
    assert [nest.reap() for _ in range(4)] == [0, 0, 0, 0]
    nest.close()
    chunks = [driver.Chunk(i) for i in range(driver.CHUNKS)]
    everything = {(step, chunk.number) for step in driver.STEPS for chunk in chunks}
    assert faults(place, driver, chunks, everything) == []
    assert_nothing_more(place, driver)
