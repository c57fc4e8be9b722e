"""The model card: every number in it comes from the record of the run."""

from __future__ import annotations

from typing import Any

from glmstore.models.gpn_config import GPNConfig
from glmstore.pretraining.config import HeldOutScores

_LABELS = {
    "model": "**this model**",
    "uniform": "uniform (ln 4)",
    **{f"markov{k}": f"Markov chain, order {k}" for k in range(1, 6)},
    "flank3": "±3 Markov: p(x given 3 left, 3 right)",
}
_TEMPLATE = """# {name}

A GPN (Benegas, Batra & Song 2023) scaled to {parameters:,} parameters.
Pretrained on {corpus}.

**{verdict}**

| predictor | nats/base, 15 % masked at once | nats/base, masks 16 nt apart |
|---|---|---|
{scores}

Held-out negative log-likelihood at {n15:,} and {napart:,} positions in {windows:,} windows of {window_nt} nt,
every predictor at the same positions, over A, C, G and T. The weights are scored as shipped (fp16 values,
fp32 arithmetic). With 15 % masked at once the model misses some neighbours that the Markov baselines see; the
last column hides positions 16 nt apart, so that all of them see their neighbours. Baselines are counts over
the training stretches, add-one smoothed. Gain over ±3 Markov with masks apart: {gain:.4f} ± {se:.4f}
(standard error over windows).

## Data
- `{file}`: {records:,} records,
  sha256 `{sha256}`.
- {train_nt:,} nt trained on, {heldout_nt:,} nt held out ({share:.1%}).
- Held out {held_out}:
  {regions}.
- Repeats are not masked: part of what is learnt, and of the held-out gain, is interspersed repeats.

## Recipe
- GPN ConvNet: {n_layers} residual blocks, width {hidden_size}, kernel {kernel_size}, dilations {dilations};
  receptive field {receptive_field} nt. Parameter names are those of the published checkpoints.
- Masked language modelling: {mask:.0%} of positions; of these 80 % [MASK], 10 % a random base, 10 % as they
  are. Loss at these positions only; N is never predicted.
- Crops of {crops} nt, every start equally likely, reverse complemented half the time, {batch:,} nt a step.
- AdamW (peak learning rate {lr:g}, betas {betas}, weight decay {wd}), gradient norm {clip}, warm-up over
  {warm:.0%} of the budget, then cosine decay. Autocast {precision}; torch {torch}; seed {seed}.
- {step:,} steps, {tokens:,} nt seen ({epochs:.1f} passes), {minutes:.0f} minutes.
{ending}
## Loss curve
| step | Mnt | learning rate | training loss | held-out (15 % masked) |
|---|---|---|---|---|
{curve}

## Use
Features for probes, masked variant scores and attribution on short sequences (it was trained on {crops} nt),
and as the stand-in for a larger model while a pipeline is built. Not for clinical use.

## Limits
- {train_nt:,} nt of one corpus teach composition, short motifs and common repeats, not regulatory grammar
  at large.
- Benchmark items from the same chromosomes may have been seen in training; results carry that flag.
- Not reverse-complement equivariant; use `strand="mean"` where that matters.
- Nothing is known about how it does on species outside the corpus.

## Licence
Apache-2.0 for the weights.
"""


def render(record: dict[str, Any], config: GPNConfig) -> str:
    """Return the card in Markdown.

    Parameters
    ----------
    record
        The ``glmstore`` section of ``config.json``.
    config
        The architecture.
    """
    scores, corpus, recipe = HeldOutScores(**record["heldout"]), record["corpus"], record["recipe"]
    total = corpus["train_nt"] + corpus["heldout_nt"]
    return _TEMPLATE.format(
        name=record["name"],
        parameters=config.n_parameters,
        corpus=corpus["description"],
        verdict=_verdict(scores),
        scores="\n".join(
            f"| {_LABELS[k]} | {v:.4f} | {scores.separated[k]:.4f} |" for k, v in scores.masked15.items()
        ),
        n15=scores.masked15_positions,
        napart=scores.separated_positions,
        windows=scores.windows,
        window_nt=scores.window_nt,
        gain=scores.gain_over_flank3,
        se=scores.gain_se,
        share=corpus["heldout_nt"] / total,
        held_out=_held_out(recipe["holdout"]),
        regions=", ".join(corpus["heldout_regions"]),
        dilations=", ".join(map(str, config.dilations)),
        receptive_field=config.receptive_field,
        mask=recipe["mask_fraction"],
        crops="/".join(map(str, recipe["crop_lengths"])),
        batch=recipe["batch_nt"],
        lr=recipe["learning_rate"],
        betas=tuple(recipe["betas"]),
        wd=recipe["weight_decay"],
        clip=recipe["clip_norm"],
        warm=recipe["warmup_fraction"],
        precision=recipe["precision"],
        torch=record["torch_version"],
        seed=recipe["seed"],
        step=record["checkpoint_step"],
        tokens=record["tokens"],
        epochs=record["tokens"] / corpus["train_nt"],
        minutes=record["seconds"] / 60,
        ending=_ending(record),
        curve=_curve(record["curve"]),
        **{k: corpus[k] for k in ("file", "sha256", "records", "train_nt", "heldout_nt")},
        **config.model_dump(include={"n_layers", "hidden_size", "kernel_size"}),
    )


def _verdict(scores: HeldOutScores) -> str:
    if scores.beats_flank3:
        return "On held-out stretches these weights beat the ±3 Markov baseline."
    return "On held-out stretches these weights do not beat the ±3 Markov baseline."


def _held_out(holdout: dict[str, Any]) -> str:
    if holdout.get("names"):
        return "whole chromosomes"
    return (
        f"by position: of every {holdout['every']} consecutive stretches of {holdout['region_nt']:,} nt, "
        f"stretch {holdout['offset']} (from 0)"
    )


def _ending(record: dict[str, Any]) -> str:
    """Say so where training ended before its budget did."""
    recipe = record["recipe"]
    if recipe.get("patience"):
        return (
            f"- The weights of the best point of the held-out curve; training ends after "
            f"{recipe['patience']} points without a better one. The curve's windows are among those scored "
            f"above.\n"
        )
    used = (
        record["checkpoint_step"] / recipe["steps"]
        if recipe["steps"]
        else record["seconds"] / 60 / recipe["minutes"]
    )
    if used >= 1:
        return ""
    return f"- Taken from a checkpoint at {used:.0%} of the budget: the learning rate had not annealed.\n"


def _curve(points: list[dict[str, Any]]) -> str:
    """Return about a dozen rows, the first and the last among them."""
    stride = max(1, len(points) // 12)
    shown = [p for i, p in enumerate(points) if i % stride == 0 or i == len(points) - 1]
    row = "| {step:,} | {mnt:.1f} | {learning_rate:.2e} | {train_loss:.4f} | {heldout_nll:.4f} |"
    return "\n".join(row.format(mnt=p["tokens"] / 1e6, **p) for p in shown)
