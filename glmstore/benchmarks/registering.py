"""Bring a benchmark into a store, once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from glmstore.benchmarks import BENCHMARKS
from glmstore.errors import ChecksumError, FetchError, UnknownNameError

if TYPE_CHECKING:
    from glmstore.data.fetch import Fetcher
    from glmstore.store import FeatureStore

log = logging.getLogger(__name__)


def ensure_benchmark(store: FeatureStore, name: str, fetcher: Fetcher) -> str:
    """Register a benchmark unless the store holds it, whole and so described; return its digest.

    A benchmark that is not in the registry but in the store (a user's own table) is left as it is.

    Raises
    ------
    UnknownNameError
        If neither registry nor store knows the name.
    FetchError, ChecksumError, TableError, LabelError
        If its files cannot be had or read.
    """
    stored = set(store.benchmarks()["name"].to_list())
    if name not in BENCHMARKS:
        if name in stored:
            return store.benchmark_digest(name)
        raise UnknownNameError("benchmark", name, {*BENCHMARKS.names(), *stored})
    benchmark = BENCHMARKS[name]
    if name in stored and store.benchmark_spec(name) == benchmark.spec and not store.benchmark_lacks(name):
        return store.benchmark_digest(name)
    data = benchmark.load(fetcher)
    log.info("%s: %d items registered", name, data.items.height)
    return store.register_benchmark(benchmark.spec, data)


def ensure_reachable(store: FeatureStore, names: Iterable[str], fetcher: Fetcher) -> dict[str, str]:
    """Register every benchmark whose files can be had; return the others, each with the reason.

    Raises
    ------
    FetchError
        If none can be had.
    ChecksumError, TableError, LabelError, UnknownNameError
        A file that is there but wrong is never merely left out.
    """
    left_out: dict[str, str] = {}
    reached = 0
    for name in names:
        try:
            ensure_benchmark(store, name, fetcher)
            reached += 1
        except ChecksumError:
            raise
        except FetchError as error:
            log.warning("%s is left out: %s", name, error)
            left_out[name] = str(error)
    if left_out and not reached:
        raise FetchError(f"none of the benchmarks can be had. {next(iter(left_out.values()))}")
    return left_out
