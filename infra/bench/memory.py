"""Peak memory of embedding runs, each in a process of its own, over what is planned for them.

    python -m infra.bench.memory gpn-mini 6000x230 --layer all   # one run, as JSON

The constants in glmstore/estimating/memory.py were chosen by it; published shapes run with random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from glmstore.estimating.calibration import Pass
from glmstore.estimating.memory import peak_memory
from glmstore.estimating.quantity import bytes_text
from glmstore.estimating.tokens import count_tokens
from glmstore.estimating.workload import Workload
from glmstore.extraction import materialize_many
from glmstore.models import get_model
from glmstore.models.base import ModelEntry
from glmstore.models.catalogue import FAMILIES, MODELS
from glmstore.models.family import Family, published
from glmstore.models.spec import Pretraining
from glmstore.models.tokenizers.character import CharacterTokenizer
from glmstore.store import FeatureStore
from infra.bench.harness import BenchRow, at_most

CASES = (
    "gpn-mini 6000x230",
    "gpn-mini 6000x230 --layer all",
    "gpn-mini 6000x230 --pooling tokens",
    "rand_init:enformer:0 2x230",
    "rand_init:sei:0 64x230",
    "rand_init:nt-v2-50m:0 3x12000",
    "rand_init:nt-v2-50m:0 1500x230 --layer all",
    "rand_init:hyenadna-large-1m:0 1x200000",
    "dnabert2-of-two-blocks 1x8000",
    "onehot 100000x230 --pooling mean",
)
CORES = 2
"""A process is held to these, since every thread has memory of its own."""
DNABERT2 = {
    "vocab_size": 64, "num_attention_heads": 12, "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.0, "type_vocab_size": 2, "initializer_range": 0.02,
    "layer_norm_eps": 1e-12, "pad_token_id": 0, "hidden_act": "gelu", "num_hidden_layers": 2,
}  # fmt: skip
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "small-enformer": (
        "enformer",
        {
            "sequence_length": 131_072, "dim": 192, "depth": 1, "heads": 2, "attn_dim_key": 16,
            "num_downsamples": 7, "dim_divisible_by": 16, "output_heads": {"human": 5},
        },
    ),
    "small-dnabert2": ("dnabert2", {**DNABERT2, "hidden_size": 96, "intermediate_size": 384}),
    "dnabert2-of-two-blocks": ("dnabert2", {**DNABERT2, "hidden_size": 768, "intermediate_size": 3072}),
}  # fmt: skip
"""Name -> family and configuration, of networks that are measured and not published."""


def of_letters(family: Family) -> Family:
    """Return a family whose vocabulary is a file with one of letters in its place."""
    if family.tiny_tokenizer is None:
        return family
    facts = {field: getattr(family, field) for field in family.__dataclass_fields__}
    tokenizer = CharacterTokenizer(tuple("#?") + tuple("ACGT") + ("",) * 58, pad_id=0, unknown_id=1)
    return Family(**{**facts, "tokenizer": lambda *_: tokenizer, "tiny_tokenizer": None})


def small(name: str) -> ModelEntry:
    """Return a model of SMALL with random weights."""
    family_name, config = SMALL[name]
    family = of_letters(FAMILIES[family_name])
    with_weights = family.untrained_network(config, 0)
    spec = family.describe(
        config, name=name, summary=name, revision="measured", tokenizer_sha256="",
        n_parameters=sum(p.numel() for p in with_weights.parameters()),
        pretraining=Pretraining(species=(), assembly=None, chromosomes=()),
    )  # fmt: skip
    untrained = published(family, spec, config).untrained
    if untrained is None:
        raise TypeError(f"{family_name} gives no untrained network")
    return ModelEntry(spec, partial(untrained.build, spec, 0), untrained)


def peak() -> int:
    """Return the most bytes this process has had in memory so far.

    ``getrusage`` would give the peak of the process that started this one, where that is larger.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024


def peaks(arguments: list[str]) -> dict[str, Any]:
    """Embed random sequences into a store of this process's own; return what it took and what was planned."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("shape")
    parser.add_argument("--layer")
    parser.add_argument("--pooling")
    asked = parser.parse_args(arguments)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    if asked.model in SMALL:
        MODELS._entries[asked.model] = small(asked.model)
    entry = get_model(asked.model)
    spec, (n, length) = entry.spec, map(int, asked.shape.split("x"))
    letters = np.frombuffer(b"ACGT", np.uint8)
    generator = np.random.default_rng(0)
    sequences = [
        letters[generator.integers(0, 4, length, dtype=np.uint8)].tobytes().decode() for _ in range(n)
    ]
    layers = spec.resolve_layers(asked.layer)
    views = [spec.view(layer=layer, pooling=asked.pooling) for layer in layers]
    with tempfile.TemporaryDirectory() as folder:
        materialize_many(FeatureStore.open(f"{folder}/store"), asked.model, sequences, views, devices=["cpu"])
    measured = peak()
    workload, pooling = Workload.of(sequences), views[0].pooling
    kept = count_tokens(entry, workload, pooling).total if pooling in ("tokens", "nucleotides") else n
    stored = kept * len(layers) * spec.width(pooling) * 2
    planned = peak_memory(Pass(entry, layers, pooling, "forward", "cpu"), workload, stored=stored)
    return {"measured": measured, "planned": planned.value, "how": planned.how}


def in_process(case: str) -> dict[str, Any]:
    """Measure one case in a process of its own.

    Parameters
    ----------
    case
        Arguments of :func:`peaks` as on a command line.

    Raises
    ------
    RuntimeError
        If the process failed, with what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "infra.bench.memory", *case.split()],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{case}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure() -> list[BenchRow]:
    """Return a row for each of CASES; one that takes more than was planned might fail where it should fit."""
    rows = []
    for case in CASES:
        found = in_process(case)
        taken, planned = found["measured"], found["planned"]
        note = f"{bytes_text(taken)} of {bytes_text(planned)}"
        rows.append(at_most(f"peak memory / planned, {case}", taken / planned, 1.0, note))
    return rows


if __name__ == "__main__":
    sys.stdout.write(json.dumps(peaks(sys.argv[1:])) + "\n")
