"""What a loaded model is asked, to see whether its weights are in the right places."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.base import GenomicLM
from glmstore.models.checkpoints.source import Fingerprint
from glmstore.models.known_answers import COLUMNS, TOKEN
from glmstore.models.known_answers import SEQUENCE as SHORT
from glmstore.models.known_answers.promoter import SEQUENCE as PROMOTER
from glmstore.models.spec import ModelSpec

if TYPE_CHECKING:
    from glmstore.models.network import Network

MASKED_EVERY = 7
"""One token in so many is masked at a time: 14 %, close to the 15 % that masked models are trained with."""


class Loss(NamedTuple):
    """Mean loss over the tokens of the promoter, in nats, and that of guessing among all such tokens."""

    model: float
    uniform: float


def promoter(spec: ModelSpec) -> str:
    """Return the promoter, cut to what the model takes."""
    return PROMOTER[: spec.max_nt]


def not_finite(model: GenomicLM) -> list[str]:
    """Return what holds NaN or infinity for the promoter: layers, and the logits where there are any."""
    bad = []
    with torch.inference_mode():
        batch = model.encode([promoter(model.spec)])
        for layer, states in enumerate(model.layers(batch)):
            if not bool(torch.isfinite(states).all()):
                bad.append(f"layer {layer}")
        if isinstance(model, LanguageModel):
            # The states that the loop ended with are those that the head reads.
            logits = cast("Network", model.network).logits(states)
            if not bool(torch.isfinite(logits).all()):
                bad.append("logits")
    return bad


def batch_deviation(model: GenomicLM) -> tuple[float, torch.dtype]:
    """Return the largest change that batch and padding make to a real token, and the type of the states.

    Three stretches of the promoter are embedded together and alone; the change is in units of the standard
    deviation of the layer.
    """
    whole = promoter(model.spec)
    stretches = [whole[:200], whole[200:257] or whole[:57], whole[300:430] or whole[:130]]
    largest, dtype = 0.0, torch.float32
    with torch.inference_mode():
        together = [x.cpu() for x in model.layers(model.encode(stretches))]
        for row, stretch in enumerate(stretches):
            batch = model.encode([stretch])
            real = ~batch.special_mask[0]
            for layer, states in enumerate(model.layers(batch)):
                alone = states[0].cpu()
                off = (together[layer][row, : len(alone)] - alone)[real].float().abs().max()
                spread = float(alone[real].float().std()) if int(real.sum()) > 1 else 1.0
                largest, dtype = max(largest, float(off) / (spread or 1.0)), states.dtype
    return largest, dtype


def fingerprint(model: GenomicLM) -> Fingerprint:
    """Return some values of every layer for one short sequence, seven significant digits each."""
    with torch.inference_mode():
        states = list(model.layers(model.encode([SHORT])))
    values = {f"layer {i}": _some(x) for i, x in enumerate(states)}
    return Fingerprint(made_with=f"torch {torch.__version__}, {states[0].device.type}", values=values)


def _some(states: Tensor) -> tuple[float, ...]:
    values = states[0].float()
    row = values[min(TOKEN, len(values) - 1), :COLUMNS].tolist()
    return tuple(float(f"{v:.7g}") for v in [*row, float(values.abs().mean())])


def fingerprint_deviation(found: Fingerprint, known: Fingerprint) -> float:
    """Return the largest difference, relative to value or mean of the layer; infinite if layers differ."""
    if found.values.keys() != known.values.keys():
        return math.inf
    largest = 0.0
    for layer, expected in known.values.items():
        for a, b in zip(found.values[layer], expected, strict=True):
            off = abs(a - b) / max(abs(b), expected[-1], 1e-12)
            largest = max(largest, off if math.isfinite(off) else math.inf)
    return largest


def misread_letters(model: LanguageModel, most: int | None = None) -> str | None:
    """Return where tokens of the promoter do not stand for its letters, in words; None if all do.

    Parameters
    ----------
    model
        The network may lie on the meta device.
    most
        Nucleotides to look at; as many as the model takes when not given.
    """
    sequence = promoter(model.spec)[:most]
    batch = model.encode([sequence])
    real = ~batch.special_mask[0]
    spans = batch.spans[0][real].tolist()
    if spans[0][0] != 0 or spans[-1][1] != len(sequence) or any(a[1] != b[0] for a, b in pairwise(spans)):
        return "the spans of its tokens do not tile the sequence"
    for token, (start, end) in zip(batch.ids[0][real].tolist(), spans, strict=True):
        letters = model.tokenizer.strings[token]
        # Overlapping k-mers stand for more letters than the one their span gives them.
        fits = letters == sequence[start:end] if len(letters) == end - start else letters in sequence
        if letters and not fits:
            return f"token {token} stands for {letters} at {start}-{end}, where {sequence[start:end]} is"
    if not any(model.tokenizer.strings[token] for token in batch.ids[0][real].tolist()):
        return "none of its tokens stands for letters"
    return None


def promoter_loss(model: LanguageModel) -> Loss | None:
    """Return how well a language model predicts the promoter; None where it predicts no letters."""
    letters = [s for s in model.tokenizer.strings if s and set(s) <= set("ACGT")]
    if not letters or model.spec.objective not in {"mlm", "clm"}:
        return None
    with torch.inference_mode():
        loss = _causal(model) if model.spec.causal else _masked(model)
    return None if loss is None else Loss(loss, math.log(len(letters)))


def _causal(model: LanguageModel) -> float:
    batch = model.encode([promoter(model.spec)])
    log_p = model.logits(batch)[0].float().log_softmax(dim=-1).cpu()
    real = ~batch.special_mask[0, 1:]
    return float(-log_p[:-1].gather(-1, batch.ids[0, 1:, None])[real].mean())


def _masked(model: LanguageModel) -> float | None:
    if model.tokenizer.mask_id is None:
        return None
    batch = model.encode([promoter(model.spec)] * MASKED_EVERY)
    truth = batch.ids.clone()
    order = torch.cumsum(~batch.special_mask, dim=1) % MASKED_EVERY
    hidden = ~batch.special_mask & (order == torch.arange(MASKED_EVERY).unsqueeze(1))
    batch.ids[hidden] = model.tokenizer.mask_id
    log_p = model.logits(batch).float().log_softmax(dim=-1).cpu()
    return float(-log_p.gather(-1, truth.unsqueeze(-1))[..., 0][hidden].mean())
