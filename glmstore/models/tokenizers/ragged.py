"""From tokens of unequal number and width to a padded batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glmstore.models.base import Batch


def pad_tokens(
    ids: Sequence[np.ndarray], ends: Sequence[np.ndarray], *, cls_id: int, sep_id: int, pad_id: int
) -> Batch:
    """Put ``[CLS]`` before and ``[SEP]`` behind each row of tokens, and padding behind that.

    Parameters
    ----------
    ids
        Integers [T_i], the tokens of each sequence, at least one.
    ends
        Integers [T_i], where each token's nucleotides end (0-based, half-open); each token begins where the
        one before it ends, so the spans tile the sequence, whose length is the last end.
    cls_id, sep_id, pad_id
        Ids of the special tokens.
    """
    import torch

    counts = np.array([len(row) for row in ids], dtype=np.int64)
    width = int(counts.max(initial=0)) + 2
    place = np.arange(width)
    real = (place >= 1) & (place <= counts[:, None])
    attended = place <= counts[:, None] + 1
    tokens = np.full((len(ids), width), pad_id, dtype=np.int64)
    tokens[:, 0] = cls_id
    tokens[np.arange(len(ids)), counts + 1] = sep_id
    spans = np.zeros((len(ids), width, 2), dtype=np.int32)
    if len(ids):
        tokens[real] = np.concatenate(ids)
        spans[real, 1] = np.concatenate(ends)
        spans[:, 1:, 0] = spans[:, :-1, 1]
        spans[~real] = 0
    lengths = np.array([row[-1] for row in ends], dtype=np.int64)
    return Batch(*map(torch.from_numpy, (tokens, attended, ~real, spans, lengths)))
