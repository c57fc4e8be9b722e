"""BERT as transformers builds it, read layer by layer: DNABERT and GROVER.

Devlin et al. 2019, NAACL: 4171-4186. Nothing is ported: the blocks are those of ``BertForMaskedLM``, and the
state dict is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from glmstore.hugging_face import BertConfig, BertForMaskedLM


class Bert(BertForMaskedLM):  # type: ignore[misc]  # transformers is untyped here
    """Post-norm BERT with its masked-language head.

    Parameters
    ----------
    config
        Keys of the published ``config.json``.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        # The boolean masks below are read by this kind of attention only.
        super().__init__(BertConfig(**config, attn_implementation="sdpa"))

    def states(self, ids: Tensor, attention_mask: Tensor | None = None) -> Iterator[Tensor]:
        """Yield float [B, T, D] of the embedding, then of every block, each when asked for.

        Parameters
        ----------
        ids
            int64 [B, T].
        attention_mask
            bool [B, T], False on padding; None when there is none.
        """
        seen = None if attention_mask is None else attention_mask[:, None, None, :]
        x: Tensor = self.bert.embeddings(input_ids=ids)
        yield x
        for block in self.bert.encoder.layer:
            x = block(x, seen)
            yield x

    def logits(self, hidden: Tensor) -> Tensor:
        """Return vocabulary logits [..., V] of last hidden states [..., D]."""
        logits: Tensor = self.cls(hidden)
        return logits
