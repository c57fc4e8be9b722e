"""The training loop: AdamW on the adapter and the head, the best epoch on validation kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from glmstore.errors import HeadError, TrainingDivergedError
from glmstore.finetuning.adapter import PooledHead, TunedModel, attach, draw
from glmstore.heads.neural.training import Precision, resolve_precision

if TYPE_CHECKING:
    from glmstore.finetuning.settings import FineTuneSettings
    from glmstore.heads.base import TrainedKind
    from glmstore.models.base import GenomicLM

Progress = Callable[[int, int], None]
"""``progress(done, of)`` in training sequences."""
STANDARDISED_ON = 2048


class Labelled(NamedTuple):
    """Sequences and their labels.

    sequences: N normalised sequences; labels: float64 [N].
    """

    sequences: list[str]
    labels: np.ndarray


class Epoch(NamedTuple):
    """What one pass over the training items did; losses are of the standardised label."""

    number: int
    train_loss: float
    valid_loss: float
    seconds: float


class Trained(NamedTuple):
    """A tuned model as it was after its best epoch, and how it got there."""

    tuned: TunedModel
    epochs: list[Epoch]
    best_epoch: int


def _autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    chosen = resolve_precision(precision, device)
    return torch.autocast(device.type, torch.bfloat16) if chosen == "bfloat16" else nullcontext()


def _loss(raw: Tensor, target: Tensor, kind: TrainedKind) -> Tensor:
    return (
        F.mse_loss(raw, target) if kind == "regression" else F.binary_cross_entropy_with_logits(raw, target)
    )


def _target(head: PooledHead, labels: np.ndarray) -> Tensor:
    return ((torch.tensor(labels) - head.mean.cpu()) / head.std.cpu()).float()


def _check(data: Labelled, name: str) -> None:
    if not data.sequences:
        raise HeadError(f"fine-tuning needs {name} items; this benchmark has none.")


def _valid_loss(tuned: TunedModel, valid: Labelled) -> float:
    predicted = tuned.predict(valid.sequences)
    if tuned.kind == "regression":
        return float(np.mean(((predicted - valid.labels) / tuned.head.std.item()) ** 2))
    likely = np.clip(np.where(valid.labels == 1, predicted, 1 - predicted), 1e-12, 1)
    return float(-np.log(likely).mean())


def start(
    model: GenomicLM, train: Labelled, kind: TrainedKind, settings: FineTuneSettings, seed: int
) -> TunedModel:
    """Return the model with a fresh adapter, which changes nothing yet, and a fresh head.

    The head sees features standardised on (at most `STANDARDISED_ON` of) the training sequences.

    Raises
    ------
    HeadError
        If the model cannot take an adapter, or the training labels are all the same.
    LayerError
        If it has no such layer.
    """
    layer = model.spec.resolve_layer(settings.layer)
    labels = train.labels
    if np.ptp(labels) == 0:
        raise HeadError("every training label is the same; there is nothing to learn.")
    mean, std = (float(labels.mean()), float(labels.std())) if kind == "regression" else (0.0, 1.0)
    with torch.random.fork_rng():
        peft = attach(model, settings)
        head = PooledHead(model.spec.dim, settings.hidden, mean, std).to(next(peft.parameters()).device)
    tuned = TunedModel(model, peft, head, layer, kind)
    draw(tuned, seed)
    tuned.standardise_on(train.sequences[:STANDARDISED_ON])
    return tuned


def fine_tune(
    model: GenomicLM,
    train: Labelled,
    valid: Labelled,
    kind: TrainedKind,
    settings: FineTuneSettings,
    *,
    seed: int,
    progress: Progress | None = None,
) -> Trained:
    """Train an adapter and a head.

    Parameters
    ----------
    model
        A backbone of its own: the adapter is put into it in place, its weights are frozen.
    train, valid
        Items to learn from, and items the best epoch is chosen on (lowest loss).
    kind
        Mean squared error on the standardised label, or binary cross-entropy.
    settings
        See :class:`FineTuneSettings`.
    seed
        Of the adapter's and the head's first weights, the order of batches and the adapter's dropout, none of
        which comes from torch's global random state: trainings in several threads do not disturb one another.
        The backbone is in evaluation mode all the while, without the dropout it may have had in pretraining.
    progress
        Called after every step.

    Raises
    ------
    HeadError
        If the model cannot take an adapter or the items do not suit it.
    TrainingDivergedError
        If the loss on validation is not finite any more.
    LayerError, SequenceTooLongError
        If the model has no such layer, or a sequence is too long for it.
    """
    _check(train, "training")
    _check(valid, "validation")
    tuned = start(model, train, kind, settings, seed)
    return _train(tuned, train, valid, settings, torch.Generator().manual_seed(seed), progress)


def fine_tune_best(
    load: Callable[[], GenomicLM],
    train: Labelled,
    valid: Labelled,
    kind: TrainedKind,
    settings: FineTuneSettings,
    *,
    seed: int,
    progress: Progress | None = None,
) -> tuple[Trained, FineTuneSettings]:
    """Train once for every learning rate; return the one with the lowest validation loss, and its settings.

    Parameters
    ----------
    load
        Returns the backbone afresh: an adapter changes it in place.
    train, valid, kind, settings, seed, progress
        As for :func:`fine_tune`; progress counts all trainings together.

    Raises
    ------
    HeadError, LayerError, SequenceTooLongError
        As :func:`fine_tune`.
    TrainingDivergedError
        If the training diverges under every rate.
    """
    rates = (settings.learning_rate, *settings.other_learning_rates)
    finished: list[tuple[float, Trained, FineTuneSettings]] = []
    diverged: TrainingDivergedError | None = None
    for number, rate in enumerate(rates):
        chosen = settings.model_copy(update={"learning_rate": rate})
        shown = part_of(progress, number, len(rates))
        try:
            done = fine_tune(load(), train, valid, kind, chosen, seed=seed, progress=shown)
        except TrainingDivergedError as error:
            diverged = error
            continue
        finished.append((min(epoch.valid_loss for epoch in done.epochs), done, chosen))
    if not finished and diverged:
        raise diverged
    _, best, chosen = min(finished, key=lambda entry: entry[0])
    return best, chosen


def part_of(progress: Progress | None, number: int, parts: int) -> Progress | None:
    """Return what reports progress of part `number` (from 0) of `parts` equal ones as that of the whole."""
    return (lambda done, of: progress(number * of + done, parts * of)) if progress else None


def _train(
    tuned: TunedModel,
    train: Labelled,
    valid: Labelled,
    settings: FineTuneSettings,
    order: torch.Generator,
    progress: Progress | None,
) -> Trained:
    parameters = tuned.trainable()
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps = settings.epochs * -(-len(train.sequences) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=max(steps, 2), pct_start=0.1
    )
    history: list[Epoch] = []
    best: dict[str, Tensor] = {}
    for number in range(1, settings.epochs + 1):
        began = time.perf_counter()
        shuffled = torch.randperm(len(train.sequences), generator=order)
        loss = _epoch(tuned, train, shuffled, settings, optimizer, schedule, number, progress)
        taken = time.perf_counter() - began
        valid_loss = _valid_loss(tuned, valid)
        if not np.isfinite(valid_loss):
            raise TrainingDivergedError(
                f"training diverged in epoch {number}: the loss on validation is {valid_loss}. "
                f"Use a learning rate below {settings.learning_rate:g}."
            )
        if not history or valid_loss < min(e.valid_loss for e in history):
            best = {name: p.detach().clone() for name, p in parameters.items()}
            best_epoch = number
        history.append(Epoch(number, loss, valid_loss, taken))
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(best[name])
    tuned.train(False)
    return Trained(tuned, history, best_epoch)


def _epoch(
    tuned: TunedModel,
    train: Labelled,
    order: Tensor,
    settings: FineTuneSettings,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    number: int,
    progress: Progress | None,
) -> float:
    """Run one pass and return its mean loss."""
    tuned.train()
    n = len(train.sequences)
    target = _target(tuned.head, train.labels)
    device = next(tuned.head.parameters()).device
    total = 0.0
    for first in range(0, n, settings.batch_size):
        rows = order[first : first + settings.batch_size]
        with _autocast(settings.precision, device):
            raw = tuned.raw([train.sequences[i] for i in rows.tolist()])
        loss = _loss(raw.float(), target[rows].to(device), tuned.kind)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        total += loss.item() * len(rows)
        if progress:
            progress((number - 1) * n + first + len(rows), settings.epochs * n)
    return total / n


def first_by_key(keys: Sequence[str], limit: int | None) -> np.ndarray:
    """Return int64 row numbers of the `limit` smallest keys, in the order of the keys; all rows when None.

    Content keys are hashes, so these are a random sample that does not depend on the order of the rows.
    """
    return np.argsort(np.asarray(keys), kind="stable")[:limit]
