"""Small objects in S3 or in a service that speaks its protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any
from urllib.parse import urlparse

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from glmstore.errors import StoreError
from glmstore.objects.base import check_name

_ABSENT = {"404", "NoSuchKey", "NotFound"}
_TAKEN = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_REFUSED = {"403", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_PAGE = 1000


@cache
def s3_client(answer_s: float | None = None) -> Any:
    """Return this process's boto3 client: endpoint, region and credentials from the standard AWS chain.

    Parameters
    ----------
    answer_s
        See :func:`~glmstore.objects.open_objects`; a client for each.
    """
    own = boto3.session.Session().client("s3").meta.endpoint_url.endswith(".amazonaws.com")
    # A service of one's own has no DNS name for each bucket.
    style = {"addressing_style": "auto" if own else "path"}
    retries = {"mode": "standard", "max_attempts": 6 if answer_s is None else 2}
    timeouts = {"connect_timeout": answer_s or 10, "read_timeout": answer_s or 60}
    return boto3.client("s3", config=Config(s3=style, retries=retries, **timeouts))


def split_s3(uri: str) -> tuple[str, str]:
    """Return bucket and prefix, without slashes at its ends, of ``s3://bucket/prefix``.

    Raises
    ------
    StoreError
        If there is no bucket in it.
    """
    parsed = urlparse(uri)
    if not parsed.netloc or parsed.query or parsed.fragment:
        raise StoreError(f"{uri} is no place in object storage: write s3://BUCKET/PREFIX.")
    return parsed.netloc, parsed.path.strip("/")


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
        return s3_client(self._answer_s)

    def get(self, name: str) -> bytes | None:
        """See :meth:`Objects.get`."""
        with self._named():
            try:
                found = self._client.get_object(**self._at(name))
            except ClientError as error:
                if _code(error) in _ABSENT:
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
                if _code(error) not in _TAKEN:
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
                if _code(error) in _ABSENT:
                    return None
                raise
        now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
        return max(0.0, float((now - found["LastModified"]).total_seconds()))

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

    def _at(self, name: str) -> dict[str, str]:
        key = check_name(name)
        return {"Bucket": self.bucket, "Key": f"{self.prefix}/{key}" if self.prefix else key}

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except NoCredentialsError as error:
            raise StoreError(
                f"no AWS credentials for {self.uri}: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY, or run where a role gives them."
            ) from error
        except ClientError as error:
            if _code(error) in _REFUSED:
                raise S3RefusedError(
                    f"{self.uri}: access refused ({_code(error)}). Check the policy."
                ) from error
            if _code(error) == "NoSuchBucket":
                raise StoreError(
                    f"{self.uri}: there is no bucket {self.bucket!r}. Create it first."
                ) from error
            raise S3UnavailableError(f"{self.uri}: {error}") from error
        except BotoCoreError as error:
            raise S3UnavailableError(f"{self.uri}: {error}") from error


class S3RefusedError(StoreError):
    """Object storage that says no: the credentials may not do this."""


class S3UnavailableError(StoreError, ConnectionError):
    """Object storage that gave no proper answer, after several tries; it may pass."""

    exit_code = 1


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
