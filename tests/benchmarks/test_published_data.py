"""What the published files must come out as, checked against facts found outside this package."""

from __future__ import annotations

import gzip
import io
import re
from collections import Counter

import numpy as np
import polars as pl
import pytest

from glmstore.benchmarks import BENCHMARKS
from glmstore.benchmarks.cagi5 import ELEMENTS, REPLICATES, load_elements
from glmstore.benchmarks.lentimpra_hepg2_inoue2017 import log2_activity, noise_ceiling
from glmstore.errors import UnknownNameError
from glmstore.sequences.onehot import one_hot

CONSENSUS = "AATTAATGTGAGTTAGCTCACTCATTAGGCACCCCAGGCTTTACACTTTATGCTTCCGGCTCGTATGTTGTGTGG"
SITES = {"CRP": (6, "TGTGAGTTAGCTCACT"), "-35": (39, "TTTACA"), "-10": (63, "TATGTT")}


@pytest.fixture(scope="module")
def sortseq(wheel_fetcher) -> pl.DataFrame:
    return BENCHMARKS["sortseq_lac"].load(wheel_fetcher).items


@pytest.fixture(scope="module")
def elements(mirror_fetcher):
    return load_elements(mirror_fetcher, (*ELEMENTS, *REPLICATES.values()))


def test_sortseq_has_its_published_size_split_and_promoter(sortseq) -> None:
    assert dict(sortseq["split"].value_counts().rows()) == {"train": 30516, "valid": 10067, "test": 9935}
    counts = one_hot(sortseq["sequence"].to_list()).sum(axis=0)
    assert "".join("ACGT"[i] for i in counts.argmax(axis=1)) == CONSENSUS
    for start, site in SITES.values():
        assert CONSENSUS[start : start + len(site)] == site


def test_sortseq_labels_are_mean_bins(sortseq) -> None:
    # Lines 2 and 3 of the file were read once, in bins 1 and 8.
    assert sortseq.head(2)["label"].to_list() == [1.0, 8.0]
    assert sortseq["label"].min() == 0.0
    assert sortseq["label"].max() == 9.0


def test_a_linear_model_of_sortseq_learns_the_known_sites(sortseq) -> None:
    from sklearn.linear_model import Ridge

    x = one_hot(sortseq["sequence"].to_list()).reshape(len(sortseq), -1).astype(np.float32)
    y = sortseq["label"].to_numpy()
    train, test = (sortseq["split"].eq(part).to_numpy() for part in ("train", "test"))
    fitted = Ridge(alpha=100.0).fit(x[train], y[train])
    assert np.corrcoef(fitted.predict(x[test]), y[test])[0, 1] == pytest.approx(0.55, abs=0.01)
    weights = fitted.coef_.reshape(-1, 4)
    weights = weights - weights.mean(axis=1, keepdims=True)
    for start, site in SITES.values():
        assert np.mean([weights[start + i, "ACGT".index(base)] for i, base in enumerate(site)]) > 0.1


@pytest.mark.mirror
def test_lentimpra_is_the_join_made_of_the_same_files_elsewhere(mirror, mirror_fetcher) -> None:
    joined = mirror / "derived" / "lentimpra_hepg2_inoue2017.tsv.gz"
    theirs = pl.read_csv(io.BytesIO(gzip.decompress(joined.read_bytes())), separator="\t")
    data = BENCHMARKS["lentimpra_hepg2_inoue2017"].load(mirror_fetcher)
    with_sequence = theirs.filter(pl.col("sequence").is_not_null())
    assert data.items["item_id"].to_list() == with_sequence["element"].to_list()
    assert data.items["sequence"].to_list() == with_sequence["sequence"].to_list()
    assert data.items.height == 2438
    assert data.facts["elements_without_sequence"] == theirs.height - 2438 == 2
    dna, rna = (
        theirs.select(f"{kind}_WT_{i}" for i in (1, 2, 3)).to_numpy().astype(float) for kind in ("dna", "rna")
    )
    ours = log2_activity(dna, rna).mean(axis=1)
    np.testing.assert_allclose(ours, theirs["log2_rna_dna_WT"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(data.items["label"], with_sequence["log2_rna_dna_WT"], rtol=0, atol=5e-10)


@pytest.mark.mirror
def test_lentimpra_names_the_chromosomes_of_its_test_elements(mirror_fetcher) -> None:
    benchmark = BENCHMARKS["lentimpra_hepg2_inoue2017"]
    items = benchmark.load(mirror_fetcher).items.filter(pl.col("split") == "test")
    tiles = [re.search(r"\[(chr\w+):\d+-\d+\]$", item_id) for item_id in items["item_id"]]
    assert {tile[1] for tile in tiles if tile} == set(benchmark.spec.chromosomes or ())


@pytest.mark.mirror
def test_lentimpra_replicates_agree_and_clusters_hold_the_synthetic_controls(mirror_fetcher) -> None:
    data = BENCHMARKS["lentimpra_hepg2_inoue2017"].load(mirror_fetcher)
    assert data.facts["replicate_pearson_r"] == pytest.approx(0.972, abs=5e-4)
    assert data.facts["noise_ceiling_pearson_r"] == pytest.approx(0.995, abs=5e-4)
    assert data.facts["synthetic_controls"] == 202
    biggest = data.items.filter(pl.col("cluster") == data.items["cluster"].mode()[0])
    assert biggest.height > 150
    assert biggest["item_id"].str.starts_with("C:SLEA").mean() > 0.95


def test_noise_ceiling_is_the_correlation_of_the_mean_with_the_truth() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200_000)
    measured = truth[:, None] + rng.normal(scale=0.8, size=(200_000, 3))
    facts = noise_ceiling(measured)
    assert facts["replicate_pearson_r"] == pytest.approx(1 / (1 + 0.64), abs=0.005)
    assert facts["noise_ceiling_pearson_r"] == pytest.approx(
        np.corrcoef(measured.mean(axis=1), truth)[0, 1], abs=0.005
    )


def test_log2_activity_of_counts_worked_out_by_hand() -> None:
    dna, rna = np.array([[3.0], [5.0]]), np.array([[7.0], [9.0]])
    expected = [[np.log2((8 / 16) / (4 / 8))], [np.log2((10 / 16) / (6 / 8))]]
    np.testing.assert_allclose(log2_activity(dna, rna), expected, atol=1e-15)


@pytest.mark.mirror
@pytest.mark.parametrize(
    ("number", "rows", "duplicates", "train_to_valid"),
    [(0, 34378, 9, 1), (1, 32672, 1, 0), (2, 21000, 205, 19), (3, 29294, 23, 2), (4, 21000, 4150, 358)],
)
def test_gue_parts_are_balanced_and_their_duplicates_are_counted(
    mirror_fetcher, number: int, rows: int, duplicates: int, train_to_valid: int
) -> None:
    data = BENCHMARKS[f"gue_tf_{number}"].load(mirror_fetcher)
    assert data.items.height == rows
    assert data.items["label"].mean() == 0.5
    assert data.items.filter(pl.col("split") != "train").height == 2000
    assert data.items.height - data.items["sequence"].n_unique() == data.facts["duplicate_rows"] == duplicates
    assert data.facts["leaked_train_to_valid_exact"] == train_to_valid


@pytest.mark.mirror
@pytest.mark.parametrize(
    ("name", "chromosome", "first", "last", "positions"),
    [
        ("LDLR.2", "chr19", 11089274, 11089503, 318),
        ("SORT1", "chr1", 109274836, 109275065, 600),
        ("F9", "chrX", 139530499, 139530728, 303),
        ("PKLR-48h", "chr1", 155301514, 155301743, 470),
    ],
)
def test_cagi5_windows_lie_where_the_element_is_centred(
    elements, name, chromosome, first, last, positions
) -> None:
    element = elements[name]
    assert (element.chromosome, element.window_start) == (chromosome, first)
    assert len(element.reference) == last - first + 1 == 230
    assert element.variants["position"].min() == first
    assert element.variants["position"].max() == last
    assert element.variants["position"].n_unique() == 230 < positions


@pytest.mark.mirror
def test_cagi5_variants_fit_their_window_and_every_other_row_is_counted(elements, mirror_fetcher) -> None:
    rows_of = {"LDLR.2": 1093, "SORT1": 1927, "F9": 984, "PKLR-48h": 1794}
    for name, rows in rows_of.items():
        element = elements[name]
        variants = element.variants
        assert variants.height + sum(element.counted_out.values()) == rows
        assert (variants["offset"] == variants["position"] - element.window_start).all()
        assert variants["ref"].to_list() == [element.reference[offset] for offset in variants["offset"]]
        assert (variants["ref"] != variants["alt"]).all()
        assert set(variants["alt"]) == set("ACGT")
        assert not variants.select("position", "alt").is_duplicated().any()
    assert elements["SORT1"].counted_out == {"without_position": 0, "outside_window": 1188, "deletions": 51}


@pytest.mark.mirror
def test_cagi5_rows_without_coordinates_are_set_aside_by_element(mirror_fetcher) -> None:
    (element,) = load_elements(mirror_fetcher, ["MYCrs11986220"]).values()
    assert element.counted_out["without_position"] == 4
    assert element.variants["position"].is_not_null().all()


@pytest.mark.mirror
def test_cagi5_items_are_single_substitutions_of_the_reference_with_signed_effects(
    elements, mirror_fetcher
) -> None:
    data = BENCHMARKS["cagi5_sort1"].load(mirror_fetcher)
    reference = str(data.facts["reference"])
    assert reference == elements["SORT1"].reference
    start = int(data.facts["window_start"])
    for item_id, sequence in data.items.select("item_id", "sequence").iter_rows():
        chromosome, position, alleles = item_id.split(":")
        changed = [i for i, (a, b) in enumerate(zip(reference, sequence, strict=True)) if a != b]
        assert changed == [int(position) - start]
        assert alleles == f"{reference[changed[0]]}>{sequence[changed[0]]}"
        assert chromosome == "chr1"
    assert (data.items["label"] < 0).any()
    assert (data.items["label"] > 0).any()
    assert Counter(Counter(data.items["cluster"]).values()).keys() <= {1, 2, 3}


@pytest.mark.mirror
def test_cagi5_sister_measurements_read_the_same_window_and_agree(elements, mirror_fetcher) -> None:
    for name, other in REPLICATES.items():
        assert elements[name].reference == elements[other].reference
    assert BENCHMARKS["cagi5_ldlr"].load(mirror_fetcher).facts["replicate_pearson_r"] == pytest.approx(
        0.974, abs=1e-3
    )


@pytest.mark.mirror
def test_an_unknown_element_is_refused_with_a_suggestion(mirror_fetcher) -> None:
    with pytest.raises(UnknownNameError, match=r"no element is called 'LDLR\.3'. Did you mean LDLR"):
        load_elements(mirror_fetcher, ["LDLR.3"])
