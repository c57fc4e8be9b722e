"""What a plan says of memory, against processes that were measured and against passes that were made."""

import sys

import pytest
import torch

from glmstore.estimating import activations
from glmstore.estimating.activations import LiveStorage, Walk
from glmstore.estimating.batches import plan_run
from glmstore.estimating.calibration import Pass
from glmstore.estimating.memory import MANY_BATCHES, ROWS, VIEW, peak_memory
from glmstore.estimating.workload import Workload
from glmstore.models import get_model
from glmstore.models.catalogue import FAMILIES
from glmstore.models.family import Architecture
from infra.bench import memory

ALIKE = (0.75, 2.5)
"""Planned over measured; `make bench` says how far they are apart on this processor, with its kernels."""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(
    "run",
    [
        pytest.param("small-enformer 2x230", id="a window of fixed length"),
        pytest.param("small-dnabert2 1x3500", id="attention biases that grow with the square of the tokens"),
        pytest.param("gpn-mini 300x230 --pooling tokens", id="a vector a token"),
    ],
)
def test_a_process_takes_about_what_was_planned(run: str) -> None:
    found = memory.in_process(run)
    low, high = ALIKE
    assert low * found["measured"] <= found["planned"] <= high * found["measured"], found


def job(name: str, *, layers: tuple[int, ...] = (1,)) -> Pass:
    entry = get_model(name)
    return Pass(entry, layers, entry.spec.default_pooling, "forward", "cpu")


def planned(name: str, sequences: list[str], *, layers: tuple[int, ...] = (1,), stored: float = 0.0) -> float:
    value = peak_memory(job(name, layers=layers), Workload.of(sequences), stored=stored).value
    assert value is not None
    return float(value)


@pytest.mark.parametrize("family", FAMILIES.names())
def test_a_walk_counts_what_a_pass_through_the_network_takes(family: str) -> None:
    model = FAMILIES[family].tiny_model()
    batch = model.encode(["ACGTTGCA" * 3, "GATTACA"])
    architecture = Architecture("", lambda *_: model, FAMILIES[family], FAMILIES[family].tiny, family)
    layers = range(model.spec.n_layers + 1)
    weights = [*model.network.parameters(), *model.network.buffers()]
    with LiveStorage(weights) as storage, torch.no_grad():
        for _ in model.layers(batch):
            pass
    walked = Walk(architecture, halves=False).peak(batch, layers, masked=True)
    # Letters are put into a window beside the walk; how many tokens an expert gets is not known to it.
    assert 0.98 * storage.peak <= walked <= (2 if family == "mistral-dna" else 1) * storage.peak


def test_storage_counts_for_as_long_as_it_is_referred_to() -> None:
    with LiveStorage() as storage:
        first = torch.zeros(1000)
        view = first[10:].view(-1, 1)
        second = view + 1
        assert storage.live == 4000 + 3960
        del second
        assert storage.live == 4000
        del first
        assert storage.live == 4000
        del view
    assert (storage.live, storage.peak) == (0, 4000 + 3960)


def test_a_few_positions_tell_of_many_where_a_network_takes_them_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    family = FAMILIES["caduceus-ph"]
    model = family.tiny_model()
    walk = Walk(Architecture("", lambda *_: model, family, family.tiny, "tiny"), halves=True)
    batch = model.encode(["ACGT" * 15])
    from_few = walk.peak(batch, [1], masked=False)
    monkeypatch.setattr(activations, "POSITIONS", (30, 60))
    assert from_few == pytest.approx(walk.peak(batch, [1], masked=False), rel=0.1)


def test_a_window_of_fixed_length_counts_whatever_the_length_of_a_sequence() -> None:
    short, long = planned("enformer", ["ACGT"], layers=(0,)), planned("enformer", ["ACGT" * 400], layers=(0,))
    weights = 4 * get_model("enformer").spec.n_parameters
    assert short == pytest.approx(long, rel=0.001)
    assert short - weights > 2e9


def test_attention_biases_count_with_the_square_of_the_tokens() -> None:
    # Its vocabulary is not here, so each letter is taken for a token.
    base = planned("dnabert2-117m", ["A"])
    short, long = (planned("dnabert2-117m", ["A" * n]) - base for n in (2000, 4000))
    # 4.1 times as much in bfloat16, and 3.3 on a processor that computes in float32; what is linear doubles.
    assert long > 3 * short


def test_every_view_of_a_pass_counts_and_so_do_rows_on_their_way() -> None:
    sequences = [f"{'ACGT' * 200}{'ACGT'[i % 4]}{'C' * (i // 4)}" for i in range(1200)]
    batches = plan_run(get_model("gpn-mini").spec, "cpu", Workload.of(sequences), windowed=False)
    assert batches.number >= MANY_BATCHES
    one, three = planned("gpn-mini", sequences), planned("gpn-mini", sequences, layers=(1, 2, 3))
    assert three - one == 2 * VIEW
    assert planned("gpn-mini", sequences, stored=1e12) - one == ROWS


def test_what_each_part_is_of_is_said() -> None:
    found = peak_memory(job("nt-2.5b-multi-species"), Workload.shaped(10**6, 230), stored=10**6)
    assert found.basis == "estimate"
    assert found.how.startswith("weights 10.2 GB + a batch of ")
    for part in ("tokens each", "the program", "1,000,000 sequences", "1 view of the pass", "rows on their"):
        assert part in found.how


def test_what_stands_for_many_fills_a_batch_and_only_as_many_as_there_are() -> None:
    spec = get_model("gpn-mini").spec
    many, few = (plan_run(spec, "cpu", Workload.shaped(n, 1000), windowed=False) for n in (10**6, 3))
    assert {len(batch) for batch in many.heaviest} == {10}
    assert many.number == pytest.approx(10**5, rel=0.05)
    assert [len(batch) for batch in few.heaviest] == [3]


def test_windows_of_a_long_sequence_are_no_longer_than_the_context() -> None:
    spec = get_model("gena-lm-bert-base").spec
    found = plan_run(spec, "cpu", Workload.of(["ACGT" * 5000]), windowed=True)
    assert {len(s) for batch in found.heaviest for s in batch} == {spec.max_nt}


def test_a_model_without_a_network_is_counted_too() -> None:
    found = peak_memory(job("kmer6", layers=(0,)), Workload.shaped(1000, 230), stored=0)
    assert "a batch of 71 sequences" in found.how
