"""What runs are called: the models and benchmarks they are about, shortened where there are many."""

from __future__ import annotations

from collections.abc import Iterable

from glmstore.report.panel import twin_family

_MOST = 3


def models_named(models: Iterable[str]) -> str:
    """Return names of models for people; the random twins of one model are named once.

    Examples
    --------
    >>> models_named(["gpn-mini", "rand_init:gpn-mini:0", "rand_init:gpn-mini:1"])
    'gpn-mini and rand_init:gpn-mini'
    """
    return named(twin_family(model) or model for model in models)


def named(names: Iterable[str]) -> str:
    """Return names for people, each once, and only how many where there are more than three.

    Examples
    --------
    >>> named(["a", "b", "c", "a", "d", "e"])
    'a, b, c and 2 more'
    """
    distinct = list(dict.fromkeys(names))
    shown = distinct[:_MOST] if len(distinct) > _MOST + 1 else distinct
    if len(shown) < len(distinct):
        return f"{', '.join(shown)} and {len(distinct) - len(shown)} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
