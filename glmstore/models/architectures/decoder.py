"""Causal decoders of the Llama and Mixtral kind, streamed layer by layer.

The dense decoder is transformers' own LlamaForCausalLM. The sparse one takes attention, norms and rotary
positions from transformers' Mixtral, and keeps every expert's matrices apart, under the names that
checkpoints were published with (``block_sparse_moe.experts.E.w1``); transformers 5 stores them fused and
renames them while loading. Both were checked against the native classes of transformers 5.23
(``models/llama/modeling_llama.py``, ``models/mixtral/modeling_mixtral.py``).

A causal layer looks left only, and padding lies on the right: no real token ever sees it, so no padding mask
is needed, and attention runs on the causal fast path whatever the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from glmstore.hugging_face import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralAttention,
    MixtralConfig,
    MixtralRMSNorm,
    MixtralRotaryEmbedding,
)

ATTENTION = "sdpa"


def _stream(model: Any, ids: Tensor) -> Iterator[Tensor]:
    """Yield the embedding, then every block's output; the last one with the final norm."""
    x = model.embed_tokens(ids)
    yield x
    places = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
    rotary = model.rotary_emb(x, position_ids=places)
    *inner, last = model.layers
    for block in inner:
        x = block(x, position_embeddings=rotary, attention_mask=None)
        yield x
    yield model.norm(last(x, position_embeddings=rotary, attention_mask=None))


class LlamaDecoder(LlamaForCausalLM):  # type: ignore[misc]
    """Llama with its language head.

    Parameters
    ----------
    config
        Keys of the published ``config.json``; those of our own (``vocabulary`` …) are left out by the caller.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(LlamaConfig(**config, attn_implementation=ATTENTION, use_cache=False))

    def states(self, ids: Tensor, attention_mask: Tensor | None = None) -> Iterator[Tensor]:  # noqa: ARG002
        """Yield float [B, T, D] of every layer, as transformers' ``output_hidden_states`` counts them.

        Parameters
        ----------
        ids
            int64 [B, T], padded on the right.
        attention_mask
            Not used: see the module's text.
        """
        return _stream(self.model, ids)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of last hidden states [..., D]; at t they are those of token t + 1."""
        logits: Tensor = self.lm_head(hidden)
        return logits


class Expert(nn.Module):
    """One gated feed-forward network: ``w2(silu(w1 x) * w3 x)``."""

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__()
        d, inner = config.hidden_size, config.intermediate_size
        self.w1 = nn.Linear(d, inner, bias=False)
        self.w2 = nn.Linear(inner, d, bias=False)
        self.w3 = nn.Linear(d, inner, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, D] of tokens [N, D]."""
        out: Tensor = self.w2(nn.functional.silu(self.w1(x)) * self.w3(x))
        return out


class SparseExperts(nn.Module):
    """Every token goes to the few experts that a linear gate prefers, weighted by the gate's softmax."""

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__()
        self.chosen_each = config.num_experts_per_tok
        self.gate = nn.Linear(config.hidden_size, config.num_local_experts, bias=False)
        self.experts = nn.ModuleList([Expert(config) for _ in range(config.num_local_experts)])

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, D] of tokens [B, T, D], each on its own: neighbours and padding play no part."""
        tokens = x.reshape(-1, x.shape[-1])
        # A gate rounded to bf16 would send tokens near a tie to another expert; it keeps the weights' type.
        with torch.autocast(x.device.type, enabled=False):
            share = self.gate(tokens.to(self.gate.weight.dtype)).float().softmax(dim=-1)
        weights, chosen = share.topk(self.chosen_each, dim=-1)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        out = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            rows, slots = (chosen == number).nonzero(as_tuple=True)
            part = expert(tokens[rows]) * weights[rows, slots].unsqueeze(-1)
            out = out.index_add(0, rows, part.to(out.dtype))
        return out.view_as(x)


class MixtralBlock(nn.Module):
    """Causal attention, then sparse experts, each behind a norm and around a skip."""

    def __init__(self, config: MixtralConfig, number: int) -> None:
        super().__init__()
        self.self_attn = MixtralAttention(config, number)
        self.block_sparse_moe = SparseExperts(config)
        self.input_layernorm = MixtralRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = MixtralRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self, x: Tensor, position_embeddings: tuple[Tensor, Tensor], attention_mask: Tensor | None
    ) -> Tensor:
        """Return [B, T, D]; `position_embeddings` are cosine and sine, each [1, T, head]."""
        attended, _ = self.self_attn(
            self.input_layernorm(x), position_embeddings=position_embeddings, attention_mask=attention_mask
        )
        x = x + attended
        out: Tensor = x + self.block_sparse_moe(self.post_attention_layernorm(x))
        return out


class MixtralBody(nn.Module):
    """Embedding, blocks and final norm: the published ``model`` submodule."""

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList([MixtralBlock(config, i) for i in range(config.num_hidden_layers)])
        self.norm = MixtralRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = MixtralRotaryEmbedding(config)


class MixtralDecoder(nn.Module):
    """Mixtral with its language head, its experts under the published names.

    Parameters
    ----------
    config
        Keys of the published ``config.json``.

    Raises
    ------
    ValueError
        If the configuration has a sliding window, which no published DNA model has.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        shape = MixtralConfig(**config, attn_implementation=ATTENTION)
        if shape.sliding_window is not None:
            raise ValueError("a Mixtral with a sliding window needs a mask that this decoder does not make.")
        self.initializer_range = shape.initializer_range
        self.model = MixtralBody(shape)
        self.lm_head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.initializer_range)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])

    def states(self, ids: Tensor, attention_mask: Tensor | None = None) -> Iterator[Tensor]:  # noqa: ARG002
        """Yield float [B, T, D] of every layer; see :meth:`LlamaDecoder.states`."""
        return _stream(self.model, ids)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of last hidden states [..., D]; at t they are those of token t + 1."""
        logits: Tensor = self.lm_head(hidden)
        return logits
