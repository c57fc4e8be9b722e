"""Score the weights of a run as they are exported, once: what was computed stays beside its checkpoint."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import load, save

from glmstore.errors import WeightsError
from glmstore.models.architectures.gpn import GPNForMaskedLM
from glmstore.models.gpn_config import GPNConfig
from glmstore.pretraining import heldout, markov
from glmstore.pretraining.config import HeldOutScores
from glmstore.pretraining.corpus import Corpus

log = logging.getLogger(__name__)

KEPT = "heldout.json"
"""File beside a checkpoint: the scores of its weights, and what they depend on."""


def half_precision(network: GPNForMaskedLM, owner: str) -> bytes:
    """Return the weights as they are exported: float16 safetensors.

    Raises
    ------
    WeightsError
        If a weight is not finite in float16; `owner` says whose.
    """
    half = {name: tensor.detach().cpu().half().contiguous() for name, tensor in network.state_dict().items()}
    broken = [name for name, tensor in half.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise WeightsError(f"{owner}: {broken[0]} is not finite in float16. Export an earlier checkpoint.")
    return save(half)


def scores_of(
    weights: bytes,
    recipe: Mapping[str, Any],
    checkpoint: Path,
    read: Callable[[], Corpus],
    *,
    device: str,
    limit: int | None,
) -> HeldOutScores:
    """Return the held-out scores of exported weights: those computed before, else computed and kept now.

    Parameters
    ----------
    weights
        From :func:`half_precision`.
    recipe
        Of the run: its architecture, mask fraction and seed.
    checkpoint
        Folder of the run's checkpoint; the scores are kept beside it.
    read
        Returns the corpus; called only where something has to be computed.
    device
        Torch device to score on, in float32.
    limit
        Windows scored at most; None: all.
    """
    basis = {"weights_sha256": hashlib.sha256(weights).hexdigest(), "recipe": dict(recipe), "limit": limit}
    kept = checkpoint.parent / KEPT
    found = _kept(kept, basis)
    if found is not None:
        log.info("these weights were scored before: %s", kept)
        return found
    corpus, network = read(), GPNForMaskedLM(GPNConfig(**recipe["architecture"]))
    network.load_state_dict({k: v.float() for k, v in load(weights).items()})
    scores = heldout.score(
        network.to(device),
        markov.baselines([p.ids for p in corpus.train]),
        heldout.windows(corpus.heldout),
        mask_fraction=recipe["mask_fraction"],
        seed=recipe["seed"],
        device=device,
        limit=limit,
    )
    try:
        draft = kept.with_name(f".{KEPT}.partial")
        draft.write_text(json.dumps({**basis, "scores": scores.model_dump()}, indent=1) + "\n")
        draft.replace(kept)
    except OSError as error:
        log.warning("the scores are not kept, so that they are computed again when asked for: %s", error)
    return scores


def _kept(path: Path, basis: Mapping[str, Any]) -> HeldOutScores | None:
    """Return the scores in a file; None where there is none, or it is of other weights or settings."""
    try:
        record = json.loads(path.read_text())
        scores = HeldOutScores(**record.pop("scores"))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        log.warning("%s cannot be read (%s); the weights are scored again.", path, error)
        return None
    return scores if record == json.loads(json.dumps(basis)) else None
