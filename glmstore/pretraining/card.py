"""The model card: every number in it comes from the record of the run."""

from __future__ import annotations

from typing import Any

from glmstore.models.gpn import ExportFacts
from glmstore.models.gpn_config import GPNConfig
from glmstore.pretraining.config import HeldOutScores

_LABELS = {
    "model": "**this model**",
    "uniform": "uniform (ln 4)",
    **{f"markov{k}": f"Markov chain, order {k}" for k in range(1, 6)},
    "flank3": "±3 Markov: p(x given 3 left, 3 right)",
}
_PUBLISHED = GPNConfig()
_UNLICENSED = ExportFacts.model_fields["licence"].default
_TEMPLATE = """# {name}

{what}
Pretrained on {corpus}.

**{verdict}**

| predictor | nats/base, {mask} masked at once | nats/base, masks 16 nt apart |
|---|---|---|
{scores}

Held-out negative log-likelihood at {n15:,} and {napart:,} positions in {windows} of {window_nt} nt,
every predictor at the same positions, over A, C, G and T. The weights are scored as shipped (fp16 values,
fp32 arithmetic). With {mask} masked at once the model misses some neighbours that the Markov baselines see;
the last column hides positions 16 nt apart, so that all of them see their neighbours. Baselines are counts
over the training stretches, add-one smoothed. Gain over ±3 Markov with masks apart: {gain:.4f} ± {se:.4f}
(standard error over windows).

## Data
- `{file}`: {records:,} records,
  sha256 `{sha256}`.
- {train_nt:,} nt trained on, {heldout_nt:,} nt held out ({share:.1%}).
- Held out {held_out}:
  {regions}.
{left_out}- Repeats are not masked: part of what is learnt, and of the held-out gain, is interspersed repeats.

## Recipe
- GPN ConvNet: {n_layers} residual blocks, width {hidden_size}, kernel {kernel_size}, dilations {dilations};
  receptive field {receptive_field:,} nt. Parameter names are those of the published checkpoints.
- Masked language modelling: {mask} of positions; of these 80 % [MASK], 10 % a random base, 10 % as they
  are. Loss at these positions only; N is never predicted.
- Crops of {crops} nt, every start equally likely, reverse complemented half the time, {batch:,} nt a step.
- {optimizer}, gradient norm at most {clip:g};
  {schedule}. {precision}; torch {torch}; seed {seed}.
- {step:,} steps, {tokens:,} nt seen ({epochs:.1f} passes), {duration}.
{ending}
## Loss curve
| step | Mnt | learning rate | training loss | held-out ({mask} masked) |
|---|---|---|---|---|
{curve}

## Use
Features for probes, masked variant scores and attribution; it was trained on sequences of {crops} nt.
{stand_in}Not for clinical use.

## Limits
- The scores above are likelihoods: composition, short motifs and common repeats lower them. They do not show
  that regulatory grammar was learnt.
- {seen}
- Not reverse-complement equivariant; use `strand="mean"` where that matters.
- Nothing is known about how it does on species outside the corpus.

## Licence
{licence}
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
        what=_what(config),
        corpus=corpus["description"],
        verdict=_verdict(scores),
        scores="\n".join(
            f"| {_LABELS[k]} | {v:.4f} | {scores.separated[k]:.4f} |" for k, v in scores.masked15.items()
        ),
        n15=scores.masked15_positions,
        napart=scores.separated_positions,
        windows=_windows(scores),
        window_nt=scores.window_nt,
        gain=scores.gain_over_flank3,
        se=scores.gain_se,
        share=corpus["heldout_nt"] / total,
        held_out=_held_out(recipe["holdout"]),
        regions=", ".join(corpus["heldout_regions"]),
        left_out=_left_out(corpus, recipe["holdout"]),
        dilations=", ".join(map(str, config.dilations)),
        receptive_field=config.receptive_field,
        mask=f"{100 * recipe['mask_fraction']:g} %",
        crops="/".join(map(str, recipe["crop_lengths"])),
        batch=recipe["batch_nt"],
        optimizer=_optimizer(recipe),
        schedule=_schedule(recipe),
        clip=recipe["clip_norm"],
        precision=_precision(recipe["precision"]),
        torch=record["torch_version"],
        seed=recipe["seed"],
        step=record["checkpoint_step"],
        tokens=record["tokens"],
        epochs=record["tokens"] / corpus["train_nt"],
        duration=_duration(record["seconds"]),
        ending=_ending(record),
        curve=_curve(record["curve"]),
        stand_in=_stand_in(config),
        seen=_seen(record["pretraining"]),
        licence=_licence(record["licence"]),
        **{k: corpus[k] for k in ("file", "sha256", "records", "train_nt", "heldout_nt")},
        **config.model_dump(include={"n_layers", "hidden_size", "kernel_size"}),
    )


def _what(config: GPNConfig) -> str:
    ours, published = config.n_parameters, _PUBLISHED.n_parameters
    if config.model_dump(exclude={"initializer_range"}) == _PUBLISHED.model_dump(
        exclude={"initializer_range"}
    ):
        return f"A GPN (Benegas, Batra & Song 2023) of the published shape: {ours:,} parameters."
    scaled = "scaled to" if ours < published else "of"
    beside = f"{ours:,} parameters; the published one has {published:,}"
    return f"A GPN (Benegas, Batra & Song 2023) {scaled} {beside}."


def _verdict(scores: HeldOutScores) -> str:
    """Say "beat" only of weights that are better than every predictor beside them."""
    if scores.beats_baselines:
        return "On held-out stretches these weights beat the ±3 Markov baseline and all others below."
    model = scores.separated["model"]
    ahead = [k for k, v in scores.separated.items() if k != "model" and v <= model]
    if not ahead:
        best = _LABELS[scores.best_baseline]
        return f"On held-out stretches these weights are not clearly better than the best baseline, {best}."
    named = ", ".join(_LABELS[k] for k in sorted(ahead, key=lambda k: scores.separated[k]))
    return f"On held-out stretches these weights do worse than baselines: {named}."


def _windows(scores: HeldOutScores) -> str:
    if scores.windows == scores.windows_available:
        return f"{scores.windows:,} windows"
    return f"{scores.windows:,} windows, drawn at random from {scores.windows_available:,},"


def _held_out(holdout: dict[str, Any]) -> str:
    if holdout.get("names"):
        return "whole chromosomes"
    return (
        f"by position: of every {holdout['every']} consecutive stretches of {holdout['region_nt']:,} nt, "
        f"stretch {holdout['offset']} (from 0)"
    )


def _left_out(corpus: dict[str, Any], holdout: dict[str, Any]) -> str:
    """Return a line on records that were not used, and one on gaps, where there were any."""
    lines = ""
    if corpus["left_out_records"]:
        first = ", ".join(corpus["left_out_names"])
        more = ", …" if corpus["left_out_records"] > len(corpus["left_out_names"]) else ""
        patterns = ", ".join(f"`{pattern}`" for pattern in holdout["leave_out"])
        lines += (
            f"- Not used at all: {corpus['left_out_records']:,} records, {corpus['left_out_nt']:,} nt, whose "
            f"names match one of\n  {patterns}: {first}{more}.\n"
        )
    if corpus["gap_nt"]:
        lines += (
            f"- Records are split at gaps: {corpus['gap_nt']:,} N in runs of ten and more are left out.\n"
        )
    return lines


def _optimizer(recipe: dict[str, Any]) -> str:
    decay, betas = recipe["weight_decay"], tuple(recipe["betas"])
    name, what = ("AdamW", f", weight decay {decay:g} on matrices") if decay else ("Adam", "")
    return f"{name} (betas {betas}{what})"


def _schedule(recipe: dict[str, Any]) -> str:
    peak, warm, final = (recipe[key] for key in ("learning_rate", "warmup_fraction", "final_lr_fraction"))
    if final == 1:
        kept = f"constant learning rate {peak:g}"
        return f"{kept} after a linear warm-up over {100 * warm:g} % of the budget" if warm else kept
    begins = f"linear warm-up over {100 * warm:g} % of the budget, then " if warm else ""
    return f"peak learning rate {peak:g}, {begins}cosine decay to {100 * final:g} % of the peak"


def _precision(precision: str) -> str:
    return "Arithmetic in float32" if precision == "float32" else f"Autocast {precision}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:,.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def _stand_in(config: GPNConfig) -> str:
    small = 10 * config.n_parameters < _PUBLISHED.n_parameters
    return "A stand-in for a larger model while a pipeline is built. " if small else ""


def _seen(pretraining: dict[str, Any]) -> str:
    if not pretraining["complete"]:
        return "Which species are in the corpus was not stated: results say that any item may have been seen."
    corpus = " and ".join(pretraining["species"])
    if pretraining["assembly"]:
        corpus += f", {pretraining['assembly']}"
    where = pretraining["chromosomes"]
    on = f"chromosomes {', '.join(where)}" if where else "unknown chromosomes"
    return (
        f"Trained on {corpus}, {on}: benchmark items from there may have been seen; results carry that flag."
    )


def _licence(licence: str) -> str:
    return (
        "No licence was stated for the weights." if licence == _UNLICENSED else f"{licence} for the weights."
    )


def _ending(record: dict[str, Any]) -> str:
    """Say so where the weights are those of the curve's best point, or training ended before its budget."""
    recipe, curve, scores = record["recipe"], record["curve"], record["heldout"]
    best = min(curve, key=lambda point: point["heldout_nll"], default=None)
    if recipe.get("patience") and best is not None and best["step"] == record["checkpoint_step"]:
        chosen = (
            f"- The weights of the best point of the held-out curve; training ends after "
            f"{recipe['patience']} points without a better one."
        )
        among = scores["windows"] >= min(recipe["eval_windows"], scores["windows_available"])
        return chosen + (" The curve's windows are among those scored above.\n" if among else "\n")
    used = (
        record["checkpoint_step"] / recipe["steps"]
        if recipe["steps"]
        else record["seconds"] / 60 / recipe["minutes"]
    )
    if used >= 1:
        return ""
    annealed = "" if recipe["final_lr_fraction"] == 1 else ": the learning rate had not annealed"
    return f"- Taken from a checkpoint at {used:.0%} of the budget{annealed}.\n"


def _curve(points: list[dict[str, Any]]) -> str:
    """Return about a dozen rows, the first and the last among them."""
    stride = max(1, len(points) // 12)
    shown = [p for i, p in enumerate(points) if i % stride == 0 or i == len(points) - 1]
    row = "| {step:,} | {mnt:.1f} | {learning_rate:.2e} | {train_loss:.4f} | {heldout_nll:.4f} |"
    return "\n".join(row.format(mnt=p["tokens"] / 1e6, **p) for p in shown)
