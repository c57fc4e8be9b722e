"""Where a plan reads benchmarks from, without writing to any store."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from glmstore.benchmarks import BENCHMARKS
from glmstore.config import Settings
from glmstore.errors import FetchError, StoreNotFoundError, UnknownNameError
from glmstore.store import FeatureStore
from glmstore.store.connection import local_path, normalise_uri

if TYPE_CHECKING:
    from glmstore.benchmarks.base import Benchmark
    from glmstore.data.fetch import Fetcher


def free_bytes_at(folder: Path) -> int:
    """Return the free bytes of the disk that an absolute folder lies, or would lie, on."""
    there = next(p for p in (folder, *folder.parents) if p.exists())
    return shutil.disk_usage(there).free


class Shelf:
    """A store as it is, and beside it, in memory, the benchmarks that it does not hold yet.

    Nothing is fetched: a benchmark has to be in the store, or its files in the mirror or the cache.

    Parameters
    ----------
    uri
        The store; there may be none yet.
    own
        Benchmarks beyond those of the registry: a user's table that was just read.
    """

    def __init__(self, uri: str, own: Iterable[Benchmark] = ()) -> None:
        self.uri = normalise_uri(uri)
        self._own = {benchmark.name: benchmark for benchmark in own}
        self._loaded: set[str] = set()

    @cached_property
    def store(self) -> FeatureStore | None:
        """The store itself; None where there is none yet."""
        try:
            return FeatureStore.open(self.uri, create=False)
        except StoreNotFoundError:
            return None

    @cached_property
    def _beside(self) -> FeatureStore:
        return FeatureStore.open("memory://")

    @cached_property
    def _stored(self) -> set[str]:
        return set() if self.store is None else set(self.store.benchmarks()["name"].to_list())

    @property
    def free_bytes(self) -> int | None:
        """Free bytes where the store lies or would lie; None where it is on no disk of this machine."""
        folder = local_path(self.uri)
        return None if folder is None else free_bytes_at(folder)

    def holder(self, name: str) -> FeatureStore:
        """Return a store that holds the benchmark as a run would read it.

        Raises
        ------
        UnknownNameError
            If neither the registry nor the store knows it.
        FetchError
            If its files are not on this machine.
        ChecksumError, TableError, LabelError
            If they are, and cannot be used.
        """
        benchmark = self._own.get(name)
        if benchmark is None and name in BENCHMARKS:
            benchmark = BENCHMARKS[name]
        if benchmark is None and name not in self._stored:
            raise UnknownNameError("benchmark", name, {*BENCHMARKS.names(), *self._own, *self._stored})
        if self.store is not None and name in self._stored:
            current = name not in self._own and (
                benchmark is None or self.store.benchmark_spec(name) == benchmark.spec
            )
            if current:
                return self.store
        if benchmark is not None and name not in self._loaded:
            data = benchmark.load(self._local_fetcher(benchmark))
            self._beside.register_benchmark(benchmark.spec, data)
            self._loaded.add(name)
        return self._beside

    def sequences(self, name: str) -> list[str]:
        """Return the sequences of a benchmark's items; errors as of :meth:`holder`."""
        found: list[str] = self.holder(name).benchmark_items(name)["sequence"].to_list()
        return found

    def _local_fetcher(self, benchmark: Benchmark) -> Fetcher:
        from glmstore.data.fetch import Fetcher

        fetcher = Fetcher(Settings().model_copy(update={"offline": True}))
        absent = [
            s
            for s in benchmark.spec.sources
            if benchmark.name not in self._own and fetcher.locate(s.url, s.sha256) is None
        ]
        if absent:
            files = ", ".join(Path(s.url).name for s in absent)
            raise FetchError(
                f"its files are not on this machine yet ({files}); a run fetches them, and "
                f"`glmstore data pull {benchmark.name}` does it now"
            )
        return fetcher
