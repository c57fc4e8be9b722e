"""One process for each device: the way several GPUs fill one store."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, cast

from glmstore.errors import WorkerError

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from glmstore.extraction.running import Progress
    from glmstore.views import FeatureView


@dataclass(frozen=True)
class _Share:
    """What one process is asked to do."""

    device: str
    uri: str
    model: str
    sequences: list[str]
    views: list[FeatureView]
    threads: int


def split_evenly(sequences: Sequence[str], parts: int) -> list[list[str]]:
    """Deal sequences out by length, so that every part has as much work; parts may be empty."""
    by_length = sorted(sequences, key=len)
    return [by_length[start::parts] for start in range(parts)]


def fill_on_devices(
    devices: Sequence[str],
    uri: str,
    model: str,
    sequences: Sequence[str],
    views: Sequence[FeatureView],
    progress: Progress | None = None,
) -> None:
    """Embed sequences with one process for each device, each writing its own share to the store.

    Processes are spawned, never forked: a forked one cannot use CUDA. When one fails, the others are stopped;
    what any of them committed stays.

    Parameters
    ----------
    devices
        Torch devices; one may stand more than once.
    uri
        Of a store that processes can share, where the views are declared.
    model
        Registry name.
    sequences
        Normalised and distinct.
    views
        Of that model.
    progress
        Called with (sequences done, sequences in all), over all processes.

    Raises
    ------
    WorkerError
        If a process ended without saying why.
    Exception
        What :func:`glmstore.extraction.materialize_many` raised in the first process that failed.
    """
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    shares = [
        _Share(device, uri, model, part, list(views), threads)
        for device, part in zip(devices, split_evenly(sequences, len(devices)), strict=True)
        if part
    ]
    spawn = multiprocessing.get_context("spawn")
    running: dict[Connection, tuple[_Share, SpawnProcess]] = {}
    done = dict.fromkeys(range(len(shares)), 0)
    number_of: dict[Connection, int] = {}
    try:
        for number, share in enumerate(shares):
            ours, theirs = spawn.Pipe(duplex=False)
            process = spawn.Process(target=_serve, args=(share, theirs), daemon=True)
            process.start()
            theirs.close()  # so that its end is noticed when the process dies
            running[ours], number_of[ours] = (share, process), number
        while running:
            for connection in cast("list[Connection]", wait(list(running))):
                message = _received(connection, *running[connection])
                if isinstance(message, BaseException):
                    raise message
                if message is None:
                    _, process = running.pop(connection)
                    process.join()
                    connection.close()
                    continue
                done[number_of[connection]] = message
                if progress is not None:
                    progress(sum(done.values()), len(sequences))
    finally:
        for connection, (_, process) in running.items():
            process.terminate()
            process.join()
            connection.close()


def _received(connection: Connection, share: _Share, process: SpawnProcess) -> int | BaseException | None:
    """Return the sequences done so far, an error, or None at the end of a share."""
    try:
        message: int | BaseException | None = connection.recv()
    except EOFError:
        process.join()
        return WorkerError(
            f"the process that embedded {len(share.sequences)} sequences on {share.device} ended with exit "
            f"code {process.exitcode}. What it committed is kept; run the same command again for the rest."
        )
    return message


def _serve(share: _Share, connection: Connection) -> None:
    """Do a share in this process and say how it goes."""
    import torch

    from glmstore.extraction.materializing import materialize_many
    from glmstore.store import FeatureStore

    if share.device == "cpu":
        torch.set_num_threads(share.threads)
    elif share.device.startswith("cuda"):
        torch.cuda.set_device(share.device)  # page-locked memory would else take room on the first GPU too
    try:
        materialize_many(
            FeatureStore.open(share.uri, create=False),
            share.model,
            share.sequences,
            share.views,
            progress=lambda done, _: connection.send(done),
            devices=[share.device],
        )
    except Exception as error:  # noqa: BLE001  (raised again in the process that asked)
        connection.send(_portable(error))
    else:
        connection.send(None)


def _portable(error: Exception) -> Exception:
    """Return `error` if it survives the way to another process, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    except Exception:  # noqa: BLE001  (whatever an exception's class does when it is rebuilt)
        return WorkerError(f"{type(error).__name__}: {error}")
    return error
