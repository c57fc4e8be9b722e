"""Explaining probes: on a linear model known by hand, and on the real lac promoter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from glmstore.attribution.explain import ExplainSettings, plan_cells, run_explain
from glmstore.attribution.sites import SITES
from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec
from glmstore.errors import HeadError, UnknownNameError
from glmstore.results import Cell
from glmstore.sequences.onehot import one_hot
from glmstore.store import FeatureStore

if TYPE_CHECKING:
    from glmstore.data.fetch import Fetcher

LAC = SITES["sortseq_lac"]
SETTINGS = ExplainSettings(n_backgrounds=40, n_high=2, n_resamples=100)
CELL = Cell(
    benchmark="sortseq_lac",
    benchmark_digest="0" * 32,
    model="onehot",
    view="onehot/0/tokens/forward/uint8@onehot",
    head="cnn",
    protocol="glmstore",
    split="official",
    seeds=(0, 1),
)


class Additive(nn.Module):
    """1 for every wild-type letter of the CRP site, 3 for those of the -10 box, 0 elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.zeros(75, 4)
        for site, worth in ((LAC.sites[0], 1.0), (LAC.sites[2], 3.0)):
            weight[site.start : site.stop] = worth * torch.from_numpy(one_hot([site.pattern])[0]).float()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum(dim=(1, 2))


class AdditiveProbe:
    def __init__(self) -> None:
        self.module = Additive()

    def predict(self, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.module(torch.as_tensor(x, dtype=torch.float32)).double().numpy()


def _store() -> FeatureStore:
    wild = LAC.reference
    sequences = [wild, "A" * 75, wild[:63] + "GGGGGG" + wild[69:]]  # predicted 34, 6, 16
    items = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "sequence": sequences,
            "label": [3.0, 1.0, 2.0],
            "split": ["test"] * 3,
            "cluster": ["a", "b", "c"],
        }
    )
    spec = BenchmarkSpec(
        name="sortseq_lac",
        title="Toy",
        family="MPRA regression",
        label_kind="regression",
        label="mean bin",
        metrics=("pearson_r",),
        split="official",
        sequence_length=75,
        organism="Escherichia coli",
        sources=(),
        citation="",
    )
    store = FeatureStore.open("memory://")
    store.register_benchmark(spec, BenchmarkData(items))
    return store


def test_every_set_of_sites_is_a_cell_with_its_effect_its_control_and_its_knock_out() -> None:
    rows = run_explain(_store(), AdditiveProbe(), CELL, SETTINGS).rows
    cells = plan_cells(CELL, SETTINGS)
    assert [c.head for c in cells] == ["gia:CRP", "gia:-35 box", "gia:-10 box", "gia:CRP + -35 box + -10 box"]
    assert [(r.cell_key, r.metric) for r in rows] == [
        (c.key, m) for c in cells for m in ("gia_effect", "gia_control_effect", "knock_out_effect")
    ]
    assert {(r.n, r.seeds, r.control, r.model) for r in rows} == {(40, 1, "sequence", "onehot")}


def test_effects_are_those_of_the_model() -> None:
    outcome = run_explain(_store(), AdditiveProbe(), CELL, SETTINGS)
    value = {(r.head, r.metric): r.value or 0.0 for r in outcome.rows}
    # Put in whole, a site reaches its full worth; a dinucleotide shuffle holds part of it by chance.
    table = outcome.importance
    crp, box = (table.filter(pl.col("sites") == name) for name in ("CRP", "-10 box"))
    assert value["gia:CRP", "gia_effect"] == pytest.approx((crp["with"] - crp["without"]).mean())
    assert value["gia:-10 box", "gia_control_effect"] == pytest.approx(
        (box["scrambled"] - box["without"]).mean()
    )
    assert value["gia:-35 box", "gia_effect"] == pytest.approx(0)
    assert value["gia:-35 box", "knock_out_effect"] == pytest.approx(0)
    assert 0 < value["gia:-10 box", "knock_out_effect"] < 18
    assert (table.filter(pl.col("sites").str.contains("\\+"))["with"] == 16 + 18).all()


def test_saliency_of_an_additive_model_is_its_centred_weight() -> None:
    table = run_explain(_store(), AdditiveProbe(), CELL, SETTINGS).saliency
    wild = table.filter(pl.col("panel") == "wild type")
    at = wild.filter(pl.col("position") == 63).sort("letter")
    assert at["letter"].to_list() == ["A", "C", "G", "T"]
    np.testing.assert_allclose(at["hypothetical"], [-0.75, -0.75, -0.75, 2.25])
    np.testing.assert_allclose(at["observed"], [0, 0, 0, 2.25])
    assert wild.filter(pl.col("position").is_between(22, 62))["observed"].abs().max() == 0


def test_the_second_logo_is_the_mean_over_the_sequences_predicted_highest() -> None:
    table = run_explain(_store(), AdditiveProbe(), CELL, SETTINGS).saliency
    mean = table.filter(pl.col("panel") == "mean of the 2 test sequences with the highest prediction")
    # The wild type has T at 63, the other of the two has G there.
    at = mean.filter(pl.col("position") == 63).sort("letter")
    np.testing.assert_allclose(at["observed"], [0, 0, -0.75 / 2, 2.25 / 2])


def test_what_is_saved_can_be_read_and_is_the_same_every_time(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        files = run_explain(_store(), AdditiveProbe(), CELL, SETTINGS).save(folder)
        assert all(file.stat().st_size > 0 for file in files)
    names = sorted(p.name for p in folders[0].iterdir())
    assert [n for n in names if n.endswith(".png")] == [
        "global-importance-e-coli-lac-promoter-75-nt.png",
        "saliency-e-coli-lac-promoter-75-nt.png",
    ]
    assert all((folders[0] / n).read_bytes() == (folders[1] / n).read_bytes() for n in names)
    assert (folders[0] / "saliency-e-coli-lac-promoter-75-nt.png").read_bytes()[:4] == b"\x89PNG"
    assert pl.read_csv(folders[0] / "importance.csv").height == 4 * 40
    assert pl.read_csv(folders[0] / "saliency.csv").height == 2 * 75 * 4


def test_the_identity_of_a_cell_holds_the_probe_the_site_and_the_backgrounds() -> None:
    keys = {c.key for c in plan_cells(CELL, SETTINGS)}
    assert len(keys) == 4
    assert keys == {c.key for c in plan_cells(CELL, SETTINGS.model_copy(update={"n_high": 7}))}
    for other in (
        plan_cells(CELL.model_copy(update={"seeds": (5,)}), SETTINGS),
        plan_cells(CELL, SETTINGS.model_copy(update={"seed": 1})),
    ):
        assert keys.isdisjoint(c.key for c in other)


def test_what_cannot_be_explained_is_refused() -> None:
    class NoGradient:
        def predict(self, x: np.ndarray) -> np.ndarray:
            return np.zeros(len(x))

    with pytest.raises(HeadError, match="head ridge has no gradient"):
        run_explain(_store(), NoGradient(), CELL.model_copy(update={"head": "ridge"}), SETTINGS)
    with pytest.raises(HeadError, match="reads gpn-mini, not letters"):
        run_explain(_store(), AdditiveProbe(), CELL.model_copy(update={"model": "gpn-mini"}), SETTINGS)
    with pytest.raises(UnknownNameError, match="annotated reference"):
        plan_cells(CELL.model_copy(update={"benchmark": "lentimpra_hepg2_inoue2017"}), SETTINGS)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Keep a small training from waiting for other work of the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_cnn_trained_on_sort_seq_learns_that_the_known_sites_raise_expression(
    wheel_fetcher: Fetcher, one_thread: None
) -> None:
    from glmstore.benchmarks.registering import ensure_benchmark
    from glmstore.heads import HEADS
    from glmstore.heads.base import FitData

    store = FeatureStore.open("memory://")
    ensure_benchmark(store, "sortseq_lac", wheel_fetcher)
    items = store.benchmark_items("sortseq_lac").sort("seq_key")
    train, valid = (
        items.filter(pl.col("split") == split).head(n) for split, n in (("train", 8000), ("valid", 1000))
    )
    x_train, x_valid = (one_hot(part["sequence"].to_list()) for part in (train, valid))
    data = FitData(x_train, train["label"].to_numpy(), x_valid, valid["label"].to_numpy(), "regression")
    hyperparameters = {"width": 0.25, "learning_rate": 1e-3}
    probe = HEADS["cnn"].fit(data, seed=0, hyperparameters=hyperparameters, max_epochs=3).probe
    outcome = run_explain(store, probe, CELL, ExplainSettings(n_backgrounds=100, n_high=100))
    row = {(r.head, r.metric): r for r in outcome.rows}
    # Every kind of processor trains another network, so one site may stand out little from its letters.
    effects, controls = 0.0, 0.0
    for site in LAC.sites:
        assert site.effect == "raises"
        effect, control, knocked = (
            row[f"gia:{site.name}", m] for m in ("gia_effect", "gia_control_effect", "knock_out_effect")
        )
        assert (effect.ci_low or 0) > 0, site.name
        assert (effect.value or 0) > (control.value or 0), site.name
        effects, controls = effects + (effect.ci_low or 0), controls + (control.ci_high or 0)
        assert (knocked.ci_low or 0) > 0, site.name
    assert effects > controls, "the sites raise it more than their letters in any order"
    wild = (
        outcome.saliency.filter(pl.col("panel") == "wild type")
        .group_by("position")
        .agg(pl.col("observed").sum())
    )
    within = pl.any_horizontal(pl.col("position").is_between(s.start, s.stop - 1) for s in LAC.sites)
    inside, outside = wild.filter(within), wild.filter(~within)
    assert (inside["observed"].mean() or 0) > (outside["observed"].abs().mean() or 0)
