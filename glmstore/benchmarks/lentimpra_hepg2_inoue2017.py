"""lentiMPRA in HepG2: 2,438 elements of 171 nt, labelled by log2 RNA/DNA of the integrated reporter."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glmstore.benchmarks.base import Benchmark, BenchmarkData, BenchmarkSpec, Source
from glmstore.data.items import make_items
from glmstore.data.leakage import leakage_facts, leakage_report
from glmstore.data.readers import read_fasta, read_rda
from glmstore.data.splits import hash_split, homology_clusters
from glmstore.errors import TableError
from glmstore.sequences.normalise import seq_keys

if TYPE_CHECKING:
    from glmstore.data.fetch import Fetcher

_RAW = "https://raw.githubusercontent.com"
_COUNTS = Source(
    url=f"{_RAW}/hansenlab/mpra/b4f4edf39899058bf719fa1f52a84e84656f0d5b/data/mpraSetAggExample.rda",
    sha256="a89b526cdcd6f41ba6393e1c73bab7e8cd19f0a236b46c5af0448dcba3349fd5",
    licence="Artistic-2.0",
)
_DESIGN = Source(
    url=(
        f"{_RAW}/kircherlab/MPRAsnakeflow/28f8e0c03971d2b8e6a3095481cd547b513733b0/resources/assoc_basic/design.fa"
    ),
    sha256="07c76fc00b2b4a57f45dd1fd7ccea876a876b91b1e2d2b4c7fde9dbf1dbed5c9",
    licence="MIT",
)
_SAMPLES = ("cond_sample_WT_1", "cond_sample_WT_2", "cond_sample_WT_3")


class Counts(NamedTuple):
    """Aggregated counts of the integrating vector.

    Attributes
    ----------
    elements
        Element names, E of them.
    dna, rna
        float64 [E, 3], counts of three replicates.
    """

    elements: list[str]
    dna: NDArray[np.float64]
    rna: NDArray[np.float64]


def log2_activity(dna: NDArray[np.float64], rna: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64 [E, R]: log2 of the share of RNA over that of DNA, one count added to each element."""
    rna_share, dna_share = (rna + 1) / rna.sum(axis=0), (dna + 1) / dna.sum(axis=0)
    activity: NDArray[np.float64] = np.log2(rna_share) - np.log2(dna_share)
    return activity


def noise_ceiling(replicates: NDArray[np.float64]) -> dict[str, float]:
    """Return how well replicates agree, and the best Pearson r to be expected of a model of their mean.

    r is the mean Pearson correlation of the pairs of R replicates; the reliability of their mean is
    ``R r / (1 + (R - 1) r)`` (Spearman-Brown), and the ceiling is its square root: the correlation of the
    measured mean with the true activity.

    Parameters
    ----------
    replicates
        float64 [E, R].
    """
    n = replicates.shape[1]
    r = float(
        np.mean([np.corrcoef(replicates[:, i], replicates[:, j])[0, 1] for i, j in combinations(range(n), 2)])
    )
    reliability = n * r / (1 + (n - 1) * r)
    return {
        "replicate_pearson_r": r,
        "label_reliability": reliability,
        "noise_ceiling_pearson_r": float(np.sqrt(reliability)),
    }


def _read_counts(fetcher: Fetcher) -> Counts:
    path = fetcher.fetch(_COUNTS.url, _COUNTS.sha256)
    try:
        counts = read_rda(path)["mpraSetAggExample"]
        assays = {str(name): assay for name, assay in counts.assays.data.listData.items()}
        dna, rna = (
            assays[name].sel(dim_1=list(_SAMPLES)).to_numpy().astype(np.float64) for name in ("DNA", "RNA")
        )
        return Counts([str(name) for name in counts.NAMES], dna, rna)
    except (KeyError, AttributeError) as error:
        raise TableError(f"{path.name} is not the MPRASet that was expected: no {error}.") from error


def _read_design(fetcher: Fetcher) -> dict[str, str]:
    """Return sequences by element name as the counts spell it, brackets written as underscores."""
    records = read_fasta(fetcher.fetch(_DESIGN.url, _DESIGN.sha256))
    # A design record is named after its element and one of its barcodes: NAME:081.
    return {re.sub(r":\d+$", "", name): sequence for name, sequence in records.items()}


def _load(fetcher: Fetcher) -> BenchmarkData:
    counts = _read_counts(fetcher)
    design = _read_design(fetcher)
    names = [re.sub(r"[\[\]]", "_", name) for name in counts.elements]
    kept = [row for row, name in enumerate(names) if name in design]
    activity = log2_activity(counts.dna, counts.rna)[kept]
    ids = [counts.elements[row] for row in kept]
    sequences = [design[names[row]] for row in kept]
    keys = seq_keys(sequences)
    split = hash_split(keys)
    clusters = homology_clusters(sequences)
    first_of_cluster = dict(zip(clusters[::-1].tolist(), reversed(keys), strict=True))
    facts: dict[str, float | int | str] = {
        "elements_without_sequence": len(names) - len(kept),
        "synthetic_controls": sum(one.startswith("C:") for one in ids),
        "homology_clusters": len(first_of_cluster),
        **noise_ceiling(activity),
        **leakage_facts(leakage_report(sequences, split)),
    }
    # Nine decimals, far below the noise: the digest must not hang on the last bit of a processor's log2.
    labels = activity.mean(axis=1).round(9)
    clustered = [first_of_cluster[label] for label in clusters.tolist()]
    return BenchmarkData(make_items(ids, sequences, labels, split, clustered), facts)


lentimpra_hepg2_inoue2017 = Benchmark(
    spec=BenchmarkSpec(
        name="lentimpra_hepg2_inoue2017",
        title="lentiMPRA of liver enhancers in HepG2 (Inoue 2017)",
        family="MPRA regression",
        label_kind="regression",
        label="log2 RNA/DNA of the integrating vector, libraries scaled to equal depth, 3 replicates' mean",
        metrics=("pearson_r", "spearman_rho", "r2"),
        split="hash 80/10/10",
        sequence_length=171,
        organism="Homo sapiens",
        assembly="GRCh37",
        chromosomes=(*(f"chr{number}" for number in range(1, 23)), "chrX"),
        sources=(_COUNTS, _DESIGN),
        citation=(
            "Inoue et al. 2017, Genome Research 27:38, doi:10.1101/gr.212092.116 (GEO GSE83894); counts as "
            "distributed with mpra, Myint et al. 2019, BMC Genomics 20:209, doi:10.1186/s12864-019-5556-x"
        ),
        notes=(
            "Elements that resemble one another (k-mer homology; the synthetic controls share two backbones) "
            "are resampled together."
        ),
    ),
    load=_load,
)
