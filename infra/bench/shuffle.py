"""Dinucleotide shuffles beside tangermeme's: speed, exactness, uniformity."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import torch
from scipy.stats import chisquare
from tangermeme.ersatz import dinucleotide_shuffle as tangermeme_shuffle
from tangermeme.utils import one_hot_encode

from glmstore.sequences.shuffle import dinucleotide_shuffle
from infra.bench.harness import BenchRow, at_least, interleaved

SEQUENCES, LENGTH, SHUFFLES = 1000, 230, 20
ELEVEN_MER, DISTINCT, DRAWS = "GCATCACTAAT", 42, 42_000


def measure() -> list[BenchRow]:
    """Return the rows of this bench."""
    letters = np.random.default_rng(0).choice(list("ACGT"), (SEQUENCES, LENGTH))
    sequences = ["".join(row) for row in letters]
    encoded = torch.stack([one_hot_encode(s) for s in sequences])
    seconds = interleaved(
        {
            "glmstore": lambda: dinucleotide_shuffle(sequences, SHUFFLES, seed=0),
            "tangermeme": lambda: tangermeme_shuffle(encoded, n=SHUFFLES, random_state=0),
        },
        rounds=7,
    )
    inexact = sum(
        Counter(pairwise(row)) != Counter(pairwise(sequence))
        for sequence, rows in zip(sequences, dinucleotide_shuffle(sequences, SHUFFLES, seed=0), strict=True)
        for row in rows
    )
    return [
        at_least(
            "dinucleotide shuffle v tangermeme",
            seconds["tangermeme"] / seconds["glmstore"],
            3,
            f"CPU time, {SEQUENCES} x {SHUFFLES} of {LENGTH} nt; each in its own form (letters, one-hot)",
        ),
        BenchRow("dinucleotide shuffles with other counts", inexact, "shuffles", "== 0", inexact == 0),
        *_uniformity(),
    ]


def _uniformity() -> list[BenchRow]:
    (rows,) = dinucleotide_shuffle([ELEVEN_MER], DRAWS, seed=1)
    counts = Counter(rows)
    p = float(chisquare(list(counts.values())).pvalue)
    theirs = tangermeme_shuffle(one_hot_encode(ELEVEN_MER).unsqueeze(0), n=DRAWS, random_state=1)[0]
    reached = len(torch.unique(theirs.argmax(1), dim=0))
    return [
        BenchRow(
            "distinct shuffles reached of an 11-mer",
            len(counts),
            "shuffles",
            f"== {DISTINCT}",
            len(counts) == DISTINCT,
            f"tangermeme reaches {reached} of {DISTINCT} in {DRAWS} draws of {ELEVEN_MER}",
        ),
        BenchRow("uniform over them, chi-square", round(p, 4), "p", "> 0.001", p > 0.001, f"{DRAWS} draws"),
    ]
