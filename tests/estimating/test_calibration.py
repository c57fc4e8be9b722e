"""What is timed when a model is too large, or not here; seconds themselves are left to the machine."""

from pathlib import Path

import pytest

from glmstore.errors import DeviceError, PlanError
from glmstore.estimating import calibration
from glmstore.estimating.architecture import architecture_of
from glmstore.estimating.calibration import Pass, calibrate
from glmstore.estimating.clock import Clock
from glmstore.estimating.embedding import plan_embedding
from glmstore.estimating.features import MILLION, FeatureRequest, estimate_features
from glmstore.estimating.rehearsal import RehearsedModel
from glmstore.estimating.workload import Workload, parse_shape
from glmstore.models import get_model
from glmstore.models.base import ModelEntry


def passing(name: str, *layers: int) -> Pass:
    return Pass(get_model(name), layers, "mean", "forward", "cpu")


def shaped(text: str) -> Workload:
    workload = parse_shape(text)
    assert workload is not None
    return workload


def filled(model: RehearsedModel) -> int:
    return sum(real.numel() for _, real in model._weights._filled.values())


def test_only_the_blocks_that_are_read_take_memory() -> None:
    entry = get_model("nt-2.5b-multi-species")
    architecture = architecture_of(entry)
    assert architecture is not None
    model = RehearsedModel(entry.spec, architecture, "cpu")
    assert filled(model) == 0
    states = model.layers(model.encode(["ACGTAC"]))
    assert next(states).shape[-1] == 2560
    next(states)
    block = 12 * 2560 * 2560
    assert block < filled(model) < block + 20_000_000, "one block, and the embeddings before it"


@pytest.mark.parametrize("name", ["gpn-mini", "nt-v2-50m", "hyenadna-tiny-1k", "caduceus-ps-1k-d118"])
def test_a_rehearsed_model_has_every_weight_of_the_true_one(name: str) -> None:
    entry = get_model(name)
    architecture = architecture_of(entry)
    assert architecture is not None
    model = RehearsedModel(entry.spec, architecture, "cpu")
    published = {n: p.shape for n, p in model.network.named_parameters()}
    true = {
        n: p.shape
        for n, p in architecture.family.untrained_network(architecture.config, 0).named_parameters()
    }
    assert published == true
    assert all(state.isfinite().all() for state in model.layers(model.encode(["ACGTACGTTAGC"])))


def test_what_is_timed_in_part_is_scaled_to_the_floating_point_operations_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workload = shaped("8x60")
    whole = calibrate(passing("gpn-mini", 8), workload, 5.0)
    assert not whole.extrapolated
    part = calibrate(passing("gpn-mini", 8), workload, 0.0)
    assert part.factor == pytest.approx(8)
    assert any("1 of 8 blocks timed, the rest scaled up by FLOPs" in note for note in part.notes)
    assert part.flops_per_nt == pytest.approx(whole.flops_per_nt)


def test_the_operations_counted_are_two_for_each_weight_and_token() -> None:
    found = calibrate(passing("gpn-mini", 8), shaped("4x60"), 0.0)
    spec = get_model("gpn-mini").spec
    head = spec.dim * (spec.dim + 1) + 2 * spec.dim + (spec.dim + 1) * 7
    assert found.flops_per_nt == pytest.approx(2 * (spec.n_parameters - head), rel=0.03)


def test_memory_limits_how_deep_a_network_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "available_memory", lambda _: 0)
    found = calibrate(passing("gpn-mini", 8), shaped("4x60"), 5.0)
    assert found.factor == pytest.approx(8)


def test_a_missing_vocabulary_is_said_and_letters_stand_in() -> None:
    found = calibrate(passing("dnabert2-117m", 1), shaped("2x600"), 0.0)
    assert any("vocabulary is not here" in note for note in found.notes)
    assert any("first 400 nt" in note for note in found.notes)


def test_a_model_and_its_twins_are_timed_once() -> None:
    timed: list[str] = []
    clock = Clock("cpu", seconds=0.0, announce=timed.append)
    for name in ("gpn-mini", "rand_init:gpn-mini:0", "rand_init:gpn-mini:1"):
        clock.time(get_model(name), (1,), "mean", "forward", shaped("4x50"))
    assert timed == ["gpn-mini"]


def test_what_cannot_be_built_is_unknown_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(job: Pass, *_: object) -> object:
        raise PlanError("not timed: it needs another machine")

    monkeypatch.setattr("glmstore.estimating.clock.calibrate", refuse)
    workload = shaped("10x50")
    planned = estimate_features(
        FeatureRequest(model="gpn-mini"), workload, None, Clock("cpu"), price_per_hour=1.0
    )
    assert (planned.time.value, planned.time.basis) == (None, "unknown")
    assert planned.time.how == "not timed: it needs another machine"
    assert planned.cost.value is None
    assert planned.size.basis == "exact"


def test_a_model_that_needs_a_gpu_is_planned_but_for_its_time() -> None:
    planned = estimate_features(
        FeatureRequest(model="evo2-7b", layer=1), shaped("10x50"), None, Clock("cpu", seconds=0.0)
    )
    assert planned.time.basis == "unknown"
    assert planned.vectors == 10


def test_cost_is_time_at_the_price_given_and_unknown_without_one(clock: Clock) -> None:
    workload, request = shaped("1000x50"), FeatureRequest(model="kmer2")
    free = estimate_features(request, workload, None, clock)
    assert (free.cost.value, free.cost.how) == (None, "give --price-per-hour")
    paid = estimate_features(request, workload, None, clock, price_per_hour=7.2)
    assert paid.time.value is not None
    assert paid.cost.value == pytest.approx(paid.time.value * 7.2 / 3600)
    assert paid.time_per_million.value == pytest.approx(paid.time.value / 1000 * MILLION)


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for device, says in (("gpuu", "no torch device"), ("cuda:77", "has no device 'cuda:77'")):
        with pytest.raises(DeviceError, match=says):
            plan_embedding("10x50", [FeatureRequest(model="kmer2")], str(tmp_path / "store"), device=device)


def test_models_without_a_network_are_timed_as_they_are() -> None:
    entry: ModelEntry = get_model("onehot")
    found = calibrate(Pass(entry, (0,), "tokens", "forward", "cpu"), shaped("20x50"), 0.1)
    assert found.notes == ()
    assert found.flops_per_nt is None
    assert found.seconds_per_nt > 0
