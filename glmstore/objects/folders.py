"""Whole folders in object storage: a reader gets all files of one version, or none.

Every version lies under a name of its own that is never used twice, and an index, written last, says which
one holds and what each file's sha256 is. So a folder that is being written, or whose writer was killed, is
not there; one that is being replaced is the old one until it is the new one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from glmstore.config import Frozen
from glmstore.errors import WeightsError
from glmstore.objects.base import Objects, check_name

INDEX = "index.json"


class FolderIndex(Frozen):
    """One version of a folder."""

    version: str = Field(pattern="^[0-9a-f]{32}$", description="Name its files lie under.")
    files: dict[Annotated[str, AfterValidator(check_name)], str] = Field(
        min_length=1, description="Path within the folder -> sha256."
    )


def publish_folder(objects: Objects, name: str, folder: Path) -> None:
    """Put all files of a local folder under `name`, replacing a folder there that differs or is damaged.

    Files whose names begin with a dot are drafts and stay out, as does what lies in such a folder. A folder
    without files is not put.

    Raises
    ------
    ValueError
        If a name leads out of where it lies.
    StoreError
        If the storage refuses or does not answer; what was there still holds.
    """
    check_name(name)
    contents = {path: (folder / path).read_bytes() for path in _files(folder)}
    if not contents:
        return
    index = FolderIndex(version=uuid.uuid4().hex, files={p: _sha256(c) for p, c in contents.items()})
    try:
        replaced = _index(objects, name)
    except WeightsError:
        forget_folder(objects, name)
        replaced = None
    if replaced is not None and replaced.files == index.files:
        there = {path: objects.get(f"{name}/{replaced.version}/{path}") for path in contents}
        if there == contents:
            return
    for path, content in contents.items():
        objects.put(f"{name}/{index.version}/{path}", content)
    objects.put(f"{name}/{INDEX}", index.model_dump_json(indent=1).encode())
    if replaced is not None:
        _remove(objects, name, replaced)


def fetch_folder(objects: Objects, name: str, cache: Path) -> Path | None:
    """Return a local copy of the folder called `name`, None if there is none.

    Parameters
    ----------
    objects
        Where it lies.
    name
        As given to :func:`publish_folder`.
    cache
        Local folder of copies; one that is there already is checked and used again. Never write into a copy.

    Raises
    ------
    ValueError
        If a name leads out of where it lies.
    WeightsError
        If the folder is damaged.
    StoreError
        If the storage refuses or does not answer.
    """
    index = _index(objects, name)
    while index is not None:
        copy = cache / index.version / name.rpartition("/")[2]
        if _intact(copy, index):
            return copy
        damage = _copy(objects, name, index, copy)
        if damage is None:
            return copy
        latest = _index(objects, name)
        if latest == index:
            raise WeightsError(f"{objects.uri}/{name} is damaged: {damage}. Make it again with --force.")
        index = latest  # it was replaced while it was read
    return None


def forget_folder(objects: Objects, name: str) -> None:
    """Remove a folder, if it is there; of one whose index cannot be read, all that lies under its name.

    Raises
    ------
    ValueError
        If the name leads out of where folders lie.
    StoreError
        If the storage refuses or does not answer.
    """
    try:
        index = _index(objects, name)
    except WeightsError:
        for found in objects.names(f"{name}/"):
            objects.delete(found)
        return
    if index is not None:
        objects.delete(f"{name}/{INDEX}")
        _remove(objects, name, index)


def folder_names(objects: Objects) -> list[str]:
    """Return the names of the folders that are there whole, sorted."""
    end = f"/{INDEX}"
    return [found.removesuffix(end) for found in objects.names() if found.endswith(end)]


def _index(objects: Objects, name: str) -> FolderIndex | None:
    stored = objects.get(f"{check_name(name)}/{INDEX}")
    if stored is None:
        return None
    try:
        return FolderIndex.model_validate_json(stored)
    except ValidationError as error:
        raise WeightsError(
            f"{objects.uri}/{name}/{INDEX} is no index of a folder ({error.errors()[0]['msg']}). Make the "
            f"folder again with --force."
        ) from error


def _files(folder: Path) -> list[str]:
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]


def _copy(objects: Objects, name: str, index: FolderIndex, copy: Path) -> str | None:
    """Make a copy that appears whole; return what is wrong with the folder, None if nothing is."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=copy.parent, prefix=".draft-"))
    try:
        for path, sha256 in index.files.items():
            content = objects.get(f"{name}/{index.version}/{path}")
            if content is None or _sha256(content) != sha256:
                return f"{path} is {'missing' if content is None else 'not the file that was written'}"
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            (draft / path).write_bytes(content)
        draft.chmod(0o755)
        if copy.exists() and not _intact(copy, index):
            copy.rename(draft.with_name(f"{draft.name}-damaged"))
        try:
            os.rename(draft, copy)
        except OSError:
            if not _intact(copy, index):  # unlike where another process made the same copy first
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(draft.with_name(f"{draft.name}-damaged"), ignore_errors=True)
    return None


def _intact(copy: Path, index: FolderIndex) -> bool:
    return all(
        (copy / path).is_file() and _sha256((copy / path).read_bytes()) == sha256
        for path, sha256 in index.files.items()
    )


def _remove(objects: Objects, name: str, index: FolderIndex) -> None:
    for path in index.files:
        objects.delete(f"{name}/{index.version}/{path}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
