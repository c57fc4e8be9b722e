"""Batches that do not fit are halved, the size that fits is remembered, one sequence too large is named."""

import numpy as np
import pytest
import torch

from glmstore.errors import DeviceMemoryError
from glmstore.extraction import BatchBudget, Take, batching, embed, embed_views, running
from glmstore.models.onehot import ONEHOT_SPEC, OneHot
from glmstore.models.spec import ModelSpec

SEQUENCES = ["ACGT" * (i % 7 + 1) + "A" * i for i in range(20)]
CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
ALLOCATOR = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)"
)


class Small(OneHot):
    """One-hot over three layers on a device with room for `room` padded letters, from layer `at` on."""

    def __init__(self, name: str, room: int, error: BaseException, at: int = 0) -> None:
        described = {**ONEHOT_SPEC.model_dump(), "name": name, "n_layers": 2}
        super().__init__(ModelSpec(**described))
        self.room, self.error, self.at = room, error, at
        self.sizes: list[int] = []

    def layers(self, batch):
        (first,) = super().layers(batch)
        self.sizes.append(batch.ids.numel())
        for layer in range(3):
            if layer >= self.at and batch.ids.numel() > self.room:
                raise self.error
            yield first * (layer + 1)


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("error", [MemoryError(), CUDA, ALLOCATOR], ids=["host", "cuda", "allocator"])
def test_batches_are_halved_until_they_fit_and_nothing_is_lost_or_given_twice(
    error: BaseException, ahead: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(running, "lookahead", lambda _: ahead)
    monkeypatch.setattr(batching, "_LEARNT", {})
    model = Small(f"small-{type(error).__name__}", 150, error, at=1)
    takes = [Take(layer, "mean", dtype="float32") for layer in range(3)]
    found: dict[tuple[int, int], np.ndarray] = {}
    for number, chunk in embed_views(model, SEQUENCES, takes):
        for index, value in zip(chunk.indices.tolist(), chunk.values, strict=True):
            assert (number, index) not in found
            found[number, index] = value
    roomy = Small("roomy", 10**9, error)
    for number, chunk in embed_views(roomy, SEQUENCES, takes):
        for index, value in zip(chunk.indices.tolist(), chunk.values, strict=True):
            np.testing.assert_allclose(found.pop((number, index)), value, atol=1e-6)
    assert not found


def test_the_size_that_fits_holds_for_the_rest_and_for_the_next_run():
    model = Small("remembering", 200, MemoryError())
    list(embed(model, SEQUENCES, layer=0, pooling="mean"))
    failed = sum(size > 200 for size in model.sizes)
    model.sizes.clear()
    list(embed(model, SEQUENCES, layer=0, pooling="mean"))
    assert failed >= 1
    assert max(model.sizes) <= 200
    fresh = Small("another name", 10**9, MemoryError())
    list(embed(fresh, SEQUENCES, layer=0, pooling="mean"))
    assert max(fresh.sizes) > 200


def test_a_single_sequence_that_does_not_fit_is_named():
    model = Small("tiny-room", 30, MemoryError("no"))
    records = [f"row {i}" for i in range(20)]
    with pytest.raises(DeviceMemoryError, match=r"row \d+: \d+ nt alone .* tiny-room in the memory of cpu"):
        list(embed(model, SEQUENCES, layer=0, pooling="mean", records=records))
    assert model.sizes[-1] == min(s for s in map(len, SEQUENCES) if s > 30)


def test_other_errors_pass_as_they_are():
    model = Small("broken", 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        list(embed(model, SEQUENCES, layer=0, pooling="mean"))
    assert len(model.sizes) == 1


def test_a_budget_only_shrinks():
    budget = BatchBudget(100)
    budget.shrink(40)
    budget.shrink(70)
    assert budget.nt == 40
    budget.shrink(0)
    assert budget.nt == 1


@pytest.mark.parametrize(("free_gib", "expected"), [(1, 16_384), (8, 52_428), (100, 262_144)])
def test_a_gpu_begins_with_what_its_free_memory_suggests(
    monkeypatch: pytest.MonkeyPatch, free_gib: int, expected: int
):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free_gib * 2**30, 0))
    spec = ONEHOT_SPEC.model_copy(update={"name": f"wide-{free_gib}", "dim": 1280})
    assert batching.budget_for(spec, "cuda:0").nt == expected
