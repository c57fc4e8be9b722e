"""Models that several threads of one process load at once, as the cells of a suite do."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from glmstore.models.architectures.drawing import DrawnFrom
from glmstore.models.catalogue import FAMILIES

FIRST_USE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from glmstore.finetuning.settings import FineTuneSettings
from glmstore.models.catalogue import FAMILIES

names = ["dnabert", "nucleotide-transformer", "llama-char", "gpn", "hyenadna", "gpn"]
ready = Barrier(len(names))

def work(number):
    ready.wait()
    model = FAMILIES[names[number]].tiny_model()
    if number % 2:
        from glmstore.finetuning.adapter import attach

        attach(model, FineTuneSettings(rank=2))

assert not {"torch", "transformers", "peft"} & set(sys.modules)
sys.setswitchinterval(1e-4)
with ThreadPoolExecutor(len(names)) as pool:
    list(pool.map(work, range(len(names))))
"""


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_families_can_be_used_for_the_first_time_in_several_threads_at_once(attempt: int) -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_USE], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("family", ["gpn", "dnabert"])
def test_threads_that_draw_networks_at_once_get_the_weights_each_gets_alone(family: str) -> None:
    def draw(seed: int) -> dict[str, Tensor]:
        return dict(FAMILIES[family].untrained_network(FAMILIES[family].tiny, seed).state_dict())

    alone = [draw(seed) for seed in range(16)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(draw, range(16)))
    finally:
        sys.setswitchinterval(interval)
    for a, b in zip(alone, together, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def _everything_torch_draws() -> list[Tensor]:
    return [
        nn.Linear(7, 5).weight,
        nn.Embedding(5, 3).weight,
        nn.init.trunc_normal_(torch.empty(40)),
        nn.init.orthogonal_(torch.empty(4, 4)),
        torch.empty(33).exponential_(),
        torch.empty(9).bernoulli_(0.5),
        torch.randn(3),
        torch.rand_like(torch.zeros(3)),
        torch.randint(9, (4,)),
        torch.randperm(9),
        torch.normal(0.0, 1.0, (3,)),
        torch.multinomial(torch.ones(6), 3),
        nn.functional.dropout(torch.ones(20), 0.5),
    ]


def test_a_generator_of_its_own_gives_the_numbers_of_torch_s_global_one_and_leaves_that_alone() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        usual = _everything_torch_draws()
    before = torch.random.get_rng_state()
    with DrawnFrom(11):
        own = _everything_torch_draws()
    assert all(torch.equal(a, b) for a, b in zip(usual, own, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_generator_named_as_none_is_none_given() -> None:
    drawn = torch.rand(3, generator=torch.Generator().manual_seed(11))
    with DrawnFrom(11):
        assert torch.equal(torch.rand(3, generator=None), drawn)


def test_a_generator_that_was_given_is_used() -> None:
    given = torch.rand(3, generator=torch.Generator().manual_seed(2))
    with DrawnFrom(11):
        assert torch.equal(torch.rand(3, generator=torch.Generator().manual_seed(2)), given)
