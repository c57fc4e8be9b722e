"""What the Hugging Face hub says of a repository, with its refusals turned into words about what to do."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field, ValidationError

from glmstore.config import Frozen
from glmstore.errors import FetchError
from glmstore.models.checkpoints.source import FileName, in_a_line

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

ATTEMPTS = 4
TIMEOUT = 30.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class HubFile(Frozen):
    """A file as the hub describes it; name and digests become paths here, so none of them may lead astray."""

    name: FileName = Field(description="Path inside the repository.")
    size: int = Field(ge=0, description="Bytes.")
    sha256: str | None = Field(
        pattern="^[0-9a-f]{64}$",
        description="Of the contents, for large files; None where the hub keeps the file in git itself.",
    )
    git_sha1: str = Field(pattern="^[0-9a-f]{40}$", description="Of git's blob, which every file has.")

    @property
    def digest(self) -> str:
        """What stands for the contents."""
        return self.sha256 or self.git_sha1

    def matches(self, path: Path) -> bool:
        """Return whether a local file has these contents: size, and the digest that the hub gives."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        with path.open("rb") as file:
            if self.sha256 is not None:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
            blob = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
            while chunk := file.read(1 << 20):
                blob.update(chunk)
        return blob.hexdigest() == self.git_sha1


class Listing(NamedTuple):
    """The files of a repository at one commit."""

    repo: str
    revision: str
    files: Mapping[str, HubFile]


class Hub:
    """A hub, as `huggingface_hub` reaches it: its endpoint, proxies and token are those of that library.

    Parameters
    ----------
    model
        Registry name, for messages.
    endpoint
        URL of the hub; that of the library (HF_ENDPOINT) when not given.
    first_wait
        Seconds before the first repetition of a request that a busy server refused; doubles each time.
    """

    def __init__(self, model: str, endpoint: str | None = None, first_wait: float = 0.5) -> None:
        from huggingface_hub import HfApi

        self._api = HfApi(endpoint=endpoint)
        self._model, self.first_wait = model, first_wait

    def listing(self, repo: str, revision: str | None = None) -> Listing:
        """Return the files at a commit; at the newest one of the main branch when none is given.

        Raises
        ------
        FetchError
            If the hub cannot be reached, has no such repository or commit, or describes a file that leads
            out of the folder of the checkpoint; says what to do.
        """
        info = self._ask(
            repo, lambda: self._api.model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
        )
        files = {}
        for sibling in info.siblings or ():
            large = sibling.lfs
            size = large.size if large is not None else sibling.size
            if size is not None and sibling.blob_id is not None:
                sha256 = large.sha256 if large is not None else None
                files[sibling.rfilename] = self._file(repo, sibling.rfilename, size, sha256, sibling.blob_id)
        if info.sha is None:
            raise FetchError(f"{self._api.endpoint} names no commit of {repo}, so nothing could be pinned.")
        return Listing(repo, info.sha, files)

    def _file(self, repo: str, name: str, size: int, sha256: str | None, git_sha1: str) -> HubFile:
        try:
            return HubFile(name=name, size=size, sha256=sha256, git_sha1=git_sha1)
        except ValidationError as error:
            raise FetchError(
                f"cannot pull {self._model}: {repo} lists a file {name!r} that cannot be kept here "
                f"({in_a_line(error)}), so nothing was taken of it. Name another commit with --revision."
            ) from error

    def require_access(self, listing: Listing, name: str) -> None:
        """Ask for the head of one file: a repository that grants access on request lists its files to all.

        Raises
        ------
        FetchError
            If access is refused; says where to ask for it.
        """
        from huggingface_hub import get_hf_file_metadata

        url = self.url(listing, name)
        self._ask(listing.repo, lambda: get_hf_file_metadata(url, headers=self.headers, timeout=TIMEOUT))

    def url(self, listing: Listing, name: str) -> str:
        """Return where a file is downloaded from."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(listing.repo, name, revision=listing.revision, endpoint=self._api.endpoint)

    @property
    def headers(self) -> dict[str, str]:
        """What goes with every request: who asks, and the token of the library where there is one."""
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        return build_hf_headers(library_name="glmstore")

    def _ask(self, repo: str, request: Any) -> Any:
        from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

        for attempt in range(ATTEMPTS):
            try:
                return request()
            except HfHubHTTPError as error:
                if error.response.status_code in _TRANSIENT and attempt + 1 < ATTEMPTS:
                    time.sleep(self.first_wait * 2**attempt * random.uniform(0.75, 1.25))
                    continue
                raise FetchError(f"cannot pull {self._model}: {self._refusal(repo, error)}.") from error
            except OfflineModeIsEnabled as error:
                raise self.unavailable("HF_HUB_OFFLINE is set, so the hub was not asked") from error
            except (HTTPError, OSError, ValueError) as error:
                said = f"{type(error).__name__}: {str(error).strip() or 'no more is known'}".splitlines()[0]
                raise self.unavailable(
                    f"{self._api.endpoint} cannot be reached, or is no hub ({said})"
                ) from error
        raise AssertionError("the last attempt returns or raises")

    def _refusal(self, repo: str, error: HfHubHTTPError) -> str:
        from huggingface_hub import errors

        status, place = error.response.status_code, f"{self._api.endpoint}/{repo}"
        if isinstance(error, errors.GatedRepoError):
            return (
                f"access to {repo} is granted on request only ({status}): ask for it at {place}, then run "
                f"`hf auth login` or set HF_TOKEN"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return f"{repo} has no such commit ({status}): look at {place}/commits/main"
        if isinstance(error, errors.RepositoryNotFoundError) or status == 401:
            return (
                f"there is no repository {repo} at {self._api.endpoint}, or it is private ({status}): for a "
                f"private one, run `hf auth login` or set HF_TOKEN"
            )
        if isinstance(error, errors.EntryNotFoundError) or status == 404:
            return f"the hub no longer has a file of {repo} that it listed ({status}): run the command again"
        if status == 403:
            return f"the token in use does not allow to read {repo} (403): run `hf auth login` with another"
        return f"the hub answered {status} for {repo}: try again later"

    def unavailable(self, why: str) -> FetchError:
        """Return an error that says why a model cannot be pulled, and how to get it without a network."""
        return FetchError(
            f"cannot pull {self._model}: {why}. Without a network here: run "
            f"`glmstore models pull {self._model} --into DIR` where there is one, copy DIR to this machine, "
            f"and set GLMSTORE_MODELS to it."
        )
