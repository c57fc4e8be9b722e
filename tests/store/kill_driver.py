"""A nest of writers to be killed: imports the store once, forks a writer for every line it is sent.

Run as ``python kill_driver.py URI LOG``. For each line ``CHUNK`` on standard input it forks a process that
writes every chunk from that one on, round to it again, and prints its id; with ``reap`` it waits for it and
prints how it ended. A writer notes ``start STEP CHUNK`` and ``done STEP CHUNK`` in LOG around every write.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from glmstore.results import ResultRow
from glmstore.sequences.normalise import seq_keys
from glmstore.store import FeatureStore
from glmstore.views import FeatureView, Provenance

CHUNKS, ROWS, DIM = 32, 250, 64
POOLED = FeatureView(model="toy", revision="1", layer=0, pooling="mean")
TOKENS = FeatureView(model="toy", revision="1", layer=0, pooling="tokens")
ORIGIN = Provenance(
    model_spec={}, weights_sha256=None, tokenizer_sha256=None, dim=DIM, code_version="0", precision="float32"
)
STEPS = ("sequences", "pooled", "tokens", "results", "optimize")


class Chunk:
    """What chunk `number` puts into the store; the same in every process."""

    def __init__(self, number: int) -> None:
        rng = np.random.default_rng(number)
        self.number, self.cell = number, f"{number:032x}"
        self.sequences = ["".join("ACGT"[i] for i in row) for row in rng.integers(0, 4, (ROWS, 60))]
        self.pooled = rng.normal(size=(ROWS, DIM)).astype(np.float16)
        self.tokens = rng.normal(size=(ROWS, 6, DIM)).astype(np.float16)
        self.lengths = rng.integers(5, 7, ROWS)
        self.tokens[self.lengths == 5, 5] = 0
        self.prediction = rng.normal(size=ROWS)
        self.keys = seq_keys(self.sequences)

    def rows(self) -> list[ResultRow]:
        names = dict.fromkeys(("model", "view", "benchmark", "split", "head", "protocol"), "x")
        ends = {"value": float(self.prediction[0]), "ci_low": None, "ci_high": None, "n": ROWS, "seeds": 1}
        return [ResultRow(**names, **ends, cell_key=self.cell, metric=m) for m in ("pearson_r", "r2")]

    def predictions(self) -> pl.DataFrame:
        same = {
            "cell_key": [self.cell] * ROWS,
            "seed": [0] * ROWS,
            "cluster": self.keys,
            "label": [0.0] * ROWS,
        }
        return pl.DataFrame(
            {**same, "item_id": self.keys, "seq_key": self.keys, "prediction": self.prediction}
        )


def write(store: FeatureStore, chunk: Chunk, around: Callable[[str, Callable[[], object]], None]) -> None:
    """Write one chunk in its steps; every eighth is followed by a compaction."""
    around("sequences", lambda: store.add_sequences(chunk.sequences))
    around("pooled", lambda: store.write(POOLED, chunk.keys, chunk.pooled))
    around("tokens", lambda: store.write(TOKENS, chunk.keys, chunk.tokens, chunk.lengths))
    around("results", lambda: store.write_results(chunk.rows(), chunk.predictions()))
    if chunk.number % 8 == 7:
        around("optimize", store.optimize)


def run(uri: str, log: str, first: int) -> None:
    """Write all chunks, beginning with `first`, until done or killed."""
    note = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    store = FeatureStore.open(uri)
    store.declare(POOLED, ORIGIN)
    store.declare(TOKENS, ORIGIN)
    for i in range(CHUNKS):
        number = (first + i) % CHUNKS

        def around(step: str, job: Callable[[], object], number: int = number) -> None:
            os.write(note, f"start {step} {number}\n".encode())
            job()
            os.write(note, f"done {step} {number}\n".encode())

        write(store, Chunk(number), around)


def run_and_leave(uri: str, log: str, first: int) -> None:
    """Run, and leave without the interpreter's farewell, which a forked process may not survive."""
    try:
        run(uri, log, first)
    except BaseException:  # noqa: BLE001 - whatever it is, it is printed, and the exit code tells
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main(uri: str, log: str) -> None:
    """Fork a writer for every line read."""
    warnings.simplefilter("ignore", RuntimeWarning)  # forking is safe here: this process never opens a store
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if line.strip() == "reap":
            sys.stdout.write(f"{os.waitstatus_to_exitcode(os.wait()[1])}\n")
        else:
            pid = os.fork()
            if pid == 0:
                run_and_leave(uri, log, int(line))
            sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], str(Path(sys.argv[2])))
