"""ESM with learned positions: the first generation of Nucleotide Transformers.

The network is the one of transformers, under its published names; only the walk over the layers is ours, so
that it can stop at any of them. Checked against ``nucleotide_transformer/model.py`` of
instadeepai/nucleotide-transformer at 1ee5f97 (Dalla-Torre et al. 2025, Nature Methods 22: 287-297).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from glmstore.hugging_face import EsmConfig, EsmForMaskedLM, create_bidirectional_mask


class EsmNetwork(nn.Module):
    """The native ``EsmForMaskedLM`` without its contact head, layer by layer.

    Parameters
    ----------
    config
        Keys of the published ``config.json``.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        native = EsmForMaskedLM(EsmConfig(**config))
        self.esm, self.lm_head = native.esm, native.lm_head
        # It predicts contacts of proteins from attention maps and was never trained on DNA.
        self.esm.contact_head = None

    def states(self, ids: Tensor, attention_mask: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the hidden states [B, T, D] of the embedding, then of every block, as they are asked for.

        The last one is normalised, as published. Embeddings are scaled as in training, by the share of tokens
        that are not masked, where the configuration says ``token_dropout``; each row by its own share.

        Parameters
        ----------
        ids
            int64 [B, T].
        attention_mask
            bool [B, T], False on padding; None when there is none.
        """
        x = self.esm.embeddings(input_ids=ids, attention_mask=attention_mask)
        yield x
        mask = create_bidirectional_mask(self.esm.config, inputs_embeds=x, attention_mask=attention_mask)
        *blocks, last = self.esm.encoder.layer
        for block in blocks:
            x = block(x, attention_mask=mask)
            yield x
        yield self.esm.encoder.emb_layer_norm_after(last(x, attention_mask=mask))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits [..., vocab_size] of last hidden states [..., D]."""
        logits: Tensor = self.lm_head(hidden)
        return logits
