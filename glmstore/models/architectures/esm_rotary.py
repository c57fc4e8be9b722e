"""ESM with rotary positions and gated feed-forward layers: the second generation of Nucleotide Transformers.

A port of ours; transformers has no class for it (its ESM is neither gated nor free of biases). Parameter
names are those of the published checkpoints. Checked against the ``modeling_esm.py`` of the hub
repositories, as kept in terry-r123/Cross-MolecularBenchmark at ce0ae52, and against
``nucleotide_transformer/layers.py`` of instadeepai/nucleotide-transformer at dd256f1 (Dalla-Torre et al.
2025, Nature Methods 22: 287-297). What differs: angles are computed once for all layers instead of being
kept in buffers, and a forward pass may stop at any layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

BASE = 10_000.0
"""Channel pair i turns by BASE ** (-2 i / head size) radians a token."""


class Angles(NamedTuple):
    """Cosine and sine of the rotation of every position and channel, float32 [T, head size]."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, length: int, head_size: int, device: torch.device) -> Angles:
        """Return the angles of positions 0 to `length` - 1; channel i is paired with i + head_size / 2."""
        even = torch.arange(0, head_size, 2, device=device, dtype=torch.float32)
        turns = torch.outer(
            torch.arange(length, device=device, dtype=torch.float32), 1.0 / BASE ** (even / head_size)
        )
        both = torch.cat((turns, turns), dim=-1)
        return cls(both.cos(), both.sin())

    def rotate(self, x: Tensor) -> Tensor:
        """Return `x` [B, heads, T, head size], each position turned by its angles, in the type of `x`."""
        first, second = x.float().chunk(2, dim=-1)
        return (x.float() * self.cos + torch.cat((-second, first), dim=-1) * self.sin).to(x.dtype)


class SelfAttention(nn.Module):
    """Queries, keys and values: the published ``attention.self``."""

    def __init__(self, hidden_size: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads, self.head_size = n_heads, hidden_size // n_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.n_heads, self.head_size).transpose(1, 2)

    def forward(self, x: Tensor, angles: Angles, mask: Tensor | None) -> Tensor:
        """Return [B, T, D]; `mask` is bool [B, 1, 1, T], False on padding."""
        query, key = angles.rotate(self._heads(self.query(x))), angles.rotate(self._heads(self.key(x)))
        mixed = nn.functional.scaled_dot_product_attention(query, key, self._heads(self.value(x)), mask)
        return mixed.transpose(1, 2).flatten(2)


class _Dense(nn.Module):
    """A linear layer one name down, where the published state dict has it."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., outputs]."""
        y: Tensor = self.dense(x)
        return y


class Attention(nn.Module):
    """Attention behind its norm: the published ``attention``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        size = config["hidden_size"]
        self.self = SelfAttention(size, config["num_attention_heads"])
        self.output = _Dense(size, size, bias=True)
        self.LayerNorm = nn.LayerNorm(size, eps=config["layer_norm_eps"])

    def forward(self, x: Tensor, angles: Angles, mask: Tensor | None) -> Tensor:
        """Return [B, T, D], the input added."""
        out: Tensor = x + self.output(self.self(self.LayerNorm(x), angles, mask))
        return out


class Layer(nn.Module):
    """One block: attention, then a gated feed-forward layer, each behind a norm and with its own skip."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        size, inner, bias = config["hidden_size"], config["intermediate_size"], config["add_bias_fnn"]
        self.attention = Attention(config)
        self.intermediate = _Dense(size, 2 * inner, bias=bias)
        self.output = _Dense(inner, size, bias=bias)
        self.LayerNorm = nn.LayerNorm(size, eps=config["layer_norm_eps"])

    def forward(self, x: Tensor, angles: Angles, mask: Tensor | None) -> Tensor:
        """Return [B, T, D]."""
        x = self.attention(x, angles, mask)
        gate, value = self.intermediate(self.LayerNorm(x)).chunk(2, dim=-1)
        out: Tensor = x + self.output(nn.functional.silu(gate) * value)
        return out


class _Embeddings(nn.Module):
    """The published ``embeddings``, whose table of absolute positions is never read."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(
            config["vocab_size"], config["hidden_size"], padding_idx=config["pad_token_id"]
        )


class _Encoder(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.emb_layer_norm_after = nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"])


class _Esm(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.embeddings, self.encoder = _Embeddings(config), _Encoder(config)


class LMHead(nn.Module):
    """From hidden states to vocabulary logits: the published ``lm_head``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        size = config["hidden_size"]
        self.dense = nn.Linear(size, size)
        self.layer_norm = nn.LayerNorm(size, eps=config["layer_norm_eps"])
        self.decoder = nn.Linear(size, config["vocab_size"], bias=False)
        self.bias = nn.Parameter(torch.zeros(config["vocab_size"]))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits [..., vocab_size] for hidden states [..., D]."""
        logits: Tensor = self.decoder(self.layer_norm(nn.functional.gelu(self.dense(hidden)))) + self.bias
        return logits


class RotaryEsm(nn.Module):
    """ESM with rotary positions, gated feed-forward layers and a masked-language head of its own weights.

    Parameters
    ----------
    config
        Keys of the published ``config.json``.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.esm, self.lm_head = _Esm(config), LMHead(config)
        self.head_size: int = config["hidden_size"] // config["num_attention_heads"]
        self._deviation: float = config["initializer_range"]
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self._deviation)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()

    def states(self, ids: Tensor, attention_mask: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the hidden states [B, T, D] of the embedding, then of every block, as they are asked for.

        The last one is normalised, as published.

        Parameters
        ----------
        ids
            int64 [B, T].
        attention_mask
            bool [B, T], False on padding; None when there is none.
        """
        x = self.esm.embeddings.word_embeddings(ids)
        mask = None
        if attention_mask is not None:
            x = x * attention_mask.unsqueeze(-1)
            mask = attention_mask[:, None, None, :]
        yield x
        angles = Angles.of(ids.shape[1], self.head_size, ids.device)
        *blocks, last = self.esm.encoder.layer
        for block in blocks:
            x = block(x, angles, mask)
            yield x
        yield self.esm.encoder.emb_layer_norm_after(last(x, angles, mask))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits [..., vocab_size] of last hidden states [..., D]."""
        logits: Tensor = self.lm_head(hidden)
        return logits
