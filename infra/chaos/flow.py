"""Fill a store by the flow itself: ``python -m infra.chaos.flow STORE CHUNK PAUSE_S``.

Each chunk lasts PAUSE_S at least, as with a larger model. The embedding of T alone, repeated, is not finite,
as with a model that overflows. Prints what the flow said that it did, or the pieces that failed.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import polars as pl
from torch import Tensor

from flows.build_features import BuildFeaturesConfig, build_features
from flows.outcomes import WorkFailedError
from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec, Source
from glmstore.benchmarks.plans import ViewRequest
from glmstore.models.kmer import Kmer
from glmstore.planning import FeatureUse
from glmstore.stages import Tally

NAME, VIEW, LENGTH = "chaos_gc", ViewRequest(model="kmer2"), 40


def benchmark(n: int, *, poisoned: bool) -> tuple[BenchmarkSpec, BenchmarkData]:
    """Return a benchmark of `n` random sequences; poisoned, the first is of T only."""
    rng = np.random.default_rng(7)
    sequences = ["".join(row) for row in rng.choice(list("ACGT"), size=(n, LENGTH))]
    if poisoned:
        sequences[0] = "T" * LENGTH
    names = [f"item{i}" for i in range(n)]
    labels = [s.count("G") / LENGTH for s in sequences]
    split = ["train", "train", "valid", "test"]
    items = pl.DataFrame({"item_id": names, "sequence": sequences, "label": labels, "cluster": names})
    data = BenchmarkData(items=items.with_columns(split=pl.Series([split[i % 4] for i in range(n)])))
    spec = BenchmarkSpec(
        name=NAME,
        title="G content of random sequences",
        family="MPRA regression",
        label_kind="regression",
        label="share of G",
        metrics=("pearson_r",),
        split="by turns",
        sequence_length=LENGTH,
        organism="none",
        sources=(Source(url="https://example.org/none.csv", sha256="0" * 64, licence="CC0-1.0"),),
        citation="made up",
    )
    return spec, data


def spoil(pause_s: float) -> None:
    """Let the k-mer model take its time, and overflow at a sequence of T only."""
    pooled = Kmer.pooled

    def slow_and_overflowing(self: Kmer, *of: object) -> Tensor | None:
        time.sleep(pause_s)
        values = pooled(self, *of)  # type: ignore[arg-type]
        if values is not None:
            values[values[:, -1] == 1] = float("nan")
        return values

    Kmer.pooled = slow_and_overflowing  # type: ignore[method-assign, assignment]


def main(store: str, chunk: int, pause_s: float) -> int:
    """Run the flow and say how it ended."""
    spoil(pause_s)
    uses = (FeatureUse(benchmark=NAME, view=VIEW),)
    try:
        tally = build_features(BuildFeaturesConfig(store=store, uses=uses, chunk=chunk))
    except WorkFailedError as error:
        sys.stdout.write(json.dumps({"failures": error.failures}) + "\n")
        return error.exit_code
    if not isinstance(tally, Tally):
        raise TypeError(f"no tally but {tally!r}")
    sys.stdout.write(json.dumps({"computed": tally.vectors_computed}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
