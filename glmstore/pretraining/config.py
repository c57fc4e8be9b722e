"""What a pretraining run is given and what it reports; no torch here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from glmstore.config import Frozen
from glmstore.models.gpn_config import GPNConfig

_NOT_RECIPE = {
    "fasta",
    "out_dir",
    "checkpoint_minutes",
    "keep_checkpoints",
    "threads",
    "eval_every",
    "device",
    "final_windows",
}
NO_CHROMOSOME = (r"_alt$", r"_fix$", r"_random$", r"_decoy$", r"_hap\d+$", r"^chrUn", r"^CHR_H", r"^HLA-")
"""Names of records that repeat parts of chromosomes or lie nobody knows where, as UCSC, Ensembl and the
1000 Genomes Project call them."""


class HoldOut(Frozen):
    """Which stretches of the genome are never trained on.

    Either whole chromosomes by name, or stretches of all of them: positions are cut into stretches of
    `region_nt`; of every `every` stretches in a row, number `offset` is held out. A record crossing a border
    is cut there. Coordinates come from headers ``name:start-end`` (0-based start); records without them are
    laid end to end in file order.

    Records that `leave_out` names are neither trained on nor scored: an alternate locus of a held-out
    chromosome is nearly its sequence.
    """

    names: tuple[str, ...] = Field(
        (),
        description="Chromosomes held out whole, as headers name them, with all records whose names continue "
        "theirs after an underscore (chr8_KI270810v1_alt); then no stretch of others is.",
    )
    leave_out: tuple[str, ...] = Field(
        NO_CHROMOSOME,
        description="Regular expressions; records whose names match one are not used at all. Empty: all are.",
    )
    region_nt: int = Field(200_000, gt=0, description="Length of a stretch in nucleotides.")
    every: int = Field(20, ge=2, description="One stretch in so many is held out.")
    offset: int = Field(10, ge=0, description="Which of them, counted from 0.")

    @field_validator("leave_out")
    @classmethod
    def _expressions(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return patterns

    @model_validator(mode="after")
    def _offset_in_cycle(self) -> HoldOut:
        if self.offset >= self.every:
            raise ValueError(f"offset must be below every ({self.every})")
        return self

    def uses(self, record: str) -> bool:
        """Return whether a record of this name is trained on or held out, rather than left out."""
        return not any(re.search(pattern, record) for pattern in self.leave_out)

    def holds(self, record: str) -> bool:
        """Return whether a record of this name is held out whole."""
        return any(record == name or record.startswith(f"{name}_") for name in self.names)


class PretrainConfig(Frozen):
    """One masked-language pretraining run of a GPN.

    Exactly one budget is given: `steps` (reproducible bit for bit on one machine) or `minutes` of wall time,
    for which the learning rate follows the elapsed share, so that it always anneals to its end.
    """

    fasta: Path = Field(description="Corpus, FASTA, plain or gzip.")
    out_dir: Path = Field(description="Folder for checkpoints; a run found there is resumed.")
    architecture: GPNConfig = Field(
        default_factory=lambda: GPNConfig(hidden_size=96, n_layers=10), description="Shape of the network."
    )
    holdout: HoldOut = Field(default_factory=HoldOut, description="Stretches kept for evaluation.")
    steps: int | None = Field(None, gt=0, description="Budget in optimizer steps.")
    minutes: float | None = Field(None, gt=0, description="Budget in minutes of wall time.")
    batch_nt: int = Field(16_384, gt=0, description="Nucleotides a step.")
    crop_lengths: tuple[int, ...] = Field(
        (128, 160, 192, 224, 256), min_length=1, description="Crop lengths in nt; one is drawn a step."
    )
    mask_fraction: float = Field(0.15, gt=0, lt=1, description="Share of positions predicted.")
    learning_rate: float = Field(2e-3, gt=0, description="Peak of warm-up and cosine decay.")
    final_lr_fraction: float = Field(0.01, ge=0, le=1, description="Learning rate at the end over its peak.")
    warmup_fraction: float = Field(0.02, ge=0, lt=1, description="Share of the budget spent warming up.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay, on matrices only.")
    betas: tuple[float, float] = Field((0.9, 0.98), description="AdamW moment decays.")
    clip_norm: float = Field(1.0, gt=0, description="Gradient norm limit.")
    patience: int | None = Field(
        None,
        gt=0,
        description="Stop once so many curve points in a row set no new best; the best weights are kept.",
    )
    seed: int = Field(0, ge=0, description="Seeds initialisation, crops and masks.")
    precision: Literal["float32", "bfloat16"] = Field(
        "bfloat16", description="Autocast type; weights stay float32."
    )
    device: str = Field("cpu", min_length=1, description="Torch device.")
    threads: int | None = Field(None, gt=0, description="Torch CPU threads; None leaves them as they are.")
    eval_every: int = Field(500, gt=0, description="Steps between points of the loss curve.")
    eval_windows: int = Field(1024, gt=0, description="Held-out windows of a curve point.")
    final_windows: int | None = Field(
        20_000,
        gt=0,
        description="Held-out windows of 192 nt that the final weights are scored on, drawn at random; "
        "None: all.",
    )
    checkpoint_minutes: float = Field(
        4.0, ge=0, description="Minutes between checkpoints; 0: after every step."
    )
    keep_checkpoints: int = Field(2, ge=1, description="Newest checkpoints that are kept.")

    @model_validator(mode="after")
    def _one_budget(self) -> PretrainConfig:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give exactly one budget: steps or minutes")
        if min(self.crop_lengths) < 32:
            raise ValueError("crop_lengths must be at least 32 nt")
        if self.batch_nt < max(self.crop_lengths):
            raise ValueError("batch_nt must hold at least one crop of the greatest length")
        return self

    def recipe(self) -> dict[str, Any]:
        """Return, as JSON data, every setting that changes the weights: no paths, no bookkeeping."""
        return self.model_dump(mode="json", exclude=_NOT_RECIPE)


class CorpusFacts(Frozen):
    """What was trained on and what was held out."""

    file: str = Field(description="File name, without its folder.")
    sha256: str = Field(description="sha256 of the file as it lies on disk.")
    records: int = Field(description="Records that are used.")
    train_nt: int
    heldout_nt: int
    heldout_regions: tuple[str, ...] = Field(
        description="name:start-end, 0-based half-open, of each stretch; or names of whole chromosomes."
    )
    chromosomes: tuple[str, ...] | None = Field(
        None, description="Chromosomes with stretches trained on; None where record names do not say."
    )
    left_out_records: int = Field(0, description="Records that are not used, by `HoldOut.leave_out`.")
    left_out_nt: int = Field(0, description="Their nucleotides.")
    left_out_names: tuple[str, ...] = Field((), description="The first of their names.")
    gap_nt: int = Field(0, description="N in runs at which the records used were split.")


class About(Frozen):
    """What a model card says that no run can know; what is left out is taken from an earlier export."""

    name: str = Field("gpn", min_length=1, description="The model's name in its card.")
    species: tuple[str, ...] = Field(
        (),
        description="Latin names of the species in the corpus. Left out: results say that any benchmark may "
        "have been seen.",
    )
    assembly: str | None = Field(None, min_length=1, description="Assembly, if the corpus is one genome.")
    licence: str | None = Field(None, min_length=1, description="Licence of the weights.")
    corpus: str | None = Field(
        None, min_length=1, description="What the FASTA is, in words; left out: its file name."
    )


class CurvePoint(Frozen):
    """One point of the loss curve."""

    step: int
    tokens: int
    minutes: float
    learning_rate: float
    train_loss: float = Field(description="Mean masked cross-entropy since the last point, nats a base.")
    heldout_nll: float = Field(
        description="On `eval_windows` held-out windows, masked as in training, nats a base."
    )


class HeldOutScores(Frozen):
    """Negative log-likelihood in nats a base on held-out stretches, every predictor at the same positions.

    `masked15` hides `mask_fraction` of each window at once, as in training, so the model does not see some
    neighbours the baselines do see; `separated` hides positions 16 nt apart, so both see (nearly) everything.
    """

    windows: int = Field(description="Windows scored.")
    windows_available: int = Field(description="Windows that the held-out stretches hold.")
    window_nt: int
    masked15_positions: int
    masked15: dict[str, float] = Field(description="model, uniform, markov1..markov5, flank3")
    slice_windows: int = Field(description="Windows, counted from the first, behind `slice_nll`.")
    slice_nll: float = Field(
        description="The model's `masked15` on these windows alone: cheap to compute again."
    )
    separated_positions: int
    separated: dict[str, float]
    gain_over_flank3: float = Field(
        description="flank3 minus model on `separated`; positive: the model is better."
    )
    gain_se: float = Field(description="Standard error of that gain, over windows.")
    best_baseline: str = Field(description="The baseline that is lowest on `separated`.")
    gain_over_best: float = Field(description="That baseline minus model on `separated`.")
    best_se: float = Field(description="Standard error of the gain over the best baseline, over windows.")

    @property
    def beats_baselines(self) -> bool:
        """Whether the gains over +-3 Markov and over the best baseline are above two standard errors."""
        over_flank3 = self.gain_over_flank3 > 2 * self.gain_se
        return over_flank3 and self.gain_over_best > 2 * self.best_se


class StepReport(Frozen):
    """What `on_step` is told after every optimizer step."""

    step: int
    progress: float = Field(description="Share of the budget used, 0 to 1.")
    loss: float = Field(description="Masked cross-entropy of the step, nats a base.")
    learning_rate: float
    tokens: int = Field(description="Nucleotides seen so far.")
    seconds: float = Field(description="Wall time used so far, over all resumes.")
    heldout_nll: float | None = Field(
        None, description="Set on the steps that add a point to the loss curve."
    )


class PretrainReport(Frozen):
    """How a run ended, or where it stands in a checkpoint."""

    step: int
    tokens: int
    seconds: float
    checkpoint: Path
    corpus: CorpusFacts
    curve: tuple[CurvePoint, ...]
    heldout: HeldOutScores = Field(description="Of the weights as they are exported, rounded to float16.")
