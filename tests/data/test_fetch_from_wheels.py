from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from glmstore.config import Settings
from glmstore.data.fetch import Fetcher
from glmstore.data.wheels import parse_wheel_url
from glmstore.errors import ChecksumError, FetchError

CONTENT = b"sequence,label\nACGT,1\n"
SHA = hashlib.sha256(CONTENT).hexdigest()
URL = "wheel://glmstore-test-data==1.0/pkg/data/table.csv"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give pip a folder with one wheel as its only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "glmstore_test_data-1.0.dist-info"
    with zipfile.ZipFile(folder / "glmstore_test_data-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pkg/__init__.py", "raise RuntimeError('a data wheel was imported')")
        wheel.writestr("pkg/data/table.csv", CONTENT)
        wheel.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: glmstore-test-data\nVersion: 1.0\n"
            "Requires-Python: >=4\nRequires-Dist: absent\n",
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def fetcher(tmp_path: Path, index: Path) -> Fetcher:
    return Fetcher(Settings(mirror=None, cache=tmp_path / "cache"))


def test_one_file_is_taken_out_of_a_wheel_and_nothing_else_is_kept(fetcher, tmp_path, index) -> None:
    path = fetcher.fetch(URL, SHA)
    assert path.read_bytes() == CONTENT
    kept = [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.name != ".lock"]
    assert kept == ["table.csv"]
    for wheel in index.iterdir():
        wheel.unlink()
    assert fetcher.fetch(URL, SHA) == path


def test_a_file_the_wheel_lacks_is_named_with_the_nearest(fetcher) -> None:
    with pytest.raises(FetchError, match=r"has no pkg/data/tables\.csv; near: pkg/data/table\.csv"):
        fetcher.fetch("wheel://glmstore-test-data==1.0/pkg/data/tables.csv", SHA)


def test_a_version_the_index_lacks_is_a_fetch_error_with_what_pip_said(fetcher) -> None:
    with pytest.raises(
        FetchError, match=r"pip cannot get glmstore-test-data==2\.0 .*No matching distribution"
    ):
        fetcher.fetch("wheel://glmstore-test-data==2.0/pkg/data/table.csv", SHA)


def test_a_changed_file_in_the_wheel_is_a_checksum_error(fetcher, tmp_path) -> None:
    with pytest.raises(ChecksumError, match=f"got {SHA}"):
        fetcher.fetch(URL, "f" * 64)
    assert not list((tmp_path / "cache").rglob("*.csv*"))


def test_offline_does_not_ask_pip(tmp_path, index) -> None:
    offline = Fetcher(Settings(mirror=None, cache=tmp_path / "cache", offline=True))
    assert "GLMSTORE_OFFLINE" in str(offline.reachable(URL, SHA))
    with pytest.raises(FetchError, match="GLMSTORE_OFFLINE"):
        offline.fetch(URL, SHA)


def test_an_interpreter_without_pip_is_told_how_to_get_it(fetcher, monkeypatch) -> None:
    monkeypatch.setattr("glmstore.data.wheels.find_spec", lambda name: None)
    with pytest.raises(FetchError, match="ensurepip"):
        fetcher.fetch(URL, SHA)


def test_a_mirror_may_hold_a_wheels_file(tmp_path) -> None:
    mirrored = tmp_path / "mirror" / "glmstore-test-data==1.0" / "pkg" / "data" / "table.csv"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(CONTENT)
    assert Fetcher(Settings(mirror=tmp_path / "mirror", cache=tmp_path)).fetch(URL, SHA) == mirrored


def test_wheel_urls_name_a_requirement_and_a_path() -> None:
    assert parse_wheel_url("wheel://mavenn==1.1.4/a/b.csv") == ("mavenn==1.1.4", "a/b.csv")
    with pytest.raises(FetchError, match="wheel://PROJECT==VERSION/PATH"):
        parse_wheel_url("wheel://mavenn/a/b.csv")
