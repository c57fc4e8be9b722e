"""Bring a benchmark into a store, once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from glmstore.benchmarks import BENCHMARKS
from glmstore.errors import UnknownNameError

if TYPE_CHECKING:
    from glmstore.data.fetch import Fetcher
    from glmstore.store import FeatureStore

log = logging.getLogger(__name__)


def ensure_benchmark(store: FeatureStore, name: str, fetcher: Fetcher) -> str:
    """Register a benchmark unless the store holds it under the very same description; return its digest.

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
    if name in stored and store.benchmark_spec(name) == benchmark.spec:
        return store.benchmark_digest(name)
    data = benchmark.load(fetcher)
    log.info("%s: %d items registered", name, data.items.height)
    return store.register_benchmark(benchmark.spec, data)
