"""Sort-seq of the E. coli lac promoter: 50,518 variants of 75 nt, labelled by the mean sorting bin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from glmstore.benchmarks.base import Benchmark, BenchmarkData, BenchmarkSpec, Source
from glmstore.data.items import make_items
from glmstore.data.readers import read_table
from glmstore.errors import LabelError, TableError

if TYPE_CHECKING:
    from glmstore.data.fetch import Fetcher

N_BINS = 10
_PARTS = {"training": "train", "validation": "valid", "test": "test"}
_SOURCE = Source(
    url="wheel://mavenn==1.1.4/mavenn/examples/datasets/sortseq_data.csv.gz",
    sha256="874d92522535f24517e1c389f21c9e067ab30f43ec34cf951d3efee498324d40",
    licence="MIT",
)


def _load(fetcher: Fetcher) -> BenchmarkData:
    table = read_table(fetcher.fetch(_SOURCE.url, _SOURCE.sha256))
    counts = np.stack([table.numbers(f"ct_{b}") for b in range(N_BINS)], axis=1)
    reads = counts.sum(axis=1)
    unread = np.flatnonzero(reads <= 0)
    if unread.size:
        raise LabelError(
            f"{table.where(int(unread[0]), 'ct_0')}: no read in any bin, so there is no mean bin."
        )
    unknown = set(table.column("set")) - set(_PARTS)
    if unknown:
        raise TableError(
            f"{table.path.name}: {sorted(unknown)[0]!r} in column 'set' is none of {', '.join(_PARTS)}."
        )
    items = make_items(
        [f"line{line}" for line in table.lines],
        table.sequences("x"),
        counts @ np.arange(N_BINS) / reads,
        [_PARTS[part] for part in table.column("set")],
    )
    facts: dict[str, float | int | str] = {
        "variants_read_once": int((reads == 1).sum()),
        "variants_read_in_several_bins": int((reads > 1).sum()),
        "noise_ceiling": "not known: nearly every variant was read once, and counts are 0 or 1",
    }
    return BenchmarkData(items, facts)


sortseq_lac = Benchmark(
    spec=BenchmarkSpec(
        name="sortseq_lac",
        title="Sort-seq of the lac promoter (Kinney 2010)",
        family="MPRA regression",
        label_kind="regression",
        label="expression as the mean fluorescence bin, bins 0 (dark) to 9 (bright), weighted by reads",
        metrics=("pearson_r", "spearman_rho", "r2"),
        split="official",
        sequence_length=75,
        organism="Escherichia coli",
        sources=(_SOURCE,),
        citation=(
            "Kinney et al. 2010, PNAS 107:9158, doi:10.1073/pnas.1004290107; as distributed with MAVE-NN, "
            "Tareen et al. 2022, Genome Biology 23:98, doi:10.1186/s13059-022-02661-7"
        ),
        notes=(
            "Mutants of one promoter, so every item resembles every other; the split holds out variants, not "
            "loci. 0-based starts in the wild type: CRP site 6, -35 box 39, -10 box 63."
        ),
    ),
    load=_load,
)
