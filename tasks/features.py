"""Fill the store: register benchmarks, embed what a view lacks."""

from __future__ import annotations

from glmstore.benchmarks.registering import ensure_benchmark, ensure_reachable
from glmstore.data.fetch import Fetcher
from glmstore.extraction import materialize_many
from glmstore.planning import FeatureChunk
from glmstore.store import FeatureStore
from tasks.policies import alone, compute_task


@compute_task("register {benchmark}")
def register_benchmark(store: str, benchmark: str) -> str:
    """Fetch, read and register one benchmark; return its digest."""
    return ensure_benchmark(FeatureStore.open(store), benchmark, Fetcher())


@compute_task("register what can be had")
def register_reachable(store: str, benchmarks: tuple[str, ...]) -> dict[str, str]:
    """Register the benchmarks whose files can be had; return the others with the reason."""
    return ensure_reachable(FeatureStore.open(store), benchmarks, Fetcher())


@compute_task("embed {chunk.name}")
def embed_chunk(chunk: FeatureChunk) -> int:
    """Embed the chunk's sequences that its views still lack; return how many vectors were computed."""
    store = FeatureStore.open(chunk.store)
    sequences = store.sequences(chunk.seq_keys)["sequence"].to_list()
    with alone(chunk.store, chunk.work_key):
        done = materialize_many(store, chunk.model, sequences, chunk.views)
    return sum(filled.computed for filled in done)


@compute_task("optimize the store")
def optimize_store(store: str) -> None:
    """Compact what many small commits left, so that reading is fast."""
    FeatureStore.open(store).optimize()
