"""Bring the files of one commit into a folder: verified, resumed where a transfer broke off, recorded last.

What was transferred waits in ``.partial``, under the digest of the contents it will have, until everything is
there. So a later call goes on from any byte, and an upgrade leaves what it replaces whole until its end.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from glmstore.errors import ChecksumError, FetchError
from glmstore.models.base import ModelEntry
from glmstore.models.checkpoints.fitting import require_config, require_tensors, require_tokenizer
from glmstore.models.checkpoints.hub import Hub, HubFile, Listing
from glmstore.models.checkpoints.source import (
    RECORD,
    HubSource,
    Pulled,
    PulledFile,
    read_record,
    weights_in,
    write_record,
)

PARTIAL = ".partial"
Progress = Callable[[int, int], None]
"""``progress(bytes so far, bytes in all)``."""


def begun(folder: Path) -> str | None:
    """Return the commit of a transfer into a folder that broke off; None where there is none."""
    note = folder / PARTIAL / "revision"
    return note.read_text() if note.is_file() else None


def transfer(
    entry: ModelEntry,
    source: HubSource,
    hub: Hub,
    listing: Listing,
    folder: Path,
    progress: Progress | None = None,
) -> Pulled:
    """Bring the files of a model at one commit into a folder, and record them.

    Raises
    ------
    FetchError
        If a file is not in the repository, cannot be transferred, or has no room.
    ChecksumError
        If what was transferred is not what the hub announced.
    WeightsError
        If configuration, tokenizer or tensors are not those of the model; nothing is recorded then.
    OSError
        If the folder cannot be written.
    """
    work = _Transfer(hub, listing, folder, progress)
    hub.require_access(listing, work.file(source.beside[0] if source.beside else source.weights[0]).name)
    work.start()
    weights = weights_in(source, listing.files, lambda name: work.obtain(work.file(name)).read_bytes())
    if not weights:
        work.file(source.weights[0])
    files = [work.file(name) for name in (*source.beside, *weights)]
    work.require_room(files)
    paths: dict[str, Path] = {}
    # What is small and can be told apart comes before the weights are waited for.
    for file in sorted(files, key=lambda f: (f.name in weights, f.name != source.config)):
        paths[file.name] = work.obtain(file)
        if file.name == source.config:
            require_config(entry, paths[file.name])
        if source.tokenizer and paths.keys() == set(source.beside):
            _require_tokenizer(entry, source, listing, paths)
    require_tensors(entry, [paths[name] for name in weights])
    return _install(entry.name, listing, [work.file(n) for n in (*weights, *source.beside)], paths, folder)


def _require_tokenizer(
    entry: ModelEntry, source: HubSource, listing: Listing, paths: dict[str, Path]
) -> None:
    """Ask after the tokenizer in a folder where its files have their names; in ``.partial`` they do not."""
    with TemporaryDirectory() as folder:
        for name in source.tokenizer:
            place = Path(folder) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(paths[name], place)
        advice = (
            f"{listing.repo} publishes it so at {listing.revision}, and nothing was recorded: name another "
            f"commit with --revision, or take the newest with --upgrade."
        )
        require_tokenizer(entry, Path(folder), advice)


class _Transfer:
    """The files of one commit, on their way into a folder."""

    def __init__(self, hub: Hub, listing: Listing, folder: Path, progress: Progress | None) -> None:
        self._hub, self._listing, self._folder = hub, listing, folder
        self._partial = folder / PARTIAL
        self._progress = progress
        self._done = self._total = 0

    def start(self) -> None:
        """Note which commit is being transferred."""
        self._partial.mkdir(parents=True, exist_ok=True)
        (self._partial / "revision").write_text(self._listing.revision)

    def file(self, name: str) -> HubFile:
        """Return what the hub says of a file; raises FetchError if the repository has none of that name."""
        if name not in self._listing.files:
            there = ", ".join(sorted(self._listing.files)[:12]) or "nothing"
            raise FetchError(
                f"{self._listing.repo} has no {name} at {self._listing.revision}; it holds {there}. "
                f"Name another commit with --revision, or adopt a copy with --from FOLDER."
            )
        return self._listing.files[name]

    def require_room(self, files: list[HubFile]) -> None:
        """Refuse to begin what the disk cannot hold; raises FetchError with the sizes."""
        left = [f for f in files if not (self._folder / f.name).is_file()]
        missing = sum(f.size - _size(self._part(f)) for f in left)
        free = shutil.disk_usage(self._folder).free
        if missing > free:
            raise FetchError(
                f"{self._folder} has room for {free / 1e9:.2f} GB, and {missing / 1e9:.2f} GB are to come: "
                f"make room there, or choose another folder with --into."
            )
        self._total = sum(f.size for f in files)

    def obtain(self, file: HubFile) -> Path:
        """Return a verified local copy: the one installed, or one in ``.partial`` that is completed now."""
        installed, part = self._folder / file.name, self._part(file)
        found = installed if file.matches(installed) else part
        if found == part and not file.matches(part):
            self._complete(file, part)
        self._done += file.size
        self._report(0)
        return found

    def _complete(self, file: HubFile, part: Path) -> None:
        resumed = part.exists()
        if _size(part) >= file.size:
            part.unlink(missing_ok=True)
        self._download(file, part)
        if not file.matches(part) and resumed:
            # What was there may have been damaged.
            part.unlink()
            self._download(file, part)
        if not file.matches(part):
            found = _size(part)
            part.unlink()
            raise ChecksumError(
                f"{file.name} of {self._listing.repo} came with {found} bytes and other contents than the "
                f"hub announces ({file.size} bytes, digest {file.digest}); it was not kept. Pull again; if "
                f"it stays so, something between here and the hub changes files."
            )

    def _download(self, file: HubFile, part: Path) -> None:
        from glmstore.data.download import download

        url, hub = self._hub.url(self._listing, file.name), self._hub
        try:
            download(url, part, lambda _, done, __: self._report(done), hub.first_wait, hub.headers)
        except FetchError as error:
            raise hub.unavailable(f"{file.name} of {self._listing.repo}: {error}") from error

    def _part(self, file: HubFile) -> Path:
        return self._partial / f"{file.digest}-{PurePosixPath(file.name).name}"

    def _report(self, done: int) -> None:
        if self._progress is not None and self._total:
            self._progress(self._done + done, self._total)


def _install(
    model: str, listing: Listing, files: list[HubFile], paths: dict[str, Path], folder: Path
) -> Pulled:
    old = read_record(folder)
    recorded = tuple(PulledFile(name=f.name, size=f.size, sha256=_sha256(f, paths[f.name])) for f in files)
    record = Pulled(model=model, repo=listing.repo, revision=listing.revision, files=recorded)
    if old is not None and old.files == record.files:
        record = record.model_copy(update={"fingerprint": old.fingerprint})
    (folder / RECORD).unlink(missing_ok=True)
    for name, path in paths.items():
        if path != folder / name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            path.replace(folder / name)
    for file in old.files if old is not None else ():
        if file.name not in paths:
            (folder / file.name).unlink(missing_ok=True)
    write_record(folder, record)
    shutil.rmtree(folder / PARTIAL)
    return record


def _sha256(file: HubFile, path: Path) -> str:
    if file.sha256 is not None:
        return file.sha256
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
