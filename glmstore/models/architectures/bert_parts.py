"""What our ports of BERT variants share: embeddings, masked-language head, attention and fresh weights.

The parameter names are BERT's (google-research/bert, as huggingface/transformers writes them since 2.0),
which both GENA-LM and MosaicBERT kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

Config = Mapping[str, Any]


class BertEmbeddings(nn.Module):
    """Sum of word, segment and, unless `positions` is False, learnt position embeddings, normalised.

    Only segment 0 is ever used: genomic models read one sequence at a time.
    """

    def __init__(self, config: Config, *, positions: bool) -> None:
        super().__init__()
        d = config["hidden_size"]
        self.word_embeddings = nn.Embedding(config["vocab_size"], d, padding_idx=config["pad_token_id"])
        self.position_embeddings = nn.Embedding(config["max_position_embeddings"], d) if positions else None
        self.token_type_embeddings = nn.Embedding(config["type_vocab_size"], d)
        self.LayerNorm = nn.LayerNorm(d, eps=config["layer_norm_eps"])
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])

    def forward(self, ids: Tensor) -> Tensor:
        """Return [B, T, D] for token ids [B, T]."""
        x = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]
        if self.position_embeddings is not None:
            x = x + self.position_embeddings.weight[: ids.shape[1]]
        out: Tensor = self.dropout(self.LayerNorm(x))
        return out


class PredictionTransform(nn.Module):
    """The layer between the last hidden state and the decoder."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config["hidden_size"], config["hidden_size"])
        self.LayerNorm = nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"])

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [..., D]."""
        out: Tensor = self.LayerNorm(nn.functional.gelu(self.dense(hidden)))
        return out


class Predictions(nn.Module):
    """Transform and decoder; the decoder's weight is the word embedding's.

    Parameters
    ----------
    config
        The shape.
    words
        The word embedding, tied to the decoder.
    separate_bias
        Whether the decoder's bias is published under a second name too, ``predictions.bias``.
    """

    def __init__(self, config: Config, words: nn.Embedding, *, separate_bias: bool) -> None:
        super().__init__()
        self.transform = PredictionTransform(config)
        self.decoder = nn.Linear(config["hidden_size"], config["vocab_size"])
        self.decoder.weight = words.weight
        if separate_bias:
            self.bias = self.decoder.bias

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V]."""
        logits: Tensor = self.decoder(self.transform(hidden))
        return logits


class MaskedLMHead(nn.Module):
    """The published ``cls`` submodule."""

    def __init__(self, config: Config, words: nn.Embedding, *, separate_bias: bool) -> None:
        super().__init__()
        self.predictions = Predictions(config, words, separate_bias=separate_bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of last hidden states [..., D]."""
        logits: Tensor = self.predictions(hidden)
        return logits


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """Return [B, H, T, D / H] of [B, T, D]."""
    return x.view(*x.shape[:-1], n_heads, -1).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    """Return scaled dot-product attention with its heads joined, [B, T, D].

    Parameters
    ----------
    query, key, value
        [B, H, T, D / H].
    bias
        Added to the scores before the softmax, broadcast to [B, H, T, T]; or bool, True where a key is seen.
    dropout
        Share of the attention weights set to zero, 0 outside training.
    """
    if bias is not None and bias.is_floating_point():
        bias = bias.to(query.dtype)
    out = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
    return out.transpose(1, 2).flatten(2)


def initialise(network: nn.Module, std: float) -> None:
    """Draw weights as BERT does: normal with `std`, biases and padding zero; norms stay at one and zero."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=std)
    # Last, since the decoder shares the word embedding and has just drawn it anew.
    for module in network.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()
