"""Networks of published shapes with random weights, what passes through them cost, what machines can do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from glmstore.models.architectures.esm import EsmNetwork
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.gpn_config import GPNConfig
from glmstore.models.spec import ModelSpec
from glmstore.models.tokenizers.character import CharacterTokenizer

ESM_7M = {
    "vocab_size": 33,
    "hidden_size": 320,
    "num_hidden_layers": 6,
    "num_attention_heads": 20,
    "intermediate_size": 1280,
    "max_position_embeddings": 1026,
    "position_embedding_type": "absolute",
    "emb_layer_norm_before": False,
    "token_dropout": False,
    "pad_token_id": 1,
    "mask_token_id": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
"""The widths of esm2_t6_8M with learned positions, as Nucleotide Transformers have them."""


def esm_7m() -> LanguageModel:
    """Return an ESM of seven million random weights that reads one letter a token, between CLS and EOS."""
    vocabulary = ["<cls>", "<pad>", "<eos>", "<unk>", *"ACGTN", *(f"<{i}>" for i in range(23)), "<mask>"]
    tokenizer = CharacterTokenizer(vocabulary, pad_id=1, mask_id=32, prefix=(0,), suffix=(2,))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = EsmNetwork(ESM_7M)
    spec = ModelSpec(
        name="esm-7m-shape",
        family="ESM",
        summary="Random weights in the shape of an ESM of 7M.",
        revision="random",
        objective="mlm",
        tokenization="character",
        max_nt=1024,
        dim=320,
        n_layers=6,
        default_layer=6,
        n_parameters=sum(p.numel() for p in network.parameters()),
        licence="Apache-2.0",
        citation="none",
    )
    return LanguageModel(spec, network, tokenizer)


def transformer_flops(tokens: Iterable[int], layers: int, width: int, feed_forward: int) -> float:
    """Return the multiply-adds, counted as two, of sequences of that many tokens each through all layers."""
    projections = 2 * (4 * width**2 + 2 * width * feed_forward)
    return float(sum(t * layers * (projections + 4 * t * width) for t in tokens))


def gpn_flops(lengths: Sequence[int], config: GPNConfig) -> float:
    """Return the multiply-adds, counted as two, of the convolutions and linear layers of all blocks.

    Taps of a kernel that lie beyond a sequence's end are not counted: with a dilation of 32 they are more
    than half of those of a sequence of 125 nt.
    """
    width, reach = config.hidden_size, config.kernel_size // 2
    taps = sum(
        max(0, length - abs(tap) * dilation)
        for length in lengths
        for dilation in config.dilations
        for tap in range(-reach, reach + 1)
    )
    return 2.0 * width**2 * (taps + sum(lengths) * config.n_layers)


def random_sequences(lengths: Iterable[Any], seed: int = 0) -> list[str]:
    """Return sequences over ACGT of these lengths."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACGT"), int(n))) for n in lengths]


def matmul(size: int, dtype: torch.dtype, device: str = "cpu") -> tuple[Callable[[], object], float]:
    """Return a square matrix product to be timed, and its floating-point operations."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return (lambda: a @ b), 2.0 * size**3


def cuda_peak(dtype: torch.dtype = torch.bfloat16, size: int = 8192, rounds: int = 20) -> float:
    """Return the most floating-point operations a second that a matrix product reached on the GPU."""
    job, flops = matmul(size, dtype, "cuda")
    best = float("inf")
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        job()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return flops / best
