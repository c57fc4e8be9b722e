"""DNABERT-2: MosaicBERT, a BERT with linear attention biases and gated feed-forward layers.

Zhou et al. 2024, ICLR (DNABERT-2); Portes et al. 2023, NeurIPS (MosaicBERT); Press et al. 2022, ICLR (ALiBi).
Names and arithmetic are those of the published checkpoint (``bert_layers.py`` of zhihan1996/DNABERT-2-117M,
read in the copy frederikkemarin/BEND, ``bend/models/dnabert2.py`` at a44041b). There are no position
embeddings: a score falls linearly with the distance of two tokens, by a slope of its head's own. The norms
come after each sum, as in BERT. What differs from upstream: exact attention in the precision of the forward
pass, where upstream takes half precision if Triton is installed; the mask is always honoured; and padding is
not squeezed out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from glmstore.models.architectures.bert_parts import (
    BertEmbeddings,
    Config,
    MaskedLMHead,
    attend,
    initialise,
    split_heads,
)


def alibi_slopes(n_heads: int) -> list[float]:
    """Return the slope of each head.

    A power of two of heads takes the geometric series 2^(-8/n), 2^(-16/n), …; any other number takes that of
    the power below, then every other slope of the power above.
    """
    below = 2 ** int(math.log2(n_heads))
    slopes = [2.0 ** (-8.0 * (i + 1) / below) for i in range(below)]
    between = [2.0 ** (-8.0 * (i + 1) / (2 * below)) for i in range(0, 2 * below, 2)]
    return slopes + between[: n_heads - below]


class UnpadSelfAttention(nn.Module):
    """Attention of one block, with query, key and value from one matrix."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        d = config["hidden_size"]
        self.n_heads, self.dropout = config["num_attention_heads"], config["attention_probs_dropout_prob"]
        self.Wqkv = nn.Linear(d, 3 * d)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Return [B, T, D]; `bias` is added to the scores."""
        q, k, v = (split_heads(part, self.n_heads) for part in self.Wqkv(x).chunk(3, dim=-1))
        return attend(q, k, v, bias, self.dropout if self.training else 0.0)


class SelfOutput(nn.Module):
    """Projection, sum and norm after attention."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        d = config["hidden_size"]
        self.dense = nn.Linear(d, d)
        self.LayerNorm = nn.LayerNorm(d, eps=config["layer_norm_eps"])
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])

    def forward(self, attended: Tensor, x: Tensor) -> Tensor:
        """Return [B, T, D]."""
        out: Tensor = self.LayerNorm(self.dropout(self.dense(attended)) + x)
        return out


class UnpadAttention(nn.Module):
    """The published ``attention`` submodule."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.self = UnpadSelfAttention(config)
        self.output = SelfOutput(config)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Return [B, T, D]."""
        out: Tensor = self.output(self.self(x, bias), x)
        return out


class GatedMLP(nn.Module):
    """Gated feed-forward layer: the first half of ``gated_layers`` is the gate."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        d, f = config["hidden_size"], config["intermediate_size"]
        self.gated_layers = nn.Linear(d, 2 * f, bias=False)
        self.wo = nn.Linear(f, d)
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])
        self.layernorm = nn.LayerNorm(d, eps=config["layer_norm_eps"])

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, D], sum and norm included."""
        gate, value = self.gated_layers(x).chunk(2, dim=-1)
        out: Tensor = self.layernorm(self.wo(self.dropout(nn.functional.gelu(gate) * value)) + x)
        return out


class AlibiBlock(nn.Module):
    """One block."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention = UnpadAttention(config)
        self.mlp = GatedMLP(config)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Return [B, T, D]."""
        out: Tensor = self.mlp(self.attention(x, bias))
        return out


class AlibiEncoder(nn.Module):
    """The blocks, and the biases they share."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.n_heads = config["num_attention_heads"]
        self.layer = nn.ModuleList([AlibiBlock(config) for _ in range(config["num_hidden_layers"])])

    def bias(self, x: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Return [1 or B, H, T, T]: minus slope times distance, and minus infinity on padded keys.

        It has the float type of the attention that follows, so that no block converts it again.
        """
        place = torch.arange(x.shape[1], device=x.device)
        distance = (place[:, None] - place[None, :]).abs()
        slopes = torch.tensor(alibi_slopes(self.n_heads), device=x.device)
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        bias = (-slopes[:, None, None] * distance).unsqueeze(0).to(dtype)
        if attention_mask is None:
            return bias
        return bias.masked_fill(~attention_mask[:, None, None, :], float("-inf"))


class AlibiBertModel(nn.Module):
    """Embeddings and blocks: the published ``bert`` submodule."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config, positions=False)
        self.encoder = AlibiEncoder(config)


class AlibiBert(nn.Module):
    """DNABERT-2 with its masked-language head.

    Parameters
    ----------
    config
        Keys of the published ``config.json``.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.bert = AlibiBertModel(config)
        self.cls = MaskedLMHead(config, self.bert.embeddings.word_embeddings, separate_bias=False)
        initialise(self, config["initializer_range"])

    def states(self, ids: Tensor, attention_mask: Tensor | None = None) -> Iterator[Tensor]:
        """Yield float [B, T, D] of the embedding, then of every block, each when asked for.

        Parameters
        ----------
        ids
            int64 [B, T].
        attention_mask
            bool [B, T], False on padding; None when there is none.
        """
        x = self.bert.embeddings(ids)
        yield x
        bias = self.bert.encoder.bias(x, attention_mask)
        for block in self.bert.encoder.layer:
            x = block(x, bias)
            yield x

    def logits(self, hidden: Tensor) -> Tensor:
        """Return vocabulary logits [..., V] of last hidden states [..., D]."""
        logits: Tensor = self.cls(hidden)
        return logits
