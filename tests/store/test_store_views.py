from __future__ import annotations

import numpy as np
import pytest

from glmstore.errors import MissingFeaturesError, UnknownNameError, ViewConflictError
from glmstore.store import FeatureStore


def test_the_origin_of_a_view_is_stored_and_returned(any_store: FeatureStore, make_view, origin) -> None:
    view = make_view()
    any_store.declare(view, origin(8, torch_version="2.11", precision="bfloat16"))
    assert any_store.provenance(view) == origin(8, torch_version="2.11", precision="bfloat16")
    assert any_store.provenance(view.name).weights_sha256 == "a" * 64


def test_declaring_again_changes_nothing(store: FeatureStore, make_view, origin) -> None:
    store.declare(make_view(), origin(8))
    store.declare(make_view(), origin(8, code_version="9.9"))
    assert store.provenance(make_view()).code_version == "0.1.0"
    assert store.views().height == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("dim", 9), ("weights_sha256", "c" * 64), ("weights_sha256", None), ("precision", "bfloat16")],
)
def test_another_width_other_weights_or_another_precision_under_one_view_are_a_conflict(
    store: FeatureStore, make_view, origin, field: str, value: object
) -> None:
    store.declare(make_view(), origin())
    with pytest.raises(ViewConflictError, match=field):
        store.declare(make_view(), origin(**{field: value}))


def test_views_lists_identity_rows_and_origin(any_store: FeatureStore, fill, make_view, origin) -> None:
    view, _, _ = fill(any_store, n=7)
    tokens = make_view(pooling="tokens")
    any_store.declare(tokens, origin(3))
    keys = any_store.add_sequences(["AAAA", "CC"])
    any_store.write(tokens, keys, np.ones((2, 4, 3)), np.array([4, 2]))
    frame = any_store.views()
    assert frame["name"].to_list() == sorted([view.name, tokens.name])
    row = frame.filter(frame["view_id"] == view.view_id).row(0, named=True)
    assert (row["rows"], row["dim"], row["model"], row["pooling"], row["dtype"]) == (
        7,
        8,
        "toy",
        "mean",
        "float16",
    )
    assert row["weights_sha256"] == "a" * 64
    assert frame.filter(frame["view_id"] == tokens.view_id)["rows"].item() == 2


def test_a_view_is_found_by_name_unique_beginning_or_id(store: FeatureStore, make_view, origin) -> None:
    one, two = make_view(), make_view(layer=12)
    store.declare(one, origin())
    store.declare(two, origin())
    assert store.view(one.name) == one
    assert store.view("toy/12") == two
    assert store.view(two.view_id) == two
    with pytest.raises(UnknownNameError, match="2 views begin with"):
        store.view("toy/1")
    with pytest.raises(UnknownNameError, match="no feature view is called 'tay/12/mean'"):
        store.view("tay/12/mean")
    with pytest.raises(UnknownNameError):
        store.view("")
    with pytest.raises(UnknownNameError):
        store.read("toy/3", [])


def test_two_views_of_one_readable_name_are_told_apart_by_id(store: FeatureStore, make_view, origin) -> None:
    one, two = make_view(revision="12345678aaaa"), make_view(revision="12345678bbbb")
    assert one.name == two.name
    for view, value in ((one, 1.0), (two, 2.0)):
        store.declare(view, origin(2))
        store.write(view, store.add_sequences(["AAAA"]), np.full((1, 2), value))
    with pytest.raises(UnknownNameError, match=one.view_id):
        store.view(one.name)
    assert store.read(two, store.add_sequences(["AAAA"])).values.tolist() == [[2.0, 2.0]]


def test_a_dropped_view_is_gone_and_its_tables_too(tmp_path, fill) -> None:
    store = FeatureStore.open(tmp_path)
    view, keys, _ = fill(store)
    assert list(tmp_path.glob("view_*"))
    store.drop(view)
    assert not list(tmp_path.glob("view_*"))
    assert store.views().height == 0
    assert store.missing(view, keys) == keys
    with pytest.raises(MissingFeaturesError):
        store.read(view, keys)
    with pytest.raises(UnknownNameError):
        store.drop(view)


def test_a_view_declared_anew_after_a_drop_holds_none_of_the_old_rows(tmp_path, fill, origin) -> None:
    store, other = FeatureStore.open(tmp_path), FeatureStore.open(tmp_path)
    view, keys, vectors = fill(store)
    assert other.missing(view, keys) == []
    store.drop(view)
    store.declare(view, origin(8, weights_sha256="c" * 64))
    assert other.missing(view, keys) == keys
    store.write(view, keys[:1], vectors[1:2])
    np.testing.assert_array_equal(other.read(view, keys[:1]).values, vectors[1:2])


def test_dropping_a_token_view_removes_every_token_count(tmp_path, make_view, origin) -> None:
    store = FeatureStore.open(tmp_path)
    view = make_view(pooling="tokens")
    store.declare(view, origin(3))
    keys = store.add_sequences(["AAAA", "CC"])
    store.write(view, keys, np.ones((2, 4, 3)), np.array([4, 2]))
    assert len(list(tmp_path.glob("view_*"))) == 2
    store.drop(view)
    assert not list(tmp_path.glob("view_*"))


def test_a_model_name_cannot_reach_outside_the_store(tmp_path, make_view, origin) -> None:
    store = FeatureStore.open(tmp_path / "store")
    view = make_view(model="../../etc/x'; drop table", revision="..")
    store.declare(view, origin(2))
    store.write(view, store.add_sequences(["AAAA"]), np.ones((1, 2)))
    assert [p.name for p in tmp_path.iterdir()] == ["store"]
    assert store.view("../../etc") == view
    store.drop(view)
    assert store.views().height == 0
