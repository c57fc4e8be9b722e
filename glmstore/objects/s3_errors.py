"""What went wrong in object storage, by name: what may pass, what is refused, what has to be set right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    NoCredentialsError,
    SSLError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from glmstore.errors import S3RefusedError, S3UnavailableError, StoreError
from glmstore.objects.places import split_s3

BUSY = frozenset(
    {
        "BandwidthLimitExceeded",
        "InternalError",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
    }
)
"""What S3 and services like it answer where the same request may be taken later."""

_LANCE = r'generic (?:s3 error|\{ store: "s3").*'
LANCE_AWAY = _LANCE + r"(http error: |httperror \{ kind: (connect|request|timeout|interrupted|decode)\b)"
"""How Lance says, in either of two forms, that no whole answer came; case does not matter."""
LANCE_BUSY = _LANCE + r"(status(?: code)?: (?:5(?!01)\d\d|408|429)\b|slow ?down|internalerror)"
"""How Lance says that S3 could not serve a request for now."""

_NO_ANSWER = (
    BotoConnectionError,
    HTTPClientError,
    IncompleteReadError,
    FlexibleChecksumError,
    MetadataRetrievalError,
    ResponseParserError,
)
_DENIED = {"403", "AccessDenied", "Forbidden"}
_CREDENTIALS = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}


def is_busy(code: str, status: int) -> bool:
    """Tell whether an answer of S3 may be another one later."""
    return code in BUSY or status in {408, 429} or (status >= 500 and status != 501)


def lance_cannot_reach(error: Exception) -> bool:
    """Tell whether Lance failed because object storage was away or had too much to do."""
    return re.search(f"{LANCE_AWAY}|{LANCE_BUSY}", str(error), re.IGNORECASE | re.DOTALL) is not None


def answered(error: ClientError) -> tuple[str, int]:
    """Return what S3 answered: its code, and the HTTP status or 0."""
    code = error.response.get("Error", {}).get("Code", "")
    return str(code), int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def named(uri: str) -> Iterator[None]:
    """Turn what boto3 raises in a block into errors that name the URI, and never a credential.

    Raises
    ------
    S3UnavailableError
        If nothing answered, or an answer that may be another one later.
    S3RefusedError
        If the credentials may not do this.
    StoreError
        If anything else is wrong: the bucket, the credentials, the settings, the request.
    """
    try:
        yield
    except ClientError as error:
        raise _meaning(uri, error) from error
    except NoCredentialsError as error:
        raise StoreError(
            f"no AWS credentials for {uri}: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY, or run where a role gives them."
        ) from error
    except (BotoCoreError, ResponseParserError) as error:
        untrusted = isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)
        if isinstance(error, _NO_ANSWER) and not untrusted:
            raise S3UnavailableError(f"{uri}: {error}") from error
        raise StoreError(f"{uri}: {' '.join(str(error).split())}") from error


def _meaning(uri: str, error: ClientError) -> StoreError:
    code, status = answered(error)
    if is_busy(code, status):
        return S3UnavailableError(f"{uri}: {error}")
    if code in _DENIED:
        return S3RefusedError(f"{uri}: access refused ({code}). Check the policy.")
    if code in _CREDENTIALS:
        return StoreError(
            f"{uri}: the storage does not take these credentials ({code}). Check AWS_PROFILE, or "
            f"AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN."
        )
    if code == "NoSuchBucket":
        return StoreError(f"{uri}: there is no bucket {split_s3(uri)[0]!r}. Create it first.")
    if code == "RequestTimeTooSkewed":
        return StoreError(f"{uri}: this machine's clock is wrong, says the storage ({code}). Set it right.")
    return StoreError(f"{uri}: {error} (HTTP {status}).")
