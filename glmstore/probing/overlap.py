"""Whether a model may have seen the test sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glmstore.rows import Overlap

if TYPE_CHECKING:
    from glmstore.benchmarks.base import BenchmarkSpec
    from glmstore.models.spec import ModelSpec


def pretraining_overlap(model: ModelSpec, benchmark: BenchmarkSpec) -> Overlap:
    """Return whether a model may have seen the test sequences of a benchmark in pretraining.

    'not applicable' without pretraining; 'none' where species or chromosomes are disjoint, which a corpus
    whose species are listed only in part never shows; 'yes' where a chromosome of the test items was in the
    corpus, whatever the assembly (chromosome 22 of GRCh37 and of GRCh38 are nearly one sequence); 'possible'
    where the species is the same, or not given or not listed, and chromosomes are not known.
    """
    corpus = model.pretraining
    if corpus is None or not corpus.species:
        return "not applicable"
    if benchmark.organism not in corpus.species:
        known = corpus.complete and benchmark.organism not in {"", "not given"}
        return "none" if known else "possible"
    if corpus.chromosomes is None or benchmark.chromosomes is None:
        return "possible"
    seen, tested = (
        {c.removeprefix("chr") for c in side} for side in (corpus.chromosomes, benchmark.chromosomes)
    )
    return "yes" if seen & tested else "none"
