"""CAGI5 saturation mutagenesis: every SNV of a 230-nt window of four regulatory elements, GRCh38.

The window is centred on the element (``c = floor((first + last) / 2)``, positions c-115 .. c+114), and its
reference sequence is rebuilt from the Ref column, which covers every position. The release holds replicates
under several names; the four used are those whose effects match the values of the challenge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from glmstore.benchmarks.base import Benchmark, BenchmarkData, BenchmarkSpec, Source
from glmstore.data.items import make_items
from glmstore.data.readers import Table, read_table
from glmstore.errors import TableError, UnknownNameError
from glmstore.sequences.edit import substitute

if TYPE_CHECKING:
    from glmstore.data.fetch import Fetcher

LEFT, RIGHT = 115, 114
WINDOW = LEFT + RIGHT + 1
ASSEMBLY = "GRCh38"

ELEMENTS = ("LDLR.2", "SORT1", "F9", "PKLR-48h")
"""The releases that are the paper's four elements."""
REPLICATES = {"LDLR.2": "LDLR", "SORT1": "SORT1.2", "PKLR-48h": "PKLR-24h"}
"""Another measurement of the same element in the same release; F9 has none."""

_DELETION = "-"
_MISSING = "NA"
_SOURCE = Source(
    url=(
        "https://raw.githubusercontent.com/kircherlab/MPRA_SaturationMutagenesis/"
        "c5cadb46a3ec9bbeb8f678e8dc2b2335191f121b/data/elements.tsv.gz"
    ),
    sha256="fec2eed91fe27af3aae07ebce2eca65e9bad4bb6abba5d8c27f478887dd7b134",
    licence="GPL-3.0 repository; data published as GEO GSE126550",
)


@dataclass(frozen=True)
class SaturationElement:
    """One element's window and the effects of its SNVs.

    Attributes
    ----------
    name
        The element as the release names it.
    chromosome
        ``chr1`` … ``chrX``.
    window_start
        1-based position of the window's first letter, on GRCh38.
    reference
        The window, 230 nt, forward strand.
    variants
        One row an SNV inside the window, by position and alternative: ``position`` i64 (1-based), ``offset``
        i64 (0-based in the window), ``ref``, ``alt`` str, ``effect`` f64 (log2, signed), ``p_value`` f64,
        ``barcodes`` i64.
    counted_out
        Rows of the element that are not in `variants`, by reason; each row is counted once.
    """

    name: str
    chromosome: str
    window_start: int
    reference: str
    variants: pl.DataFrame
    counted_out: dict[str, int]


def load_elements(fetcher: Fetcher, names: Sequence[str] = ELEMENTS) -> dict[str, SaturationElement]:
    """Read elements by the release's names, `ELEMENTS` by default.

    Raises
    ------
    FetchError, ChecksumError
        If the file cannot be had.
    UnknownNameError
        If the release has no such element.
    TableError, LabelError
        If positions of a window are missing or contradict one another, or an effect is not a number.
    """
    table = _read(fetcher)
    known = table.column("Element").unique()
    for name in names:
        if name not in known:
            raise UnknownNameError("element", name, known)
    return {name: _element(name, table.only(pl.col("Element") == name)) for name in names}


def _read(fetcher: Fetcher) -> Table:
    table = read_table(fetcher.fetch(_SOURCE.url, _SOURCE.sha256))
    return table.only(pl.col("Release") == ASSEMBLY)


def _element(name: str, rows: Table) -> SaturationElement:
    placed = rows.only(pl.col("Pos") != _MISSING)
    positions = placed.numbers("Pos").astype(np.int64)
    start = (int(positions.min()) + int(positions.max())) // 2 - LEFT
    offsets = positions - start
    inside = placed.frame.with_columns(
        position=pl.Series(positions),
        offset=pl.Series(offsets),
        effect=pl.Series(placed.numbers("Coefficient")),
        p_value=pl.Series(placed.numbers("pValue")),
        barcodes=pl.Series(placed.numbers("Barcodes").astype(np.int64)),
    ).filter(pl.col("offset").is_between(0, WINDOW - 1))
    snvs = inside.filter(pl.col("Alt") != _DELETION)
    (chromosome,) = placed.column("Chrom").unique()
    return SaturationElement(
        name=name,
        chromosome=f"chr{chromosome}",
        window_start=start,
        reference=_reference(name, inside),
        variants=snvs.select(
            "position",
            "offset",
            ref="Ref",
            alt="Alt",
            effect="effect",
            p_value="p_value",
            barcodes="barcodes",
        ).sort("position", "alt"),
        counted_out={
            "without_position": len(rows) - len(placed),
            "outside_window": len(placed) - inside.height,
            "deletions": inside.height - snvs.height,
        },
    )


def _reference(name: str, inside: pl.DataFrame) -> str:
    """Rebuild the window from the Ref column."""
    letters = inside.group_by("offset").agg(pl.col("Ref").unique()).sort("offset")
    if letters.height != WINDOW:
        absent = sorted(set(range(WINDOW)) - set(letters["offset"]))
        raise TableError(
            f"{name}: no row at offset {absent[0]} of the window, so its reference is not known."
        )
    torn = letters.filter(pl.col("Ref").list.len() != 1)
    if torn.height:
        raise TableError(
            f"{name}: the rows at offset {torn['offset'][0]} of the window disagree on the reference."
        )
    return "".join(letters["Ref"].list.first())


def _load(name: str, fetcher: Fetcher) -> BenchmarkData:
    replicate = REPLICATES.get(name)
    elements = load_elements(fetcher, [name] if replicate is None else [name, replicate])
    element = elements[name]
    rows = element.variants
    facts: dict[str, float | int | str] = {
        "element": name,
        "chromosome": element.chromosome,
        "window_start": element.window_start,
        "reference": element.reference,
        **{f"left_out_{reason}": count for reason, count in element.counted_out.items()},
    }
    if replicate is not None:
        facts |= {"replicate": replicate, "replicate_pearson_r": _agreement(element, elements[replicate])}
    items = make_items(
        [
            f"{element.chromosome}:{position}:{ref}>{alt}"
            for position, ref, alt in rows.select("position", "ref", "alt").iter_rows()
        ],
        [
            substitute(element.reference, offset, alt, ref=ref)
            for offset, ref, alt in rows.select("offset", "ref", "alt").iter_rows()
        ],
        rows["effect"].to_numpy(),
        ["test"] * rows.height,
        [str(position) for position in rows["position"]],
    )
    return BenchmarkData(items, facts)


def _agreement(one: SaturationElement, other: SaturationElement) -> float:
    """Return the Pearson r of the effects of the SNVs that both measured."""
    both = one.variants.join(other.variants, on=["position", "ref", "alt"], suffix="_other")
    return float(np.corrcoef(both["effect"], both["effect_other"])[0, 1])


def _benchmark(element: str, gene: str, chromosome: str, cells: str) -> Benchmark:
    return Benchmark(
        spec=BenchmarkSpec(
            name=f"cagi5_{gene.lower()}",
            title=f"CAGI5 saturation mutagenesis of {gene} ({element})",
            family="zero-shot variant effect",
            label_kind="variant_effect",
            label=f"log2 effect of the SNV on reporter expression in {cells}; negative: less expression",
            metrics=("pearson_r", "spearman_rho"),
            split="zero-shot: every item is a test item",
            sequence_length=WINDOW,
            organism="Homo sapiens",
            assembly=ASSEMBLY,
            chromosomes=(chromosome,),
            sources=(_SOURCE,),
            citation=(
                "Kircher et al. 2019, Nature Communications 10:3583, doi:10.1038/s41467-019-11526-w; "
                "Shigaki et al. 2019, Human Mutation 40:1280, doi:10.1002/humu.23797"
            ),
            notes="Sequences carry the alternative allele; the reference window is the fact 'reference'.",
        ),
        load=partial(_load, element),
    )


cagi5 = (
    _benchmark("LDLR.2", "LDLR", "chr19", "HepG2"),
    _benchmark("SORT1", "SORT1", "chr1", "HepG2"),
    _benchmark("F9", "F9", "chrX", "HepG2"),
    _benchmark("PKLR-48h", "PKLR", "chr1", "K562"),
)
