"""What may pass is tried again after a while; bad input fails at once."""

from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from distributed import KilledWorker
from prefect import flow

from glmstore import errors
from glmstore.errors import S3RefusedError, S3UnavailableError
from glmstore.objects.s3 import s3_client
from glmstore.store import FeatureStore
from infra.chaos.proxy import Proxy
from infra.s3.server import ObjectStorage
from tasks.policies import JITTER, RETRY_DELAYS_S, compute_task, is_transient

LANCE_PUT = (
    "lance error: LanceError(IO): single PUT of store/t.lance/data/01.lance failed after 2.4s (204 bytes): "
    "Generic S3 error: Error performing PUT http://127.0.0.1:9201/b/t.lance/data/01.lance in 396.8ms, "
    "after 3 retries, max_retries: 3, retry_timeout: 180s  - "
)


def answered(code: str, status: int) -> ClientError:
    said = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(said, "PutObject")  # type: ignore[arg-type]


def http_answer(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://127.0.0.1/")
    return httpx.HTTPStatusError("answered", request=request, response=httpx.Response(status))


PASSING = {
    "a slow-down of S3": answered("SlowDown", 503),
    "throttling": answered("ThrottlingException", 400),
    "an internal error of S3": answered("InternalError", 500),
    "a 503 without words": answered("", 503),
    "S3 out of reach": EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    "objects out of reach": S3UnavailableError("s3://b: no answer"),
    "Lance and 503": RuntimeError(
        LANCE_PUT + "Server returned non-2xx status code: 503 Service Unavailable: , object_writer.rs:627:9"
    ),
    "Lance and a server that is away": RuntimeError(LANCE_PUT + "HTTP error: error sending request"),
    "Lance and half an answer": RuntimeError(LANCE_PUT + "HTTP error: error decoding response body"),
    "another writer": RuntimeError("lance error: Retryable commit conflict for version 5: preempted"),
    "a table made by two": RuntimeError("Incompatible transaction: this Append ran against Overwrite"),
    "a busy Prefect server": http_answer(503),
    "too many requests": http_answer(429),
    "a server that hung up": httpx.RemoteProtocolError("disconnected"),
    "a killed process": BrokenProcessPool("a process was terminated abruptly"),
    "a killed worker": errors.WorkerError("the worker of cuda:1 was killed"),
    "a killed Dask worker": KilledWorker("task", SimpleNamespace(address="tcp://127.0.0.1:1"), 3),
    "memory of a GPU": RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "memory of the host": MemoryError(),
    "memory of a commit": errors.HostMemoryError("a commit of 2 GiB does not fit"),
    "memory of torch": RuntimeError("DefaultCPUAllocator: can't allocate memory"),
}
LASTING = {
    "a wrong letter": errors.AlphabetError("record 7", "has J", "Remove it"),
    "a long sequence that does not fit alone": errors.DeviceMemoryError("sequence 7: out of memory"),
    "a message that quotes one": errors.TableError("row 3: 'commit conflict, out of memory'"),
    "refused credentials": S3RefusedError("s3://b: access refused (AccessDenied)"),
    "no such bucket": errors.StoreError("s3://b/x: there is no bucket 'b'"),
    "a bucket that boto3 does not find": answered("NoSuchBucket", 404),
    "a request S3 does not know": answered("NotImplemented", 501),
    "a 403 of S3": answered("AccessDenied", 403),
    "Lance and 403": RuntimeError(LANCE_PUT + "Server returned non-2xx status code: 403 Forbidden"),
    "Lance and 501": RuntimeError(LANCE_PUT + "Server returned non-2xx status code: 501 Not Implemented"),
    "a full disk": errors.StoreNotWritableError("no space is left (os error 28)"),
    "an unsafe storage": errors.UnsafeStorageError("two writers win"),
    "a changed file": errors.ChecksumError("expected sha256"),
    "a 404": http_answer(404),
    "a slip of the pen": ValueError("could not convert string to float"),
}


@pytest.mark.parametrize("error", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_known(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize("error", LASTING.values(), ids=LASTING)
def test_what_lasts_is_known(error: Exception) -> None:
    assert not is_transient(error)


def test_waits_grow_are_jittered_and_end() -> None:
    @compute_task("nothing")
    def nothing() -> None: ...

    assert nothing.retries == len(RETRY_DELAYS_S)
    assert nothing.retry_delay_seconds == RETRY_DELAYS_S == sorted(RETRY_DELAYS_S)
    assert 0 < nothing.retry_jitter_factor == JITTER
    assert sum(RETRY_DELAYS_S) * (1 + JITTER) < 120


@pytest.mark.usefixtures("quiet")
def test_a_task_outlives_a_storage_that_is_away_and_not_a_wrong_letter() -> None:
    tries = {"storage": 0, "letter": 0}

    @compute_task("try {what}")
    def attempt(what: str) -> int:
        tries[what] += 1
        if what == "letter":
            raise LASTING["a wrong letter"]
        if tries[what] < 3:
            raise PASSING["objects out of reach"]
        return tries[what]

    @flow
    def both() -> int:
        soon = attempt.with_options(retry_delay_seconds=0)
        with pytest.raises(errors.AlphabetError, match="record 7"):
            soon("letter")
        return soon("storage")

    assert both() == 3
    assert tries == {"storage": 3, "letter": 1}


@pytest.fixture
def worsening(s3) -> Iterator[Proxy]:
    """Put a proxy before the S3 server, through which this test's clients go from now on."""
    with Proxy(s3.port) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        s3_client.cache_clear()
        yield proxy


FAULTS = {"503": ("unavailable", "status: 503"), "half an answer": ("truncated", "kind: Interrupted")}


@pytest.mark.parametrize(("fault", "told"), FAULTS.values(), ids=FAULTS)
def test_a_store_known_as_fit_whose_storage_fails_at_opening_is_tried_again(
    s3, worsening: Proxy, fault: str, told: str
) -> None:
    uri = f"{s3.bucket('retries')}/{fault}"
    FeatureStore.open(uri)
    setattr(worsening, fault, 1.0)
    with pytest.raises(S3UnavailableError, match=told) as failed:
        FeatureStore.open(uri)
    assert is_transient(failed.value)
    assert ".rs" not in str(failed.value)
    worsening.behave()
    FeatureStore.open(uri)


@pytest.mark.usefixtures("s3")
def test_a_store_known_as_fit_whose_server_was_killed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ObjectStorage(tmp_path / "served") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        s3_client.cache_clear()
        uri = f"{server.bucket('retries')}/killed"
        FeatureStore.open(uri)
        server.kill()
        with pytest.raises(S3UnavailableError, match="kind: Connect") as failed:
            FeatureStore.open(uri)
        assert is_transient(failed.value)
        server.start()
        FeatureStore.open(uri)


@pytest.mark.usefixtures("quiet")
def test_a_task_opens_its_store_when_the_storage_is_back(s3, worsening: Proxy) -> None:
    uri = f"{s3.bucket('retries')}/back"
    FeatureStore.open(uri).add_sequences(["ACGT"])
    worsening.unavailable = 1.0
    tries = []

    @compute_task("open")
    def count() -> int:
        tries.append("503" if worsening.unavailable else "well")
        try:
            return len(FeatureStore.open(uri).sequences())
        finally:
            if len(tries) == 2:
                worsening.behave()

    @flow
    def open_it() -> int:
        return count.with_options(retry_delay_seconds=0)()

    assert open_it() == 1
    assert tries == ["503", "503", "well"]
