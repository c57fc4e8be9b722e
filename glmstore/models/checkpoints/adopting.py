"""Adopt a checkpoint that lies in a folder: weights on no hub, or brought from another machine."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from pydantic import ValidationError

from glmstore.data.fetch import sha256_of
from glmstore.errors import WeightsError
from glmstore.models.base import ModelEntry
from glmstore.models.checkpoints.fitting import (
    require_config,
    require_tensors,
    require_tokenizer,
    require_weights_of_its_own,
)
from glmstore.models.checkpoints.presence import damage, require, verify
from glmstore.models.checkpoints.pulling import Outcome, changing
from glmstore.models.checkpoints.source import (
    RECORD,
    HubSource,
    Pulled,
    PulledFile,
    folder_of,
    holds_weights,
    in_a_line,
    read_record,
    weights_in,
    write_record,
)


def adopt(
    entry: ModelEntry,
    folder: Path,
    *,
    into: Path | None = None,
    link: bool = False,
    upgrade: bool = False,
) -> Outcome:
    """Copy a checkpoint into the folder of checkpoints, and record it.

    A folder that `pull` filled elsewhere keeps its record: hub, commit, fingerprint. The revision of any
    other is the sha256 over its files.

    Parameters
    ----------
    entry
        The model whose weights they are.
    folder
        Holds weights, tokenizer and configuration under their published names.
    into
        Folder of checkpoints; that of the settings when not given.
    link
        Make hard links where the file system can, instead of copies: no room is taken, and files that are
        later written to in place change here too.
    upgrade
        Replace a checkpoint of another revision.

    Raises
    ------
    WeightsError
        If files are missing, are those of another model (weights, configuration or tokenizer), or are not
        what their record says; or if another revision is here.
    FetchError
        If the target cannot be written.
    """
    require_weights_of_its_own(entry)
    if not folder.is_dir():
        raise WeightsError(f"{folder} is no folder; name the one that holds the weights of {entry.name}.")
    if read_record(folder) is not None:
        record = require(entry.name, folder)
        verify(record, folder)
    else:
        record = _described(entry, folder)
    weights = [folder / name for name in record.weights]
    if entry.source is not None and entry.source.config is not None:
        require_config(entry, folder / entry.source.config)
    elif (folder / "config.json").is_file():
        require_config(entry, folder / "config.json")
    require_tokenizer(entry, folder, _how_to_bring_the_tokenizer(entry, folder))
    require_tensors(entry, weights)
    target = folder_of(entry.name, into)
    with changing(entry.name, target):
        here = read_record(target)
        if here is not None and damage(here, target) is None and here.files == record.files:
            return Outcome(here, target, "present")
        if here is not None and here.revision != record.revision and not upgrade:
            raise WeightsError(
                f"{target} holds {here.model} at {here.revision}; pass --upgrade to replace it by "
                f"{record.revision}."
            )
        if folder.resolve() != target.resolve():
            _bring(folder, target, record, link)
        write_record(target, record)
    return Outcome(record, target, "adopted")


def _how_to_bring_the_tokenizer(entry: ModelEntry, folder: Path) -> str:
    if entry.source is None:
        return ""
    recorded = f", remove {RECORD} there" if (folder / RECORD).is_file() else ""
    return (
        f"Nothing was recorded. Copy {', '.join(entry.source.tokenizer)} of {entry.source.repo} into {folder}"
        f"{recorded}, and run the same command."
    )


def _described(entry: ModelEntry, folder: Path) -> Pulled:
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    source = entry.source
    weights = _weights(entry, source, folder, names)
    beside = source.beside if source is not None else tuple(n for n in ("config.json",) if n in names)
    missing = [name for name in beside if name not in names]
    if missing or not weights:
        wanted = (
            missing[0] if missing else " or ".join(source.weights if source else ("*.safetensors", "*.bin"))
        )
        raise WeightsError(
            f"{folder} has no {wanted}, which {entry.name} needs; it holds "
            f"{', '.join(names[:12]) or 'nothing'}."
        )
    try:
        files = tuple(
            PulledFile(name=n, size=(folder / n).stat().st_size, sha256=sha256_of(folder / n))
            for n in (*weights, *beside)
        )
    except ValidationError as error:
        raise WeightsError(f"{folder}: {in_a_line(error)}. Rename it.") from error
    listed = "".join(f"{f.name}\0{f.sha256}\n" for f in sorted(files, key=lambda f: f.name))
    return Pulled(
        model=entry.name, repo=None, revision=hashlib.sha256(listed.encode()).hexdigest(), files=files
    )


def _weights(entry: ModelEntry, source: HubSource | None, folder: Path, names: list[str]) -> tuple[str, ...]:
    if source is not None:
        return weights_in(source, names, lambda name: (folder / name).read_bytes())
    found = [name for name in names if holds_weights(name)]
    chosen = [name for name in found if name.endswith(".safetensors")] or found
    if len({Path(name).suffix for name in chosen}) > 1:
        raise WeightsError(
            f"{folder} holds weights in several formats ({', '.join(chosen)}); which are those of "
            f"{entry.name}? Put them into a folder of their own."
        )
    return tuple(chosen)


def _bring(folder: Path, target: Path, record: Pulled, link: bool) -> None:
    (target / RECORD).unlink(missing_ok=True)
    for file in record.files:
        # Links of a hub's cache point at blobs: what they point at is what is wanted.
        origin, place = (folder / file.name).resolve(), target / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        new = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            if not (link and _linked(origin, new)):
                shutil.copyfile(origin, new)
            new.replace(place)
        finally:
            new.unlink(missing_ok=True)
    verify(record, target)


def _linked(origin: Path, place: Path) -> bool:
    try:
        os.link(origin, place)
    except OSError:
        # Another file system, or one without hard links: the caller copies.
        return False
    return True
