"""From a checkpoint to what is shipped: fp16 weights, a configuration that pins them, and a model card.

Run as ``python -m glmstore.pretraining.export CHECKPOINT FASTA OUT_DIR``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from glmstore.data.fetch import sha256_of
from glmstore.errors import TableError, WeightsError
from glmstore.extraction import resolve_device
from glmstore.models.architectures.gpn import GPNForMaskedLM
from glmstore.models.gpn import CARD, CONFIG, WEIGHTS, ExportFacts, read_card
from glmstore.models.gpn_config import GPNConfig
from glmstore.models.spec import Pretraining
from glmstore.pretraining import checkpoint as ckpt
from glmstore.pretraining.card import render
from glmstore.pretraining.config import About, HeldOutScores, HoldOut
from glmstore.pretraining.corpus import Corpus, load_corpus
from glmstore.pretraining.scoring import half_precision, scores_of

log = logging.getLogger(__name__)


def export(
    checkpoint: Path, fasta: Path, out_dir: Path, about: About, device: str | None = None
) -> HeldOutScores:
    """Write the three files; see :func:`glmstore.pretraining.export_weights`."""
    source = ckpt.newest(checkpoint)
    state = ckpt.read_state(source)
    recipe = state["recipe"]
    config = GPNConfig(**recipe["architecture"])
    network = GPNForMaskedLM(config)
    ckpt.load(source, network)
    payload = half_precision(network, source.name)
    if not fasta.is_file():
        raise TableError(f"{fasta}: there is no such file. Give the FASTA of the run.")
    if sha256_of(fasta) != state["corpus"]["sha256"]:
        raise WeightsError(f"{fasta.name} is not the corpus {source.name} was trained on; give that one.")

    def corpus() -> Corpus:
        data = load_corpus(fasta, HoldOut(**recipe["holdout"]))
        if data.facts.model_dump(mode="json") != state["corpus"]:
            raise WeightsError(
                f"{fasta.name} is read otherwise than when {source.name} was trained: export it with the "
                f"glmstore that trained it."
            )
        return data

    place = resolve_device(device or state.get("device", "cpu"))
    scores = scores_of(payload, recipe, source, corpus, device=place, limit=state.get("final_windows"))
    record = {
        **_described(about, out_dir, fasta, state["corpus"]),
        "weights_sha256": hashlib.sha256(payload).hexdigest(),
        "checkpoint_step": state["step"],
        "tokens": state["tokens"],
        "seconds": state["seconds"],
        "torch_version": state["torch_version"],
        "recipe": recipe,
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
    log.info("exported %s; `glmstore embed FILE --model gpn:%s` embeds with it", about.name, out_dir)
    return scores


def _described(about: About, out_dir: Path, fasta: Path, corpus: dict[str, Any]) -> dict[str, Any]:
    """Return what the record says of the model beside its numbers; what is not given, as exported before."""
    said = read_card(out_dir) if (out_dir / CONFIG).is_file() else {}
    before = Pretraining(**said["pretraining"]) if "pretraining" in said else None
    unknown = ExportFacts.model_fields["pretraining"].default
    if about.species:
        seen = Pretraining(
            species=about.species, assembly=about.assembly, chromosomes=corpus.get("chromosomes")
        )
    else:
        seen = before or unknown
    words = about.corpus or said.get("corpus", {}).get("description") or fasta.name
    return {
        "name": about.name,
        "objective": "mlm",
        "licence": about.licence or said.get("licence") or ExportFacts.model_fields["licence"].default,
        "pretraining": seen.model_dump(mode="json"),
        "corpus": {"description": words, **corpus},
    }


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
    parser.add_argument("fasta", type=Path, help="the corpus of the run")
    parser.add_argument(
        "out_dir", type=Path, help="folder to write model.safetensors, config.json, MODEL_CARD.md to"
    )
    parser.add_argument("--name", default=About().name, help="the model's name")
    parser.add_argument("--corpus", help="what the FASTA is, for the card; kept from an earlier export")
    parser.add_argument(
        "--species", action="append", default=[], help="Latin name of a species in it; may be given again"
    )
    parser.add_argument("--assembly", help="its assembly, if it is one genome")
    parser.add_argument("--licence", help="licence of the weights; kept from an earlier export")
    parser.add_argument("--device", help="where the weights are scored, if the run has not; else the run's")
    chosen = vars(parser.parse_args(arguments))
    about = About(**{key: chosen[key] for key in About.model_fields})
    export(chosen["checkpoint"], chosen["fasta"], chosen["out_dir"], about, chosen["device"])


if __name__ == "__main__":
    main()
