"""What a benchmark is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from glmstore.config import Frozen

if TYPE_CHECKING:
    import polars as pl

    from glmstore.data.fetch import Fetcher

LabelKind = Literal["regression", "binary", "variant_effect"]
SPLITS = ("train", "valid", "test")


class Source(Frozen):
    """A public file: where it lies and what it must hash to."""

    url: str = Field(description="https://… or wheel://PROJECT==VERSION/PATH-IN-WHEEL")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    licence: str


class BenchmarkSpec(Frozen):
    """A benchmark as data, without its rows."""

    name: str
    title: str
    family: str = Field(
        description="Task family: 'MPRA regression', 'TF binding', 'zero-shot variant effect', …"
    )
    label_kind: LabelKind
    label: str = Field(description="What the label measures, with its unit.")
    metrics: tuple[str, ...] = Field(description="Names in glmstore.metrics; the first is the one ranked by.")
    split: str = Field(description="How train, valid and test were made: 'official', 'hash 80/10/10', …")
    sequence_length: int | None = Field(description="Nucleotides; None where lengths differ.")
    organism: str
    assembly: str | None = Field(None, description="Assembly of the coordinates, None where there are none.")
    chromosomes: tuple[str, ...] | None = Field(
        None,
        description="Chromosomes of the test items, None where unknown; for the pretraining-overlap flag.",
    )
    sources: tuple[Source, ...]
    citation: str
    notes: str = ""


@dataclass(frozen=True)
class BenchmarkData:
    """The rows of a benchmark.

    Attributes
    ----------
    items
        polars frame, one row an item: ``item_id`` str (unique), ``sequence`` str (normalised), ``label`` f64
        (finite; 0/1 for binary), ``split`` str (train, valid or test), ``cluster`` str (rows of one cluster
        are resampled together: a locus, an element, or the sequence key itself).
    facts
        Measured facts for the report: ``noise_ceiling_pearson_r``, ``duplicates_merged``, ``left_out_…``
    """

    items: pl.DataFrame
    facts: dict[str, float | int | str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Thirty-two hex digits over every row in order: changes when any item changes."""
        rows = self.items.select("item_id", "sequence", "label", "split", "cluster")
        h = hashlib.blake2b(digest_size=16)
        for row in rows.iter_rows():
            h.update("\x1f".join(map(str, row)).encode())
            h.update(b"\x1e")
        return h.hexdigest()


@dataclass(frozen=True)
class Benchmark:
    """A registry entry: the description, and how to get the rows.

    Attributes
    ----------
    spec
        The description.
    load
        ``load(fetcher)`` returns the rows; raises FetchError, ChecksumError, TableError or LabelError.
    """

    spec: BenchmarkSpec
    load: Callable[[Fetcher], BenchmarkData]

    @property
    def name(self) -> str:
        """Registry name."""
        return self.spec.name
