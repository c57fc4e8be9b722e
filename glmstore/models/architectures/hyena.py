"""HyenaDNA: gated long convolutions whose filters a small network draws from the position.

Nguyen et al. 2023, NeurIPS 36 (arXiv:2306.15794), after Poli et al. 2023 (arXiv:2302.10866). Parameter names
and arithmetic are those of the published ``-hf`` checkpoints (``modeling_hyena.py`` of
LongSafari/hyenadna-*-hf; original: HazyResearch/hyena-dna, ``standalone_hyenadna.py`` at 372625a), so their
state dicts load as they are. The initialisation is the original's. What differs: FFT lengths are powers of
two, and filters are made in float32 under autocast.

The network is causal and takes no mask. A filter tap depends on its distance only, never on the length of the
input, so padding on the right changes nothing before it but the rounding of the FFT.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

FAST_DECAY, SLOW_DECAY, DECAY_TARGET, DECAY_SHIFT = 0.3, 1.5, 1e-2, 0.05
"""Filter windows: fractions of the context after which the fastest and the slowest channel have fallen to the
target, and the floor that is added to all; no published configuration sets them."""


def padded_vocabulary(config: Mapping[str, Any]) -> int:
    """Return the embedding's rows: the vocabulary, rounded up as published."""
    multiple = config["pad_vocab_size_multiple"]
    return int(-(-config["vocab_size"] // multiple) * multiple)


def short_convolution(convolution: nn.Conv1d, x: Tensor) -> Tensor:
    """Convolve [B, T, C] causally, each channel for itself, with the weights of a depthwise convolution.

    Through a 2-D convolution the memory is read as it lies, channels last: four times as fast on CPU as
    turning it around for ``nn.Conv1d``.
    """
    y = nn.functional.conv2d(
        x.transpose(1, 2).unsqueeze(2),
        convolution.weight.unsqueeze(2),
        convolution.bias,
        padding=(0, convolution.kernel_size[0] - 1),
        groups=convolution.groups,
    )
    return y[:, :, 0, : x.shape[1]].transpose(1, 2)


def causal_convolution(x: Tensor, taps: Tensor) -> Tensor:
    """Convolve along time, each channel with its own filter, by FFT in float32.

    Parameters
    ----------
    x
        [B, T, D].
    taps
        float32 [T, D]; tap 0 multiplies the position itself.

    Returns
    -------
    Tensor
        float32 [B, T, D].
    """
    length = x.shape[1]
    # A power of two is never slower, and neighbouring widths share it, so that they round alike.
    size = 1 << (2 * length - 1).bit_length()
    product = torch.fft.rfft(x.float(), n=size, dim=1) * torch.fft.rfft(taps, n=size, dim=0)
    found: Tensor = torch.fft.irfft(product, n=size, dim=1)
    return found[:, :length]


class Sine(nn.Module):
    """``sin(frequency * x)`` with one trained frequency a channel; one instance serves a whole filter."""

    def __init__(self, width: int, frequency: float) -> None:
        super().__init__()
        self.freq = nn.Parameter(torch.full((1, width), float(frequency)))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return torch.sin(self.freq * x)


class PositionalEmbedding(nn.Module):
    """The features of a position: its share of the context, and sines and cosines of it."""

    z: Tensor
    t: Tensor

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        bands = (width - 1) // 2
        t = torch.linspace(0, 1, length)[None, :, None]
        angle = 2 * math.pi * torch.linspace(0, length - 1, length)[None, :, None] / length
        turns = torch.linspace(1e-4, bands - 1, bands)[None, None] * angle
        self.register_buffer("z", torch.cat([t, torch.cos(turns), -torch.sin(turns)], dim=-1))
        self.register_buffer("t", t)


class ExponentialModulation(nn.Module):
    """Decay rates of the filters, from slow to fast over the channels."""

    deltas: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        slow, fast = math.log(DECAY_TARGET) / SLOW_DECAY, math.log(DECAY_TARGET) / FAST_DECAY
        self.register_buffer("deltas", torch.linspace(slow, fast, channels)[None, None])

    def forward(self, t: Tensor, taps: Tensor) -> Tensor:
        """Return taps [1, T, D], damped with their distance `t` [1, T, 1]."""
        return taps * (torch.exp(-t * self.deltas.abs()) + DECAY_SHIFT)


class HyenaFilter(nn.Module):
    """The long filters of one layer, as a function of the distance."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        d, width = config["d_model"], config["filter_order"]
        self.bias = nn.Parameter(torch.randn(d))
        self.pos_emb = PositionalEmbedding(config["emb_dim"], config["max_seq_len"])
        act = Sine(width, config["activation_freq"])
        layers: list[nn.Module] = [nn.Linear(config["emb_dim"], width), act]
        for _ in range(config["num_inner_mlps"]):
            layers += [nn.Linear(width, width), act]
        self.implicit_filter = nn.Sequential(*layers, nn.Linear(width, d, bias=False))
        self.modulation = ExponentialModulation(d)

    def taps(self, length: int) -> Tensor:
        """Return float32 [length, D]: the first taps of every channel's filter."""
        z, t = self.pos_emb.z[:, :length], self.pos_emb.t[:, :length]
        # sin(10 x) of a bf16 number is noise; the filter costs next to nothing beside the layers.
        with torch.autocast(z.device.type, enabled=False):
            taps: Tensor = self.modulation(t, self.implicit_filter(z))
        return taps[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [B, T, D]: `x` convolved with the filters, and a share of `x` itself."""
        return causal_convolution(x, self.taps(x.shape[1])) + x * self.bias


class HyenaOperator(nn.Module):
    """The order-2 operator: short filters, a gate, the long convolution, another gate."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        d, short = config["d_model"], config["short_filter_order"]
        self.in_proj = nn.Linear(d, 3 * d)
        self.out_proj = nn.Linear(d, d)
        self.short_filter = nn.Conv1d(3 * d, 3 * d, short, padding=short - 1, groups=3 * d)
        self.filter_fn = HyenaFilter(config)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, D] for [B, T, D]."""
        u = short_convolution(self.short_filter, self.in_proj(x))
        gate, inner_gate, value = u.chunk(3, dim=-1)
        out: Tensor = self.out_proj(gate * self.filter_fn(value * inner_gate))
        return out


class HyenaMlp(nn.Module):
    """Two linear layers with a tanh-approximated GELU between them."""

    def __init__(self, d_model: int, d_inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d_model, d_inner)
        self.fc2 = nn.Linear(d_inner, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., D] for [..., D]."""
        out: Tensor = self.fc2(nn.functional.gelu(self.fc1(x), approximate="tanh"))
        return out


class HyenaBlock(nn.Module):
    """One pre-norm block: operator and feed-forward layer, each with its own skip."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        d, eps = config["d_model"], config["layer_norm_epsilon"]
        self.mixer = HyenaOperator(config)
        self.norm1 = nn.LayerNorm(d, eps=eps)
        self.mlp = HyenaMlp(d, config["d_inner"])
        self.norm2 = nn.LayerNorm(d, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, D] for [B, T, D]."""
        x = x + self.mixer(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class HyenaEmbeddings(nn.Module):
    """The token embedding, under its published name."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(padded_vocabulary(config), config["d_model"])


class HyenaBackbone(nn.Module):
    """Embedding, blocks and the final norm."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.embeddings = HyenaEmbeddings(config)
        self.layers = nn.ModuleList([HyenaBlock(config) for _ in range(config["n_layer"])])
        self.ln_f = nn.LayerNorm(config["d_model"], eps=config["layer_norm_epsilon"])


class HyenaModel(nn.Module):
    """The published ``hyena`` submodule, which holds the backbone and nothing else."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.backbone = HyenaBackbone(config)


class HyenaDNAForCausalLM(nn.Module):
    """HyenaDNA with its next-token head.

    Parameters
    ----------
    config
        The published ``config.json``: d_model, n_layer, d_inner, vocab_size, pad_vocab_size_multiple,
        max_seq_len, emb_dim, filter_order, num_inner_mlps, activation_freq, short_filter_order,
        layer_norm_epsilon, initializer_range. Dropout is not read: models only embed and are adapted here.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.hyena = HyenaModel(config)
        # The pretraining tied the head to the embedding; the -hf checkpoints store the two apart.
        self.lm_head = nn.Linear(config["d_model"], padded_vocabulary(config), bias=False)
        self._initialise(config["initializer_range"], config["n_layer"])

    def _initialise(self, std: float, n_layer: int) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                # GPT-2's rule: what is added to the residual stream shrinks with the number of additions.
                last = name.endswith(("mixer.out_proj", "mlp.fc2"))
                nn.init.normal_(module.weight, std=std / math.sqrt(2 * n_layer) if last else std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=std)

    def states(
        self,
        ids: Tensor,
        attention_mask: Tensor | None = None,  # noqa: ARG002  (no position sees a later one)
    ) -> Iterator[Tensor]:
        """Yield [B, T, D] of the embedding, then of every block; the last one after the final norm.

        Parameters
        ----------
        ids
            int64 [B, T], padded on the right; T at most ``max_seq_len``.
        attention_mask
            Not needed: no position sees a later one.
        """
        backbone = self.hyena.backbone
        x = backbone.embeddings.word_embeddings(ids)
        yield x
        last = len(backbone.layers) - 1
        for i, block in enumerate(backbone.layers):
            x = block(x)
            yield backbone.ln_f(x) if i == last else x

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] of last hidden states [..., D]; those at t are for token t + 1."""
        logits: Tensor = self.lm_head(hidden)
        return logits
