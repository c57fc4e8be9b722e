"""LoRA adapters as peft makes them, and the tuned model they make of a backbone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from glmstore.errors import HeadError
from glmstore.heads.neural.layers import SeededDropout, seed_layers
from glmstore.models.pooling import pool

if TYPE_CHECKING:
    from glmstore.finetuning.settings import FineTuneSettings
    from glmstore.heads.base import TrainedKind
    from glmstore.hugging_face import PeftModel
    from glmstore.models.base import Batch, GenomicLM

PREDICT_BATCH = 256


class Backbone(nn.Module):
    """Gives peft a module without a `config` of its own, under one name whatever the model family."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.backbone = network


class Standardise(nn.Module):
    """Centre and scale each feature by what the training sequences gave before training.

    Without it a head learns at the pace of its features' conditioning: an untrained network's are worse by
    orders of magnitude, and a comparison with it would measure that instead of what pretraining taught.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def fit(self, features: Tensor) -> None:
        """Take centre and scale from features [N, D]; one that is constant is only centred."""
        features = features.double()
        spread = features.std(dim=0, correction=0)
        self.centre.copy_(features.mean(dim=0))
        self.scale.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))

    def forward(self, features: Tensor) -> Tensor:
        """Return float32 [B, D]."""
        return (features.float() - self.centre) / self.scale


class PooledHead(nn.Module):
    """A linear layer, or one hidden layer, on the standardised mean of a sequence's token vectors.

    Parameters
    ----------
    dim
        D, the width of a token vector.
    hidden
        Width of the hidden layer; None for a linear head.
    mean, std
        Of the training labels; the head predicts in units of `std` around `mean`. 0 and 1 for binary labels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int, hidden: int | None, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        last = hidden or dim
        middle = [nn.Linear(dim, hidden), nn.GELU()] if hidden else []
        self.standardise = Standardise(dim)
        self.layers = nn.Sequential(*middle, nn.Linear(last, 1))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float64))

    def forward(self, tokens: Tensor, batch: Batch) -> Tensor:
        """Return the standardised estimate or the logit, float32 [B], for token vectors [B, T, D]."""
        out: Tensor = self.layers(self.standardise(pool(tokens, batch, "mean")))
        return out.squeeze(-1)


@dataclass
class TunedModel:
    """A backbone with its adapter, and the head on top.

    Attributes
    ----------
    model
        The backbone; its network holds the adapter's layers in place.
    peft
        peft's handle on the adapter.
    head
        Turns token vectors into predictions.
    layer
        Layer the head reads.
    kind
        What the label is.
    """

    model: GenomicLM
    peft: PeftModel
    head: PooledHead
    layer: int
    kind: TrainedKind

    def standardise_on(self, sequences: Sequence[str]) -> None:
        """Fix the head's centre and scale of each feature on these sequences, with the model as it is now."""
        self.train(False)
        device = next(self.head.parameters()).device
        parts = []
        with torch.inference_mode():
            for start in range(0, len(sequences), PREDICT_BATCH):
                batch = self.model.encode(sequences[start : start + PREDICT_BATCH]).to(device)
                parts.append(pool(self.model.hidden_states(batch, self.layer), batch, "mean"))
        self.head.standardise.fit(torch.cat(parts))

    def raw(self, sequences: Sequence[str]) -> Tensor:
        """Return the head's output, float32 [B], for one batch of normalised sequences."""
        device = next(self.head.parameters()).device
        batch = self.model.encode(sequences).to(device)
        out: Tensor = self.head(self.model.hidden_states(batch, self.layer), batch)
        return out

    def train(self, mode: bool = True) -> None:
        """Switch the dropout of the adapter and the head on or off; the backbone stays in evaluation mode.

        A backbone's own dropout, which only some families have, draws from torch's global random state, so
        no seed would give the same adapter twice; and what it is there for, keeping the weights it was
        pretrained with from fitting too closely, is settled: they are frozen.
        """
        from glmstore.hugging_face import LoraLayer

        self.peft.eval()
        for part in self.peft.modules():
            if isinstance(part, LoraLayer):
                part.lora_dropout.train(mode)
        self.head.train(mode)

    def trainable(self) -> dict[str, Tensor]:
        """Return the adapter's and the head's parameters by name."""
        named = [*self.peft.named_parameters(), *((f"head.{n}", p) for n, p in self.head.named_parameters())]
        return {name: p for name, p in named if p.requires_grad}

    def predict(self, sequences: Sequence[str]) -> np.ndarray:
        """Return float64 [N]: the label's estimate, or the probability of 1. Computed in float32.

        Raises
        ------
        SequenceTooLongError
            If a sequence is longer than the model takes.
        """
        self.train(False)
        parts = [np.empty(0)]
        with torch.inference_mode():
            for start in range(0, len(sequences), PREDICT_BATCH):
                raw = self.raw(sequences[start : start + PREDICT_BATCH]).double()
                scaled = (
                    raw * self.head.std + self.head.mean if self.kind == "regression" else torch.sigmoid(raw)
                )
                parts.append(scaled.cpu().numpy())
        return np.concatenate(parts)


def network_of(model: GenomicLM) -> nn.Module:
    """Return the torch module behind a model.

    Raises
    ------
    HeadError
        If the model has no network, or names no layers for LoRA.
    """
    network: Any = model if isinstance(model, nn.Module) else getattr(model, "network", None)
    if model.spec.lora_targets is None or not isinstance(network, nn.Module):
        raise HeadError(f"{model.spec.name} cannot be fine-tuned: it has no layers for LoRA.")
    return network


def attach(model: GenomicLM, settings: FineTuneSettings) -> PeftModel:
    """Put a fresh adapter into the model's network, in place, and freeze everything else.

    Raises
    ------
    HeadError
        If the model cannot take an adapter.
    """
    from glmstore.hugging_face import LoraConfig, get_peft_model

    network = network_of(model)
    targets = model.spec.lora_targets
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(targets) if isinstance(targets, tuple) else targets,
    )
    peft = get_peft_model(Backbone(network), config)
    dilate(peft)
    return peft


def draw(tuned: TunedModel, seed: int) -> None:
    """Draw the adapter's and the head's first weights, and seed dropout, from this training's own generator.

    peft draws from torch's global one, which trainings in several threads would share. The distributions are
    those of peft and torch: the first factor and the head uniform, the second factor 0.
    """
    from glmstore.hugging_face import LoraLayer

    device = next(tuned.head.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    for part in tuned.peft.modules():
        if not isinstance(part, LoraLayer):
            continue
        for first in part.lora_A.values():
            nn.init.kaiming_uniform_(first.weight, a=math.sqrt(5), generator=generator)
        for second in part.lora_B.values():
            nn.init.zeros_(second.weight)
        for name, dropout in part.lora_dropout.items():
            if isinstance(dropout, nn.Dropout):
                part.lora_dropout[name] = SeededDropout(dropout.p)
    for layer in tuned.head.layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
            nn.init.zeros_(layer.bias)
    seed_layers(tuned.peft, generator)


def dilate(peft: nn.Module) -> None:
    """Let every convolution's update reach as far as the convolution it updates.

    peft builds the update of a convolution without its dilation, which would read other positions than the
    layer does and would not be a low-rank change of its kernel.
    """
    for part in peft.modules():
        base = getattr(part, "base_layer", None)
        if isinstance(base, nn.Conv1d | nn.Conv2d):
            for update in part.lora_A.values():  # type: ignore[operator]
                update.dilation = base.dilation
