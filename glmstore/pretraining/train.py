"""The training loop: crops, masks, AdamW, a schedule over the budget, and a resume that changes nothing."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch.nn.functional import cross_entropy

from glmstore.errors import WeightsError
from glmstore.extraction import resolve_device
from glmstore.models.architectures.gpn import GPNForMaskedLM, initialise
from glmstore.pretraining import checkpoint as ckpt
from glmstore.pretraining import heldout
from glmstore.pretraining.config import CurvePoint, PretrainConfig, PretrainReport, StepReport
from glmstore.pretraining.corpus import Corpus, CropSampler, load_corpus
from glmstore.pretraining.masking import corrupt
from glmstore.pretraining.scoring import half_precision, scores_of

log = logging.getLogger(__name__)

BEST = "best"
"""Folder within a run's that keeps the weights of the lowest point of the curve, where patience is set."""


def lr_multiplier(progress: float, warmup: float, final: float) -> float:
    """Return the learning rate over its peak: linear warm-up, then cosine decay to `final`.

    Parameters
    ----------
    progress
        Share of the budget used, 0 to 1.
    warmup
        Share of the budget spent warming up.
    """
    if progress < warmup:
        return progress / warmup
    decay = (min(progress, 1.0) - warmup) / (1 - warmup)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * decay))


def make_optimizer(network: GPNForMaskedLM, config: PretrainConfig) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and kernels, not biases and norms."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


class Trainer:
    """One run: its network, its place in the budget, its loss curve."""

    def __init__(self, config: PretrainConfig, corpus: Corpus) -> None:
        self.config, self.corpus = config, corpus
        self.network = initialise(config.architecture, config.seed).to(config.device)
        self.optimizer = make_optimizer(self.network, config)
        self.sampler = CropSampler(corpus.train)
        self._curve_windows = heldout.mask_at_random(
            heldout.some(heldout.windows(corpus.heldout), config.eval_windows, config.seed),
            config.mask_fraction,
            config.seed,
        )
        self.step, self.tokens, self._seconds_before = 0, 0, 0.0
        self.curve: list[CurvePoint] = []
        self._losses: list[float] = []
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time used by this run, over all resumes."""
        return self._seconds_before + time.monotonic() - self._started

    @property
    def progress(self) -> float:
        """Share of the budget used."""
        if self.config.steps is not None:
            return self.step / self.config.steps
        return self.seconds / (60 * self.config.minutes)  # type: ignore[operator]  # one of both is set

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one.

        Raises
        ------
        WeightsError
            If it belongs to another recipe or corpus, or is damaged.
        """
        found = ckpt.checkpoints(self.config.out_dir)
        if not found:
            return
        state = ckpt.read_state(found[-1])
        if state["recipe"] != self.config.recipe() or state["corpus"] != self.corpus.facts.model_dump(
            mode="json"
        ):
            raise WeightsError(
                f"{found[-1]} was made with another recipe or corpus. Use a fresh out_dir, or its settings."
            )
        ckpt.load(found[-1], self.network, self.optimizer)
        self.step, self.tokens, self._seconds_before = state["step"], state["tokens"], state["seconds"]
        self.curve = [CurvePoint(**point) for point in state["curve"]]
        self._losses = state["losses"]
        self.keep_if_best()
        log.info("resumed from %s", found[-1].name)

    def train_step(self) -> tuple[float, float]:
        """Make one optimizer step; return its loss and learning rate.

        Everything random depends on the seed and the step's number only, so a resume draws what was due.
        """
        config = self.config
        rng = np.random.default_rng([config.seed, self.step])
        length = int(rng.choice(config.crop_lengths))
        crops = self.sampler.draw(rng, max(1, config.batch_nt // length), length)
        shown, chosen = (
            torch.from_numpy(a).to(config.device) for a in corrupt(rng, crops, config.mask_fraction)
        )
        target = torch.from_numpy(crops).to(config.device)[chosen].long()
        lr = config.learning_rate * lr_multiplier(
            self.progress, config.warmup_fraction, config.final_lr_fraction
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        bf16 = config.precision == "bfloat16"
        with torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=bf16):
            logits = self.network.cls(self.network.model(shown.long())[chosen])
        loss = cross_entropy(logits.float(), target)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        self.optimizer.step()
        self.step += 1
        self.tokens += crops.size
        self._losses.append(loss.item())
        return self._losses[-1], lr

    def add_point(self, lr: float) -> float:
        """Score the curve's windows, add a point, and return its held-out NLL."""
        nll = float(heldout.model_nll(self.network, self._curve_windows, self.config.device).mean())
        point = CurvePoint(
            step=self.step,
            tokens=self.tokens,
            minutes=self.seconds / 60,
            learning_rate=lr,
            train_loss=float(np.mean(self._losses)),
            heldout_nll=nll,
        )
        self.curve.append(point)
        self._losses = []
        log.info(
            "step %d  %.1f Mnt  %.1f min  lr %.2e  train %.4f  held-out %.4f",
            *(point.step, point.tokens / 1e6, point.minutes, lr, point.train_loss, nll),
        )
        return nll

    def save(self, folder: Path, keep: int) -> Path:
        """Write a checkpoint into a folder that keeps so many, and return its path."""
        state = {
            "recipe": self.config.recipe(),
            "corpus": self.corpus.facts.model_dump(mode="json"),
            "tokens": self.tokens,
            "seconds": self.seconds,
            "device": self.config.device,
            "final_windows": self.config.final_windows,
            "threads": torch.get_num_threads(),
            "torch_version": torch.__version__,
            "curve": [point.model_dump() for point in self.curve],
            "losses": self._losses,
        }
        return ckpt.save(folder, self.step, self.network, self.optimizer, state, keep)

    @property
    def best(self) -> CurvePoint | None:
        """The point of the curve with the lowest held-out NLL, the first of equals."""
        return min(self.curve, key=lambda point: point.heldout_nll, default=None)

    @property
    def exhausted(self) -> bool:
        """Whether the budget is used up, or patience is."""
        if self.progress >= 1:
            return True
        if self.config.patience is None or self.best is None:
            return False
        return len(self.curve) - 1 - self.curve.index(self.best) >= self.config.patience

    def keep_if_best(self) -> None:
        """Keep these weights aside if they are those of the curve's lowest point.

        The run's own checkpoint comes first, so that no resume ever starts before the weights kept aside.
        """
        if self.config.patience is None or self.best is None or self.best.step != self.step:
            return
        self.save(self.config.out_dir, self.config.keep_checkpoints)
        folder = self.config.out_dir / BEST
        kept = self.save(folder, keep=len(ckpt.checkpoints(folder)) + 1)
        for older in set(ckpt.checkpoints(folder)) - {kept}:
            shutil.rmtree(older)

    def finish(self) -> PretrainReport:
        """Save the last weights, go back to the best where they were kept, and report on what stands."""
        last = self.save(self.config.out_dir, self.config.keep_checkpoints)
        if self.config.patience is None or self.best is None:
            return self.report(last)
        best = ckpt.newest(self.config.out_dir / BEST)
        state = ckpt.load(best, self.network)
        self.step, self.tokens = state["step"], state["tokens"]
        return self.report(best)

    def report(self, path: Path) -> PretrainReport:
        """Score the weights of a checkpoint, as they are exported, against every baseline."""
        return PretrainReport(
            step=self.step,
            tokens=self.tokens,
            seconds=self.seconds,
            checkpoint=path,
            corpus=self.corpus.facts,
            curve=tuple(self.curve),
            heldout=scores_of(
                half_precision(self.network, path.name),
                self.config.recipe(),
                path,
                lambda: self.corpus,
                device=self.config.device,
                limit=self.config.final_windows,
            ),
        )


def run(config: PretrainConfig, on_step: Callable[[StepReport], None] | None = None) -> PretrainReport:
    """Train within the budget; see :func:`glmstore.pretraining.pretrain`."""
    resolve_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    trainer = Trainer(config, load_corpus(config.fasta, config.holdout))
    with _alone(config.out_dir):
        return _train(trainer, config, on_step)


@contextmanager
def _alone(out_dir: Path) -> Iterator[None]:
    """Keep other runs out of a folder: each would take the other's checkpoints for its own."""
    out_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out_dir / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("another run trains in %s: waiting until it ends, then going on from there", out_dir)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _train(
    trainer: Trainer, config: PretrainConfig, on_step: Callable[[StepReport], None] | None
) -> PretrainReport:
    trainer.resume()
    saved_at = time.monotonic()
    while not trainer.exhausted:
        loss, lr = trainer.train_step()
        nll = trainer.add_point(lr) if trainer.step % config.eval_every == 0 else None
        if nll is not None:
            trainer.keep_if_best()
        if time.monotonic() - saved_at >= 60 * config.checkpoint_minutes:
            trainer.save(config.out_dir, config.keep_checkpoints)
            saved_at = time.monotonic()
        if on_step is not None:
            on_step(
                StepReport(
                    step=trainer.step,
                    progress=min(trainer.progress, 1.0),
                    loss=loss,
                    learning_rate=lr,
                    tokens=trainer.tokens,
                    seconds=trainer.seconds,
                    heldout_nll=nll,
                )
            )
    return trainer.finish()
