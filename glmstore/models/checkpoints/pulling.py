"""Pull a published checkpoint: one commit, only the files we need, verified, resumed where it broke off.

What was pulled stays until an upgrade is asked for; that the repository has moved on is only reported.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock

from glmstore.config import Settings
from glmstore.errors import FetchError, WeightsError
from glmstore.models.base import ModelEntry
from glmstore.models.checkpoints.fitting import require_weights_of_its_own
from glmstore.models.checkpoints.hub import Hub
from glmstore.models.checkpoints.presence import damage, shipped_folder
from glmstore.models.checkpoints.source import HubSource, Pulled, folder_of, read_record
from glmstore.models.checkpoints.transfer import Progress, begun, transfer


@dataclass(frozen=True)
class Outcome:
    """What a pull, or an adoption, came to.

    Attributes
    ----------
    record
        What lies there now.
    folder
        Where.
    verdict
        ``pulled``, ``adopted``, or ``present`` where there was nothing to do.
    notes
        What the user should know beside it: that the repository has moved on, that it could not be asked.
    """

    record: Pulled
    folder: Path
    verdict: Literal["pulled", "adopted", "present"]
    notes: tuple[str, ...] = ()


def pull(
    entry: ModelEntry,
    *,
    into: Path | None = None,
    revision: str | None = None,
    upgrade: bool = False,
    endpoint: str | None = None,
    progress: Progress | None = None,
    first_wait: float = 0.5,
) -> Outcome:
    """Bring the checkpoint of a model into a folder.

    Parameters
    ----------
    entry
        A model that is published on a hub.
    into
        Folder of checkpoints, one folder a model; that of the settings when not given.
    revision
        40-hex commit; when not given, the one that is here or was begun, else the newest.
    upgrade
        Replace a complete checkpoint by the newest commit, or by `revision`.
    endpoint
        URL of the hub; that of `huggingface_hub` when not given.
    progress
        Called after every chunk.
    first_wait
        Seconds before the first repetition of a failed request; doubles each time.

    Raises
    ------
    FetchError
        If the hub, the repository, a file or room on the disk is missing; says what to run, and where.
    ChecksumError
        If what was transferred is not what the hub announced.
    WeightsError
        If the model is on no hub, another revision is here, or what is published is not the model we know.
    """
    if entry.source is None:
        require_weights_of_its_own(entry)
        if shipped_folder(entry.name) is not None:
            raise WeightsError(f"{entry.name} comes with the package: there is nothing to pull.")
        raise WeightsError(
            f"{entry.name} is on no hub: adopt its weights with "
            f"`glmstore models pull {entry.name} --from FOLDER`."
        )
    folder, source = folder_of(entry.name, into), entry.source
    hub = Hub(entry.name, endpoint, first_wait)
    # Asked before the lock too: a checkpoint that is whole may lie where nothing can be written.
    if (here := _whole(entry.name, folder, revision, upgrade)) is not None:
        return Outcome(here, folder, "present", _news(hub, source, here, folder) if revision is None else ())
    with changing(entry.name, folder):
        if (here := _whole(entry.name, folder, revision, upgrade)) is not None:
            return Outcome(here, folder, "present")
        if Settings().offline:
            raise hub.unavailable("GLMSTORE_OFFLINE is set, so the hub was not asked")
        here = read_record(folder)
        target = revision if revision is not None or upgrade else _begun_or_damaged(entry.name, folder, here)
        listing = hub.listing(source.repo, target)
        if here is not None and here.revision == listing.revision and damage(here, folder) is None:
            return Outcome(here, folder, "present")
        record = transfer(entry, source, hub, listing, folder, progress)
        went_on = target is not None and revision is None
        return Outcome(record, folder, "pulled", _news(hub, source, record, folder) if went_on else ())


def _whole(model: str, folder: Path, revision: str | None, upgrade: bool) -> Pulled | None:
    """Return the record of a complete checkpoint that answers what was asked for; None where work is left."""
    here = read_record(folder)
    if here is None:
        return None
    if here.model != model:
        raise WeightsError(
            f"{folder} holds {here.model}, not {model}: move it to {folder.parent / here.model}."
        )
    other = revision is not None and revision != here.revision
    if other and not upgrade:
        raise WeightsError(
            f"{folder} holds {model} at {here.revision}; pass --upgrade to replace it by {revision}."
        )
    return None if (upgrade and revision != here.revision) or damage(here, folder) else here


def _begun_or_damaged(model: str, folder: Path, here: Pulled | None) -> str | None:
    """Return the commit to go on with: of a transfer that broke off, or of the files to repair."""
    if here is None:
        return begun(folder)
    if here.repo is None:
        raise WeightsError(
            f"{damage(here, folder)}; it was adopted: do so again with --from FOLDER, or pass --upgrade to "
            f"pull {model} from the hub instead."
        )
    return here.revision


def _news(hub: Hub, source: HubSource, here: Pulled, folder: Path) -> tuple[str, ...]:
    """Return, in words, what has become of the repository since."""
    if here.repo is None:
        return (f"it was adopted from a folder; --upgrade replaces it by what {source.repo} publishes.",)
    if Settings().offline:
        return ()
    try:
        newest = hub.listing(source.repo)
    except FetchError as error:
        return (f"whether {source.repo} has moved on is not known: {error}",)
    if newest.revision == here.revision:
        return ()
    theirs = {name: newest.files.get(name) for name in (f.name for f in here.files)}
    same = all(
        file is not None and (file.sha256 == ours.sha256 if file.sha256 else file.matches(folder / ours.name))
        for ours, file in zip(here.files, theirs.values(), strict=True)
    )
    what = "the files of this model are the same there" if same else "other files of this model"
    return (
        f"{source.repo} has moved on from {here.revision} to {newest.revision} ({what}): --upgrade pulls it.",
    )


@contextmanager
def changing(model: str, folder: Path) -> Iterator[None]:
    """Hold the folder of a checkpoint against other processes.

    Raises
    ------
    FetchError
        In place of whatever the disk refuses inside the block.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            yield
    except FetchError:
        raise
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise FetchError(
            f"cannot write {model} to {folder}: {error.strerror or error}. "
            f"{'Make room there' if full else 'See that it can be written'}, or choose another folder with "
            f"--into; what was transferred is kept, and the next pull goes on from there."
        ) from error
