"""Contracts that every benchmark of the registry holds; a new file joins by existing."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import polars as pl
import pytest

from glmstore.benchmarks import BENCHMARKS, Benchmark, BenchmarkData
from glmstore.benchmarks.base import SPLITS
from glmstore.data.fetch import Fetcher
from glmstore.data.wheels import parse_wheel_url
from glmstore.metrics import METRICS
from glmstore.sequences.normalise import normalise

# Recorded from a load of the pinned files with glmstore 0.1.0 (numpy 2, polars 1, x86-64). A digest changes
# when any id, sequence, label, part or cluster does: results of before and after cannot be set side by side.
GOLDEN_DIGESTS = {
    "cagi5_f9": "e825d6ee7cea7d5afeb5d82de8311608",
    "cagi5_ldlr": "8dce090aa68c4f5ec276341c397943ad",
    "cagi5_pklr": "e16e6367d49c2bf6b1ad6eb059189418",
    "cagi5_sort1": "631d971d1dc6bc8fd62f26faf4402dc9",
    "gue_tf_0": "8f6317c56b808b9b2462b3ee92cb493a",
    "gue_tf_1": "67ff06c8adf9c8f512af484d67aec918",
    "gue_tf_2": "898963542bf8bd30c9fb3ad7364a78eb",
    "gue_tf_3": "da5b2b4506dd44bcf6f0b72903c2a4da",
    "gue_tf_4": "5200f9818b2ed632508f4bbfd5238837",
    "lentimpra_hepg2_inoue2017": "5523ce21efd33d0a30aee0117a58f983",
    "sortseq_lac": "e73bdf41ac5059fe3858ba92786e901c",
}


def _needs_mirror(benchmark: Benchmark) -> bool:
    return any(source.url.startswith("http") for source in benchmark.spec.sources)


@cache
def _loaded(benchmark: Benchmark, fetcher: Fetcher) -> BenchmarkData:
    return benchmark.load(fetcher)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            benchmark, id=benchmark.name, marks=[pytest.mark.mirror] if _needs_mirror(benchmark) else []
        )
        for benchmark in BENCHMARKS
    ],
)
def loaded(request: pytest.FixtureRequest) -> tuple[Benchmark, BenchmarkData]:
    benchmark = request.param
    fetcher = request.getfixturevalue("mirror_fetcher" if _needs_mirror(benchmark) else "wheel_fetcher")
    return benchmark, _loaded(benchmark, fetcher)


@pytest.fixture(params=list(BENCHMARKS), ids=lambda benchmark: benchmark.name)
def spec(request: pytest.FixtureRequest):
    return request.param.spec


def test_every_source_is_pinned_licensed_and_fetchable(spec) -> None:
    assert spec.sources
    for source in spec.sources:
        assert re.fullmatch("[0-9a-f]{64}", source.sha256)
        assert source.licence.strip()
        if source.url.startswith("wheel://"):
            assert parse_wheel_url(source.url).path
        else:
            assert re.fullmatch(
                r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/.+", source.url
            )


def test_every_description_is_filled_in(spec) -> None:
    for text in (spec.name, spec.title, spec.family, spec.label, spec.split, spec.organism):
        assert text.strip() == text != ""
    assert "doi:" in spec.citation or "arXiv:" in spec.citation
    assert re.fullmatch(r"[a-z0-9_]+", spec.name)


def test_every_metric_is_known_and_fits_the_labels(spec) -> None:
    assert spec.metrics
    for name in spec.metrics:
        assert spec.label_kind in METRICS[name].kinds


def test_coordinates_come_with_an_assembly(spec) -> None:
    assert (spec.chromosomes is None) == (spec.assembly is None)
    assert all(name.startswith("chr") for name in spec.chromosomes or ())


def test_items_have_the_five_columns_and_unique_ids(loaded) -> None:
    _, data = loaded
    assert dict(data.items.schema) == {
        "item_id": pl.String,
        "sequence": pl.String,
        "label": pl.Float64,
        "split": pl.String,
        "cluster": pl.String,
    }
    assert data.items["item_id"].is_unique().all()
    assert not data.items.null_count().sum_horizontal().item()


def test_labels_are_finite_and_of_their_kind(loaded) -> None:
    benchmark, data = loaded
    labels = data.items["label"].to_numpy()
    assert np.isfinite(labels).all()
    if benchmark.spec.label_kind == "binary":
        assert set(labels) == {0.0, 1.0}
    else:
        assert len(np.unique(labels)) > 9


def test_parts_are_there_and_mostly_for_training(loaded) -> None:
    benchmark, data = loaded
    counts = dict(data.items["split"].value_counts().rows())
    if benchmark.spec.label_kind == "variant_effect":
        assert set(counts) == {"test"}
    else:
        assert set(counts) == set(SPLITS)
        assert counts["train"] > counts["valid"] + counts["test"]


def test_sequences_are_normalised_and_as_long_as_said(loaded) -> None:
    benchmark, data = loaded
    assert all(normalise(sequence) == sequence for sequence in data.items["sequence"])
    assert set(data.items["sequence"].str.len_chars()) == {benchmark.spec.sequence_length}


def test_one_sequence_is_never_in_two_clusters(loaded) -> None:
    _, data = loaded
    assert data.items.group_by("sequence").agg(pl.col("cluster").n_unique())["cluster"].max() == 1


def test_items_are_those_of_the_recorded_digest(loaded) -> None:
    benchmark, data = loaded
    assert data.digest == GOLDEN_DIGESTS[benchmark.name]
