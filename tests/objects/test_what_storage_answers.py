"""What storage answers is named by what it means; storage and settings unfit for a store are refused."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from botocore.awsrequest import AWSResponse
from localbucket import S3Error, S3Handler

from glmstore.errors import (
    S3RefusedError,
    S3UnavailableError,
    StoreError,
    StoreNotWritableError,
    UnfitStorageError,
    UnsafeStorageError,
)
from glmstore.objects import open_objects
from glmstore.objects.preflight import check_storage
from glmstore.objects.s3 import S3Objects, lance_options, s3_client
from glmstore.store import FeatureStore

QUICK = 1.0
"""Seconds a client of these tests waits for an answer; it asks twice at most."""


class _Body(BytesIO):
    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


def answering(status: int, code: str, where: str = "") -> Callable[..., AWSResponse | None]:
    """Return an answer to every request of a client whose URL holds `where`."""
    said = f"<Error><Code>{code}</Code><Message>said the server</Message></Error>" if code else ""

    def answer(request: Any, **_: object) -> AWSResponse | None:
        if where not in request.url:
            return None
        body = b"" if request.method == "HEAD" else said.encode()
        return AWSResponse(request.url, status, {}, _Body(body))

    return answer


def _without_condition(request: Any, **_: object) -> None:
    del request.headers["If-None-Match"]


@contextmanager
def serving(handler: type[S3Handler], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lead the AWS chain to another server, for the length of a block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        s3_client.cache_clear()
        yield
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def place(s3, tmp_path: Path) -> str:
    """Return a new place in a bucket of its own, so that no other test's preflight counts for it."""
    bucket: str = s3.bucket(f"answers-{tmp_path.parent.name}-{tmp_path.name}".replace("_", "-").lower()[-60:])
    return f"{bucket}/lab"


PASSING = [(500, "InternalError"), (503, "SlowDown"), (503, ""), (408, "RequestTimeout"), (429, "")]
PASSING += [(400, "ThrottlingException"), (409, "OperationAborted")]
LASTING = [(400, "KeyTooLongError"), (400, "AuthorizationHeaderMalformed"), (400, "ExpiredToken")]
LASTING += [(403, "RequestTimeTooSkewed"), (403, "QuotaExceeded"), (501, "NotImplemented"), (405, "")]
LASTING += [(403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch")]


@pytest.mark.parametrize(("status", "code"), PASSING)
def test_what_may_be_answered_otherwise_later_is_known(place: str, status: int, code: str):
    s3_client(QUICK).meta.events.register("before-send.s3", answering(status, code))
    with pytest.raises(S3UnavailableError, match=code or str(status)):
        open_objects(place, answer_s=QUICK).get("a")


@pytest.mark.parametrize(("status", "code"), LASTING)
def test_what_will_be_answered_again_is_told_with_its_code(place: str, status: int, code: str):
    s3_client(QUICK).meta.events.register("before-send.s3", answering(status, code))
    with pytest.raises(StoreError, match=code or str(status)) as refused:
        open_objects(place, answer_s=QUICK).get("a")
    assert type(refused.value) is StoreError


def test_a_name_of_a_bucket_that_cannot_be_is_refused_in_one_line(s3):
    with pytest.raises(StoreError, match="Invalid bucket name") as refused:
        FeatureStore.open("s3://Bad_Bucket!/x")
    assert not isinstance(refused.value, S3UnavailableError)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("absent", ["Date", "Last-Modified"])
def test_an_age_that_is_not_told_is_named(place: str, absent: str):
    objects = open_objects(place)
    objects.put("a", b"")

    def take_out(parsed: Any, **_: object) -> None:
        if absent == "Date":
            del parsed["ResponseMetadata"]["HTTPHeaders"]["date"]
        else:
            del parsed["LastModified"]

    s3_client().meta.events.register("after-call.s3.HeadObject", take_out)
    with pytest.raises(StoreError, match=f"no {absent} for a"):
        objects.age_s("a")


@pytest.mark.parametrize("scheme", ["s3", "S3"])
def test_storage_that_lets_two_writers_win_is_refused_by_name(s3, place: str, scheme: str):
    s3_client().meta.events.register("before-sign.s3.PutObject", _without_condition)
    with pytest.raises(UnsafeStorageError, match=rf"{s3.endpoint} let 2 of 2 writers win.* 8 of 8"):
        FeatureStore.open(place.replace("s3", scheme, 1))
    assert open_objects(place).names() == []


def test_storage_that_does_not_know_conditions_is_refused_by_name(place: str):
    s3_client().meta.events.register("before-send.s3.PutObject", answering(501, "NotImplemented"))
    with pytest.raises(UnsafeStorageError, match="does not know If-None-Match"):
        FeatureStore.open(place)


def test_a_prefix_that_may_only_be_read_says_nothing_about_its_bucket(place: str):
    events = s3_client().meta.events
    asked: Counter[str] = Counter()
    events.register("before-sign.s3.PutObject", _without_condition)
    events.register_first("before-send.s3", lambda request, **_: asked.update([request.method]))
    events.register("before-send.s3.PutObject", answering(403, "AccessDenied", where="/lab/read-only/"))
    for _ in range(2):
        check_storage(S3Objects(f"{place}/read-only"))
    assert asked == {"PUT": 2}
    with pytest.raises(UnsafeStorageError):
        check_storage(S3Objects(f"{place}/other"))


def test_a_place_that_may_not_even_be_read_is_named(s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Denying(S3Handler):
        data_root = tmp_path

        def _deny(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._send_error(S3Error(403, "AccessDenied", "Access Denied"))

        do_GET = do_PUT = do_HEAD = _deny  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Denying, monkeypatch), pytest.raises(S3RefusedError, match="refused, even to look"):
        FeatureStore.open("s3://bucket/store")


def test_a_place_that_may_only_be_read_is_named_when_it_is_written(
    s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    writable = threading.Event()
    writable.set()

    class Guarded(S3Handler):
        data_root = tmp_path / "s3"

        def do_PUT(self) -> None:  # noqa: N802
            if writable.is_set():
                super().do_PUT()
                return
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._send_error(S3Error(403, "AccessDenied", "Access Denied"))

        def do_POST(self) -> None:  # noqa: N802
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            for key in ElementTree.fromstring(asked).findall("{*}Object/{*}Key"):  # noqa: S314
                (self.data_root / "bucket" / str(key.text)).unlink(missing_ok=True)
            self._send_xml(ElementTree.Element("DeleteResult"))

        def log_message(self, *_: Any) -> None:
            pass

    (tmp_path / "s3" / "bucket").mkdir(parents=True)
    with serving(Guarded, monkeypatch):
        FeatureStore.open("s3://bucket/store").add_sequences(["ACGT"])
        writable.clear()
        store = FeatureStore.open("s3://bucket/store")
        assert store.sequences().height == 1
        for writing in (lambda: store.add_sequences(["TTTT"]), lambda: store.snapshot("now")):
            with pytest.raises(StoreNotWritableError, match="cannot be written: access refused"):
                writing()


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_wrong_keys_are_not_taken_for_keys_that_may_only_read(place: str, code: str):
    s3_client().meta.events.register("before-send.s3", answering(403, code))
    with pytest.raises(StoreError, match=rf"these credentials \({code}\)"):
        FeatureStore.open(place)


def test_the_preflight_is_twenty_requests_once_and_leaves_nothing(place: str):
    asked: Counter[str] = Counter()
    s3_client().meta.events.register("before-send.s3", lambda request, **_: asked.update([request.method]))
    for _ in range(3):
        check_storage(S3Objects(place))
    assert asked == {"PUT": 10, "GET": 9, "POST": 1}
    assert open_objects(place).names() == []


def test_a_server_that_cannot_delete_in_bulk_is_refused_by_name(
    s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Bare(S3Handler):
        data_root = tmp_path

        def log_message(self, *_: Any) -> None:
            pass

    (tmp_path / "bucket").mkdir()
    with serving(Bare, monkeypatch):
        with pytest.raises(UnfitStorageError, match=r"cannot delete several .*DeleteObjects.*501"):
            FeatureStore.open("s3://bucket/store")
        assert open_objects("s3://bucket/store").names() == []


def test_a_server_that_only_says_that_it_deleted_is_refused(place: str):
    s3_client().meta.events.register("before-send.s3.DeleteObjects", answering(200, ""))
    with pytest.raises(UnfitStorageError, match="they are still there"):
        check_storage(S3Objects(place))


def test_credentials_that_may_not_delete_are_told_so(place: str):
    def denied(parsed: Any, **_: object) -> None:
        parsed["Errors"] = [{"Key": "a", "Code": "AccessDenied"}]

    s3_client().meta.events.register("after-call.s3.DeleteObjects", denied)
    with pytest.raises(S3RefusedError, match="AccessDenied"):
        check_storage(S3Objects(place))


SECRET = "hunter2"  # noqa: S105  (worth nothing)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"AWS_PROFILE": "absent"}, r"profile \(absent\) could not be found"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "missing: AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:9000"}, "write AWS_ENDPOINT_URL=http://HOST:PORT"),
        ({"AWS_ENDPOINT_URL": f"u:{SECRET}@127.0.0.1:9000"}, "write AWS_ENDPOINT_URL=http://HOST:PORT"),
        ({"AWS_ENDPOINT_URL": f"http://u:{SECRET}@127.0.0.1:9000"}, "holds a user or a password"),
    ],
)
def test_settings_that_cannot_be_used_are_named_and_no_secret_told(
    s3, settings: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch
):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    s3_client.cache_clear()
    with pytest.raises(StoreError, match=why) as refused:
        FeatureStore.open("s3://bucket/store")
    assert not isinstance(refused.value, S3UnavailableError)
    assert SECRET not in f"{refused.value} {refused.value.__cause__}"


def test_a_region_set_the_way_other_aws_tools_read_it_counts(s3, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert lance_options()["region"] == s3_client().meta.region_name == "us-east-1"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    s3_client.cache_clear()
    assert lance_options()["region"] == s3_client().meta.region_name == "eu-west-1"
