"""Measure what one server carries, print it, and write ``build/load.json``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from infra.load import servers

CLIENT = Path(__file__).with_name("client.py")
DIM = 256


def tasks_per_second(env: dict[str, str], clients: int, tasks: int) -> dict[str, Any]:
    """Run so many clients at once, each a flow of so many tasks."""
    begun = time.monotonic()
    command = [sys.executable, CLIENT, str(tasks)]
    running = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(clients)]
    said = [process.communicate(timeout=300)[0] for process in running]
    wall = time.monotonic() - begun
    seconds = [float(text.rpartition("seconds ")[2]) for text in said if "seconds " in text]
    done = len(seconds) * tasks
    rate = done / max(seconds) if seconds else 0.0
    return {
        "clients": clients,
        "tasks": clients * tasks,
        "done": done,
        "tasks_per_s": round(rate, 1),
        "wall_s": round(wall, 1),
    }


def prefect_figures(folder: Path, tasks: int) -> Iterator[dict[str, Any]]:
    """Yield tasks a second on SQLite and on Postgres, with one client and with four."""
    (folder / "sqlite").mkdir()
    with servers.prefect_server(folder / "sqlite", None) as env:
        for clients in (1, 4):
            yield {"what": "Prefect on SQLite", **tasks_per_second(env, clients, tasks)}
    (folder / "postgres").mkdir()
    try:
        with (
            servers.postgres(folder / "postgres") as database,
            servers.prefect_server(folder / "sqlite", database) as env,
        ):
            for clients in (1, 4):
                yield {"what": "Prefect on Postgres", **tasks_per_second(env, clients, tasks)}
    except FileNotFoundError as error:
        yield {"what": "Prefect on Postgres", "not_run": str(error)}


def commits(uri: str, rows: int, count: int) -> dict[str, Any]:
    """Write so many chunks of new vectors and their sequences to one view."""
    from glmstore.sequences.normalise import seq_keys
    from glmstore.store import FeatureStore
    from glmstore.views import FeatureView, Provenance

    store = FeatureStore.open(uri)
    view = FeatureView(model="load", revision="1", layer=0, pooling="mean")
    origin = Provenance(
        model_spec={},
        weights_sha256=None,
        tokenizer_sha256=None,
        dim=DIM,
        code_version="0",
        precision="float32",
    )
    store.declare(view, origin)
    rng = np.random.default_rng(0)
    chunks = []
    for _ in range(count):
        letters = np.array(list("ACGT"))[rng.integers(0, 4, (rows, 200))]
        chunks.append(["".join(row) for row in letters])
    vectors = rng.normal(size=(rows, DIM)).astype(np.float16)
    begun = time.monotonic()
    for sequences in chunks:
        store.add_sequences(sequences)
        store.write(view, seq_keys(sequences), vectors)
    seconds = time.monotonic() - begun
    megabytes = count * rows * DIM * 2 / 1e6
    return {
        "rows_a_chunk": rows,
        "chunks_per_s": round(count / seconds, 2),
        "rows_per_s": round(count * rows / seconds),
        "vector_MB_per_s": round(megabytes / seconds, 1),
    }


def store_figures(folder: Path, rows: int, count: int) -> Iterator[dict[str, Any]]:
    """Yield chunks a second into a directory and into object storage."""
    yield {"what": "store in a directory", **commits(str(folder / "store"), rows, count)}
    with servers.object_storage(folder) as env:
        os.environ |= env
        from glmstore.objects.s3 import s3_client

        s3_client().create_bucket(Bucket="load")
        yield {"what": "store in S3 (moto on loopback)", **commits("s3://load/store", rows, count)}


def main() -> None:
    """Measure, print a line each, and write build/load.json."""
    parser = argparse.ArgumentParser(prog="python -m infra.load", description=__doc__)
    parser.add_argument("--tasks", type=int, default=200, help="tasks a client runs")
    parser.add_argument("--rows", type=int, default=16_384, help="vectors a chunk holds")
    parser.add_argument("--chunks", type=int, default=10, help="chunks that are written")
    chosen = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="glmstore-load-") as place:
        folder = Path(place)
        for rows in (
            store_figures(folder, chosen.rows, chosen.chunks),
            prefect_figures(folder, chosen.tasks),
        ):
            for row in rows:
                found.append(row)
                sys.stdout.write("  ".join(f"{k}={v}" for k, v in row.items()) + "\n")
                sys.stdout.flush()
    out = Path("build/load.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
