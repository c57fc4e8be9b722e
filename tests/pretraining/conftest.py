from pathlib import Path

import numpy as np
import pytest

from glmstore.models.gpn_config import GPNConfig
from glmstore.pretraining import HoldOut, PretrainConfig

UNIT = "ACGGTTCATACG"


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """Four blocks of a genome in which one 12-nt unit recurs between random bases."""
    rng = np.random.default_rng(0)
    path, start, lines = tmp_path / "toy.fa", 1_000, list[str]()
    for _ in range(4):
        sequence = "".join(UNIT + "".join(rng.choice(list("ACGT"), 4)) for _ in range(200))
        lines.append(f">chrT:{start}-{start + len(sequence)}\n{sequence}\n")
        start += len(sequence) + 50
    path.write_text("".join(lines))
    return path


@pytest.fixture
def config(fasta: Path, tmp_path: Path) -> PretrainConfig:
    return PretrainConfig(
        fasta=fasta,
        out_dir=tmp_path / "run",
        architecture=GPNConfig(hidden_size=16, n_layers=2, kernel_size=5),
        holdout=HoldOut(region_nt=800, every=5, offset=2),
        steps=12,
        batch_nt=640,
        crop_lengths=(40, 64),
        learning_rate=1e-2,
        eval_every=5,
        eval_windows=4,
        precision="float32",
        checkpoint_minutes=0,
    )
