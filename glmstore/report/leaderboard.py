"""The leaderboard: every result beside its controls, with paired differences, failures included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from glmstore.config import Settings
from glmstore.errors import UnknownNameError
from glmstore.report.compare import Comparer
from glmstore.report.contests import contests_of, controls_text, known
from glmstore.report.current import current_results
from glmstore.report.memory import Memory
from glmstore.report.panel import NO_METRIC, Entry, entries, label_kinds, made_from, twin_family
from glmstore.report.text import head_text

if TYPE_CHECKING:
    from glmstore.store import FeatureStore

SCHEMA: dict[str, pl.DataType] = {
    "model": pl.String(),
    "view": pl.String(),
    "benchmark": pl.String(),
    "split": pl.String(),
    "head": pl.String(),
    "metric": pl.String(),
    "value": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "n": pl.Int64(),
    "seeds": pl.Int64(),
    "protocol": pl.String(),
    "control": pl.String(),
    "controls": pl.String(),
    "better": pl.String(),
    "delta_vs_twin": pl.Float64(),
    "delta_vs_twin_low": pl.Float64(),
    "delta_vs_twin_high": pl.Float64(),
    "delta_vs_onehot": pl.Float64(),
    "delta_vs_onehot_low": pl.Float64(),
    "delta_vs_onehot_high": pl.Float64(),
    "delta_vs_kmer": pl.Float64(),
    "delta_vs_kmer_low": pl.Float64(),
    "delta_vs_kmer_high": pl.Float64(),
    "best_control": pl.String(),
    "best_control_head": pl.String(),
    "best_control_value": pl.Float64(),
    "delta_vs_best": pl.Float64(),
    "delta_vs_best_low": pl.Float64(),
    "delta_vs_best_high": pl.Float64(),
    "pretraining_overlap": pl.String(),
    "status": pl.String(),
    "error": pl.String(),
}


def leaderboard(
    store: FeatureStore,
    *,
    benchmark: str | None = None,
    metric: str | None = None,
    model: str | None = None,
    all_metrics: bool = False,
    expand_twins: bool = False,
    n_resamples: int = 1000,
) -> pl.DataFrame:
    """Return every result of the benchmarks as the store now holds them, beside its controls.

    Parameters
    ----------
    store
        Where results and predictions lie.
    benchmark
        Only this benchmark.
    metric
        Only this metric; by default each benchmark's first.
    model
        Only this model, with the controls it has to be read beside: those made from it, and those of every
        model.
    all_metrics
        Every metric rather than each benchmark's first.
    expand_twins
        One line for each initialisation of a random twin instead of one for all.
    n_resamples
        Resamples of the paired bootstrap.

    Returns
    -------
    pl.DataFrame
        The columns of `SCHEMA`. ``controls`` says ``complete``, ``missing: …`` or ``failed: …`` for a
        model and ``control`` for a control. ``better`` is ``higher``, or ``lower`` where a working model
        gives low values: a similarity set against the size of an effect. ``delta_vs_twin``,
        ``delta_vs_onehot`` and ``delta_vs_kmer`` are the model minus its control under the same head, with
        95 % intervals paired over test clusters and seeds. ``delta_vs_best`` is the model minus the best
        control of the sequence alone (one-hot, k-mers, …) under any head, which ``best_control`` and
        ``best_control_head`` name; chosen by its value on the test items, so it is, if anything, flattered.
        Sorted by benchmark and metric, best value first, failed cells last.

    Raises
    ------
    UnknownNameError
        If a filter names what the results do not hold.
    """
    results = current_results(store).with_columns(pl.col("value", "ci_low", "ci_high").fill_nan(None))
    for kind, name in (("benchmark", benchmark), ("metric", metric), ("model", model)):
        _refuse_unknown(results, kind, name)
    if benchmark is not None:
        results = results.filter(pl.col("benchmark") == benchmark)
    kinds = label_kinds(store, results["benchmark"].unique())
    ranks = _metric_ranks(store, results, kinds)
    if metric is not None:
        results = results.filter((pl.col("metric") == metric) | (pl.col("status") == "failed"))
    elif not all_metrics:
        primary = [ranks.get((b, m), 0) == 0 for b, m in results.select("benchmark", "metric").iter_rows()]
        results = results.filter(pl.Series(primary, dtype=pl.Boolean) | (pl.col("status") == "failed"))
    lines = entries(results, expand_twins=expand_twins)
    panel = lines if not expand_twins else entries(results)
    if model is not None:
        lines = [line for line in lines if _belongs(line, model)]
    memory = Memory(Settings().cache / "comparisons" / f"{store.store_id}.json")
    comparer = Comparer(store, [*lines, *panel], memory, n_resamples=n_resamples)
    rows = [_row(line, panel, comparer, kinds.get(line.row["benchmark"])) for line in lines]
    memory.save()
    rows.sort(key=lambda r: _order(r, ranks))
    return pl.DataFrame(rows, schema=SCHEMA)


def _refuse_unknown(results: pl.DataFrame, kind: str, name: str | None) -> None:
    if name is None:
        return
    names = set(results[kind]) - {NO_METRIC}
    if kind == "model":
        names |= {family for m in names if (family := twin_family(m))}
    if name not in names:
        raise UnknownNameError(kind, name, names, hint="The leaderboard only knows what has results.")


def _metric_ranks(
    store: FeatureStore, results: pl.DataFrame, kinds: Mapping[str, str]
) -> dict[tuple[str, str], int]:
    """Return the place of each metric in its benchmark's list; unregistered benchmarks have none."""
    ranks: dict[tuple[str, str], int] = {}
    for name in results["benchmark"].unique():
        if name in kinds:
            metrics = store.benchmark_spec(name).metrics
            ranks |= {(name, m): i for i, m in enumerate(metrics)}
            extra = sorted(set(results.filter(pl.col("benchmark") == name)["metric"]) - set(metrics))
            ranks |= {(name, m): len(metrics) + i for i, m in enumerate(extra)}
    return ranks


def _belongs(line: Entry, model: str) -> bool:
    """Whether a line is a model's own, one of the controls made from it, or a control of every model."""
    name, control = line.row["model"], line.row["control"]
    if control in {"sequence", "noise", "label"} or model in {name, twin_family(name)}:
        return True
    return control != "none" and made_from(name) == model


def _row(line: Entry, panel: Sequence[Entry], comparer: Comparer, kind: str | None) -> dict[str, Any]:
    contests = contests_of(line, panel, comparer, kind)
    row = {name: line.row.get(name) for name in SCHEMA}
    row |= {"better": line.better, "controls": controls_text(line, contests)}
    if line.ok and len(line.cells) > 1 and (whole := comparer.interval(line)) is not None:
        row |= {"value": known(whole.value), "ci_low": known(whole.low), "ci_high": known(whole.high)}
    for column, contest in contests.items():
        row |= {
            f"delta_vs_{column}": contest.value,
            f"delta_vs_{column}_low": contest.low,
            f"delta_vs_{column}_high": contest.high,
        }
    if (best := contests.get("best")) and best.line:
        control = best.line.row
        row |= {
            "best_control": control["model"],
            "best_control_head": head_text(control["head"], control["protocol"]),
            "best_control_value": control["value"],
        }
    return row


def _order(row: Mapping[str, Any], ranks: Mapping[tuple[str, str], int]) -> tuple[Any, ...]:
    failed = row["status"] != "ok" or row["value"] is None
    rank = 0 if failed else ranks.get((row["benchmark"], row["metric"]), 0)
    worth = 0.0 if row["value"] is None else row["value"] if row["better"] == "higher" else -row["value"]
    return (row["benchmark"], failed, rank, row["metric"], -worth, row["model"], row["view"], row["head"])
