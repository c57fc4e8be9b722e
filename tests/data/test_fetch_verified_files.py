from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from glmstore.config import Settings
from glmstore.data.fetch import Fetcher, sha256_of
from glmstore.errors import ChecksumError, FetchError

BODY = bytes(range(256)) * 4096  # 1 MiB
SHA = hashlib.sha256(BODY).hexdigest()
WRONG = "0" * 64


@dataclass
class Server:
    """Serves BODY; `script` holds what comes first: a status, or ("cut", n): promise all, send n bytes."""

    address: str = ""
    script: list[int | tuple[str, int]] = field(default_factory=list)
    body: bytes = BODY
    knows_ranges: bool = True
    seen: list[str | None] = field(default_factory=list)  # Range header of every GET

    def url(self, name: str = "data.bin") -> str:
        return f"http://{self.address}/files/{name}"


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.seen.append(self.headers["Range"])
            step = state.script.pop(0) if state.script else 200
            if isinstance(step, int) and step != 200:
                self.send_response(step)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = 0
            if state.knows_ranges and self.headers["Range"]:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                if start >= len(state.body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(state.body) - 1}/{len(state.body)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(state.body) - start))
            self.end_headers()
            rest = state.body[start:]
            self.wfile.write(rest[: step[1]] if isinstance(step, tuple) else rest)

        def do_HEAD(self) -> None:
            step = state.script.pop(0) if state.script else 200
            assert isinstance(step, int)
            self.send_response(step)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.address = f"127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def fetcher(tmp_path: Path, **settings: object) -> Fetcher:
    return Fetcher(Settings(**({"mirror": None, "cache": tmp_path / "cache"} | settings)), first_wait=0.001)


def files_under(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def test_a_file_is_downloaded_verified_and_then_served_from_the_cache(server, tmp_path) -> None:
    first = fetcher(tmp_path).fetch(server.url(), SHA)
    assert first.read_bytes() == BODY
    assert first.name == "data.bin"
    assert fetcher(tmp_path).fetch(server.url(), SHA) == first
    assert fetcher(tmp_path, offline=True).fetch(server.url(), SHA) == first
    assert server.seen == [None]


def test_progress_is_reported_up_to_the_last_byte(server, tmp_path) -> None:
    calls: list[tuple[str, int, int | None]] = []
    Fetcher(
        Settings(mirror=None, cache=tmp_path),
        progress=lambda url, done, total: calls.append((url, done, total)),
    ).fetch(server.url(), SHA)
    assert calls[-1] == (server.url(), len(BODY), len(BODY))
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path) -> None:
    server.script = [("cut", 300_000), ("cut", 200_000)]
    assert fetcher(tmp_path).fetch(server.url(), SHA).read_bytes() == BODY
    assert server.seen == [None, "bytes=300000-", "bytes=500000-"]
    assert files_under(tmp_path) == ["data.bin"]


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(server, tmp_path) -> None:
    server.script = [("cut", 100_000), 404]
    with pytest.raises(FetchError):
        fetcher(tmp_path).fetch(server.url(), SHA)
    assert files_under(tmp_path) == ["data.bin.part"]
    assert fetcher(tmp_path).fetch(server.url(), SHA).read_bytes() == BODY
    assert server.seen[-1] == "bytes=100000-"


def test_a_server_without_ranges_is_asked_for_everything_again(server, tmp_path) -> None:
    server.knows_ranges = False
    server.script = [("cut", 300_000)]
    assert fetcher(tmp_path).fetch(server.url(), SHA).read_bytes() == BODY


@pytest.mark.parametrize("leftover", [b"the start of another version", BODY, BODY + b"more"])
def test_a_left_over_part_that_does_not_fit_is_replaced(server, tmp_path, leftover: bytes) -> None:
    part = tmp_path / "cache" / "files" / SHA / "data.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(leftover)
    assert fetcher(tmp_path).fetch(server.url(), SHA).read_bytes() == BODY
    assert files_under(tmp_path) == ["data.bin"]


def test_a_busy_server_is_asked_again(server, tmp_path) -> None:
    server.script = [503, 429, 500]
    assert fetcher(tmp_path).fetch(server.url(), SHA).read_bytes() == BODY
    assert len(server.seen) == 4


def test_a_server_that_stays_busy_is_given_up_after_five_attempts(server, tmp_path) -> None:
    server.script = [503] * 9
    with pytest.raises(FetchError, match="the server answered 503 Service Unavailable, 5 times"):
        fetcher(tmp_path).fetch(server.url(), SHA)
    assert len(server.seen) == 5


def test_a_missing_file_is_asked_for_once_and_the_message_says_what_to_do(server, tmp_path) -> None:
    server.script = [404]
    with pytest.raises(FetchError) as caught:
        fetcher(tmp_path).fetch(server.url(), SHA)
    message = str(caught.value)
    assert server.url() in message
    assert "no mirror is set (GLMSTORE_MIRROR); it is not in the cache; the server answered 404" in message
    assert f"or put it at {tmp_path / 'cache' / 'files' / SHA / 'data.bin'}" in message
    assert len(server.seen) == 1


def test_a_wrong_checksum_says_both_and_keeps_nothing(server, tmp_path) -> None:
    with pytest.raises(ChecksumError, match=f"expected sha256 {WRONG}, got {SHA}"):
        fetcher(tmp_path).fetch(server.url(), WRONG)
    assert files_under(tmp_path) == []


def test_no_network_is_a_fetch_error_that_names_the_host(tmp_path, server) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    with pytest.raises(FetchError, match="the network failed"):
        fetcher(tmp_path).fetch(f"http://127.0.0.1:{port}/x", SHA)


def test_offline_never_asks_the_network(server, tmp_path) -> None:
    with pytest.raises(FetchError, match="GLMSTORE_OFFLINE is set"):
        fetcher(tmp_path, offline=True).fetch(server.url(), SHA)
    assert server.seen == []


def test_the_mirror_is_asked_before_the_network(server, tmp_path) -> None:
    mirrored = tmp_path / "mirror" / server.address / "files" / "data.bin"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(BODY)
    assert fetcher(tmp_path, mirror=tmp_path / "mirror").fetch(server.url(), SHA) == mirrored
    assert server.seen == []


def test_a_wrong_file_in_the_mirror_is_an_error_and_stays_for_its_owner(server, tmp_path) -> None:
    mirrored = tmp_path / "mirror" / server.address / "files" / "data.bin"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(b"something else")
    with pytest.raises(ChecksumError, match=r"data\.bin is not the file pinned for http"):
        fetcher(tmp_path, mirror=tmp_path / "mirror").fetch(server.url(), SHA)
    assert mirrored.read_bytes() == b"something else"


def test_a_file_damaged_in_the_cache_is_fetched_again(server, tmp_path, caplog) -> None:
    path = fetcher(tmp_path).fetch(server.url(), SHA)
    path.write_bytes(BODY[:-1])
    with caplog.at_level(logging.WARNING):
        assert sha256_of(fetcher(tmp_path).fetch(server.url(), SHA)) == SHA
    assert "was damaged in the cache" in caplog.text


def test_many_that_want_one_file_at_once_download_it_once(server, tmp_path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: fetcher(tmp_path).fetch(server.url(), SHA), range(8)))
    assert len(set(paths)) == 1
    assert paths[0].read_bytes() == BODY
    assert server.seen == [None]


def test_a_cache_that_cannot_be_written_is_named_with_the_cure(server, tmp_path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(FetchError, match=r"cannot be written to the cache .* set GLMSTORE_CACHE"):
        fetcher(tmp_path).fetch(server.url(), SHA)


@pytest.mark.parametrize("url", ["data.csv", "ftp://host/file", "https://host", "s3://bucket/key"])
def test_what_is_no_fetchable_url_is_refused(tmp_path, url: str) -> None:
    with pytest.raises(FetchError, match="is no URL that can be fetched"):
        fetcher(tmp_path).fetch(url, SHA)


def test_reachable_says_none_or_why_not_and_downloads_nothing(server, tmp_path) -> None:
    asked = fetcher(tmp_path)
    assert asked.reachable(server.url(), SHA) is None
    server.script = [404]
    assert "the server answers 404" in str(asked.reachable(server.url(), SHA))
    offline = fetcher(tmp_path, offline=True)
    assert (
        offline.reachable(server.url(), SHA) == "no mirror set, not in the cache, and GLMSTORE_OFFLINE is set"
    )
    assert server.seen == []
    asked.fetch(server.url(), SHA)
    assert offline.reachable(server.url(), SHA) is None


def test_a_host_that_does_not_answer_is_asked_once(tmp_path, monkeypatch) -> None:
    import httpx

    asked: list[str] = []

    def refuse(url: str, **_: object) -> None:
        asked.append(url)
        raise httpx.ConnectError("no route")

    monkeypatch.setattr(httpx, "head", refuse)
    one = fetcher(tmp_path)
    problems = {one.reachable(f"https://example.org/{name}", SHA) for name in "abc"}
    assert problems == {"no mirror set, not in the cache, and the network does not reach it (ConnectError)"}
    assert asked == ["https://example.org/a"]
