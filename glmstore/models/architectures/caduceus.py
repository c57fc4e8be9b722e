"""Caduceus: bidirectional Mamba blocks, plain (PH) or with parameters shared over the two strands (PS).

Schiff et al. 2024, ICML (arXiv:2403.03234). Parameter names and arithmetic are those of the published
checkpoints (kuleshov-group/caduceus, ``caduceus/modeling_caduceus.py`` at 2593c80 and
``caduceus/modeling_rcps.py`` at 49e3204). What differs: a sequence is reversed within its own length, so that
its padding stays behind it; layers are the residual stream (what a block adds, and what it adds to), of which
the published hidden states are the addend only; projections that the two directions share are computed once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from glmstore.models.architectures.mamba import Mamba


def padded_vocabulary(config: Mapping[str, Any]) -> int:
    """Return the embedding's rows: the vocabulary, rounded up as published."""
    multiple = config["pad_vocab_size_multiple"]
    return int(-(-config["vocab_size"] // multiple) * multiple)


def complements(config: Mapping[str, Any]) -> Tensor:
    """Return int64 [V]: the id that each id becomes on the other strand; ids the map leaves out stay."""
    given = config["complement_map"]
    return torch.tensor([int(given.get(str(i), i)) for i in range(padded_vocabulary(config))])


class Reversal:
    """Turns sequences around, each within its own length.

    Parameters
    ----------
    attention_mask
        bool [B, T], False on padding, which is on the right and stays there; None where there is none.
    """

    def __init__(self, attention_mask: Tensor | None) -> None:
        self._places: Tensor | None = None
        if attention_mask is not None:
            at = torch.arange(attention_mask.shape[1], device=attention_mask.device)
            self._places = torch.where(attention_mask, attention_mask.sum(1, keepdim=True) - 1 - at, at)

    def __call__(self, x: Tensor) -> Tensor:
        """Return [k B, T, ...] reversed in time; applied twice, it changes nothing."""
        if self._places is None:
            return x.flip(1)
        places = self._places.repeat(x.shape[0] // self._places.shape[0], 1)
        return x.gather(1, places.unsqueeze(-1).expand_as(x))


class BiMamba(nn.Module):
    """Two Mamba mixers, one for each direction, with the same projections; their outputs are added."""

    def __init__(self, d_model: int, ssm: Mapping[str, Any]) -> None:
        super().__init__()
        self.mamba_fwd = Mamba(d_model, ssm)
        self.mamba_rev = Mamba(d_model, ssm)
        self.mamba_rev.in_proj = self.mamba_fwd.in_proj
        self.mamba_rev.out_proj = self.mamba_fwd.out_proj

    def forward(self, x: Tensor, reverse: Reversal) -> Tensor:
        """Return [B, T, D] for [B, T, D]."""
        projected = self.mamba_fwd.in_proj(x)
        mixed = self.mamba_fwd.mix(projected) + reverse(self.mamba_rev.mix(reverse(projected)))
        out: Tensor = self.mamba_fwd.out_proj(mixed)
        return out


class Block(nn.Module):
    """One pre-norm block of the plain model."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.mixer = BiMamba(config["d_model"], config["ssm_cfg"])
        self.norm = nn.RMSNorm(config["d_model"], eps=config["norm_epsilon"])

    def forward(self, x: Tensor, reverse: Reversal) -> Tensor:
        """Return the residual stream [B, T, D] after this block."""
        out: Tensor = x + self.mixer(self.norm(x), reverse)
        return out


def on_each_strand(x: Tensor, reverse: Reversal) -> Tensor:
    """Return [2B, T, D] for [B, T, 2D]: the first half of the channels, then the second in its own order.

    The second half lies in the first one's coordinates: positions and channels run backwards.
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first, reverse(second).flip(-1)])


def side_by_side(strands: Tensor, reverse: Reversal) -> Tensor:
    """Undo :func:`on_each_strand`."""
    first, second = strands.chunk(2)
    return torch.cat([first, reverse(second).flip(-1)], dim=-1)


class Shared(nn.Module):
    """Holds the mixer that serves both strands, under its published name."""

    def __init__(self, submodule: BiMamba) -> None:
        super().__init__()
        self.submodule = submodule


class SharedBlock(nn.Module):
    """One pre-norm block that treats the two strands alike.

    The published fused norm takes the second half of the channels for the first strand and the first half for
    the second. The strands so change places from block to block, and the weights were trained that way; a
    configuration without ``fused_add_norm`` keeps them in place.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.mixer = Shared(BiMamba(config["d_model"], config["ssm_cfg"]))
        self.norm = nn.RMSNorm(config["d_model"], eps=config["norm_epsilon"])
        self.swaps = bool(config["fused_add_norm"])

    def forward(self, x: Tensor, reverse: Reversal) -> Tensor:
        """Return the residual stream [B, T, 2D] after this block."""
        if self.swaps:
            x = torch.cat(x.chunk(2, dim=-1)[::-1], dim=-1)
        strands = on_each_strand(x, reverse)
        strands = strands + self.mixer.submodule(self.norm(strands), reverse)
        return side_by_side(strands, reverse)


class StrandEmbedding(nn.Module):
    """Embeds a token and, behind it with its channels reversed, the token's complement."""

    complement_map: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.register_buffer("complement_map", complements(config))
        self.embedding = nn.Embedding(padded_vocabulary(config), config["d_model"])

    def forward(self, ids: Tensor) -> Tensor:
        """Return [B, T, 2D] for int64 [B, T]."""
        other = self.embedding(self.complement_map[ids])
        return torch.cat([self.embedding(ids), other.flip(-1)], dim=-1)


class StrandHead(nn.Module):
    """Logits to which both strands contribute, each in its own alphabet."""

    complement_map: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.register_buffer("complement_map", complements(config))
        self.lm_head = nn.Linear(config["d_model"], padded_vocabulary(config), bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [..., V] for [..., 2D]."""
        first, second = hidden.chunk(2, dim=-1)
        other = nn.functional.linear(second.flip(-1), self.lm_head.weight[self.complement_map])
        logits: Tensor = self.lm_head(first) + other
        return logits


class Embeddings(nn.Module):
    """The token embedding, under its published name."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        plain = nn.Embedding(padded_vocabulary(config), config["d_model"])
        self.word_embeddings = StrandEmbedding(config) if config["rcps"] else plain


class Backbone(nn.Module):
    """Embedding, blocks and the final norm."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        kind = SharedBlock if config["rcps"] else Block
        self.layers = nn.ModuleList([kind(config) for _ in range(config["n_layer"])])
        self.norm_f = nn.RMSNorm(config["d_model"], eps=config["norm_epsilon"])


class Caduceus(nn.Module):
    """The published ``caduceus`` submodule, which holds the backbone and nothing else."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.backbone = Backbone(config)


class CaduceusForMaskedLM(nn.Module):
    """Caduceus with its masked-language head, which is its embedding.

    Parameters
    ----------
    config
        The published ``config.json``: d_model, n_layer, vocab_size, pad_vocab_size_multiple, rcps,
        complement_map (with rcps), fused_add_norm, norm_epsilon, ssm_cfg, initializer_cfg.
    """

    position_by_position = True
    """Its scan is a loop over positions; planning follows a few of them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.shared = bool(config["rcps"])
        self.caduceus = Caduceus(config)
        words = self.caduceus.backbone.embeddings.word_embeddings
        if isinstance(words, StrandEmbedding):
            self.lm_head: nn.Module = StrandHead(config)
            self.lm_head.lm_head.weight = words.embedding.weight
        else:
            self.lm_head = nn.Linear(config["d_model"], padded_vocabulary(config), bias=False)
            self.lm_head.weight = words.weight
        self._initialise(config)

    def _initialise(self, config: Mapping[str, Any]) -> None:
        drawn = config["initializer_cfg"]
        additions = drawn["n_residuals_per_layer"] * config["n_layer"]
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=drawn["initializer_range"])
            elif name.endswith("out_proj") and isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))
                with torch.no_grad():
                    module.weight.div_(math.sqrt(additions))

    def states(self, ids: Tensor, attention_mask: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the residual stream of the embedding, then of every block; the last one after the final norm.

        Parameters
        ----------
        ids
            int64 [B, T], padded on the right.
        attention_mask
            bool [B, T], False on padding; None when there is none.

        Yields
        ------
        Tensor
            [B, T, D], with shared parameters [B, T, 2D]: the reverse complement of a sequence has the same
            numbers with positions and channels reversed.
        """
        backbone, reverse = self.caduceus.backbone, Reversal(attention_mask)
        x = backbone.embeddings.word_embeddings(ids)
        yield x
        last = len(backbone.layers) - 1
        for i, block in enumerate(backbone.layers):
            x = block(x, reverse)
            yield self._norm(x) if i == last else x

    def _norm(self, x: Tensor) -> Tensor:
        norm = self.caduceus.backbone.norm_f
        first, *second = x.chunk(2, dim=-1) if self.shared else (x,)
        return torch.cat([norm(first), *(norm(half.flip(-1)).flip(-1) for half in second)], dim=-1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of last hidden states [..., D], or [..., 2D] with shared parameters."""
        logits: Tensor = self.lm_head(hidden)
        return logits
