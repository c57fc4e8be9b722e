"""Evo 2, an optional family for NVIDIA GPUs: StripedHyena 2 over letters, through its authors' package.

Brixi et al. 2025, bioRxiv 2025.02.18.638918. Sizes are those of ArcInstitute/evo2's ``evo2/configs/*.yml``,
needs those of its README. The network runs in the package ``evo2`` only; where that cannot run, loading a
model says what it needs. The adapter was written from upstream's source and not run on the real weights.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from glmstore.errors import ModelUnavailableError, WeightsError
from glmstore.models.base import GenomicLM, ModelEntry
from glmstore.models.checkpoints.presence import require
from glmstore.models.checkpoints.source import HubSource, folder_of
from glmstore.models.family import record_of
from glmstore.models.spec import ModelSpec, Pretraining

if TYPE_CHECKING:
    from pathlib import Path

    from glmstore.models.tokenizers.base import Tokenizer

PACKAGE = "evo2"
VOCABULARY = tuple(chr(i) if chr(i) in "ACGTN" else f"<{i}>" for i in range(512))
"""Upstream's CharLevelTokenizer, as far as DNA uses it: a letter's id is its ASCII code."""
PAD_ID = 1
WITH_FP8, WITHOUT_FP8 = (8, 9), (8, 0)
"""CUDA compute capability: 8-bit floats come with Ada and Hopper, bfloat16 and FlashAttention with Ampere."""


@dataclass(frozen=True)
class Needs:
    """What a checkpoint needs of a machine.

    Attributes
    ----------
    upstream
        Name that ``evo2.Evo2`` knows it by; its weights are one file of this name, ending in ``.pt``.
    fp8
        Whether its input projections were trained in 8-bit floats and have to run so (Transformer Engine).
    weight_gb
        Bytes of its weights in bfloat16, in 10^9; activations come on top.
    parts
        Files that the hub's weights are cut into.
    """

    upstream: str
    fp8: bool
    weight_gb: int
    parts: int = 1

    @property
    def capability(self) -> tuple[int, int]:
        """Lowest CUDA compute capability."""
        return WITH_FP8 if self.fp8 else WITHOUT_FP8

    def describe(self) -> str:
        """Return the needs in one sentence."""
        engine = (
            "Transformer Engine 2.3 (its input projections run in FP8), "
            if self.fp8
            else "optionally Transformer Engine (without it evo2 >= 0.5 runs its projections in bfloat16), "
        )
        return (
            f"It needs Linux, Python 3.11 or 3.12, an NVIDIA GPU of compute capability "
            f"{self.capability[0]}.{self.capability[1]} or more with CUDA 12.1 or later, {self.weight_gb} GB "
            f"of GPU memory for the weights alone (spread over all visible GPUs), flash-attn, {engine}"
            f"the package {PACKAGE} (`pip install {PACKAGE}`), and about {self.weight_gb} GB of download and "
            f"disk."
        )

    def lacking(self) -> list[str]:
        """Return what this machine lacks of them; see :func:`lacking`."""
        return lacking(self)


def lacking(needs: Needs) -> list[str]:
    """Return what this machine lacks of them, one phrase each; memory is left to the package."""
    import torch

    lacks = []
    if sys.platform != "linux":
        lacks.append(f"this is {sys.platform}, not Linux")
    if not torch.cuda.is_available() or torch.version.cuda is None:
        lacks.append("no NVIDIA GPU is visible to torch")
    else:
        found = min(torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count()))
        if found < needs.capability:
            lacks.append(f"a GPU here has compute capability {found[0]}.{found[1]}")
    packages = (PACKAGE, "transformer_engine") if needs.fp8 else (PACKAGE,)
    lacks += [f"the package {p} is not installed" for p in packages if importlib.util.find_spec(p) is None]
    return lacks


def tokenizer() -> Tokenizer:
    """Return the tokenizer of every size."""
    from glmstore.models.tokenizers.character import CharacterTokenizer

    return CharacterTokenizer(VOCABULARY, pad_id=PAD_ID)


def _load(spec: ModelSpec, needs: Needs, device: str) -> GenomicLM:
    from glmstore.models.architectures.evo2 import Evo2Model

    lacks = lacking(needs)
    if not device.startswith("cuda"):
        lacks.append(f"it was asked for on {device}")
    if lacks:
        raise ModelUnavailableError(f"{spec.name} cannot run here: {'; '.join(lacks)}. {needs.describe()}")
    folder = folder_of(spec.name)
    require(spec.name, folder)
    weights = _one_file(spec.name, needs, folder)
    package = importlib.import_module(PACKAGE)
    upstream = package.Evo2(needs.upstream, local_path=str(weights))
    return Evo2Model(spec, tokenizer(), upstream, device)


def _one_file(model: str, needs: Needs, folder: Path) -> Path:
    whole = folder / f"{needs.upstream}.pt"
    if not whole.is_file():
        raise WeightsError(
            f"the weights of {model} came in {needs.parts} parts, and evo2 reads one file. In {folder}, run "
            f"`cat {whole.name}.part* > {whole.name}`."
        )
    return whole


_OPENGENOME2 = Pretraining(
    complete=False,
    # OpenGenome2 spans all domains of life; what benchmarks are drawn from is named, for the overlap flag.
    species=(
        *("Homo sapiens", "Mus musculus", "Danio rerio", "Drosophila melanogaster"),
        *("Caenorhabditis elegans", "Saccharomyces cerevisiae", "Arabidopsis thaliana", "Escherichia coli"),
    ),
    assembly=None,
    chromosomes=None,
)


def _entry(name: str, needs: Needs, *, n_parameters: int, dim: int, n_layers: int, max_nt: int) -> ModelEntry:
    hub_id = f"arcinstitute/{needs.upstream}"
    suffixes = [f".part{i}" for i in range(needs.parts)] if needs.parts > 1 else [""]
    source = HubSource(repo=hub_id, weights=tuple(f"{needs.upstream}.pt{s}" for s in suffixes), config=None)
    record = record_of(name)
    spec = ModelSpec(
        name=name,
        family="Evo 2",
        summary=f"Evo 2 of {n_parameters / 1e9:.1f} billion weights; GPU only, needs the package evo2.",
        hub_id=hub_id,
        revision=record.revision if record else None,
        weights_sha256=record.sha256_of(source.weights) if record else None,
        objective="clm",
        tokenizer_sha256=hashlib.sha256("\n".join(VOCABULARY).encode()).hexdigest(),
        tokenization="character",
        max_nt=max_nt,
        dim=dim,
        n_layers=n_layers,
        default_layer=(n_layers + 1) // 2,
        n_parameters=n_parameters,
        causal=True,
        pretraining=_OPENGENOME2,
        licence="Apache-2.0",
        citation="Brixi et al. 2025, bioRxiv 2025.02.18.638918",
    )
    return ModelEntry(spec, partial(_load, spec, needs), source=source, needs=needs)


EVO2_MODELS = (
    _entry(
        "evo2-1b-base",
        Needs("evo2_1b_base", fp8=True, weight_gb=3),
        n_parameters=1_107_989_760,
        dim=1920,
        n_layers=25,
        max_nt=8192,
    ),
    _entry(
        "evo2-7b",
        Needs("evo2_7b", fp8=False, weight_gb=14),
        n_parameters=6_581_722_880,
        dim=4096,
        n_layers=32,
        max_nt=1_048_576,
    ),
    _entry(
        "evo2-40b",
        Needs("evo2_40b", fp8=True, weight_gb=83, parts=2),
        n_parameters=41_117_574_144,
        dim=8192,
        n_layers=50,
        max_nt=1_048_576,
    ),
)
