"""The paper's networks, layer by layer, and the loop that trains them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from glmstore.errors import HeadError, TrainingDivergedError
from glmstore.heads import HEADS
from glmstore.heads.base import FitData
from glmstore.heads.neural.layers import SeededDropout, initialise
from glmstore.heads.neural.networks import CNN, MLP
from glmstore.heads.neural.probe import TorchProbe
from glmstore.heads.neural.training import Schedule, train
from glmstore.heads.saving import load_probe, save_probe


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def one_hot(n: int, length: int = 30, seed: int = 0) -> np.ndarray:
    return np.eye(4, dtype=np.uint8)[np.random.default_rng(seed).integers(0, 4, (n, length))]


def gc_data(n: int = 400) -> FitData:
    x = one_hot(n)
    y = 10 + 3 * x[:, :, 1:3].sum(axis=(1, 2)).astype(float)
    cut = int(0.75 * n)
    return FitData(x[:cut], y[:cut], x[cut:], y[cut:], "regression")


@pytest.fixture(scope="module")
def gc_probe() -> TorchProbe:
    settings = {"learning_rate": 1e-3, "width": 0.1, "batch_size": 32}
    probe = HEADS["cnn"].fit(gc_data(), seed=0, hyperparameters=settings, max_epochs=15).probe
    assert isinstance(probe, TorchProbe)
    return probe


def test_the_cnn_has_the_layers_of_the_paper() -> None:
    network = CNN(230, 4, reduce=False)
    convolutions = (4 * 7 + 1) * 196 + 2 * 196 + (196 * 7 + 1) * 256 + 2 * 256
    dense = (256 * 11 + 1) * 512 + 2 * 512 + (512 + 1) * 256 + 2 * 256 + 256 + 1
    assert parameters(network) == convolutions + dense
    with_front = CNN(230, 64)
    front = 2 * 64 + 64 * 196 + 196
    assert parameters(with_front) == convolutions + dense + front + (196 - 4) * 7 * 196
    assert network.eval()(torch.zeros(3, 230, 4)).shape == (3,)


def test_the_cnn_equals_the_same_layers_written_with_conv1d() -> None:
    network = CNN(40, 8, 0.1)
    initialise(network, torch.Generator().manual_seed(0), std=0.3)
    network.eval()
    x = torch.randn(5, 40, 8)
    h = network.reduce(network.norm(x.reshape(-1, 8))).reshape(5, 40, -1).transpose(1, 2)
    layers = list(network.convolutions)
    for i, activation in ((0, torch.exp), (5, torch.relu)):
        conv, norm, pool = layers[i], layers[i + 1], (5, 4)[i // 5]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        h = nn.functional.conv1d(h, conv.weight.squeeze(2), conv.bias, padding=3)
        h = nn.functional.batch_norm(
            h, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )
        h = nn.functional.max_pool1d(activation(h), pool)
    torch.testing.assert_close(network(x), network.dense(h.unsqueeze(2)), atol=1e-4, rtol=1e-4)


def test_the_mlp_has_the_layers_of_the_paper() -> None:
    kinds = [type(layer).__name__ for layer in MLP(10)]
    block = ["Linear", "ReLU", "BatchNorm1d", "SeededDropout"]
    assert kinds == ["Standardise", *block, *block, "Linear", "Flatten"]
    assert parameters(MLP(10)) == 11 * 512 + 1024 + 513 * 256 + 512 + 257
    assert parameters(MLP(10, width=0.5)) == 11 * 256 + 512 + 257 * 128 + 256 + 129


@pytest.mark.parametrize(("dim", "reduce"), [(4, False), (5, True)])
def test_one_hot_goes_without_batch_norm_and_1x1_convolution_and_embeddings_with(
    dim: int, reduce: bool
) -> None:
    x = np.random.default_rng(0).normal(size=(40, 20, dim)).astype(np.float32)
    data = FitData(x[:30], x[:30, 0, 0], x[30:], x[30:, 0, 0], "regression")
    fitted = HEADS["cnn"].fit(data, seed=0, hyperparameters={"width": 0.05}, max_epochs=1)
    assert fitted.chosen["reduce"] is reduce


def test_too_few_tokens_to_pool_are_refused() -> None:
    x = np.zeros((40, 19, 4), np.uint8)
    y = np.arange(40.0)
    with pytest.raises(HeadError, match="needs 20 tokens at least; this view has 19"):
        HEADS["cnn"].fit(FitData(x[:30], y[:30], x[30:], y[30:], "regression"), seed=0)


def test_a_cnn_probe_is_differentiable_from_one_hot_to_the_labels_unit(
    gc_probe: TorchProbe, tmp_path: Path
) -> None:
    x = torch.tensor(one_hot(6, seed=1), dtype=torch.float32, requires_grad=True)
    save_probe(gc_probe, tmp_path)
    for probe in (gc_probe, load_probe(tmp_path)):
        assert isinstance(probe, TorchProbe)
        y = probe.module(x)
        np.testing.assert_allclose(y.detach().numpy(), probe.predict(x.detach().numpy()), rtol=1e-5)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert gradient.shape == x.shape
        letters = gradient.mean(dim=(0, 1))
        assert letters[1:3].min() > letters[[0, 3]].max()  # C and G raise what the probe has learnt
    assert 40 < float(y.detach().mean()) < 70  # in the label's unit: 10 + 3 * about 15


def test_an_mlp_probe_shows_how_it_standardises_and_that_only_training_rows_count() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (60, 5)).astype(np.float32)
    data = FitData(x[:40], x[:40, 0], x[40:] + 100, x[40:, 0], "regression")
    probe = HEADS["mlp"].fit(data, seed=0, hyperparameters={"width": 0.05}, max_epochs=1).probe
    assert isinstance(probe, TorchProbe)
    assert probe.standardiser is not None
    np.testing.assert_allclose(probe.standardiser.mean, x[:40].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(probe.standardiser.scale, x[:40].std(axis=0), rtol=1e-5)
    assert float(probe.module.label_mean) == pytest.approx(x[:40, 0].mean(), rel=1e-5)


def test_dropout_keeps_the_mean_drops_its_share_and_keeps_the_memory_format() -> None:
    layer = SeededDropout(0.2)
    layer.generator = torch.Generator().manual_seed(0)
    x = torch.ones(64, 16, 1, 50).to(memory_format=torch.channels_last)
    y = layer(x)
    assert float((y == 0).float().mean()) == pytest.approx(0.2, abs=0.01)
    assert float(y.mean()) == pytest.approx(1.0, abs=0.01)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert layer.eval()(x) is x


def _schedule(**changes: float) -> Schedule:
    plain = {"learning_rate": 1e-2, "weight_decay": 0.0, "batch_size": 16, "max_epochs": 60}
    return Schedule(**{**plain, **changes})  # type: ignore[arg-type]


def _noise(n: int = 64) -> FitData:
    rng = np.random.default_rng(0)
    return FitData(*(rng.normal(size=s).astype(np.float32) for s in ((n, 8), n, (n, 8), n)), "regression")  # type: ignore[arg-type]


def test_training_stops_ten_epochs_after_the_best_and_returns_to_its_weights() -> None:
    data, seen = _noise(), []
    network = MLP(8, 0.2, 0.0)
    initialise(network, torch.Generator().manual_seed(0), std=0.1)
    done = train(network, data, _schedule(), seed=0, report=lambda _, score: seen.append(score))
    assert done.epochs == done.best_epoch + 10 < 60
    assert done.valid_score == max(seen)
    with torch.inference_mode():
        predicted = network(torch.from_numpy(data.x_valid)).numpy()
    mse = np.mean((predicted - data.y_valid) ** 2)
    assert done.valid_score == pytest.approx(1 - mse / data.y_valid.var(), abs=1e-5)
    assert not network.training


def test_the_learning_rate_falls_to_a_fifth_when_six_epochs_bring_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, closure: None = None) -> None:
        rates.append(self.param_groups[0]["lr"])
        step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    network = MLP(8, 0.2, 0.0)
    initialise(network, torch.Generator().manual_seed(0), std=0.1)
    train(network, _noise(), _schedule(), seed=0)
    assert sorted(set(rates), reverse=True)[:2] == pytest.approx([1e-2, 2e-3])


def test_a_training_that_diverges_says_so() -> None:
    data = gc_data(60)
    with pytest.raises(TrainingDivergedError, match="learning rate below"):
        HEADS["cnn"].fit(data, seed=0, hyperparameters={"learning_rate": 1e18, "width": 0.05}, max_epochs=5)


@pytest.mark.parametrize("n", [33, 17, 16])
def test_no_batch_is_left_with_a_single_row(n: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n + 5, 4)).astype(np.float32)
    data = FitData(x[:n], x[:n, 0], x[n:], x[n:, 0], "regression")
    settings = {"width": 0.05, "batch_size": 16}
    assert HEADS["mlp"].fit(data, seed=0, hyperparameters=settings, max_epochs=1).epochs == 1


@pytest.mark.parametrize("wrong", [{"learning_rate": 0.0}, {"batch_size": 1}, {"precision": "float8"}])
def test_choices_that_cannot_train_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(HeadError):
        HEADS["mlp"].fit(gc_data(60), seed=0, hyperparameters=wrong, max_epochs=1)


def test_features_that_may_not_be_written_to_are_read_all_the_same() -> None:
    data = gc_data(60)
    data.x_train.flags.writeable = False
    data.x_valid.flags.writeable = False
    assert HEADS["cnn"].fit(data, seed=0, hyperparameters={"width": 0.05}, max_epochs=1).epochs == 1
