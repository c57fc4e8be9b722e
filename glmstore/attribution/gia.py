"""Global importance analysis: what a pattern does to predictions on backgrounds that hold nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from glmstore.attribution.sites import Site
from glmstore.errors import SequenceError
from glmstore.sequences.edit import substitute
from glmstore.sequences.shuffle import dinucleotide_shuffle
from glmstore.stats.bootstrap import Interval, interval

Predict = Callable[[Sequence[str]], np.ndarray]
"""``predict(sequences)`` returns float64 [N], in the label's unit."""


class Contrast(NamedTuple):
    """Predictions for the same rows with and without a change.

    Attributes
    ----------
    before, after
        float64 [S], predictions row by row.
    effect
        Mean of ``after - before`` with its bootstrap interval over the rows.
    """

    before: np.ndarray
    after: np.ndarray
    effect: Interval


class Importance(NamedTuple):
    """What the sites do on S backgrounds.

    Attributes
    ----------
    name
        The sites, joined by " + ".
    insertion
        The sites put into the backgrounds, against the backgrounds as they were: the global importance.
    disruption
        The control: each site's letters in random order at the same place, against the backgrounds.
    """

    name: str
    insertion: Contrast
    disruption: Contrast


def backgrounds(sequences: Sequence[str], n: int, seed: int) -> list[str]:
    """Return `n` dinucleotide shuffles of every sequence, those of the first sequence first."""
    shuffled = dinucleotide_shuffle(list(sequences), n, seed)
    return [s for shuffles in shuffled for s in shuffles]


def _scrambled(site: Site, rng: np.random.Generator) -> str:
    while True:
        letters = "".join(rng.permutation(list(site.pattern)))
        if letters != site.pattern:
            return letters


def _put(sequence: str, sites: Sequence[Site]) -> str:
    for site in sites:
        sequence = substitute(sequence, site.start, site.pattern)
    return sequence


def _put_scrambled(sequence: str, sites: Sequence[Site], rng: np.random.Generator) -> str:
    for site in sites:
        sequence = substitute(sequence, site.start, _scrambled(site, rng))
    return sequence


def _check(sites: Sequence[Site]) -> None:
    for site in sites:
        if len(set(site.pattern)) == 1:
            raise SequenceError(
                f"site {site.name}",
                f"{site.pattern} has no other order of its letters, so it has no control",
                "Take in a neighbouring position",
            )
    ordered = sorted(sites, key=lambda s: s.start)
    for left, right in pairwise(ordered):
        if left.stop > right.start:
            raise SequenceError(
                f"sites {left.name} and {right.name}", "they overlap", "Analyse them one at a time"
            )


def _mean_difference(y: np.ndarray, prediction: np.ndarray) -> float:
    return float(np.mean(prediction - y))


def _contrast(before: np.ndarray, after: np.ndarray, n_resamples: int, seed: int) -> Contrast:
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    effect = interval(
        _mean_difference,
        before,
        after,
        np.arange(len(before)).astype(str),
        n_resamples=n_resamples,
        seed=seed,
    )
    return Contrast(before, after, effect)


def global_importance(
    predict: Predict,
    sequences: Sequence[str],
    sites: Sequence[Site],
    *,
    seed: int = 0,
    n_resamples: int = 1000,
) -> Importance:
    """Put sites into backgrounds and return what that does to the prediction, beside its control.

    Parameters
    ----------
    predict
        The model under study.
    sequences
        S backgrounds, see :func:`backgrounds`.
    sites
        One or more sites, put in together, each at its own 0-based start.
    seed
        Of the control's letter orders and of the bootstrap.
    n_resamples
        Bootstrap resamples over backgrounds. The interval speaks of the backgrounds drawn, not of other
        promoters and not of other trainings of the model.

    Raises
    ------
    SequenceError
        If two sites overlap, or a site has no other order of its letters.
    VariantError
        If a site does not lie inside a background.

    References
    ----------
    Koo et al. 2021, PLOS Computational Biology 17:e1008925.
    """
    _check(sites)
    rng = np.random.default_rng(seed)
    with_sites = [_put(s, sites) for s in sequences]
    with_scrambled = [_put_scrambled(s, sites, rng) for s in sequences]
    plain = predict(sequences)
    return Importance(
        " + ".join(site.name for site in sites),
        _contrast(plain, predict(with_sites), n_resamples, seed),
        _contrast(plain, predict(with_scrambled), n_resamples, seed),
    )


def knock_out(
    predict: Predict, reference: str, sites: Sequence[Site], n: int, *, seed: int = 0, n_resamples: int = 1000
) -> Contrast:
    """Return what the sites add to the reference: its prediction less those with the sites scrambled.

    The backgrounds of :func:`global_importance` may lie far from what the model was trained on; these `n`
    sequences differ from the reference at the sites only.

    Raises
    ------
    SequenceError, VariantError
        As :func:`global_importance`.
    """
    _check(sites)
    rng = np.random.default_rng(seed)
    broken = predict([_put_scrambled(reference, sites, rng) for _ in range(n)])
    whole = np.repeat(predict([reference]), n)
    return _contrast(broken, whole, n_resamples, seed)
