from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from glmstore.errors import StoreNotWritableError
from glmstore.store import FeatureStore

DRIVER = Path(__file__).with_name("full_disk_driver.py")
LIMIT = 1 << 20


@pytest.fixture(scope="module")
def driver(load_module: Callable[[Path], ModuleType]) -> ModuleType:
    return load_module(DRIVER)


@pytest.fixture
def filled(tmp_path: Path, driver: ModuleType) -> Path:
    """A store with one batch of 4000 sequences, of which 500 have vectors."""
    store = FeatureStore.open(tmp_path / "store")
    keys = store.add_sequences(driver.sequences(0))
    store.declare(driver.VIEW, driver.ORIGIN)
    store.write(driver.VIEW, keys[:500], driver.vectors(0)[:500])
    return tmp_path / "store"


def drive(place: Path, limit: int) -> dict[str, Any]:
    command = [sys.executable, str(DRIVER), str(place), str(limit)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def assert_as_before(place: Path, driver: ModuleType) -> FeatureStore:
    """The first batch, and nothing of any other, is there."""
    store = FeatureStore.open(place, create=False)
    keys = store.add_sequences(driver.sequences(0))
    assert store.missing(driver.VIEW, keys) == keys[500:]
    read = store.read(driver.VIEW, keys[:500]).values
    assert read.tobytes() == driver.vectors(0)[:500].tobytes()
    assert store.check().problems == []
    return store


def test_a_file_size_limit_in_the_middle_of_a_write_leaves_nothing_partial(
    filled: Path, driver: ModuleType
) -> None:
    told = drive(filled, LIMIT)
    assert "the file-size limit is reached (os error 27)" in told["write"]
    assert "can still be read" in told["write"]
    assert (told["rows"], told["scanned"]) == (500, 500)
    store = assert_as_before(filled, driver)
    keys = store.add_sequences(driver.sequences(1))
    assert store.missing(driver.VIEW, keys) == keys
    assert store.write(driver.VIEW, keys, driver.vectors(1)) == driver.ROWS
    np.testing.assert_array_equal(store.read(driver.VIEW, keys).values, driver.vectors(1))


def test_where_no_byte_can_be_written_every_write_says_so_and_the_store_still_reads(
    filled: Path, driver: ModuleType
) -> None:
    told = drive(filled, 0)
    assert (told.pop("rows"), told.pop("scanned")) == (500, 500)
    assert told.pop("optimize") == "written"  # a single file a table: there is nothing to merge
    for name, message in told.items():
        assert "os error 27" in message, name
    assert_as_before(filled, driver)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Make `place` read-only for this user: by its mode, or for root, whom modes do not bind, by a mount."""
    if os.geteuid() != 0:
        folders = [place, *(p for p in place.rglob("*") if p.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        try:
            yield
        finally:
            for folder in folders:
                folder.chmod(0o755)
        return
    subprocess.run(["mount", "--bind", place, place], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def can_mount(tmp_path: Path) -> bool:
    if os.geteuid() != 0:
        return True
    try:
        with read_only(tmp_path):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False


def test_a_read_only_store_reads_and_refuses_to_write_by_name(
    filled: Path, driver: ModuleType, tmp_path: Path
) -> None:
    probe = tmp_path / "probe"
    probe.mkdir()
    if not can_mount(
        probe
    ):  # root in a container without mounts: the limit of 0 bytes stands in for the mount
        assert "cannot be written" in drive(filled, 0)["write"]
        return
    with read_only(filled):
        told = drive_read_only(filled, driver)
        with pytest.raises(StoreNotWritableError, match="no store can be opened or made"):
            FeatureStore.open(filled / "new")
    assert all("cannot be written" in message for message in told.values()), told
    assert_as_before(filled, driver)


def drive_read_only(place: Path, driver: ModuleType) -> dict[str, str]:
    store = FeatureStore.open(place, create=False)
    keys = store.sequences()["seq_key"].to_list()
    assert sum(batch.num_rows for batch in store.scan(driver.VIEW)) == 500
    assert store.read(driver.VIEW, []).values.shape == (0, 256)
    assert store.check().problems == []
    told = {}
    writes = {
        "write": lambda: store.write(driver.VIEW, keys, driver.vectors(1)),
        "add_sequences": lambda: store.add_sequences(["ACGT"]),
        "write_results": lambda: store.write_results([driver.row()]),
        "snapshot": lambda: store.snapshot("s"),
        "drop": lambda: store.drop(driver.VIEW),
    }
    for name, write in writes.items():
        with pytest.raises(StoreNotWritableError) as caught:
            write()
        told[name] = str(caught.value)
    return told
