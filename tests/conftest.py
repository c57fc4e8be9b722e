"""What every test shares: an isolated store, the data mirror where there is one, and no network.

`GLMSTORE_MIRROR` names the mirror; tests that need it skip, by name, where it is unset. Where
`GLMSTORE_NO_SKIP=1` or `CI` is set, a run in which anything skipped fails.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from glmstore.data.fetch import Fetcher
    from infra.s3.server import ObjectStorage

hypothesis.settings.register_profile("glmstore", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("glmstore")

NOTHING_MAY_SKIP = bool(os.environ.get("CI")) or os.environ.get("GLMSTORE_NO_SKIP") == "1"


class NetworkTouchedError(RuntimeError):
    """A test reached for a host other than this one. Not an OSError, so no code under test can swallow it."""


def _is_loopback(host: str) -> bool:
    if host in {"localhost", ""}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Refuse every connection of this process that leaves the machine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(sock: socket.socket, address: Any) -> None:
        if sock.family in {socket.AF_INET, socket.AF_INET6} and not _is_loopback(str(address[0])):
            raise NetworkTouchedError(f"a test tried to reach {address[0]}:{address[1]}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(self, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(self, address)
        return connect_ex(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        yield


@pytest.fixture(scope="session")
def fetch_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the cache of fetched files that all tests of this run share: a wheel is downloaded once."""
    return tmp_path_factory.mktemp("fetch-cache")


@pytest.fixture(autouse=True)
def isolated_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fetch_cache: Path) -> None:
    """Point the default store at this test's own folder and the cache at this run's."""
    monkeypatch.setenv("GLMSTORE_STORE", str(tmp_path / "default-store"))
    monkeypatch.setenv("GLMSTORE_CACHE", str(fetch_cache))
    monkeypatch.delenv("GLMSTORE_OFFLINE", raising=False)
    monkeypatch.setenv("GLMSTORE_DEVICE", "cpu")


@pytest.fixture(autouse=True)
def nothing_loaded() -> None:
    """Drop the models that earlier tests left loaded: another test may mean another model by a name."""
    from glmstore.models.kept import KEPT_MODELS

    KEPT_MODELS.forget()


@pytest.fixture(scope="session")
def object_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    """Start an S3-compatible server on loopback for all tests of this run."""
    from infra.s3.server import ObjectStorage

    with ObjectStorage(tmp_path_factory.mktemp("object-storage")) as server:
        yield server


@pytest.fixture
def s3(object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStorage]:
    """Point the AWS chain of this test, and of the processes it starts, at the server on loopback."""
    from glmstore.objects.s3 import s3_client
    from infra.s3.server import aws

    for name, value in aws(object_storage.endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-tests")
    s3_client.cache_clear()
    yield object_storage
    s3_client.cache_clear()


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Return the folder of the data mirror, or skip where there is none."""
    folder = os.environ.get("GLMSTORE_MIRROR")
    if not folder:
        pytest.skip("needs the data mirror: GLMSTORE_MIRROR is unset")
    return Path(folder)


@pytest.fixture(scope="session")
def mirror_fetcher(mirror: Path, fetch_cache: Path) -> Fetcher:
    """Return a fetcher that reads the mirror; wheels still come through pip, into the shared cache."""
    from glmstore.config import Settings
    from glmstore.data.fetch import Fetcher

    return Fetcher(Settings(mirror=mirror, cache=fetch_cache))


@pytest.fixture(scope="session")
def wheel_fetcher(fetch_cache: Path) -> Fetcher:
    """Return a fetcher whose cache holds the sortseq wheel's file, or skip where pip cannot get the wheel."""
    from glmstore.benchmarks import BENCHMARKS
    from glmstore.config import Settings
    from glmstore.data.fetch import Fetcher
    from glmstore.errors import ChecksumError, FetchError

    fetcher = Fetcher(Settings(mirror=None, cache=fetch_cache))
    (source,) = BENCHMARKS["sortseq_lac"].spec.sources
    try:
        fetcher.fetch(source.url, source.sha256)
    except ChecksumError:
        raise
    except FetchError as error:
        pytest.skip(f"needs {source.url} through pip: {error}")
    return fetcher


def _skipped(reporter: Any) -> int:
    return len(reporter.stats.get("skipped", []))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run in which something skipped, where nothing may."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if NOTHING_MAY_SKIP and reporter is not None and _skipped(reporter) and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say why a run without failures failed."""
    if NOTHING_MAY_SKIP and (count := _skipped(terminalreporter)):
        terminalreporter.write_line(f"ERROR: {count} skipped, and nothing may skip here", red=True)
