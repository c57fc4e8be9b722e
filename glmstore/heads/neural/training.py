"""One training loop: Adam, plateau decay, early stopping on validation, best weights restored."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from glmstore.config import Settings
from glmstore.errors import TrainingDivergedError
from glmstore.heads.base import FitData, Report, TrainedKind
from glmstore.heads.linear import deviance_explained
from glmstore.heads.neural.layers import seed_layers

Precision = Literal["auto", "float32", "bfloat16"]
MAX_EPOCHS = 100
_EVALUATION_NUMBERS = 1 << 22  # input numbers a forward pass without gradients


@dataclass(frozen=True)
class Schedule:
    """How a network is trained; patience counts epochs, as in Tang et al. 2025."""

    learning_rate: float
    weight_decay: float
    batch_size: int
    max_epochs: int
    precision: Precision = "float32"
    stop_patience: int = 10
    plateau_patience: int = 5
    plateau_factor: float = 0.2
    min_learning_rate: float = 1e-8


class Trained(NamedTuple):
    """What happened: epochs run, the 1-based epoch whose weights were kept, and its validation score."""

    epochs: int
    best_epoch: int
    valid_score: float
    seconds_per_epoch: float
    precision: str


def chosen_device() -> torch.device:
    """Return the device of the settings; 'auto' is a CUDA device where there is one, else the CPU."""
    name = Settings().device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def resolve_precision(asked: Precision, device: torch.device) -> str:
    """Return 'bfloat16' where asked for, or where 'auto' meets hardware that multiplies it natively."""
    if asked != "auto":
        return asked
    native = torch.cuda.is_bf16_supported(False) if device.type == "cuda" else _cpu_bfloat16(device)
    return "bfloat16" if native else "float32"


def _cpu_bfloat16(device: torch.device) -> bool:
    # Newer than the oldest torch that is supported; without it float32 is always right.
    ask = getattr(torch.cpu, "get_capabilities", dict)
    capabilities: dict[str, bool] = ask() if device.type == "cpu" else {}
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def train(
    network: nn.Module, data: FitData, schedule: Schedule, *, seed: int, report: Report | None = None
) -> Trained:
    """Train in place; the network ends in evaluation mode with its best weights.

    The same seed gives the same weights on the same machine with as many torch threads.

    Parameters
    ----------
    network
        Initialised, on the device it is trained on; maps features to [B].
    data
        Labels standardised already for regression, 0 and 1 for binary.
    schedule
        Choices of optimisation.
    seed
        Of batch order and dropout.
    report
        Called after every epoch with its 1-based number and validation score; what it raises passes through.

    Raises
    ------
    TrainingDivergedError
        If the loss on validation is not finite any more.
    """
    device = next(network.parameters()).device
    loop = _Loop(network, data, schedule, seed, device)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        loop.optimiser,
        factor=schedule.plateau_factor,
        patience=schedule.plateau_patience,
        min_lr=schedule.min_learning_rate,
    )
    best_loss, best_epoch, best_weights = math.inf, 0, copy.deepcopy(network.state_dict())
    started, epoch = time.perf_counter(), 0
    for epoch in range(1, schedule.max_epochs + 1):
        loop.epoch()
        loss = loop.valid_loss()
        if not math.isfinite(loss):
            raise TrainingDivergedError(
                f"training diverged in epoch {epoch}: the loss on validation is {loss}. "
                f"Use a learning rate below {schedule.learning_rate:g}."
            )
        if loss < best_loss:
            best_loss, best_epoch, best_weights = loss, epoch, copy.deepcopy(network.state_dict())
        if report is not None:
            report(epoch, float(deviance_explained(data.y_valid, loss, data.kind)))
        if epoch - best_epoch >= schedule.stop_patience:
            break
        scheduler.step(loss)
    seconds = (time.perf_counter() - started) / max(1, epoch)
    network.load_state_dict(best_weights)
    network.eval()
    score = float(deviance_explained(data.y_valid, best_loss, data.kind))
    return Trained(epoch, best_epoch, score, seconds, loop.precision)


class _Loop:
    """An epoch of training, and the loss on validation; features lie in memory once, in their stored type."""

    def __init__(
        self, network: nn.Module, data: FitData, schedule: Schedule, seed: int, device: torch.device
    ) -> None:
        self.network, self.kind, self.device = network, data.kind, device
        self.precision = resolve_precision(schedule.precision, device)
        self.x, self.x_valid = (place(x, device) for x in (data.x_train, data.x_valid))
        self.y = torch.as_tensor(data.y_train, dtype=torch.float32).to(device)
        self.y_valid = torch.as_tensor(data.y_valid)
        # Batches of nearly one size: no last batch of a single row, on which batch norm fails.
        self.n_batches = math.ceil(len(self.x) / schedule.batch_size)
        self.order = torch.Generator().manual_seed(seed)
        seed_layers(network, torch.Generator(device).manual_seed(seed))
        self.loss = _loss(data.kind)
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )

    def epoch(self) -> None:
        self.network.train()
        shuffled = torch.randperm(len(self.x), generator=self.order).to(self.x.device)
        for rows in torch.tensor_split(shuffled, self.n_batches):
            x = self.x[rows].to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                predicted = self.network(x)
            loss = self.loss(predicted.float(), self.y[rows.to(self.device)])
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()

    def valid_loss(self) -> float:
        self.network.eval()
        return float(self.loss(torch.from_numpy(forward(self.network, self.x_valid)), self.y_valid))


def place(x: np.ndarray, device: torch.device) -> Tensor:
    """Return the features in their own number type: on the device, or on the host if that is too full."""
    tensor = torch.from_numpy(x if x.flags.writeable else x.copy())
    if device.type == "cuda" and tensor.nbytes > 0.7 * torch.cuda.mem_get_info(device)[0]:
        return tensor
    return tensor.to(device)


def forward(network: nn.Module, x: Tensor) -> np.ndarray:
    """Return float64 [N]: the network's output in float32 arithmetic, batch by batch, without gradients."""
    device = next(network.parameters()).device
    step = max(1, _EVALUATION_NUMBERS // max(1, x[0].numel())) if len(x) else 1
    out = np.empty(len(x))
    with torch.inference_mode():
        for start in range(0, len(x), step):
            out[start : start + step] = network(x[start : start + step].to(device)).cpu().numpy()
    return out


def _loss(kind: TrainedKind) -> Callable[[Tensor, Tensor], Tensor]:
    return nn.functional.mse_loss if kind == "regression" else nn.functional.binary_cross_entropy_with_logits
