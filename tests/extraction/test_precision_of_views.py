"""A view holds rows of one compute precision, whoever fills it, on whatever device."""

import itertools
import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glmstore.config import Settings
from glmstore.errors import ViewConflictError
from glmstore.extraction import (
    embed,
    filling,
    forward,
    materialize,
    materialize_many,
    precision,
    workers,
)
from glmstore.models import get_model
from glmstore.models.provenance import provenance_of
from glmstore.models.tf32 import exact_float32
from glmstore.store import FeatureStore
from glmstore.views import FeatureView

MODEL, SPEC = "gpn-mini", get_model("gpn-mini").spec
SEQUENCES = ["ACGTTGCA", "GATTACAGATTACA", "TTTGGC", "ACGNNACGT"]
FAST, EXACT = {"avx512_bf16": True}, {"avx2": True}
BOTH = pytest.mark.parametrize(("first", "then"), [("bfloat16", EXACT), ("float32", FAST)])


@pytest.fixture(params=["memory", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    return FeatureStore.open("memory://" if request.param == "memory" else tmp_path / "store")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes this processor seem to be one with these capabilities."""
    return lambda found: monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)


def vectors(sequences: list[str], computed_in: str, layer: int = 4) -> np.ndarray:
    """Return float32 [n, D], each sequence embedded by itself."""
    model = get_model(MODEL).load("cpu")
    options = {"layer": layer, "pooling": "mean", "dtype": "float32", "precision": computed_in}
    return np.concatenate([chunk.values for s in sequences for chunk in embed(model, [s], **options)])


def view_of(layer: int = 4) -> FeatureView:
    return SPEC.view(layer=layer, pooling="mean", dtype="float32")


def held(store: FeatureStore, view: FeatureView, sequences: list[str] = SEQUENCES) -> np.ndarray:
    return store.read(view, store.add_sequences(sequences)).values


def declare(store: FeatureStore, view: FeatureView, computed_in: str) -> None:
    store.declare(view, provenance_of(SPEC, computed_in, view.pooling))


def other_than(computed_in: str) -> str:
    return "float32" if computed_in == "bfloat16" else "bfloat16"


def test_the_two_precisions_give_other_numbers():
    exact, fast = vectors(SEQUENCES, "float32"), vectors(SEQUENCES, "bfloat16")
    assert np.abs(exact - fast).max(axis=1).min() > 1e-3


@BOTH
def test_auto_goes_on_in_what_a_view_was_begun_in(store: FeatureStore, machine, first: str, then: dict):
    view = view_of()
    materialize(store, MODEL, SEQUENCES[:1], view=view, precision=first)
    machine(then)
    for sequence in SEQUENCES[1:]:
        materialize(store, MODEL, [sequence], view=view)
    assert store.provenance(view).precision == first
    np.testing.assert_allclose(held(store, view), vectors(SEQUENCES, first), atol=1e-6)


@pytest.mark.parametrize(("found", "expected"), [(FAST, "bfloat16"), (EXACT, "float32")])
def test_a_new_view_is_begun_in_what_the_processor_does_natively(
    store: FeatureStore, machine, found: dict, expected: str
):
    machine(found)
    done = materialize(store, MODEL, SEQUENCES[:1], view=view_of())
    assert store.provenance(done.view).precision == expected
    np.testing.assert_allclose(
        held(store, done.view, SEQUENCES[:1]), vectors(SEQUENCES[:1], expected), atol=1e-6
    )


@pytest.mark.parametrize("chosen", ["float32", "bfloat16"])
def test_the_settings_choose_and_the_caller_overrides_them(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, chosen: str
):
    monkeypatch.setenv("GLMSTORE_PRECISION", chosen)
    view, other = view_of(2), view_of(3)
    materialize(store, MODEL, SEQUENCES, view=view)
    materialize(store, MODEL, SEQUENCES, view=other, precision=other_than(chosen))
    assert store.provenance(view).precision == chosen
    assert store.provenance(other).precision == other_than(chosen)
    with pytest.raises(
        ViewConflictError, match=f"stored with precision {other_than(chosen)}, and now {chosen}"
    ):
        materialize(store, MODEL, SEQUENCES, view=other)
    assert materialize(store, MODEL, SEQUENCES, view=other, precision="auto").present == 4


def test_a_precision_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GLMSTORE_PRECISION", "float8")
    with pytest.raises(ValueError, match="'auto', 'float32' or 'bfloat16'"):
        Settings()


@pytest.mark.parametrize("force", [False, True])
@BOTH
def test_another_precision_than_the_stored_one_is_refused_and_nothing_changes(
    store: FeatureStore, first: str, then: dict, force: bool
):
    view = view_of()
    materialize(store, MODEL, SEQUENCES[:2], view=view, precision=first)
    with pytest.raises(ViewConflictError) as refused:
        materialize(store, MODEL, SEQUENCES, view=view, precision=other_than(first), force=force)
    said = str(refused.value)
    assert (
        f"view {view.name} is stored with precision {first}, and now {other_than(first)} is asked for" in said
    )
    assert "--precision auto" in said
    assert "GLMSTORE_PRECISION=auto" in said
    assert "FeatureStore.drop" in said
    assert store.views()["rows"].item() == 2
    assert store.sequences().height == 2
    store.drop(view)
    materialize(store, MODEL, SEQUENCES, view=view, precision=other_than(first))
    assert store.provenance(view).precision == other_than(first)


@pytest.mark.parametrize("again", [1, 4], ids=["part of the view", "all of it"])
@BOTH
def test_force_computes_again_in_the_stored_precision(
    store: FeatureStore, machine, first: str, then: dict, again: int
):
    view, keys = view_of(), store.add_sequences(SEQUENCES)
    declare(store, view, first)
    store.write(view, keys, np.zeros((4, SPEC.dim), np.float32))
    machine(then)
    for sequences in [SEQUENCES] if again == 4 else [SEQUENCES[:1]]:
        materialize(store, MODEL, sequences, view=view, force=True)
    assert store.provenance(view).precision == first
    np.testing.assert_allclose(held(store, view)[:again], vectors(SEQUENCES[:again], first), atol=1e-3)
    assert not held(store, view)[again:].any()


def test_views_of_two_precisions_are_filled_in_one_call_each_in_its_own(store: FeatureStore, machine):
    fast, exact, new = (view_of(layer) for layer in (2, 4, 6))
    declare(store, fast, "bfloat16")
    declare(store, exact, "float32")
    machine(EXACT)
    told: list[tuple[int, int]] = []
    sequence = SEQUENCES[1:2]
    done = materialize_many(store, MODEL, sequence, [fast, exact, new], progress=lambda *at: told.append(at))
    assert [(d.asked, d.present, d.computed) for d in done] == [(1, 0, 1)] * 3
    assert [store.provenance(v).precision for v in (fast, exact, new)] == ["bfloat16", "float32", "float32"]
    for view, computed_in in ((fast, "bfloat16"), (exact, "float32"), (new, "float32")):
        np.testing.assert_allclose(
            held(store, view, sequence), vectors(sequence, computed_in, view.layer), atol=1e-6
        )
    assert told == [(0, 1), (1, 1)]


def test_a_model_without_parameters_stays_with_float32_whatever_is_asked(store: FeatureStore):
    view = materialize(store, "kmer2", SEQUENCES[:2], precision="bfloat16").view
    assert materialize(store, "kmer2", SEQUENCES, precision="auto").present == 2
    assert store.provenance(view).precision == "float32"


def test_float32_on_a_gpu_is_no_tf32_and_what_the_caller_chose_is_put_back(monkeypatch: pytest.MonkeyPatch):
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "benchmark", True)
    before = (cudnn.allow_tf32, cudnn.enabled, cudnn.benchmark)
    assert before == (True, True, True)
    with exact_float32("cuda:1"):
        assert (cudnn.allow_tf32, cudnn.enabled, cudnn.benchmark) == (False, True, True)
    assert (cudnn.allow_tf32, cudnn.enabled, cudnn.benchmark) == before
    with exact_float32("cpu"):
        assert cudnn.allow_tf32


def test_every_layer_is_computed_in_exact_float32(monkeypatch: pytest.MonkeyPatch):
    entered: list[str] = []
    monkeypatch.setattr(forward, "exact_float32", lambda device: entered.append(device) or nullcontext())
    vectors(SEQUENCES[:1], "float32", layer=2)
    assert entered.count("cpu") >= 3


class Elsewhere:
    """Another process that declares views just before the one under test does."""

    def __init__(self, store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.declares: list[tuple[FeatureView, str, dict[str, Any]]] = []
        self.passes: list[str] = []
        add, views = FeatureStore.add_sequences, filling.embed_views

        def overtaken(ours: FeatureStore, sequences: list[str]) -> list[str]:
            for view, computed_in, changes in self.declares:
                store.declare(view, provenance_of(SPEC, computed_in).model_copy(update=changes))
            self.declares = []
            return add(ours, sequences)

        def noted(*given: Any, **options: Any) -> Any:
            self.passes.append(options["precision"])
            return views(*given, **options)

        monkeypatch.setattr(FeatureStore, "add_sequences", overtaken)
        monkeypatch.setattr(filling, "embed_views", noted)


@pytest.fixture
def elsewhere(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    same = store if store.uri.startswith("memory://") else FeatureStore.open(store.uri)
    return Elsewhere(same, monkeypatch)


@pytest.mark.parametrize("force", [False, True])
@BOTH
def test_a_view_begun_elsewhere_meanwhile_is_computed_again_in_its_precision(
    store: FeatureStore, elsewhere: Elsewhere, machine, caplog, first: str, then: dict, force: bool
):
    machine(then)
    view, free = view_of(), view_of(2)
    elsewhere.declares = [(view, first, {})]
    with caplog.at_level(logging.WARNING, "glmstore"):
        done = materialize_many(store, MODEL, SEQUENCES[:1], [free, view], force=force)
    assert [(d.asked, d.present, d.computed) for d in done] == [(1, 0, 1)] * 2
    ours = other_than(first)
    assert [(v.layer, store.provenance(v).precision) for v in (free, view)] == [(2, ours), (4, first)]
    np.testing.assert_allclose(held(store, view, SEQUENCES[:1]), vectors(SEQUENCES[:1], first), atol=1e-6)
    np.testing.assert_allclose(held(store, free, SEQUENCES[:1]), vectors(SEQUENCES[:1], ours, 2), atol=1e-6)
    assert elsewhere.passes == [ours, ours, first]
    assert "begun elsewhere in another precision: computing again" in caplog.text


def test_an_explicit_precision_is_not_given_up_for_what_was_declared_elsewhere(
    store: FeatureStore, elsewhere: Elsewhere
):
    elsewhere.declares = [(view_of(), "float32", {})]
    with pytest.raises(
        ViewConflictError, match="stored with precision float32, and now bfloat16 is asked for"
    ):
        materialize(store, MODEL, SEQUENCES[:1], view=view_of(), precision="bfloat16")
    assert store.views()["rows"].item() == 0
    assert elsewhere.passes == ["bfloat16"]


def test_other_weights_declared_elsewhere_are_no_reason_to_compute_again(
    store: FeatureStore, elsewhere: Elsewhere, machine
):
    machine(EXACT)
    elsewhere.declares = [(view_of(), "float32", {"weights_sha256": "0" * 64})]
    with pytest.raises(ViewConflictError, match="weights_sha256"):
        materialize(store, MODEL, SEQUENCES[:1], view=view_of())
    assert elsewhere.passes == ["float32"]


def test_two_that_begin_a_view_at_one_moment_fill_it_in_one_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Machines of two kinds, as threads: each has computed before either has declared the view."""
    FeatureStore.open(tmp_path / "store")
    add, resolve = FeatureStore.add_sequences, precision.resolve_precision
    computed, calls, failed = threading.Barrier(2, timeout=60), itertools.count(), list[Exception]()

    def meeting(ours: FeatureStore, sequences: list[str]) -> list[str]:
        if next(calls) < 2:  # the one that comes second computes again, and meets nobody then
            computed.wait()
        return add(ours, sequences)

    def of_the_kind(wanted: str, spec: Any, device: str) -> str:
        return threading.current_thread().name if wanted == "auto" else resolve(wanted, spec, device)

    def run(sequence: str) -> None:
        try:
            materialize(FeatureStore.open(tmp_path / "store"), MODEL, [sequence], view=view_of())
        except Exception as error:  # noqa: BLE001  (a thread's error would else be lost)
            failed.append(error)

    monkeypatch.setattr(FeatureStore, "add_sequences", meeting)
    monkeypatch.setattr(precision, "resolve_precision", of_the_kind)
    threads = [
        threading.Thread(target=run, args=(sequence,), name=name)
        for sequence, name in zip(SEQUENCES, ("float32", "bfloat16"), strict=False)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    store = FeatureStore.open(tmp_path / "store")
    recorded = store.provenance(view_of()).precision
    monkeypatch.setattr(FeatureStore, "add_sequences", add)
    found, expected = held(store, view_of(), SEQUENCES[:2]), vectors(SEQUENCES[:2], recorded)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [(["cuda", "cpu"], "float32"), (["cpu", "cuda"], "float32"), (["cuda", "cuda:1"], "bfloat16")],
)
def test_several_devices_agree_on_what_all_of_them_do_natively(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, devices: list[str], expected: str
):
    monkeypatch.setattr(
        precision,
        "resolve_precision",
        lambda _, __, name: "bfloat16" if name.startswith("cuda") else "float32",
    )
    assert precision.precisions_for(store, [view_of()], "auto", SPEC, devices) == [expected]
    for stored in ("float32", "bfloat16"):
        view = view_of(2 if stored == "float32" else 3)
        declare(store, view, stored)
        assert precision.precisions_for(store, [view], "auto", SPEC, devices) == [stored]


def test_the_processes_of_several_devices_compute_again_in_what_was_declared_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine
):
    store, rounds = FeatureStore.open(tmp_path / "store"), list[list[str]]()
    fill = workers.fill_on_devices

    def noted(devices: list[str], work: Any, todo: list[str], open_store: Callable[[], None], *rest: Any):
        rounds.append(work.precisions)
        if len(rounds) == 1:
            open_store()  # as when the processes of the first round have computed
        fill(devices, work, todo, open_store, *rest)

    monkeypatch.setattr("glmstore.extraction.materializing.fill_on_devices", noted)
    elsewhere = Elsewhere(FeatureStore.open(store.uri), monkeypatch)
    elsewhere.declares = [(view_of(), "bfloat16", {})]
    machine(EXACT)
    done = materialize(store, MODEL, SEQUENCES[:1], view=view_of(), devices=["cpu", "cpu"])
    assert rounds == [["float32"], ["bfloat16"]]
    assert (done.present, done.computed) == (0, 1)
    np.testing.assert_allclose(
        held(store, view_of(), SEQUENCES[:1]), vectors(SEQUENCES[:1], "bfloat16"), atol=1e-6
    )
