"""A store in object storage keeps what a store in a directory keeps, under writers that are killed too."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from glmstore.errors import MissingFeaturesError, StoreNotFoundError
from glmstore.sequences.normalise import seq_keys
from glmstore.store import FeatureStore

WRITER = Path(__file__).with_name("s3_writer.py")


@pytest.fixture(scope="module")
def writer(load_module: Callable[[Path], ModuleType]) -> ModuleType:
    return load_module(WRITER)


@pytest.fixture
def uri(s3, tmp_path: Path) -> str:
    return f"{s3.bucket('stores')}/{tmp_path.name}"


def test_a_store_in_s3_reads_what_was_written_at_a_snapshot_too(uri: str, writer: ModuleType):
    with pytest.raises(StoreNotFoundError):
        FeatureStore.open(uri, create=False)
    store, view = FeatureStore.open(uri), writer.VIEW
    store.declare(view, writer.ORIGIN)
    writer.put(store, 1)
    writer.put(store, 1)
    store.snapshot("then")
    writer.put(store, 2)
    store.optimize()
    (first, vectors), (second, others) = writer.chunk(1), writer.chunk(2)
    again = FeatureStore.open(uri, create=False)
    assert np.array_equal(again.read(view, seq_keys(second)[::-1]).values, others[::-1])
    assert np.array_equal(again.at("then").read(view, seq_keys(first)).values, vectors)
    with pytest.raises(MissingFeaturesError):
        again.at("then").read(view, seq_keys(second))
    again.forget(view, seq_keys(first)[3:])
    assert store.missing(view, seq_keys(first) + seq_keys(second)) == seq_keys(first)[3:]
    assert np.array_equal(store.read(view, seq_keys(second)).values, others)


def test_four_writers_with_kills_lose_double_and_halve_no_row(uri: str, tmp_path: Path, writer: ModuleType):
    rng = random.Random(0)
    logs = [tmp_path / f"writer-{w}" for w in range(1, 5)]
    chunks = (writer.UNENDING, writer.UNENDING, writer.CHUNKS, writer.CHUNKS)
    running = [
        subprocess.Popen(
            [sys.executable, WRITER, uri, log, str(w), str(n)], stdout=subprocess.PIPE, text=True
        )
        for w, (log, n) in enumerate(zip(logs, chunks, strict=True), start=1)
    ]
    try:
        for process in running[:2]:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            time.sleep(rng.uniform(0.1, 0.6))
            process.kill()
        assert [process.wait(120) for process in running] == [-9, -9, 0, 0]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    acknowledged = {int(line) for log in logs if log.exists() for line in log.read_text().split()}
    assert acknowledged >= {*writer.numbers(3), *writer.numbers(4)}
    store = FeatureStore.open(uri, create=False)
    for number in acknowledged:
        sequences, vectors = writer.chunk(number)
        assert np.array_equal(store.read(writer.VIEW, seq_keys(sequences)).values, vectors), number
    seen = [key for batch in store.scan(writer.VIEW) for key in batch.column("seq_key").to_pylist()]
    assert len(seen) == len(set(seen))
    assert len(seen) % writer.ROWS == 0
