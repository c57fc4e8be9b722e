"""What the writers put into a store, the same in every process, so that a checker knows every number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from glmstore.results import ResultRow
from glmstore.sequences.normalise import seq_keys
from glmstore.store import FeatureStore
from glmstore.views import FeatureView, Provenance

ROWS, DIM = 250, 64
POOLED = FeatureView(model="toy", revision="1", layer=0, pooling="mean")
TOKENS = FeatureView(model="toy", revision="1", layer=0, pooling="tokens")
ORIGIN = Provenance(
    model_spec={}, weights_sha256=None, tokenizer_sha256=None, dim=DIM, code_version="0", precision="float32"
)
WRITES = ("sequences", "pooled", "tokens", "results")
STEPS = (*WRITES, "optimize")

Around = Callable[[str, Callable[[], object]], None]


class Chunk:
    """What chunk `number` puts into the store."""

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
        """Return the two result rows of the chunk's cell."""
        names = dict.fromkeys(("model", "view", "benchmark", "split", "head", "protocol"), "x")
        ends = {"value": float(self.prediction[0]), "ci_low": None, "ci_high": None, "n": ROWS, "seeds": 1}
        return [ResultRow(**names, **ends, cell_key=self.cell, metric=m) for m in ("pearson_r", "r2")]

    def predictions(self) -> pl.DataFrame:
        """Return the predictions of the chunk's cell."""
        same = {
            "cell_key": [self.cell] * ROWS,
            "seed": [0] * ROWS,
            "cluster": self.keys,
            "label": [0.0] * ROWS,
        }
        return pl.DataFrame(
            {**same, "item_id": self.keys, "seq_key": self.keys, "prediction": self.prediction}
        )

    def commits(self, step: str) -> list[np.ndarray]:
        """Return the rows of each commit of a step: token rows are one commit for each token count."""
        if step == "tokens":
            return [np.flatnonzero(self.lengths == tokens) for tokens in (5, 6)]
        return [np.arange(ROWS)]


def declare(store: FeatureStore) -> None:
    """Declare the two views."""
    store.declare(POOLED, ORIGIN)
    store.declare(TOKENS, ORIGIN)


def write(store: FeatureStore, chunk: Chunk, around: Around) -> None:
    """Write one chunk in its steps; every eighth is followed by a compaction."""
    around("sequences", lambda: store.add_sequences(chunk.sequences))
    around("pooled", lambda: store.write(POOLED, chunk.keys, chunk.pooled))
    around("tokens", lambda: store.write(TOKENS, chunk.keys, chunk.tokens, chunk.lengths))
    around("results", lambda: store.write_results(chunk.rows(), chunk.predictions()))
    if chunk.number % 8 == 7:
        around("optimize", store.optimize)
