"""Small objects in S3 or in a service that speaks its protocol."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any
from urllib.parse import urlparse

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from glmstore.errors import StoreError, UnsafeStorageError
from glmstore.objects.base import check_name
from glmstore.objects.places import split_s3
from glmstore.objects.s3_errors import answered, named

_ABSENT = {"404", "NoSuchKey", "NotFound"}
_TAKEN = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_PAGE = 1000


@cache
def s3_client(answer_s: float | None = None) -> Any:
    """Return this process's boto3 client: endpoint, region and credentials from the standard AWS chain.

    Parameters
    ----------
    answer_s
        See :func:`~glmstore.objects.open_objects`; a client for each.

    Raises
    ------
    StoreError
        If what the chain gives is incomplete or contradicts itself, or the endpoint is no URL.
    """
    try:
        return _client(answer_s)
    except BotoCoreError as error:
        raise StoreError(f"the AWS settings cannot be used: {error}. Check AWS_PROFILE and AWS_*.") from error
    except ValueError as error:
        if not str(error).startswith("Invalid endpoint"):
            raise StoreError(f"the AWS settings cannot be used: {error}.") from error
        # What is no URL may hold a password all the same: it is not repeated.
        raise StoreError("the endpoint of S3 is no URL: write AWS_ENDPOINT_URL=http://HOST:PORT.") from None


def _client(answer_s: float | None) -> Any:
    session = boto3.session.Session()
    # boto3 alone among the AWS tools does not read AWS_REGION.
    region = session.region_name or os.environ.get("AWS_REGION")
    endpoint = session.client("s3", region_name=region).meta.endpoint_url
    if "@" in urlparse(endpoint).netloc:
        raise StoreError(
            "the endpoint of S3 holds a user or a password, which S3 does not use and messages would show: "
            "take them out of AWS_ENDPOINT_URL, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    # A service of one's own has no DNS name for each bucket.
    style = {"addressing_style": "auto" if endpoint.endswith(".amazonaws.com") else "path"}
    retries = {"mode": "standard", "max_attempts": 6 if answer_s is None else 2}
    timeouts = {"connect_timeout": answer_s or 10, "read_timeout": answer_s or 60}
    config = Config(s3=style, retries=retries, **timeouts)
    return session.client("s3", region_name=region, config=config)


def lance_options() -> dict[str, str]:
    """Return what LanceDB has to be told, so that it looks where boto3 does.

    Credentials are not among it: Lance asks the standard AWS chain itself, and again before they expire.
    """
    meta = s3_client().meta
    options = {"region": meta.region_name or "us-east-1"}
    if not meta.endpoint_url.endswith(".amazonaws.com"):
        options |= {"endpoint": meta.endpoint_url, "virtual_hosted_style_request": "false"}
        options |= {"allow_http": "true"} if meta.endpoint_url.startswith("http://") else {}
    return options


class S3Objects:
    """Implements :class:`~glmstore.objects.Objects` below a prefix of a bucket.

    Parameters
    ----------
    uri
        ``s3://bucket/prefix``.
    answer_s
        See :func:`~glmstore.objects.open_objects`.

    Raises
    ------
    StoreError
        By every method, if the storage refuses or nothing answers; names the URI and never a credential.
    """

    def __init__(self, uri: str, *, answer_s: float | None = None) -> None:
        self.uri = uri.rstrip("/")
        self.bucket, self.prefix = split_s3(uri)
        self._answer_s = answer_s

    @property
    def _client(self) -> Any:
        return s3_client() if self._answer_s is None else s3_client(self._answer_s)

    def get(self, name: str) -> bytes | None:
        """See :meth:`Objects.get`."""
        with self._named():
            try:
                found = self._client.get_object(**self._at(name))
            except ClientError as error:
                if answered(error)[0] in _ABSENT:
                    return None
                raise
            body: bytes = found["Body"].read()
            return body

    def put(self, name: str, data: bytes) -> None:
        """See :meth:`Objects.put`."""
        with self._named():
            self._client.put_object(**self._at(name), Body=data)

    def put_new(self, name: str, data: bytes) -> bool:
        """See :meth:`Objects.put_new`."""
        with self._named():
            try:
                self._client.put_object(**self._at(name), Body=data, IfNoneMatch="*")
            except ClientError as error:
                code, status = answered(error)
                if code == "NotImplemented" or status == 501:
                    raise UnsafeStorageError(
                        f"{self.uri}: the storage does not know If-None-Match on PUT ({code}), so of two "
                        f"writers of one object both would win. Use a service that does, or a directory."
                    ) from error
                if code not in _TAKEN:
                    raise
                # A request that was sent again after its answer got lost is refused by its own first try.
                return self.get(name) == data
        return True

    def age_s(self, name: str) -> float | None:
        """See :meth:`Objects.age_s`."""
        with self._named():
            try:
                found = self._client.head_object(**self._at(name))
            except ClientError as error:
                if answered(error)[0] in _ABSENT:
                    return None
                raise
        now, then = found["ResponseMetadata"]["HTTPHeaders"].get("date"), found.get("LastModified")
        if not now or not then:
            raise StoreError(
                f"{self.uri}: the storage told no {'Date' if then else 'Last-Modified'} for {name}, so its "
                f"age is not known. A proxy before it may take the header out."
            )
        return max(0.0, float((parsedate_to_datetime(now) - then).total_seconds()))

    def names(self, prefix: str = "") -> list[str]:
        """See :meth:`Objects.names`."""
        root = f"{self.prefix}/" if self.prefix else ""
        with self._named():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=root + prefix, PaginationConfig={"PageSize": _PAGE}
            )
            keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return sorted(key.removeprefix(root) for key in keys)

    def delete(self, name: str) -> None:
        """See :meth:`Objects.delete`."""
        with self._named():
            self._client.delete_object(**self._at(name))

    def delete_together(self, names: Iterable[str]) -> None:
        """Remove up to 1000 objects in one request, as LanceDB does."""
        asked = {"Objects": [{"Key": self._at(name)["Key"]} for name in names], "Quiet": True}
        with self._named():
            for refused in self._client.delete_objects(Bucket=self.bucket, Delete=asked).get("Errors", ()):
                raise ClientError({"Error": refused}, "DeleteObjects")

    def _at(self, name: str) -> dict[str, str]:
        key = check_name(name)
        return {"Bucket": self.bucket, "Key": f"{self.prefix}/{key}" if self.prefix else key}

    def _named(self) -> AbstractContextManager[None]:
        return named(self.uri)
