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

from infra.load import servers
from infra.load.writer import DIM
from infra.s3.server import ObjectStorage, aws

CLIENT = Path(__file__).with_name("client.py")
WRITER = Path(__file__).with_name("writer.py")


def tasks_per_second(env: dict[str, str], clients: int, tasks: int) -> dict[str, Any]:
    """Run so many clients at once, each a flow of so many tasks."""
    begun = time.monotonic()
    command = [sys.executable, str(CLIENT), str(tasks)]
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


def chunks_per_second(uri: str, writers: int, rows: int, chunks: int) -> dict[str, Any]:
    """Have so many processes fill one view at once, each with its own share of the chunks."""
    share = max(1, chunks // writers)
    running = []
    for seed in range(writers):
        command = [sys.executable, str(WRITER), uri, str(seed), str(rows), str(share)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(process)
    for process in running:
        process.stdout.readline()  # type: ignore[union-attr]
    for process in running:
        process.stdin.close()  # type: ignore[union-attr]
        process.stdin = None
    said = [process.communicate(timeout=600)[0] for process in running]
    seconds = [float(text.rpartition("seconds ")[2]) for text in said if "seconds " in text]
    rate = len(seconds) * share / max(seconds) if seconds else 0.0
    return {
        "writers": writers,
        "chunks": writers * share,
        "done": len(seconds) * share,
        "rows_a_chunk": rows,
        "chunks_per_s": round(rate, 2),
        "rows_per_s": round(rate * rows),
        "vector_MB_per_s": round(rate * rows * DIM * 2 / 1e6, 1),
    }


def store_figures(folder: Path, rows: int, chunks: int) -> Iterator[dict[str, Any]]:
    """Yield chunks a second into a directory and into object storage, with one writer and with four."""
    for writers in (1, 4):
        uri = str(folder / f"store-{writers}")
        yield {"what": "store in a directory", **chunks_per_second(uri, writers, rows, chunks)}
    with ObjectStorage(folder / "s3") as storage:
        os.environ |= aws(storage.endpoint)
        for writers in (1, 4):
            uri = f"{storage.bucket('load')}/store-{writers}"
            yield {"what": "store in S3 on loopback", **chunks_per_second(uri, writers, rows, chunks)}


def main() -> None:
    """Measure, print a line each, and write build/load.json."""
    parser = argparse.ArgumentParser(prog="python -m infra.load", description=__doc__)
    parser.add_argument("--tasks", type=int, default=200, help="tasks a client runs")
    parser.add_argument("--rows", type=int, default=16_384, help="vectors a chunk holds")
    parser.add_argument("--chunks", type=int, default=24, help="chunks that are written")
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
