"""HTTP transfers that survive broken connections and busy servers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import httpx

from glmstore.errors import FetchError

if TYPE_CHECKING:
    from pathlib import Path

Progress = Callable[[str, int, int | None], None]
"""``progress(url, bytes so far, bytes in all or None)``, called after every chunk."""

ATTEMPTS = 5
LONGEST_WAIT = 30.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


def download(
    url: str,
    part: Path,
    progress: Progress,
    first_wait: float = 0.5,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Write the body of `url` to `part`, going on from what is already there.

    What a failed transfer left in `part` stays, so that a later call resumes. Connection errors, truncated
    bodies and statuses that pass (408, 425, 429, 5xx) are tried again with growing pauses. `headers` go with
    every request; those that authorise do not follow a redirect to another host.

    Raises
    ------
    FetchError
        If the server refuses, or all attempts failed; says what happened last.
    OSError
        If `part` cannot be written.
    """
    problem = ""
    with httpx.Client(follow_redirects=True, timeout=_TIMEOUT, headers=dict(headers or {})) as client:
        for attempt in range(ATTEMPTS):
            asked_wait = 0.0
            try:
                _transfer(client, url, part, progress)
            except httpx.HTTPStatusError as error:
                problem = f"the server answered {error.response.status_code} {error.response.reason_phrase}"
                if error.response.status_code not in _TRANSIENT:
                    raise FetchError(problem) from error
                asked_wait = _retry_after(error.response)
            except httpx.TooManyRedirects as error:
                raise FetchError("the server redirects in circles") from error
            except httpx.TransportError as error:
                problem = f"the network failed ({type(error).__name__}: {error})"
            else:
                return
            if attempt + 1 < ATTEMPTS:
                pause = first_wait * 2**attempt * random.uniform(0.75, 1.25)
                time.sleep(min(max(pause, asked_wait), LONGEST_WAIT))
    raise FetchError(f"{problem}, {ATTEMPTS} times")


def probe(url: str) -> tuple[bool, str | None]:
    """Ask whether `url` is there: (whether the host answered, None or the problem)."""
    try:
        response = httpx.head(url, follow_redirects=True, timeout=5.0)
    except httpx.TransportError as error:
        return False, f"the network does not reach it ({type(error).__name__})"
    except httpx.TooManyRedirects:
        return True, "the server redirects in circles"
    # A server that knows no HEAD (405, 501) may still serve the file.
    if response.is_error and response.status_code not in {405, 501}:
        return True, f"the server answers {response.status_code} {response.reason_phrase}"
    return True, None


def _transfer(client: httpx.Client, url: str, part: Path, progress: Progress) -> None:
    have = part.stat().st_size if part.exists() else 0
    # Ranges and checksums are about the bytes as stored, so no transfer encoding may be put on top.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
            raise httpx.RemoteProtocolError("the file is shorter than what was already there")
        response.raise_for_status()
        resumes = response.status_code == httpx.codes.PARTIAL_CONTENT
        if resumes and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise httpx.RemoteProtocolError("the server sent another range than the one asked for")
        done = have if resumes else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with part.open("ab" if resumes else "wb") as file:
            # No chunk size: every byte that came before a connection broke is written, and kept.
            for chunk in response.iter_raw():
                file.write(chunk)
                done += len(chunk)
                progress(url, done, total)


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0
