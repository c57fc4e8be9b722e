"""The log-likelihood of whole sequences under a causal language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from glmstore.errors import ScorerError
from glmstore.models.base import Batch, GenomicLM

if TYPE_CHECKING:
    from torch import Tensor

    from glmstore.models.tokenizers.base import Tokenizer


@runtime_checkable
class CausalLM(GenomicLM, Protocol):
    """A model that predicts every token from those before it."""

    tokenizer: Tokenizer

    def logits(self, batch: Batch) -> Tensor:
        """Return float [B, T, V]: at t, the logits of token t + 1."""
        ...


def log_likelihood(model: GenomicLM, sequences: Sequence[str], *, batch_size: int = 16) -> np.ndarray:
    """Return the summed log-probabilities of the tokens of each sequence, in nats.

    A token is scored by the logits one place before it. Behind a beginning-of-sequence token all of them are;
    without one the first token has nothing before it and is left out. Special tokens, padding, and tokens
    that stand for no letters (an N or a rest that the vocabulary cannot spell) are never scored, only read.

    Parameters
    ----------
    model
        In evaluation mode. Autocast is switched off, so that networks of ours compute in float32; sums are
        float64.
    sequences
        Normalised.
    batch_size
        Sequences of one forward pass; longest together with longest. It does not change the result.

    Returns
    -------
    float64 [B], in the order of `sequences`.

    Raises
    ------
    ScorerError
        If the model was not trained left to right, or its language head is gone (an adapted model).
    EmptySequenceError, SequenceTooLongError
        As the model's ``encode``.
    """
    import torch

    if model.spec.objective != "clm" or not isinstance(model, CausalLM):
        raise ScorerError(
            f"{model.spec.name} predicts no token from those before it (objective {model.spec.objective}); "
            "a log-likelihood needs a causal language model."
        )
    spelled = torch.tensor([bool(letters) for letters in model.tokenizer.strings])
    order = np.argsort([-len(s) for s in sequences], kind="stable")
    scores = np.empty(len(sequences), np.float64)
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            scores[rows] = _sums(model, [sequences[i] for i in rows], spelled).cpu().numpy()
    return scores


def _sums(model: CausalLM, sequences: list[str], spelled: Tensor) -> Tensor:
    import torch

    batch = model.encode(sequences)
    targets = batch.ids[:, 1:]
    scored = ~batch.special_mask[:, 1:] & spelled[targets]
    with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
        logits = model.logits(batch)[:, :-1].float()
    # Cross entropy instead of log-softmax and gather: the [B, T, V] probabilities are never written out.
    nats = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), targets.to(logits.device), reduction="none"
    )
    return -(nats.double() * scored.to(nats.device)).sum(dim=1)
