"""Fill the store: register benchmarks, embed what a view lacks."""

from __future__ import annotations

from glmstore.benchmarks.registering import ensure_benchmark, ensure_reachable
from glmstore.data.fetch import Fetcher
from glmstore.extraction import materialize
from glmstore.planning import FeatureChunk
from glmstore.store import FeatureStore
from tasks.policies import compute_task


@compute_task("register {benchmark}")
def register_benchmark(store: str, benchmark: str) -> str:
    """Fetch, read and register one benchmark; return its digest."""
    return ensure_benchmark(FeatureStore.open(store), benchmark, Fetcher())


@compute_task("register what can be had")
def register_reachable(store: str, benchmarks: tuple[str, ...]) -> dict[str, str]:
    """Register the benchmarks whose files can be had; return the others with the reason."""
    return ensure_reachable(FeatureStore.open(store), benchmarks, Fetcher())


@compute_task("embed {chunk.view.model} {chunk.view.pooling} {chunk.number}/{chunk.of}")
def embed_chunk(chunk: FeatureChunk) -> int:
    """Embed the chunk's sequences that the view still lacks; return how many were computed."""
    store = FeatureStore.open(chunk.store)
    sequences = store.sequences(chunk.seq_keys)["sequence"].to_list()
    return materialize(store, chunk.view.model, sequences, view=chunk.view).computed


@compute_task("optimize the store")
def optimize_store(store: str) -> None:
    """Compact what many small commits left, so that reading is fast."""
    FeatureStore.open(store).optimize()
