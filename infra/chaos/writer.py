"""The mother of all writers that are to be killed: imports the store once, forks a writer for every line.

Run as ``python -m infra.chaos.writer``. Each line on standard input is a JSON list of words, answered by one
line: ``reap ID`` waits for a process and answers its exit code, negative where a signal ended it. Other words
fork a process and answer its id; they follow where the process writes: URI, LOG, the file for what it says on
standard error, the environment it has beside the mother's, and the limit of a file's size or null.

``write NUMBERS``
    writes these chunks in turn.
``soak BASE SECONDS``
    writes chunks 0, BASE, 1, BASE + 1, … until its time is up.
``optimize SECONDS``
    compacts and cleans again and again until its time is up.

A writer notes in LOG, around every step, ``start STEP CHUNK`` and then ``done STEP CHUNK`` or ``failed STEP
CHUNK`` with ``named`` or ``unnamed`` and the error: named is what a flow can act on, by telling the user what
to do or by trying again later.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from glmstore.errors import GlmstoreError
from glmstore.store import FeatureStore
from infra.chaos.content import Chunk, declare, write


def write_all(uri: str, log: str, numbers: Iterable[int]) -> None:
    """Write chunks until done, failed or killed."""
    note = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    store: list[FeatureStore] = []

    def around(number: int, step: str, job: Callable[[], object]) -> None:
        os.write(note, f"start {step} {number}\n".encode())
        try:
            job()
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())[:400]
            os.write(note, f"failed {step} {number} {_naming(error)} {said}\n".encode())
            raise
        os.write(note, f"done {step} {number}\n".encode())

    def open_it() -> None:
        store.append(FeatureStore.open(uri))
        declare(store[0])

    for i, number in enumerate(numbers):
        if i == 0:
            around(number, "open", open_it)
        write(store[0], Chunk(number), partial(around, number))


def _naming(error: Exception) -> str:
    from tasks.policies import is_transient  # imports Prefect, which a writer needs for nothing else

    return "named" if isinstance(error, GlmstoreError) or is_transient(error) else "unnamed"


def soaking(base: int, seconds: float) -> Iterator[int]:
    """Yield shared and own chunk numbers by turns until the time is up."""
    end, i = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        yield i
        yield base + i
        i += 1


def optimize_on(uri: str, seconds: float) -> None:
    """Compact and clean, keeping no old version at all, until the time is up."""
    end, store = time.monotonic() + seconds, FeatureStore.open(uri, create=False)
    while time.monotonic() < end:
        store.optimize(older_than=timedelta(0))


def and_leave(job: Callable[[], None]) -> None:
    """Do it, and leave without the interpreter's farewell, which a forked process may not survive."""
    try:
        job()
    except BaseException:  # noqa: BLE001 - whatever it is, it is printed, and the exit code tells
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _job(uri: str, log: str, words: list[Any]) -> Callable[[], None]:
    if words[0] == "write":
        return lambda: write_all(uri, log, words[1])
    if words[0] == "soak":
        return lambda: write_all(uri, log, soaking(*words[1:]))
    if words[0] == "optimize":
        return lambda: optimize_on(uri, words[1])
    raise ValueError(f"{words[0]!r} is no command of the mother")


def _settle_in(errors: str, env: dict[str, str], file_bytes: int | None) -> None:
    """Make a forked process what it is told to be."""
    os.dup2(os.open(errors, os.O_WRONLY | os.O_APPEND | os.O_CREAT), sys.stderr.fileno())
    os.environ |= env
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))


def main() -> None:
    """Fork a process for every line read."""
    warnings.simplefilter("ignore", RuntimeWarning)  # forking is safe here: this process never opens a store
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.filterwarnings("ignore", "lance is not fork-safe", UserWarning)
    for line in sys.stdin:
        words = json.loads(line)
        if words[0] == "reap":
            answer = os.waitstatus_to_exitcode(os.waitpid(words[1], 0)[1])
        else:
            uri, log, errors, env, file_bytes, *job = words
            answer = os.fork()
            if answer == 0:
                _settle_in(errors, env, file_bytes)
                and_leave(_job(uri, log, job))
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
