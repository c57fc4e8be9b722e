"""Results of flows beside a store in S3: small JSON, no pickle, no credentials in the block."""

import asyncio
import json
import os

import boto3
import pytest
from prefect.client.orchestration import get_client

from infra.serve.options import Options
from infra.serve.results import BLOCK, ensure_result_storage

pytestmark = pytest.mark.slow

RUN = """
import sys
from flows.maintain_store import MaintainStoreConfig, maintain_store
maintain_store(MaintainStoreConfig(store=sys.argv[1]))
"""


def test_what_a_flow_returns_lies_beside_the_store_as_json(service, s3):
    bucket = s3.bucket("results").removeprefix("s3://")
    workers = asyncio.run(ensure_result_storage(Options(store=f"s3://{bucket}/lab/store")))
    aws = {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
    service.python("-c", RUN, service.store, PREFECT_RESULTS_PERSIST_BY_DEFAULT="true", **workers, **aws)
    client = boto3.client("s3")
    found = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert found
    assert all(entry["Key"].startswith("lab/store-artifacts/prefect/") for entry in found)
    kept = [client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read() for entry in found]
    records = [json.loads(body) for body in kept]
    assert [record["data"]["store"] for record in records] == [service.store]


def test_the_block_of_results_holds_no_credentials(service, s3):
    bucket = s3.bucket("results")
    asyncio.run(ensure_result_storage(Options(store=f"{bucket}/lab/store")))
    with get_client(sync_client=True) as client:
        block = client.read_block_document_by_name(BLOCK, "s3-bucket", include_secrets=True)
    assert "a-secret-of-tests" not in block.model_dump_json()


def test_a_store_in_a_directory_needs_no_block():
    assert asyncio.run(ensure_result_storage(Options(store="somewhere"))) == {}
