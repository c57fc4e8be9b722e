"""From a checkpoint to what is shipped: fp16 weights, a configuration that pins them, and a model card.

Run as ``python -m glmstore.pretraining.export CHECKPOINT FASTA OUT_DIR``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from glmstore.errors import WeightsError
from glmstore.models.architectures.gpn import GPNForMaskedLM
from glmstore.models.gpn import CARD, CONFIG, WEIGHTS, read_card
from glmstore.models.gpn_config import GPNConfig
from glmstore.pretraining import checkpoint as ckpt
from glmstore.pretraining import heldout, markov
from glmstore.pretraining.card import render
from glmstore.pretraining.config import HeldOutScores, HoldOut
from glmstore.pretraining.corpus import Corpus, load_corpus


def export(
    checkpoint: Path, fasta: Path, out_dir: Path, *, name: str, corpus: str | None = None
) -> HeldOutScores:
    """Write the three files; see :func:`glmstore.pretraining.export_weights`."""
    source = ckpt.newest(checkpoint)
    state = ckpt.read_state(source)
    config = GPNConfig(**state["recipe"]["architecture"])
    payload = _half_precision(source, config)
    data = load_corpus(fasta, HoldOut(**state["recipe"]["holdout"]))
    if data.facts.model_dump(mode="json") != state["corpus"]:
        raise WeightsError(f"{fasta.name} is not the corpus {source.name} was trained on; give that one.")
    scores = rescore(payload, config, data, state["recipe"])
    record = {
        "name": name,
        "weights_sha256": hashlib.sha256(payload).hexdigest(),
        "checkpoint_step": state["step"],
        "tokens": state["tokens"],
        "seconds": state["seconds"],
        "torch_version": state["torch_version"],
        "corpus": {"description": corpus or _earlier_words(out_dir) or fasta.name, **state["corpus"]},
        "recipe": state["recipe"],
        "heldout": scores.model_dump(),
        "curve": state["curve"],
    }
    published = {"architectures": ["ConvNetForMaskedLM"], "model_type": "ConvNet", **config.model_dump()}
    files = {
        WEIGHTS: payload,
        CONFIG: (json.dumps({**published, "glmstore": record}, indent=1) + "\n").encode(),
        CARD: render(record, config).encode(),
    }
    _replace(out_dir, files)
    return scores


def rescore(weights: bytes, config: GPNConfig, corpus: Corpus, recipe: dict[str, Any]) -> HeldOutScores:
    """Score serialised weights as they are shipped, on the whole held-out set, in float32."""
    network = GPNForMaskedLM(config)
    network.load_state_dict({k: v.float() for k, v in load(weights).items()})
    return heldout.score(
        network,
        markov.baselines([p.ids for p in corpus.train]),
        heldout.windows(corpus.heldout),
        mask_fraction=recipe["mask_fraction"],
        seed=recipe["seed"],
    )


def _earlier_words(out_dir: Path) -> str | None:
    if not (out_dir / CONFIG).is_file():
        return None
    words: str = read_card(out_dir)["corpus"]["description"]
    return words


def _half_precision(source: Path, config: GPNConfig) -> bytes:
    network = GPNForMaskedLM(config)
    ckpt.load(source, network)
    half = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    broken = [name for name, tensor in half.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise WeightsError(
            f"{source.name}: {broken[0]} is not finite in float16. Export an earlier checkpoint."
        )
    return save(half)


def _replace(out_dir: Path, files: dict[str, bytes]) -> None:
    """Put every file in place by rename, the configuration last: it pins the weights."""
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out_dir / f".{name}.partial").write_bytes(content)
    for name in (WEIGHTS, CARD, CONFIG):
        os.replace(out_dir / f".{name}.partial", out_dir / name)


def main(arguments: list[str] | None = None) -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(prog="python -m glmstore.pretraining.export", description=__doc__)
    parser.add_argument(
        "checkpoint", type=Path, help="a run's out_dir (its newest checkpoint), or one step-* folder"
    )
    parser.add_argument("fasta", type=Path, help="the corpus of the run, for the held-out scores")
    parser.add_argument(
        "out_dir", type=Path, help="folder to write model.safetensors, config.json, MODEL_CARD.md to"
    )
    parser.add_argument("--corpus", help="what the FASTA is, for the card; kept from an earlier export")
    parser.add_argument("--name", default="gpn-mini", help="the model's name")
    chosen = parser.parse_args(arguments)
    export(chosen.checkpoint, chosen.fasta, chosen.out_dir, name=chosen.name, corpus=chosen.corpus)


if __name__ == "__main__":
    main()
