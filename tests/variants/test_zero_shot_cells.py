"""Zero-shot cells over a store: what is scored, set against what, and what is computed only once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec
from glmstore.errors import LayerError, ScorerError, UnknownNameError, VariantError, WeightsError
from glmstore.models import get_model
from glmstore.store import FeatureStore
from glmstore.variants import SCORERS
from glmstore.variants.planning import plan_cells
from glmstore.variants.score import score_element
from glmstore.variants.zero_shot import ZeroShotSettings, plan_cell, run_cell, window

if TYPE_CHECKING:
    from glmstore.data.fetch import Fetcher

MODEL = "rand_init:gpn-mini:0"
CAUSAL = "rand_init:hyenadna-tiny-1k:0"
SETTINGS = ZeroShotSettings(n_resamples=100)
REFERENCE = "ACGTTGCAAGCTTACG"
SNVS = [(i, ref, alt) for i, ref in enumerate(REFERENCE) for alt in "ACGT" if alt != ref]
SPEC = BenchmarkSpec(
    name="toy_variants",
    title="Toy",
    family="zero-shot variant effect",
    label_kind="variant_effect",
    label="effect",
    metrics=("pearson_r", "spearman_rho"),
    split="zero-shot",
    sequence_length=16,
    organism="Homo sapiens",
    sources=(),
    citation="",
)


def _frame() -> pl.DataFrame:
    return pl.DataFrame(SNVS, schema=["offset", "ref", "alt"], orient="row")


def _store(labels: np.ndarray, **facts: str) -> FeatureStore:
    items = pl.DataFrame(
        {
            "item_id": [f"{i}{ref}>{alt}" for i, ref, alt in SNVS],
            "sequence": [REFERENCE[:i] + alt + REFERENCE[i + 1 :] for i, _, alt in SNVS],
            "label": labels,
            "split": ["test"] * len(SNVS),
            "cluster": [str(i) for i, _, _ in SNVS],
        }
    )
    store = FeatureStore.open("memory://")
    store.register_benchmark(SPEC, BenchmarkData(items, {"reference": REFERENCE} | facts))
    return store


def _scores(scorer: str, **options: str) -> np.ndarray:
    return score_element(
        get_model(MODEL).load("cpu"), REFERENCE, _frame(), SCORERS[scorer], layer="last", **options
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("sign", [1, -1])
def test_llr_is_held_against_the_signed_effect_and_its_correlation_keeps_its_sign(sign: int) -> None:
    store = _store(sign * 2 * _scores("llr"))
    cell = plan_cell(store, "toy_variants", MODEL, "llr", SETTINGS)
    rows, predictions = run_cell(store, cell, SETTINGS)
    assert {r.metric: round(r.value or 0, 6) for r in rows} == {
        "pearson_r": sign,
        "spearman_rho": sign,
        "pearson_r_abs": 1,
    }
    assert all((r.n, r.seeds, r.control, r.view) == (48, 1, "random_twin", "-") for r in rows)
    assert json.loads(rows[0].details)["positions"] == 16
    np.testing.assert_allclose(predictions["prediction"], _scores("llr"), rtol=1e-6)
    np.testing.assert_allclose(predictions["label"], sign * 2 * _scores("llr"), rtol=1e-6)


def test_cosine_is_held_against_the_absolute_effect_and_expected_to_be_negative() -> None:
    change = 1 - _scores("cosine")
    effects = change * np.where(np.arange(48) % 2, 1, -1)
    store = _store(effects)
    cell = plan_cell(store, "toy_variants", MODEL, "cosine", SETTINGS)
    rows, predictions = run_cell(store, cell, SETTINGS)
    measured = {r.metric: r.value or 0 for r in rows}
    assert set(measured) == {"pearson_r", "spearman_rho"}
    assert measured["pearson_r"] < -0.999
    np.testing.assert_allclose(predictions["label"], np.abs(effects))
    assert json.loads(rows[0].details)["expected_sign"] == "negative"
    assert rows[0].view == cell.view == get_model(MODEL).spec.view(layer="last", pooling="tokens").name


def test_rows_and_predictions_go_into_the_store_and_come_back() -> None:
    store = _store(np.linspace(-1, 1, 48))
    cell = plan_cell(store, "toy_variants", MODEL, "llr", SETTINGS)
    store.write_results(*run_cell(store, cell, SETTINGS))
    assert store.completed([cell.key]) == {cell.key}
    assert store.predictions([cell.key])["item_id"].to_list() == [f"{i}{ref}>{alt}" for i, ref, alt in SNVS]


def test_a_second_scorer_on_the_same_layer_embeds_nothing() -> None:
    store = _store(np.linspace(-1, 1, 48))
    embedded: list[int] = []
    for scorer in ("cosine", "l2"):
        cell = plan_cell(store, "toy_variants", MODEL, scorer, SETTINGS)
        run_cell(store, cell, SETTINGS, progress=lambda done, of: embedded.append(of))
    assert set(embedded) == {49}, "48 variants and the reference, once"
    assert len(store.views()) == 1


@pytest.mark.parametrize("scorer", ["llr", "cosine", "l1"])
@pytest.mark.parametrize("strands", ["forward", "both"])
def test_scores_from_the_store_are_those_of_float32_within_stored_precision(
    scorer: str, strands: str
) -> None:
    settings = ZeroShotSettings.model_validate({"strands": strands, "n_resamples": 100})
    store = _store(np.linspace(-1, 1, 48))
    found = run_cell(store, plan_cell(store, "toy_variants", MODEL, scorer, settings), settings).predictions
    expected = _scores(scorer, strands=strands)
    assert np.corrcoef(found["prediction"], expected)[0, 1] > 0.999


def test_the_identity_of_a_cell_holds_what_changes_its_numbers() -> None:
    store = _store(np.linspace(-1, 1, 48))

    def key(scorer: str = "llr", model: str = MODEL, **changes: object) -> str:
        return plan_cell(store, "toy_variants", model, scorer, SETTINGS.model_copy(update=changes)).key

    assert key() == key()
    assert key(layer="mid") == key(), "masked letters are read at the end of the model"
    different = {
        key(),
        key("cosine"),
        key("cosine", layer="mid"),
        key(model="gpn-mini"),
        key(strands="both"),
        key(n_resamples=200),
    }
    assert len(different) == 6


def test_the_cells_of_the_shipped_model_keep_their_identity() -> None:
    store = _store(np.linspace(-1, 1, 48))
    cells = [plan_cell(store, "toy_variants", "gpn-mini", s, ZeroShotSettings()) for s in ("llr", "cosine")]
    assert [cell.key for cell in cells] == [
        "9acb91283f008eabfb3e19ce572de76d",
        "8a2b117ee88e6e14dacd061370cfc80f",
    ]
    assert cells[1].view == "gpn-mini/8/tokens/forward/float16@2bac640e"


def test_every_model_is_planned_with_the_scorers_it_serves() -> None:
    models = ("gpn-mini", CAUSAL, "kmer4")
    plan = plan_cells(_store(np.linspace(-1, 1, 48)), "toy_variants", models, None, SETTINGS)
    assert [(cell.model, cell.head) for cell in plan.cells] == [
        ("gpn-mini", "llr"),
        ("gpn-mini", "cosine"),
        (CAUSAL, "causal-llr"),
        (CAUSAL, "cosine"),
    ]
    assert plan.refused == []
    assert plan.notes == [
        "causal-llr is left out for gpn-mini, kmer4, which cannot serve it.",
        f"llr is left out for {CAUSAL}, kmer4, which cannot serve it.",
        "cosine is left out for kmer4, which cannot serve it.",
    ]


def test_a_cell_that_was_asked_for_and_cannot_be_planned_holds_up_no_other() -> None:
    store = _store(np.linspace(-1, 1, 48))
    plan = plan_cells(store, "toy_variants", (CAUSAL, "gpn-mini"), ("llr", "cosine"), SETTINGS)
    assert [(c.model, c.head) for c in plan.cells] == [
        (CAUSAL, "cosine"),
        ("gpn-mini", "llr"),
        ("gpn-mini", "cosine"),
    ]
    ((cell, error),) = plan.refused
    assert (cell.model, cell.head, cell.view) == (CAUSAL, "llr", "-")
    assert isinstance(error, ScorerError)
    deep = SETTINGS.model_copy(update={"layer": 8})
    plan = plan_cells(store, "toy_variants", (CAUSAL, "gpn-brassicales", "gpn-mini"), ("cosine",), deep)
    assert [c.model for c in plan.cells] == ["gpn-mini"]
    assert {c.model: type(e) for c, e in plan.refused} == {
        CAUSAL: LayerError,
        "gpn-brassicales": WeightsError,
    }
    with pytest.raises(UnknownNameError, match="gpn-mimi"):
        plan_cells(store, "toy_variants", ("gpn-mini", "gpn-mimi"), None, SETTINGS)


def test_what_cannot_be_planned_is_refused() -> None:
    store = _store(np.linspace(-1, 1, 48))
    store.register_benchmark(
        SPEC.model_copy(update={"name": "toy_mpra", "label_kind": "regression"}),
        BenchmarkData(
            store.benchmark_items("toy_variants").select("item_id", "sequence", "label", "split", "cluster")
        ),
    )
    with pytest.raises(ScorerError, match="toy_mpra has regression labels"):
        plan_cell(store, "toy_mpra", MODEL, "llr", SETTINGS)
    with pytest.raises(ScorerError, match=r"llr .* onehot does not"):
        plan_cell(store, "toy_variants", "onehot", "llr", SETTINGS)
    with pytest.raises(ScorerError, match="cosine compares token vectors; kmer4"):
        plan_cell(store, "toy_variants", "kmer4", "cosine", SETTINGS)
    with pytest.raises(UnknownNameError, match="no scorer is called 'lrr'"):
        plan_cell(store, "toy_variants", MODEL, "lrr", SETTINGS)


def test_the_window_s_variants_are_read_from_the_items() -> None:
    reference, items = window(_store(np.linspace(-1, 1, 48)), "toy_variants")
    assert reference == REFERENCE
    assert items.select("offset", "ref", "alt").rows() == SNVS


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("C" + REFERENCE[1:], "0A>C: its window differs from the reference at 0 positions, not at one"),
        (REFERENCE[:-1] + "A", "0A>C: its window differs from the reference at 2 positions, not at one"),
        (REFERENCE[:-1], "0A>C: its window has 16 nt, the reference 15"),
    ],
)
def test_an_item_that_is_no_single_change_of_the_window_is_named(reference: str, message: str) -> None:
    with pytest.raises(VariantError, match=message):
        window(_store(np.linspace(-1, 1, 48), reference=reference), "toy_variants")


def test_a_benchmark_without_its_window_is_refused() -> None:
    store = FeatureStore.open("memory://")
    items = _store(np.linspace(-1, 1, 48)).benchmark_items("toy_variants")
    store.register_benchmark(
        SPEC, BenchmarkData(items.select("item_id", "sequence", "label", "split", "cluster"))
    )
    with pytest.raises(ScorerError, match="toy_variants records no fact 'reference'"):
        window(store, "toy_variants")


@pytest.mark.mirror
def test_a_real_locus_is_scored_whole(mirror_fetcher: Fetcher, tmp_path: Path) -> None:
    from glmstore.benchmarks.registering import ensure_benchmark

    store = FeatureStore.open(tmp_path / "store")
    ensure_benchmark(store, "cagi5_ldlr", mirror_fetcher)
    cell = plan_cell(store, "cagi5_ldlr", "gpn-mini", "llr", SETTINGS)
    rows, predictions = run_cell(store, cell, SETTINGS)
    by_metric = {r.metric: r for r in rows}
    assert {r.n for r in rows} == {690}
    assert json.loads(rows[0].details)["positions"] == 230
    for name, y, p in (
        ("pearson_r", predictions["label"], predictions["prediction"]),
        ("pearson_r_abs", predictions["label"].abs(), predictions["prediction"].abs()),
    ):
        row = by_metric[name]
        assert row.value == pytest.approx(np.corrcoef(y, p)[0, 1])
        assert (row.ci_low or 0) < (row.value or 0) < (row.ci_high or 0)
    assert by_metric["pearson_r"].pretraining_overlap == "none", "chr19; the model has seen chr22 only"
