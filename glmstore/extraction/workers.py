"""One process for each device: the way several GPUs fill one store.

A process says when its share has been checked, and asks before its first commit. It is answered when all
shares have been checked and the store has been made ready by the process that started the others. So a
sequence that cannot be embedded leaves nothing behind, and no view is declared that no row goes into.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from multiprocessing.connection import Connection, wait
from threading import Lock
from typing import TYPE_CHECKING, cast

from glmstore.errors import WorkerError
from glmstore.extraction.filling import Work, fill_share

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from glmstore.extraction.running import Progress


@dataclass(frozen=True)
class _Share:
    """What one process is asked to do."""

    work: Work
    device: str
    sequences: list[str]
    threads: int


class _Said(Enum):
    CHECKED = auto()
    MAY_I_WRITE = auto()


class _Asking:
    """A process's end of the connection, which its computing and its writing threads share."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, Lock()

    def send(self, message: object) -> None:
        with self._lock:
            self._connection.send(message)

    def checked(self) -> None:
        self.send(_Said.CHECKED)

    def open(self) -> None:
        self.send(_Said.MAY_I_WRITE)
        self._connection.recv()


def split_evenly(sequences: Sequence[str], parts: int) -> list[list[str]]:
    """Deal sequences out by length, so that every part has as much work; parts may be empty."""
    by_length = sorted(sequences, key=len)
    return [by_length[start::parts] for start in range(parts)]


def fill_on_devices(
    devices: Sequence[str],
    work: Work,
    sequences: Sequence[str],
    open_store: Callable[[], None],
    progress: Progress | None = None,
) -> None:
    """Embed sequences with one process for each device, each writing its own share to the store.

    Processes are spawned, never forked: a forked one cannot use CUDA. When one fails, the others are stopped;
    what any of them committed stays.

    Parameters
    ----------
    devices
        Torch devices; one may stand more than once.
    work
        What is to be done.
    sequences
        Normalised and distinct.
    open_store
        Makes the store ready for rows of `sequences` under the views; called before the first is written,
        when all processes have checked their shares. May be called again.
    progress
        Called with (sequences done, sequences in all), over all processes.

    Raises
    ------
    WorkerError
        If a process ended without saying why.
    Exception
        What :func:`glmstore.extraction.filling.fill_share` raised in the first process that failed.
    """
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    shares = [
        _Share(work, device, part, threads)
        for device, part in zip(devices, split_evenly(sequences, len(devices)), strict=True)
        if part
    ]
    spawn = multiprocessing.get_context("spawn")
    running: dict[Connection, tuple[_Share, SpawnProcess]] = {}
    done = dict.fromkeys(range(len(shares)), 0)
    number_of: dict[Connection, int] = {}
    unchecked: set[Connection] = set()
    asking: list[Connection] = []
    try:
        for number, share in enumerate(shares):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(share, theirs), daemon=True)
            process.start()
            theirs.close()  # so that its end is noticed when the process dies
            running[ours], number_of[ours] = (share, process), number
            unchecked.add(ours)
        while running:
            for connection in cast("list[Connection]", wait(list(running))):
                message = _received(connection, *running[connection])
                if isinstance(message, BaseException):
                    raise message
                if message is None:
                    _, process = running.pop(connection)
                    process.join()
                    connection.close()
                elif message is _Said.CHECKED:
                    unchecked.discard(connection)
                elif message is _Said.MAY_I_WRITE:
                    asking.append(connection)
                elif isinstance(message, int):
                    done[number_of[connection]] = message
                    if progress is not None:
                        progress(sum(done.values()), len(sequences))
            if asking and not unchecked:
                open_store()
                _answer(asking)
                asking.clear()
    finally:
        for connection, (_, process) in running.items():
            process.terminate()
            process.join()
            connection.close()


def _answer(asking: Sequence[Connection]) -> None:
    for connection in asking:
        with suppress(BrokenPipeError):  # it has died, which is noticed and said when it is next listened to
            connection.send(None)


def _received(
    connection: Connection, share: _Share, process: SpawnProcess
) -> int | _Said | BaseException | None:
    """Return the sequences done so far, what a process says, an error, or None at the end of a share."""
    try:
        message: int | _Said | BaseException | None = connection.recv()
    except (EOFError, ConnectionResetError):
        process.join()
        return WorkerError(
            f"the process that embedded {len(share.sequences)} sequences on {share.device} ended with exit "
            f"code {process.exitcode}. What it committed is kept; run the same command again for the rest."
        )
    return message


def _serve(share: _Share, connection: Connection) -> None:
    """Do a share in this process and say how it goes."""
    from glmstore.exporting import push_metrics
    from glmstore.store import FeatureStore

    push_metrics()
    _settle_on(share.device, share.threads)
    asking = _Asking(connection)
    try:
        store = FeatureStore.open(share.work.uri, create=False)
        fill_share(
            store, share.work, share.sequences, share.device, asking, lambda done, _: asking.send(done)
        )
    except Exception as error:  # noqa: BLE001  (raised again in the process that asked)
        asking.send(_portable(error))
    else:
        asking.send(None)


def _settle_on(name: str, threads: int) -> None:
    """Let this process take no more of the machine than its share."""
    import torch

    device = torch.device(name)
    if device.type == "cpu":
        torch.set_num_threads(threads)
    elif device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # page-locked memory would else take room on the first GPU too


def _portable(error: Exception) -> Exception:
    """Return `error` if it survives the way to another process, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    except Exception:  # noqa: BLE001  (whatever an exception's class does when it is rebuilt)
        return WorkerError(f"{type(error).__name__}: {error}")
    return error
