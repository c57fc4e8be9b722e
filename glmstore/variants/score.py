"""Score the single-nucleotide variants of one window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from glmstore.errors import ScorerError, VariantError
from glmstore.models.causal_scoring import log_likelihood
from glmstore.sequences.edit import substitute
from glmstore.sequences.onehot import BASES, reverse_complement
from glmstore.variants.base import compared_pooling

if TYPE_CHECKING:
    from glmstore.models.base import GenomicLM, MaskedLM
    from glmstore.models.causal_scoring import CausalLM
    from glmstore.variants.base import Scorer

_AT_ONCE = 16
"""Windows that are tokenised together."""

Strands = Literal["forward", "both"]
Tokens = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""Row numbers int [n], vectors [n, T, D] of tokens or nucleotides, and true counts int [n] (None: all T)."""


def check_variants(reference: str, variants: pl.DataFrame) -> None:
    """Insist that every variant is a single-letter change of this window.

    Parameters
    ----------
    reference
        Normalised window.
    variants
        Columns ``offset`` (0-based in the window), ``ref``, ``alt``.

    Raises
    ------
    VariantError
        For the first variant outside the window, whose alleles are not two different single letters of ACGT,
        or whose reference letter is not the window's.
    """
    for offset, ref, alt in variants.select("offset", "ref", "alt").iter_rows():
        name = f"variant {ref}>{alt} at offset {offset} (0-based)"
        if not 0 <= offset < len(reference):
            raise VariantError(
                f"{name} lies outside the window of {len(reference)} nt; leave it out and count it."
            )
        if ref not in tuple(BASES) or alt not in tuple(BASES):
            raise VariantError(f"{name}: both alleles have to be one of {', '.join(BASES)}.")
        if ref == alt:
            raise VariantError(f"{name} changes nothing; remove the row.")
        if reference[offset] != ref:
            raise VariantError(
                f"{name}: the window reads {reference[offset]} there. Check the assembly, the strand and "
                f"whether positions are 0- or 1-based."
            )


def alternate_windows(reference: str, variants: pl.DataFrame) -> list[str]:
    """Return the window with each variant in place, in the order of the rows."""
    return [
        substitute(reference, offset, alt) for offset, alt in variants.select("offset", "alt").iter_rows()
    ]


def opposite(reference: str, variants: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    """Return the window and its variants as the other strand reads them; rows keep their order."""
    complement = dict(zip(BASES, reverse_complement(BASES)[::-1], strict=True))
    flipped = variants.with_columns(
        offset=len(reference) - 1 - pl.col("offset"),
        ref=pl.col("ref").replace_strict(complement, return_dtype=pl.String),
        alt=pl.col("alt").replace_strict(complement, return_dtype=pl.String),
    )
    return reverse_complement(reference), flipped


def base_prob_scores(
    model: MaskedLM, reference: str, variants: pl.DataFrame, scorer: Scorer, *, batch_size: int = 64
) -> np.ndarray:
    """Return float64 [V]: one masked forward per position serves all its variants.

    The window is the reference's in every pass; the reference letter is hidden from the model, so nothing but
    the position differs between alleles.
    """
    positions = variants["offset"].unique().sort().to_list()
    probabilities = np.empty((len(positions), len(BASES)), np.float32)
    for start in range(0, len(positions), batch_size):
        part = positions[start : start + batch_size]
        probabilities[start : start + len(part)] = (
            model.base_probs([reference] * len(part), part).cpu().numpy()
        )
    row = np.searchsorted(positions, variants["offset"].to_numpy())
    letter = {base: i for i, base in enumerate(BASES)}
    ref = np.array([letter[base] for base in variants["ref"]], dtype=np.int64)
    alt = np.array([letter[base] for base in variants["alt"]], dtype=np.int64)
    return scorer.formula(probabilities[row, ref], probabilities[row, alt])


def likelihood_scores(model: CausalLM, reference: str, variants: pl.DataFrame, scorer: Scorer) -> np.ndarray:
    """Return float64 [V] from the log-likelihoods of whole windows, each read once from left to right.

    Every token after the variant is part of the score: a causal model feels a change in all that follows it.
    Where the window ends in letters that make no whole token, as many are cut from its left, for reference
    and alternate alike; a variant among the letters cut is scored in the whole window.

    Raises
    ------
    ScorerError
        If the tokens do not spell a variant's place even so (an N beside it, a window shorter than a token),
        and both alleles are one sequence to the model.
    """
    alternates = alternate_windows(reference, variants)
    cut, scores = _unspelled_rest(model, reference), np.empty(len(variants), np.float64)
    is_cut_off = (variants["offset"] < cut).to_numpy()
    for rows, start in ((np.flatnonzero(~is_cut_off), cut), (np.flatnonzero(is_cut_off), 0)):
        if not rows.size:
            continue
        windows = [reference[start:], *(alternates[row][start:] for row in rows)]
        _check_told_apart(model, windows, variants[rows], scorer)
        nats = log_likelihood(model, windows)
        scores[rows] = scorer.formula(np.broadcast_to(nats[0], len(rows)), nats[1:])
    return scores


def _unspelled_rest(model: CausalLM, reference: str) -> int:
    """Return how many letters at the end of a window make no whole token; 0 where all do, or none does."""
    batch = model.encode([reference])
    last = int((~batch.special_mask[0]).nonzero().max())
    start, end = batch.spans[0, last].tolist()
    is_spelled = bool(model.tokenizer.strings[int(batch.ids[0, last])])
    return 0 if is_spelled or "N" in reference[start:end] or start == 0 else end - start


def _check_told_apart(model: GenomicLM, windows: list[str], variants: pl.DataFrame, scorer: Scorer) -> None:
    for start in range(0, len(variants), _AT_ONCE):
        ids = model.encode([windows[0], *windows[1 + start : 1 + start + _AT_ONCE]]).ids
        unseen = np.flatnonzero((ids[1:] == ids[0]).all(dim=1).cpu().numpy())
        if unseen.size:
            offset, ref, alt = variants.select("offset", "ref", "alt").row(start + int(unseen[0]))
            raise ScorerError(
                f"{scorer.name}: the tokens of {model.spec.name} are the same with {ref} and {alt} at offset "
                f"{offset} (0-based, on the strand that is read), so it cannot tell them apart. An N beside "
                "the variant hides it, or the window is shorter than a token: choose another window."
            )


def embedding_scores(
    scorer: Scorer, reference: np.ndarray, alternates: Iterable[Tokens], variants: pl.DataFrame
) -> np.ndarray:
    """Return float64 [V] from token-level vectors, chunk by chunk.

    Parameters
    ----------
    scorer
        One that needs embeddings.
    reference
        [T, D], the reference window's vectors under :func:`compared_pooling`, without padding.
    alternates
        Chunks of the alternate windows' vectors; row numbers are those of `variants`.
    variants
        Names the variant in an error.

    Raises
    ------
    ScorerError
        If a variant changes the number of vectors: side by side they would then be of other nucleotides.
    """
    scores = np.empty(len(variants), np.float64)
    count = len(reference)
    for rows, values, lengths in alternates:
        counts = np.full(len(rows), values.shape[1]) if lengths is None else np.asarray(lengths)
        differing = np.flatnonzero(counts != count)
        if differing.size:
            offset, ref, alt = variants.select("offset", "ref", "alt").row(int(rows[differing[0]]))
            raise ScorerError(
                f"{scorer.name}: variant {ref}>{alt} at offset {offset} (0-based) changes the number of "
                f"vectors from {count} to {counts[differing[0]]}, so they cannot be compared one by one. "
                f"Compare them under pooling 'nucleotides'."
            )
        flat = values[:, :count].reshape(len(rows), -1)
        scores[rows] = scorer.formula(reference.reshape(-1), flat)
    return scores


def _embedded(model: GenomicLM, sequences: list[str], layer: int | str | None) -> Iterator[Tokens]:
    from glmstore.extraction import embed

    number = model.spec.resolve_layer(layer)
    for chunk in embed(
        model,
        sequences,
        layer=number,
        pooling=compared_pooling(model.spec),
        dtype="float32",
        precision="float32",
    ):
        yield chunk.indices, chunk.values, chunk.lengths


def _one_strand(
    model: GenomicLM, reference: str, variants: pl.DataFrame, scorer: Scorer, layer: int | str | None
) -> np.ndarray:
    if scorer.needs == "base_probs":
        return base_prob_scores(model, reference, variants, scorer)  # type: ignore[arg-type]
    if scorer.needs == "log_likelihood":
        return likelihood_scores(model, reference, variants, scorer)  # type: ignore[arg-type]
    ((_, values, lengths),) = _embedded(model, [reference], layer)
    tokens = values[0] if lengths is None else values[0, : int(lengths[0])]
    return embedding_scores(
        scorer, tokens, _embedded(model, alternate_windows(reference, variants), layer), variants
    )


def score_element(
    model: GenomicLM,
    reference: str,
    variants: pl.DataFrame,
    scorer: Scorer,
    *,
    layer: int | str | None = None,
    strands: Strands = "forward",
) -> np.ndarray:
    """Score every variant of one window, with the model in float32, storing nothing.

    Parameters
    ----------
    model
        In evaluation mode.
    reference
        Normalised window, the context of every variant.
    variants
        One row a variant: ``offset`` (0-based in the window), ``ref``, ``alt``.
    scorer
        An entry of ``SCORERS``.
    layer
        Layer of the vectors; None is the model's default. Only scorers on embeddings use it.
    strands
        "both" averages the score with that of the reverse complement.

    Returns
    -------
    float64 [V], in the order of `variants`; similarities lie so close to 1 that float32 would tie them.

    Raises
    ------
    VariantError
        If a variant does not fit the window.
    ScorerError
        If the model cannot serve the scorer, or its tokens cannot tell the alleles of a variant apart.
    LayerError
        If the model has no such layer.
    """
    scorer.check_serves(model.spec)
    check_variants(reference, variants)
    scores = _one_strand(model, reference, variants, scorer, layer)
    if strands == "both":
        scores = (scores + _one_strand(model, *opposite(reference, variants), scorer, layer)) / 2
    return scores
