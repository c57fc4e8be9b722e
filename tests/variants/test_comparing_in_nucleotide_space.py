"""Vectors side by side are of one place, whatever a variant does to the tokens."""

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest

from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec
from glmstore.benchmarks.plans import VariantPlan
from glmstore.estimating import dry_runs
from glmstore.models import FAMILIES
from glmstore.models.alignment import to_nucleotide
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.base import ModelEntry
from glmstore.models.catalogue import MODELS
from glmstore.store import FeatureStore
from glmstore.variants import SCORERS
from glmstore.variants.base import compared_pooling
from glmstore.variants.score import score_element
from glmstore.variants.zero_shot import ZeroShotSettings, plan_cell, run_cell

WINDOW = "".join(np.random.default_rng(0).choice(list("ACGT"), 120))
TABLE = pl.DataFrame(
    [(i, ref, alt) for i, ref in enumerate(WINDOW) for alt in "ACGT" if alt != ref],
    schema=["offset", "ref", "alt"],
    orient="row",
)
ALTERNATES = [WINDOW[:i] + alt + WINDOW[i + 1 :] for i, _, alt in TABLE.iter_rows()]


@pytest.mark.parametrize("family", sorted(f.name for f in FAMILIES))
def test_tokens_are_compared_only_where_no_variant_can_move_them(family: str) -> None:
    model = FAMILIES[family].tiny_model()
    window = WINDOW[:20] + "N" + WINDOW[21:65]
    spans = model.encode([window]).spans
    moved = False
    for offset, ref, alt in TABLE.filter(pl.col("offset") < 65).iter_rows():
        if window[offset] == ref:
            changed = model.encode([window[:offset] + alt + window[offset + 1 :]]).spans
            moved |= changed.shape != spans.shape or bool((changed != spans).any())
    assert compared_pooling(model.spec) == ("nucleotides" if moved else "tokens")


def test_every_published_tokenization_is_known() -> None:
    pooled = {e.spec.tokenization: compared_pooling(e.spec) for e in MODELS}
    assert {name for name, pooling in pooled.items() if pooling == "nucleotides"} == {"bpe"}


@pytest.mark.parametrize("family", ["dnabert2", "mistral-dna"])
@pytest.mark.parametrize("scorer", ["cosine", "l2"])
def test_every_snv_of_a_bpe_model_is_scored_in_nucleotide_space(family: str, scorer: str) -> None:
    model = FAMILIES[family].tiny_model()
    found = score_element(model, WINDOW, TABLE, SCORERS[scorer], layer="last")
    spans = [model.encode([s]).spans for s in (WINDOW, *ALTERNATES)]
    same_count = [s for s in spans[1:] if s.shape == spans[0].shape]
    assert len(same_count) < len(ALTERNATES), "some variants change the number of tokens"
    assert any((s != spans[0]).any() for s in same_count), "others only move them"

    def vectors(sequence: str) -> np.ndarray:
        batch = model.encode([sequence])
        hidden = model.hidden_states(batch, model.spec.n_layers)
        return to_nucleotide(hidden, batch)[0].detach().double().numpy().ravel()

    reference = vectors(WINDOW)
    for score, alternate in zip(found, map(vectors, ALTERNATES), strict=True):
        if scorer == "l2":
            expected = np.linalg.norm(alternate - reference)
        else:
            expected = alternate @ reference / np.linalg.norm(alternate) / np.linalg.norm(reference)
        assert score == pytest.approx(expected, abs=1e-5, rel=1e-4)


@pytest.fixture
def bpe(monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    model = FAMILIES["dnabert2"].tiny_model()
    monkeypatch.setitem(MODELS._entries, "tiny-dnabert2", ModelEntry(model.spec, lambda _: model))
    return model


def store_at(place: Path | str) -> FeatureStore:
    items = TABLE.select(
        item_id=pl.concat_str(["offset", "ref", "alt"]),
        sequence=pl.Series(ALTERNATES),
        label=pl.Series(np.linspace(-1, 1, len(TABLE))),
        split=pl.lit("test"),
        cluster=pl.col("offset").cast(pl.String),
    )
    spec = BenchmarkSpec(
        name="toy_variants",
        title="Toy",
        family="zero-shot variant effect",
        label_kind="variant_effect",
        label="effect",
        metrics=("pearson_r",),
        split="zero-shot",
        sequence_length=120,
        organism="Homo sapiens",
        sources=(),
        citation="",
    )
    store = FeatureStore.open(place)
    store.register_benchmark(spec, BenchmarkData(items, {"reference": WINDOW}))
    return store


@pytest.mark.parametrize("strands", ["forward", "both"])
def test_cells_of_a_bpe_model_read_nucleotides_from_the_store(
    bpe: LanguageModel, strands: Literal["forward", "both"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glmstore.variants.zero_shot.READ_NUMBERS", 40_000)
    store, settings = store_at("memory://"), ZeroShotSettings(n_resamples=100, strands=strands)
    cell = plan_cell(store, "toy_variants", "tiny-dnabert2", "cosine", settings)
    assert cell.view == bpe.spec.view(layer="last", pooling="nucleotides").name
    found = run_cell(store, cell, settings).predictions["prediction"].to_numpy()
    expected = score_element(bpe, WINDOW, TABLE, SCORERS["cosine"], layer="last", strands=strands)
    assert np.corrcoef(found, expected)[0, 1] > 0.999


@pytest.mark.usefixtures("bpe")
def test_a_dry_run_counts_the_nucleotides_that_a_bpe_model_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_runs, "CALIBRATION_SECONDS", 0.0)
    store = store_at(tmp_path / "store")
    plan = VariantPlan(benchmarks=("toy_variants",), models=("tiny-dnabert2",))
    found = dry_runs.variants_dry_run(store.uri, plan, ZeroShotSettings())
    (windows,) = found.features
    assert (windows.pooling, windows.to_compute, windows.vectors) == ("nucleotides", 361, 361 * 120)
    assert [w.what for w in found.work] == ["cosine on toy_variants, 360 variants"]
    assert found.notes == (
        "llr is left out for tiny-dnabert2, which cannot serve it.",
        "causal-llr is left out for tiny-dnabert2, which cannot serve it.",
    )
