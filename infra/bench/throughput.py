"""How much of the processor's arithmetic becomes embeddings, and what mixed lengths and many layers cost.

One thread and CPU time throughout: on a busy machine, threads that wait for each other burn CPU time too.
Only the work of tokens that are there is counted as useful; padding is not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from glmstore.extraction import Precision, Take, embed, embed_views, resolve_precision
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.catalogue import get_model
from glmstore.models.gpn_config import GPNConfig
from infra.bench.harness import BenchRow, at_least, at_most, interleaved, shown
from infra.bench.shapes import esm_7m, gpn_flops, matmul, random_sequences, transformer_flops

SHORTEST, LONGEST, MIDDLE = 20, 230, 125
PRODUCT, PRODUCTS = 1024, 20
SHARE, OVERHEAD, ROUNDS = 0.5, 1.15, 3
Useful = Callable[[list[str]], float]


def measure() -> list[BenchRow]:
    """Return the rows of gpn-mini and of an ESM of 7M, each with its last layer pooled by mean."""
    gpn = get_model("gpn-mini").load("cpu")
    if not isinstance(gpn, LanguageModel):
        raise TypeError("gpn-mini is expected to be a LanguageModel")
    config: GPNConfig = gpn.network.config  # type: ignore[assignment]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            return [
                *_rows("gpn-mini", gpn, 1_600, lambda s: gpn_flops([len(x) for x in s], config)),
                *_rows("ESM of 7M", esm_7m(), 300, _esm_flops),
                *_layers(gpn),
            ]
    finally:
        torch.set_num_threads(threads)


def _esm_flops(sequences: list[str]) -> float:
    # CLS and EOS go through the model as every token does.
    return transformer_flops((len(s) + 2 for s in sequences), layers=6, width=320, feed_forward=1280)


def _rows(name: str, model: LanguageModel, n: int, useful: Useful) -> list[BenchRow]:
    lengths = np.random.default_rng(1).integers(SHORTEST, LONGEST + 1, n)
    equal, mixed = random_sequences([MIDDLE] * n), random_sequences(lengths)
    product, product_flops = matmul(PRODUCT, torch.float32)

    def run(sequences: list[str], precision: Precision) -> None:
        for _ in embed(
            model, sequences, layer=model.spec.n_layers, pooling="mean", precision=precision, device="cpu"
        ):
            pass

    auto = resolve_precision("auto", model.spec, "cpu")
    seconds = interleaved(
        {
            "peak": lambda: [product() for _ in range(PRODUCTS)],
            "equal": partial(run, equal, "auto"),
            "mixed": partial(run, mixed, "auto"),
            "float32": partial(run, equal, "float32"),
        },
        rounds=ROUNDS,
    )
    peak = PRODUCTS * product_flops / seconds["peak"]
    speed = useful(equal) / seconds["equal"]
    exact = useful(equal) / seconds["float32"]
    per_token = seconds["mixed"] / sum(map(len, mixed)) / (seconds["equal"] / sum(map(len, equal)))
    rate = sum(map(len, equal)) / seconds["equal"] / 1e3
    beside = f"fp32 matmul peak {peak / 1e9:.0f} GFLOP/s, one thread"
    return [
        at_least(
            f"{name}: useful FLOP/s as a share of the fp32 matmul peak",
            speed / peak,
            SHARE,
            f"computed in {auto}: {speed / 1e9:.0f} GFLOP/s; {beside}",
        ),
        at_least(
            f"{name}: the same, computed in float32",
            exact / peak,
            SHARE,
            f"{exact / 1e9:.0f} GFLOP/s; {beside}",
        ),
        at_most(
            f"{name}: CPU time a nucleotide, {SHORTEST}-{LONGEST} nt v {MIDDLE} nt each",
            per_token,
            OVERHEAD,
            f"{n} sequences in {auto}; {rate:.1f} knt/s at equal length",
        ),
    ]


def _layers(model: LanguageModel) -> list[BenchRow]:
    sequences = random_sequences([MIDDLE] * 400)
    takes = [Take(layer, "mean") for layer in range(model.spec.n_layers + 1)]

    def together() -> None:
        for _ in embed_views(model, sequences, takes, device="cpu"):
            pass

    def apart() -> None:
        for take in takes:
            for _ in embed_views(model, sequences, [take], device="cpu"):
                pass

    seconds = interleaved({"together": together, "apart": apart}, rounds=ROUNDS)
    return [
        shown(
            f"gpn-mini: all {len(takes)} layers, a pass for each v one pass",
            seconds["apart"] / seconds["together"],
            "x",
            "CPU time; each of the separate passes stops at its layer",
        )
    ]
