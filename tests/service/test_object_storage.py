"""The one command that starts object storage for trials and tests: what it says, can do, and how it ends."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from glmstore.store import FeatureStore
from infra.chaos.content import POOLED, ROWS, TOKENS, Chunk, declare, write
from infra.s3.server import ObjectStorage

ROOT = Path(__file__).parents[2]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "infra.s3", "--port", "0", str(tmp_path / "buckets")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_ends_when_asked(
    started: subprocess.Popen[str], tmp_path: Path, asked: signal.Signals
) -> None:
    assert started.stdout is not None
    told = dict(started.stdout.readline().strip().removeprefix("export ").split("=") for _ in range(4))
    assert set(told) == {
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
    }
    assert told["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    (tmp_path / "buckets" / "lab").mkdir()
    client = boto3.client(
        "s3",
        endpoint_url=told["AWS_ENDPOINT_URL"],
        region_name=told["AWS_DEFAULT_REGION"],
        aws_access_key_id=told["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=told["AWS_SECRET_ACCESS_KEY"],
    )
    assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == ["lab"]
    started.send_signal(asked)
    assert started.wait(10) == 0


def test_a_port_that_is_taken_is_said(s3: ObjectStorage, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "infra.s3", "--port", str(s3.port), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"on port {s3.port}: Address already in use" in done.stderr


@pytest.fixture
def client(s3: ObjectStorage) -> Any:
    return boto3.client("s3")


def test_objects_are_deleted_by_the_many_and_what_cannot_be_is_told(s3: ObjectStorage, client: Any) -> None:
    bucket = s3.bucket("deleting").removeprefix("s3://")
    odd = "deep/a&b <\u00fc>+%20"
    for key in (odd, "deep/stays", "alone/gone"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    asked = [odd, "alone/gone", "never/there", "../outside"]
    told = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in asked]})
    assert [found["Key"] for found in told["Deleted"]] == asked[:3]
    assert [(found["Key"], found["Code"]) for found in told["Errors"]] == [("../outside", "InvalidArgument")]
    left = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert [found["Key"] for found in left] == ["deep/stays"]
    client.put_object(Bucket=bucket, Key="alone", Body=b"the folder is gone too")


def test_nothing_is_deleted_in_a_bucket_that_is_not_there(s3: ObjectStorage, client: Any) -> None:
    with pytest.raises(client.exceptions.NoSuchBucket):
        client.delete_objects(Bucket="absent", Delete={"Objects": [{"Key": "a"}]})


def test_a_store_there_is_scanned_cleaned_and_dropped_from(s3: ObjectStorage, tmp_path: Path) -> None:
    store = FeatureStore.open(f"{s3.bucket('upkeep')}/{tmp_path.name}")
    declare(store)
    for number in range(2):
        write(store, Chunk(number), lambda step, job: job())
    assert sum(len(batch) for batch in store.scan(POOLED)) == 2 * ROWS
    store.snapshot("then")
    assert store.optimize(older_than=timedelta(0))["bytes_freed"].sum() > 0
    store.forget_snapshot("then")
    store.drop(TOKENS)
    assert store.check().problems == []
