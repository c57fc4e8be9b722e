"""A client of a Prefect server: runs one flow of so many empty tasks and prints its seconds."""

from __future__ import annotations

import sys
import time

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner


@task(cache_policy=NO_CACHE, persist_result=False)
def nothing(number: int) -> int:
    """Do nothing, as quickly as a task can."""
    return number


@flow(task_runner=ThreadPoolTaskRunner(max_workers=4))  # type: ignore[arg-type]
def many(tasks: int) -> None:
    """Run so many tasks."""
    for future in nothing.map(range(tasks)):
        future.result()


if __name__ == "__main__":
    begun = time.monotonic()
    many(int(sys.argv[1]))
    sys.stdout.write(f"seconds {time.monotonic() - begun:.3f}\n")
