"""Writes to a store until the operating system refuses, and says on standard output how that was reported.

Run as ``python full_disk_driver.py URI FILE_SIZE_LIMIT``; a limit of 0 lets nothing be written at all, -1
sets none.
"""

from __future__ import annotations

import json
import resource
import sys

import numpy as np

from glmstore.errors import StoreNotWritableError
from glmstore.results import ResultRow
from glmstore.store import FeatureStore
from glmstore.views import FeatureView, Provenance

VIEW = FeatureView(model="toy", revision="1", layer=0, pooling="mean", dtype="float32")
ORIGIN = Provenance(
    model_spec={}, weights_sha256=None, tokenizer_sha256=None, dim=256, code_version="0", precision="float32"
)
ROWS = 4000


def sequences(seed: int) -> list[str]:
    """Return the sequences of one batch."""
    return ["".join("ACGT"[i] for i in row) for row in np.random.default_rng(seed).integers(0, 4, (ROWS, 50))]


def vectors(seed: int) -> np.ndarray:
    """Return the vectors of one batch, 4 MB of them."""
    return np.random.default_rng(seed).normal(size=(ROWS, 256)).astype(np.float32)


def row() -> ResultRow:
    """Return a result."""
    names = dict.fromkeys(
        ("cell_key", "model", "view", "benchmark", "split", "head", "protocol", "metric"), "x"
    )
    return ResultRow(**names, value=1.0, ci_low=None, ci_high=None, n=1, seeds=1)


def main(uri: str, limit: int) -> None:
    """Try every kind of write under the limit."""
    store = FeatureStore.open(uri)
    keys = store.sequences()["seq_key"].to_list() if limit == 0 else store.add_sequences(sequences(1))
    if limit >= 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    writes = {"write": lambda: store.write(VIEW, keys, vectors(1))}
    if limit <= 0:
        writes = {
            **writes,
            "add_sequences": lambda: store.add_sequences(sequences(2)),
            "declare": lambda: store.declare(VIEW.model_copy(update={"layer": 5}), ORIGIN),
            "write_results": lambda: store.write_results([row()]),
            "snapshot": lambda: store.snapshot("s"),
            "drop": lambda: store.drop(VIEW),
            "optimize": store.optimize,
        }
    told = {}
    for name, write in writes.items():
        try:
            write()
            told[name] = "written"
        except StoreNotWritableError as error:
            told[name] = str(error)
    told["rows"] = store.views()["rows"].to_list()[0]
    told["scanned"] = sum(batch.num_rows for batch in store.scan(VIEW))
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
