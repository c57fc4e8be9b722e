"""A writer of new vectors: fills one view with so many chunks and prints its seconds.

``python writer.py URI SEED ROWS CHUNKS``
"""

from __future__ import annotations

import sys
import time

import numpy as np

from glmstore.sequences.normalise import seq_keys
from glmstore.store import FeatureStore
from glmstore.views import FeatureView, Provenance

DIM, LENGTH = 256, 200


def fill(uri: str, seed: int, rows: int, chunks: int) -> float:
    """Write chunks of new sequences and their vectors; return the seconds that took."""
    store = FeatureStore.open(uri)
    view = FeatureView(model="load", revision="1", layer=0, pooling="mean")
    origin = Provenance(
        model_spec={},
        weights_sha256=None,
        tokenizer_sha256=None,
        dim=DIM,
        code_version="0",
        precision="float32",
    )
    store.declare(view, origin)
    rng, letters = np.random.default_rng(seed), np.array(list("ACGT"))
    drawn = [["".join(row) for row in letters[rng.integers(0, 4, (rows, LENGTH))]] for _ in range(chunks)]
    vectors = rng.normal(size=(rows, DIM)).astype(np.float16)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()  # until it is closed: all writers begin together
    begun = time.monotonic()
    for sequences in drawn:
        store.add_sequences(sequences)
        store.write(view, seq_keys(sequences), vectors)
    return time.monotonic() - begun


if __name__ == "__main__":
    seconds = fill(sys.argv[1], *map(int, sys.argv[2:]))
    sys.stdout.write(f"seconds {seconds:.3f}\n")
