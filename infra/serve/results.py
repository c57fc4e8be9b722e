"""Where Prefect keeps what flows return when the store lies in object storage: beside it, as JSON."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from infra.serve.options import Options

BLOCK = "glmstore-results"
_WHERE = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")


SET_UP = frozenset(_WHERE) | {
    "GLMSTORE_STORE",
    "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER",
}
"""Variables that are ours to set and to take away again in the environment of a pool's runs."""


def storage_environment() -> dict[str, str]:
    """Return what this process's environment says of where object storage is; nothing of who may use it."""
    return {name: value for name in _WHERE if (value := os.environ.get(name))}


async def ensure_result_storage(options: Options) -> dict[str, str]:
    """Create or update the block of an S3 store's results; return what workers need to use it.

    Tasks keep no results: whether work is done is asked of the store. What a flow returns is small; it is
    kept only where PREFECT_RESULTS_PERSIST_BY_DEFAULT=true asks for it. Credentials are never put into the
    block: every process finds its own through the standard AWS chain.
    """
    if not options.in_s3:
        return {}
    from prefect_aws import AwsCredentials, S3Bucket
    from prefect_aws.client_parameters import AwsClientParameters

    place = urlsplit(options.store)
    told = storage_environment()
    endpoint = told.get("AWS_ENDPOINT_URL_S3") or told.get("AWS_ENDPOINT_URL")
    region = told.get("AWS_REGION") or told.get("AWS_DEFAULT_REGION")
    block = S3Bucket(
        bucket_name=place.netloc,
        bucket_folder=f"{place.path.strip('/')}-artifacts/prefect".lstrip("-"),
        credentials=AwsCredentials(
            region_name=region, aws_client_parameters=AwsClientParameters(endpoint_url=endpoint)
        ),
    )
    await block.asave(BLOCK, overwrite=True)
    return {
        "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": f"{block.get_block_type_slug()}/{BLOCK}",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    }
