"""Small objects behave alike in a directory and in object storage; each spelling of a URI is one place."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from glmstore.errors import S3UnavailableError, StoreError
from glmstore.objects import Objects, open_objects
from glmstore.objects.places import as_place
from glmstore.objects.s3 import s3_client
from glmstore.store import FeatureStore
from glmstore.store.connection import normalise_uri
from glmstore.workspace import Workspace


@pytest.fixture(params=["directory", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "directory":
        return open_objects(tmp_path / "objects")
    s3 = request.getfixturevalue("s3")
    return open_objects(f"{s3.bucket('objects')}/{tmp_path.name}")


def test_what_is_put_is_got(objects: Objects):
    assert objects.get("a/b") is None
    objects.put("a/b", b"one")
    objects.put("a/b", b"two")
    assert objects.get("a/b") == b"two"
    assert objects.get("a") is None
    assert 0 <= (objects.age_s("a/b") or 0) < 60
    assert objects.age_s("a/c") is None


def test_names_are_those_of_a_prefix_in_order(objects: Objects):
    for name in ("b/2", "b/10", "a"):
        objects.put(name, b"")
    assert objects.names() == ["a", "b/10", "b/2"]
    assert objects.names("b/") == ["b/10", "b/2"]
    objects.delete("b/2")
    objects.delete("b/2")
    assert objects.names("b/") == ["b/10"]


def test_of_many_writers_of_a_new_object_one_wins(objects: Objects):
    for trial in range(10):
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda i: objects.put_new(f"o{trial}", b"%d" % i), range(8)))  # noqa: B023
        assert sum(won) == 1
        assert objects.get(f"o{trial}") == b"%d" % won.index(True)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a//b", "", ".", "a\\b", "a\n"])
def test_no_name_leads_out_of_its_folder(objects: Objects, name: str):
    with pytest.raises(ValueError, match="must stay below"):
        objects.put(name, b"")
    with pytest.raises(ValueError, match="must stay below"):
        objects.get(name)


def test_other_schemes_are_refused_by_name():
    with pytest.raises(StoreError, match="not in gs://"):
        open_objects("gs://bucket/x")


def test_a_bucket_that_is_not_there_is_named(s3):
    with pytest.raises(StoreError, match="there is no bucket 'absent'"):
        FeatureStore.open("s3://absent/store")


def test_storage_that_is_not_there_is_named_and_no_secret_told(s3, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3_client.cache_clear()
    with pytest.raises(S3UnavailableError, match=r"127\.0\.0\.1:9") as refused:
        open_objects("s3://bucket/x").put("a", b"")
    assert "a-secret-of-tests" not in str(refused.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("s3://bucket/lab/store/", "s3://bucket/lab/store"),
        ("S3://bucket/lab/store", "s3://bucket/lab/store"),
        ("file:///data/a%20b", "/data/a b"),
        ("FILE://localhost/data/a", "/data/a"),
        ("/data/a%20b", "/data/a%20b"),
        ("~/store", "{home}/store"),
        ("store", "{here}/store"),
    ],
)
def test_tables_companions_and_objects_agree_on_where_a_store_lies(
    written: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    place = meant.format(home=tmp_path / "home", here=tmp_path)
    assert normalise_uri(written) == normalise_uri(place) == str(as_place(written)) == place
    assert str(open_objects(written).uri) == place
    assert str(Workspace.of(written).root) == str(Workspace.of(place).root) == f"{place}-artifacts"


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "S3://bucket//", "/", "file:///"])
def test_a_whole_bucket_or_disk_is_no_store(uri: str):
    with pytest.raises(StoreError, match="is a whole"):
        Workspace.of(uri)
    with pytest.raises(StoreError, match="is a whole"):
        FeatureStore.open(uri)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("s3://bucket/a%20b", "no %"),
        ("s3://bucket/a?b", "no %"),
        ("s3://bucket/a//b", "must stay below"),
        ("s3://bucket/../b", "must stay below"),
        ("s3:///store", "write s3://BUCKET/PREFIX"),
        (Path("s3://bucket/store"), "write s3://"),
        ("file://elsewhere/store", "another machine"),
        ("s3a://bucket/store", "not in s3a://"),
    ],
)
def test_what_two_libraries_would_read_in_two_ways_is_refused(uri: str | Path, why: str):
    for reader in (open_objects, FeatureStore.open):
        with pytest.raises(StoreError, match=why):
            reader(uri)


def test_a_password_in_a_uri_is_refused_and_not_repeated():
    for uri in ("s3://AKIA:hunter2@bucket/store", "gs://AKIA:hunter2@bucket/store"):
        with pytest.raises(StoreError) as refused:
            FeatureStore.open(uri)
        assert "hunter2" not in str(refused.value)
