"""Small objects behave alike in a directory and in object storage; storage unfit for a store is refused."""

import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from glmstore.errors import StoreError, UnsafeStorageError
from glmstore.objects import Objects, open_objects
from glmstore.objects.s3 import S3UnavailableError, s3_client
from glmstore.store import FeatureStore


@pytest.fixture(params=["directory", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "directory":
        return open_objects(tmp_path / "objects")
    s3 = request.getfixturevalue("s3")
    return open_objects(f"{s3.bucket('objects')}/{tmp_path.name}")


def test_what_is_put_is_got(objects: Objects):
    assert objects.get("a/b") is None
    objects.put("a/b", b"one")
    objects.put("a/b", b"two")
    assert objects.get("a/b") == b"two"
    assert objects.get("a") is None
    assert 0 <= (objects.age_s("a/b") or 0) < 60
    assert objects.age_s("a/c") is None


def test_names_are_those_of_a_prefix_in_order(objects: Objects):
    for name in ("b/2", "b/10", "a"):
        objects.put(name, b"")
    assert objects.names() == ["a", "b/10", "b/2"]
    assert objects.names("b/") == ["b/10", "b/2"]
    objects.delete("b/2")
    objects.delete("b/2")
    assert objects.names("b/") == ["b/10"]


def test_of_many_writers_of_a_new_object_one_wins(objects: Objects):
    for trial in range(10):
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda i: objects.put_new(f"o{trial}", b"%d" % i), range(8)))  # noqa: B023
        assert sum(won) == 1
        assert objects.get(f"o{trial}") == b"%d" % won.index(True)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a//b", "", ".", "a\\b", "a\n"])
def test_no_name_leads_out_of_its_folder(objects: Objects, name: str):
    with pytest.raises(ValueError, match="must stay below"):
        objects.put(name, b"")
    with pytest.raises(ValueError, match="must stay below"):
        objects.get(name)


def test_other_schemes_are_refused_by_name():
    with pytest.raises(StoreError, match="not in gs://"):
        open_objects("gs://bucket/x")


class _LastOneWins(BaseHTTPRequestHandler):
    """An S3 server that takes every PUT, whatever its conditions say."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(200)

    def do_DELETE(self) -> None:
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its base's name)
        pass


def test_storage_that_lets_two_writers_win_is_refused_by_name(s3, monkeypatch: pytest.MonkeyPatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _LastOneWins)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        s3_client.cache_clear()
        with pytest.raises(UnsafeStorageError, match=rf"{endpoint} let 9 of 9 writers of one object win"):
            FeatureStore.open("s3://bucket/store")
    finally:
        server.shutdown()
        server.server_close()


def test_a_bucket_that_is_not_there_is_named(s3):
    with pytest.raises(StoreError, match="there is no bucket 'absent'"):
        FeatureStore.open("s3://absent/store")


def test_storage_that_is_not_there_is_named_and_no_secret_told(s3, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3_client.cache_clear()
    with pytest.raises(S3UnavailableError, match=r"127\.0\.0\.1:9") as refused:
        open_objects("s3://bucket/x").put("a", b"")
    assert "a-secret-of-tests" not in str(refused.value)
