"""GPN: a stack of residual blocks of dilated convolutions over one-hot nucleotides.

Benegas, Batra & Song 2023, PNAS 120(44): e2311219120. Parameter names and block structure are those of the
published checkpoints (songlab-cal/gpn, ``gpn/model.py`` and ``gpn/modules.py`` at 3685ddf, classes
ConvNetForMaskedLM and ConvLayer), so their state dicts load as they are. What differs: padding is kept out of
every convolution, a forward pass may stop at any layer, and the convolution runs channels-last.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from glmstore.models.architectures.drawing import DrawnFrom
from glmstore.models.gpn_config import GPNConfig


class DilatedConv(nn.Conv1d):
    """A length-preserving Conv1d that keeps [B, T, D] memory as it lies.

    ``nn.Conv1d`` copies a transposed input into channels-first order; through a 2-D convolution the same
    memory is read as channels-last, which is nearly twice as fast on CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [B, D, T] into [B, D, T]."""
        pad = self.dilation[0] * (self.kernel_size[0] - 1) // 2
        y = nn.functional.conv2d(
            x.unsqueeze(2),
            self.weight.unsqueeze(2),
            self.bias,
            padding=(0, pad),
            dilation=(1, self.dilation[0]),
        )
        return y.squeeze(2)


class _Transpose(nn.Module):
    """Swap the time and channel axes; a module, so that the published indices within `conv` hold."""

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, D, T] for [B, T, D], and the reverse."""
        return x.transpose(1, 2)


class ConvLayer(nn.Module):
    """One residual block: dilated convolution, then a feed-forward layer, each with its own skip."""

    def __init__(self, config: GPNConfig, dilation: int) -> None:
        super().__init__()
        d = config.hidden_size
        self.conv = nn.Sequential(
            _Transpose(),
            DilatedConv(d, d, config.kernel_size, dilation=dilation, padding="same"),
            _Transpose(),
            nn.GELU(),
            nn.LayerNorm(d),
        )
        self.ffn = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.LayerNorm(d))

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return [B, T, D]; `keep` [B, T, 1] is 0 on padding, which then reaches no real position."""
        x = x + self.conv(x if keep is None else x * keep)
        out: Tensor = x + self.ffn(x)
        return out


class GPNEncoder(nn.Module):
    """Embedding and blocks: the published ``model`` submodule."""

    def __init__(self, config: GPNConfig) -> None:
        super().__init__()
        self.hidden_size = config.hidden_size
        self.encoder = nn.Sequential(*[ConvLayer(config, dilation) for dilation in config.dilations])

    def embed(self, ids: Tensor) -> Tensor:
        """Return the one-hot embedding, float32 [B, T, D], of token ids [B, T]."""
        return nn.functional.one_hot(ids, num_classes=self.hidden_size).float()

    def states(self, ids: Tensor, attention_mask: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the hidden states [B, T, D] of the embedding, then of every block, as they are asked for.

        A position's vector does not depend on padding: padded positions enter every convolution as the zeros
        that lie beyond a sequence's end.

        Parameters
        ----------
        ids
            int64 [B, T].
        attention_mask
            bool [B, T], False on padding; None when there is none.
        """
        x = self.embed(ids)
        keep = None if attention_mask is None else attention_mask.unsqueeze(-1).to(x.dtype)
        yield x
        for block in self.encoder:
            x = block(x, keep)
            yield x

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return the last block's hidden states [B, T, D]."""
        *_, last = self.states(ids, attention_mask)
        return last


class MaskedLMHead(nn.Module):
    """From hidden states to vocabulary logits: the published ``cls`` submodule."""

    def __init__(self, config: GPNConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.decoder = nn.Sequential(
            nn.Linear(d, d), nn.GELU(), nn.LayerNorm(d), nn.Linear(d, config.vocab_size)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits [..., vocab_size] for hidden states [..., D]."""
        logits: Tensor = self.decoder(hidden)
        return logits


class GPNForMaskedLM(nn.Module):
    """GPN with its masked-language head.

    Parameters
    ----------
    config
        The shape; ``GPNConfig()`` is the published 25-block, 512-channel model.
    """

    def __init__(self, config: GPNConfig) -> None:
        super().__init__()
        self.config = config
        self.model = GPNEncoder(config)
        self.cls = MaskedLMHead(config)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        # Upstream sets linear layers only; convolutions and norms keep torch's own initialisation.
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            nn.init.zeros_(module.bias)

    def states(self, ids: Tensor, attention_mask: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the hidden states [B, T, D] of every layer; see :meth:`GPNEncoder.states`."""
        return self.model.states(ids, attention_mask)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits [..., vocab_size] of last hidden states [..., D]."""
        logits: Tensor = self.cls(hidden)
        return logits

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return logits [B, T, vocab_size] for token ids [B, T]."""
        logits: Tensor = self.cls(self.model(ids, attention_mask))
        return logits


def initialise(config: GPNConfig, seed: int) -> GPNForMaskedLM:
    """Return an untrained network whose weights depend on `config` and `seed` only, in any thread."""
    with DrawnFrom(seed):
        return GPNForMaskedLM(config)
