"""A writer to be killed: ``python s3_writer.py URI LOG WRITER [CHUNKS]`` writes chunks to a view of a store.

Says ``writing`` before its first write, and notes in LOG every chunk whose write was acknowledged.
"""

from __future__ import annotations

import sys

import numpy as np

from glmstore.sequences.normalise import seq_keys
from glmstore.store import FeatureStore
from glmstore.views import FeatureView, Provenance

VIEW = FeatureView(model="toy", revision="1", layer=0, pooling="mean")
ORIGIN = Provenance(
    model_spec={}, weights_sha256=None, tokenizer_sha256=None, dim=16, code_version="0", precision="float32"
)
ROWS, CHUNKS, UNENDING = 200, 6, 100_000


def chunk(number: int) -> tuple[list[str], np.ndarray]:
    """Return sequences and vectors of a chunk, the same in every process."""
    rng = np.random.default_rng(number)
    sequences = ["".join("ACGT"[i] for i in row) for row in rng.integers(0, 4, (ROWS, 40))]
    return sequences, rng.normal(size=(ROWS, 16)).astype(np.float16)


def numbers(writer: int, chunks: int = CHUNKS) -> list[int]:
    """Return the chunks a writer writes: 0 and 1, which all write, then those of its own."""
    return [0, 1, *(UNENDING * writer + own for own in range(2, chunks))]


def put(store: FeatureStore, number: int) -> None:
    """Write one chunk."""
    sequences, vectors = chunk(number)
    store.add_sequences(sequences)
    store.write(VIEW, seq_keys(sequences), vectors)


def main(uri: str, log: str, writer: str, chunks: str = str(CHUNKS)) -> None:
    """Write all chunks of a writer."""
    store = FeatureStore.open(uri)
    store.declare(VIEW, ORIGIN)
    print("writing", flush=True)
    for number in numbers(int(writer), int(chunks)):
        put(store, number)
        with open(log, "a") as file:
            file.write(f"{number}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
