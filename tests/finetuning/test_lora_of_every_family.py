"""Training an adapter in every architecture that takes one: what is drawn, and from where."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from glmstore.extraction import embed, embedding
from glmstore.finetuning.adapter import PooledHead, TunedModel, attach, draw
from glmstore.finetuning.settings import FineTuneSettings
from glmstore.finetuning.train import Labelled, fine_tune
from glmstore.heads.neural.layers import SeededDropout
from glmstore.models.base import GenomicLM
from glmstore.models.catalogue import FAMILIES, get_model
from glmstore.models.lora import AdaptedModel

SETTINGS = FineTuneSettings(
    rank=2, dropout=0.25, epochs=1, batch_size=8, learning_rate=1e-2, precision="float32"
)
TAKING_ADAPTERS = [name for name in FAMILIES.names() if FAMILIES[name].traits.get("lora_targets")]
WITH_DROPOUT = {"dnabert", "dnabert2", "gena_lm", "grover"}
RNG = np.random.default_rng(0)
ITEMS = Labelled(["".join(RNG.choice(list("ACGT"), 24)) for _ in range(16)], RNG.normal(size=16))


def _tuned(model: GenomicLM, seed: int = 7) -> TunedModel:
    with torch.random.fork_rng(devices=[]):
        peft = attach(model, SETTINGS)
        head = PooledHead(model.spec.dim, None)
    tuned = TunedModel(model, peft, head, model.spec.n_layers, "regression")
    draw(tuned, seed)
    with torch.no_grad():
        # As after a first step: while the second factor is 0, no dropout shows.
        for number, (name, p) in enumerate(tuned.trainable().items()):
            if "lora_B" in name:
                p.normal_(generator=torch.Generator().manual_seed(number))
    return tuned


def _step(tuned: TunedModel) -> tuple[Tensor, list[Tensor]]:
    raw = tuned.raw(ITEMS.sequences)
    raw.square().sum().backward()  # type: ignore[no-untyped-call]
    return raw.detach(), [p.grad for p in tuned.trainable().values() if p.grad is not None]


@pytest.mark.parametrize("family", TAKING_ADAPTERS)
def test_a_training_step_depends_on_its_seed_and_not_on_torch_s_global_state(family: str) -> None:
    results = []
    for state, seed in ((0, 7), (123, 7), (0, 8)):
        tuned = _tuned(FAMILIES[family].tiny_model(), seed)
        tuned.train()
        torch.manual_seed(state)
        before = torch.random.get_rng_state()
        results.append(_step(tuned))
        assert torch.equal(torch.random.get_rng_state(), before)
    (raw, gradients), (again, same_gradients), (other, _) = results
    assert torch.equal(raw, again)
    assert gradients
    assert all(torch.equal(a, b) for a, b in zip(gradients, same_gradients, strict=True))
    assert not torch.equal(raw, other)


@pytest.mark.parametrize("family", ["dnabert", "dnabert2", "gena_lm", "grover", "gpn"])
def test_the_same_seed_trains_the_same_adapter_whatever_torch_s_global_state(family: str) -> None:
    trained = []
    for state in (0, 123):
        torch.manual_seed(state)
        before = torch.random.get_rng_state()
        done = fine_tune(FAMILIES[family].tiny_model(), ITEMS, ITEMS, "regression", SETTINGS, seed=3)
        assert torch.equal(torch.random.get_rng_state(), before)
        trained.append(done.tuned.trainable())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


@pytest.mark.parametrize("family", TAKING_ADAPTERS)
def test_training_mode_switches_the_adapter_s_dropout_and_never_the_backbone_s(family: str) -> None:
    tuned = _tuned(FAMILIES[family].tiny_model())
    own = [m for m in tuned.peft.modules() if isinstance(m, SeededDropout)]
    backbone = {n: m for n, m in tuned.peft.named_modules() if "lora_" not in n}
    assert own
    assert any(isinstance(m, nn.Dropout) and m.p > 0 for m in backbone.values()) == (family in WITH_DROPOUT)
    for mode in (True, False, True):
        tuned.train(mode)
        assert all(m.training is mode for m in own)
        assert not any(m.training for m in backbone.values())
        assert tuned.head.training is mode
    assert not torch.equal(tuned.raw(ITEMS.sequences), tuned.raw(ITEMS.sequences))
    tuned.train(False)
    assert torch.equal(tuned.raw(ITEMS.sequences), tuned.raw(ITEMS.sequences))


def test_a_backbone_without_dropout_learns_what_it_would_in_training_mode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def train_all(tuned: TunedModel, mode: bool = True) -> None:
        tuned.peft.train(mode)
        tuned.head.train(mode)

    def run() -> dict[str, Tensor]:
        model = get_model("gpn-mini").load("cpu")
        return fine_tune(model, ITEMS, ITEMS, "regression", SETTINGS, seed=3).tuned.trainable()

    frozen = run()
    monkeypatch.setattr(TunedModel, "train", train_all)
    whole = run()
    assert all(torch.equal(frozen[name], whole[name]) for name in frozen)


def test_an_adapted_model_says_where_it_lies_so_that_batches_go_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = FAMILIES["grover"].tiny_model()
    monkeypatch.setattr(embedding, "resolve_device", lambda: pytest.fail("the model was not asked"))
    chunks = embed(AdaptedModel(backbone.spec, backbone), ["ACGTACGT"], layer=1, pooling="mean")
    assert len(list(chunks)) == 1
