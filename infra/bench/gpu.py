"""Extraction on a GPU: speed and memory of Nucleotide Transformer shapes, and writes hidden behind it."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

from glmstore.extraction import embed, materialize
from glmstore.extraction.writing import CommitWriter, Rows
from glmstore.models.base import GenomicLM
from glmstore.models.catalogue import get_model
from glmstore.models.provenance import provenance_of
from glmstore.sequences.normalise import seq_keys
from glmstore.store import FeatureStore
from glmstore.views import FeatureView
from infra.bench.harness import BenchRow, at_least, shown
from infra.bench.shapes import cuda_peak, random_sequences, transformer_flops

LENGTH = 230
HIDDEN = 0.8
NOT_RUN = "not run: no CUDA device"


class Shape(NamedTuple):
    """A published model whose shape is measured with random weights."""

    name: str
    label: str
    layers: int
    width: int
    feed_forward: int
    sequences: int


SHAPES = (
    Shape("nt-500m-human-ref", "NT-500M shape", 24, 1280, 5120, 40_000),
    Shape("nt-2.5b-1000g", "NT-2.5B shape", 32, 2560, 10_240, 10_000),
)
WRITTEN = Shape(*SHAPES[0][:-1], 8_000)
OVERLAP = f"{WRITTEN.label}: share of write time hidden behind the forward pass"


def measure() -> list[BenchRow]:
    """Return the rows, without values where there is no GPU."""
    if not torch.cuda.is_available():
        return [
            BenchRow(OVERLAP, None, "", f">= {HIDDEN}", None, NOT_RUN),
            *(
                BenchRow(f"{shape.label}: {what}", None, unit, "", None, NOT_RUN)
                for shape in SHAPES
                for what, unit in (
                    ("tokens", "tokens/s"),
                    ("share of the bf16 matmul peak", "x"),
                    ("peak memory", "GiB"),
                )
            ),
        ]
    peak = cuda_peak()
    return [_overlap(WRITTEN, "cuda"), *(row for shape in SHAPES for row in _speed(shape, peak))]


def _speed(shape: Shape, peak: float) -> list[BenchRow]:
    """Embed the last layer by mean, wall time, after one run of the same batches as a warm-up."""
    model = get_model(f"rand_init:{shape.name}:0").load("cuda")
    sequences = random_sequences([LENGTH] * shape.sequences)
    tokens = [int(n) for n in model.encode(sequences).attention_mask.sum(dim=1)]
    _seconds(model, sequences[: shape.sequences // 4], shape.layers)
    torch.cuda.reset_peak_memory_stats()
    took = _seconds(model, sequences, shape.layers)
    speed = transformer_flops(tokens, shape.layers, shape.width, shape.feed_forward) / took
    memory = torch.cuda.max_memory_allocated() / 2**30
    del model
    torch.cuda.empty_cache()
    note = f"{shape.sequences} sequences of {LENGTH} nt, last layer, mean, bf16 autocast over fp32 weights"
    return [
        shown(f"{shape.label}: tokens", sum(tokens) / took, "tokens/s", note),
        shown(
            f"{shape.label}: share of the bf16 matmul peak",
            speed / peak,
            "x",
            f"{speed / 1e12:.0f} of {peak / 1e12:.0f} TFLOP/s; only tokens that are there are counted",
        ),
        shown(f"{shape.label}: peak memory", memory, "GiB", "as torch allocated it, weights included"),
    ]


def _seconds(model: GenomicLM, sequences: list[str], layer: int) -> float:
    start = time.perf_counter()
    for _ in embed(model, sequences, layer=layer, pooling="mean"):
        pass
    return time.perf_counter() - start


def _overlap(shape: Shape, device: str) -> BenchRow:
    """Set the time of filling a token-level view against the time of computing it plus that of writing it."""
    name = f"rand_init:{shape.name}:0"
    entry = get_model(name)
    view = entry.spec.view(layer="last", pooling="tokens")
    sequences = random_sequences([LENGTH] * shape.sequences)
    materialize(
        FeatureStore.open("memory://"), name, sequences[: shape.sequences // 8], view=view, devices=[device]
    )
    model = entry.load(device)
    keys = seq_keys(sequences)
    start = time.perf_counter()
    computed = [
        Rows([keys[i] for i in c.indices], c.values, c.lengths)
        for c in embed(model, sequences, layer=view.layer, pooling=view.pooling, device=device)
    ]
    computing = time.perf_counter() - start
    del model
    with tempfile.TemporaryDirectory() as folder:
        writing = _written(Path(folder) / "alone", view, computed, sequences)
        computed.clear()
        load = _loading(name, device)
        start = time.perf_counter()
        materialize(FeatureStore.open(Path(folder) / "beside"), name, sequences, view=view, devices=[device])
        both = time.perf_counter() - start - load
    return at_least(
        OVERLAP.replace(WRITTEN.label, shape.label),
        1 - (both - computing) / writing,
        HIDDEN,
        f"computing {computing:.1f} s, writing {writing:.1f} s, together {both:.1f} s, without loading "
        f"{load:.1f} s; {shape.sequences} x {LENGTH} nt token-level, wall time",
    )


def _loading(name: str, device: str) -> float:
    start = time.perf_counter()
    get_model(name).load(device)
    return time.perf_counter() - start


def _written(folder: Path, view: FeatureView, computed: list[Rows], sequences: list[str]) -> float:
    """Return the seconds that the same commits take by themselves."""
    store = FeatureStore.open(folder)
    start = time.perf_counter()
    store.add_sequences(sequences)
    store.declare(view, provenance_of(get_model(view.model).spec, "bfloat16", view.pooling))
    with CommitWriter(lambda _, rows: _keep(store, view, rows)) as writer:
        for rows in computed:
            writer.add(0, rows)
    return time.perf_counter() - start


def _keep(store: FeatureStore, view: FeatureView, rows: Rows) -> None:
    store.write(view, rows.keys, rows.values, rows.lengths)
