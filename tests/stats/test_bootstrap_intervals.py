"""Intervals cover what they claim to, respect clusters and seeds, and pair what belongs together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from glmstore.errors import LabelError, ShapeError, UnknownNameError
from glmstore.metrics import METRICS
from glmstore.stats.bootstrap import interval, paired_difference
from glmstore.stats.multiplicity import benjamini_hochberg
from glmstore.stats.permutation import permuted_labels

N_CLUSTERS, SIZE = 60, 5
CLUSTERS = np.repeat(np.arange(N_CLUSTERS), SIZE).astype(str)


def clustered(rng: np.random.Generator, shared: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions with r = 0.6 between them, whose items of one cluster are correlated."""

    def noise() -> np.ndarray:
        per_cluster = np.repeat(rng.normal(size=N_CLUSTERS), SIZE)
        return np.sqrt(shared) * per_cluster + np.sqrt(1 - shared) * rng.normal(size=N_CLUSTERS * SIZE)

    y = noise()
    return y, 0.6 * y + 0.8 * noise()


def width(i: tuple[float, float, float]) -> float:
    return i[2] - i[1]


def test_a_95_percent_interval_over_clusters_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    covered = {"clusters": 0, "items": 0}
    n = 300
    for k in range(n):
        y, p = clustered(rng)
        for name, groups in (("clusters", CLUSTERS), ("items", np.arange(len(y)).astype(str))):
            found = interval("pearson_r", y, p, groups, n_resamples=300, seed=k)
            covered[name] += found.low <= 0.6 <= found.high
    assert 0.90 <= covered["clusters"] / n <= 0.98
    assert covered["items"] / n < 0.8  # what ignoring the clusters would claim


@pytest.mark.parametrize("name", ["pearson_r", "spearman_rho", "r2"])
def test_clusters_widen_the_interval(name: str) -> None:
    y, p = clustered(np.random.default_rng(1))
    by_cluster = interval(name, y, p, CLUSTERS)
    by_item = interval(name, y, p, np.arange(len(y)).astype(str))
    assert by_cluster.value == by_item.value == METRICS[name](y, p)
    assert width(by_cluster) > 1.4 * width(by_item)


def test_the_value_is_the_mean_over_seeds_of_the_metric_not_of_the_predictions() -> None:
    y, p = clustered(np.random.default_rng(2))
    rng = np.random.default_rng(3)
    seeds = np.stack([p + rng.normal(size=len(p)) for _ in range(4)])
    found = interval("pearson_r", y, seeds, CLUSTERS)
    assert found.value == pytest.approx(np.mean([np.corrcoef(y, s)[0, 1] for s in seeds]))


def test_disagreement_between_seeds_widens_the_interval() -> None:
    y, p = clustered(np.random.default_rng(4))
    rng = np.random.default_rng(5)
    alike = np.stack([p] * 4)
    apart = np.stack([p + s * rng.normal(size=len(p)) for s in (0.0, 0.1, 3.0, 9.0)])
    assert width(interval("pearson_r", y, apart, CLUSTERS)) > 1.3 * width(
        interval("pearson_r", y, alike, CLUSTERS)
    )


def test_initialisations_are_resampled_as_well_as_probe_seeds() -> None:
    y, p = clustered(np.random.default_rng(6))
    rng = np.random.default_rng(7)
    good = np.stack([p + 0.1 * rng.normal(size=len(p)) for _ in range(3)])
    bad = np.stack([p + 3.0 * rng.normal(size=len(p)) for _ in range(2)])
    found = interval("pearson_r", y, [good, bad], CLUSTERS)
    means = [np.mean([np.corrcoef(y, s)[0, 1] for s in twin]) for twin in (good, bad)]
    assert found.value == pytest.approx(np.mean(means))
    assert found.low < means[1] + 0.1 < means[0] - 0.1 < found.high
    assert interval("pearson_r", y, [good], CLUSTERS) == interval("pearson_r", y, good, CLUSTERS)


def test_a_paired_difference_is_narrower_than_two_intervals_apart() -> None:
    y, p = clustered(np.random.default_rng(8))
    better = p + 0.3 * y
    found = paired_difference("pearson_r", y, better, p, CLUSTERS)
    assert found.value == pytest.approx(np.corrcoef(y, better)[0, 1] - np.corrcoef(y, p)[0, 1])
    assert found.low > 0
    assert width(found) < 0.5 * width(interval("pearson_r", y, p, CLUSTERS))


def test_a_model_does_not_differ_from_itself() -> None:
    y, p = clustered(np.random.default_rng(9))
    assert paired_difference("spearman_rho", y, p, p, CLUSTERS) == (0.0, 0.0, 0.0)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    y, p = clustered(np.random.default_rng(10))
    first = interval("auroc", (y > 0).astype(float), p, CLUSTERS, seed=1)
    assert first == interval("auroc", (y > 0).astype(float), p, CLUSTERS, seed=1)
    assert first != interval("auroc", (y > 0).astype(float), p, CLUSTERS, seed=2)


def test_any_function_of_labels_and_predictions_can_be_a_metric() -> None:
    y, p = clustered(np.random.default_rng(11))

    def mean_error(labels: np.ndarray, predictions: np.ndarray) -> float:
        return float(np.mean(predictions - labels))

    found = interval(mean_error, y, p, CLUSTERS, n_resamples=200)
    assert found.value == pytest.approx(np.mean(p - y))
    assert found.low < found.value < found.high


def test_what_a_resample_leaves_undefined_is_left_out_and_too_much_of_it_gives_no_bounds() -> None:
    y, p = np.array([1.0] + [0.0] * 49), np.linspace(1, 0, 50)
    rare = interval("auroc", y, p, np.arange(50).astype(str))  # 36 % of the resamples hold no positive
    assert rare.value == 1.0
    assert np.isnan(rare.low)
    assert np.isnan(rare.high)
    y[:5] = 1.0
    assert np.isfinite(interval("auroc", y, p, np.arange(50).astype(str))).all()


def test_one_cluster_has_a_value_and_no_interval() -> None:
    y, p = clustered(np.random.default_rng(12))
    found = interval("pearson_r", y, p, ["locus"] * len(y))
    assert found.value == pytest.approx(np.corrcoef(y, p)[0, 1])
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_what_cannot_be_resampled_is_refused_by_name() -> None:
    y, p = clustered(np.random.default_rng(13))
    with pytest.raises(ShapeError, match="cluster names"):
        interval("pearson_r", y, p, CLUSTERS[:-1])
    with pytest.raises(ShapeError):
        interval("pearson_r", y, p[:-1], CLUSTERS)
    with pytest.raises(LabelError):
        interval("pearson_r", y, p * np.nan, CLUSTERS)
    with pytest.raises(UnknownNameError):
        interval("pearsons", y, p, CLUSTERS)


@pytest.mark.parametrize("name", METRICS)
def test_a_thousand_resamples_of_five_thousand_items_sort_once_and_take_a_few_calls(name: str) -> None:
    rng = np.random.default_rng(14)
    y = rng.normal(size=5000)
    p = y + rng.normal(size=5000)
    metric, calls = METRICS[name], Counter[str]()

    def whole(y: np.ndarray, p: np.ndarray) -> float:
        calls["on all items"] += 1
        return metric.fn(y, p)

    def prepared(y: np.ndarray, p: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        calls["sorted"] += 1
        resampled = metric.resampler(y, p)

        def block(weights: np.ndarray) -> np.ndarray:
            calls["blocks"] += 1
            return resampled(weights)

        return block

    labels = (y > 0).astype(float) if metric.kinds == ("binary",) else y
    interval(replace(metric, fn=whole, resampler=prepared), labels, p, np.arange(5000).astype(str))
    assert calls == {"on all items": 1, "sorted": 1, "blocks": 3}


def test_benjamini_hochberg_adjusts_only_the_tests_that_were_made() -> None:
    adjusted = benjamini_hochberg([0.01, np.nan, 0.02, 0.03, 0.5])
    np.testing.assert_allclose(adjusted, [0.04, np.nan, 0.04, 0.04, 0.5])
    assert np.isnan(benjamini_hochberg([np.nan])).all()
    with pytest.raises(ValueError, match="between 0 and 1"):
        benjamini_hochberg([0.5, 1.5])


def test_permuted_labels_are_the_same_values_in_another_order() -> None:
    y = np.arange(100.0)
    shuffled = permuted_labels(y, 0)
    assert sorted(shuffled) == y.tolist()
    assert abs(np.corrcoef(y, shuffled)[0, 1]) < 0.3
    assert (shuffled == permuted_labels(y, 0)).all()
    assert (shuffled != permuted_labels(y, (0, 1))).any()
