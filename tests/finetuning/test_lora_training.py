"""Training an adapter: what learns, what stays, and that it can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from glmstore.errors import HeadError, LayerError, TrainingDivergedError
from glmstore.finetuning.adapter import PooledHead, Standardise, attach, network_of
from glmstore.finetuning.settings import FineTuneSettings
from glmstore.finetuning.train import Labelled, fine_tune, fine_tune_best, first_by_key
from glmstore.models.base import GenomicLM

Make = Callable[[], GenomicLM]
SETTINGS = FineTuneSettings(
    rank=4, learning_rate=2e-2, epochs=12, batch_size=32, precision="float32", layer="last"
)


def _items(n: int, seed: int) -> Labelled:
    """Label: how often a letter is followed by itself, which needs the convolutions."""
    rng = np.random.default_rng(seed)
    sequences = ["".join(rng.choice(list("ACGT"), 20)) for _ in range(n)]
    return Labelled(
        sequences,
        np.array([10.0 + 5 * sum(a == b for a, b in pairwise(s)) for s in sequences]),
    )


TRAIN, VALID, TEST = _items(512, 0), _items(128, 1), _items(128, 2)


def _r(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_an_adapter_learns_what_a_frozen_backbone_cannot_give(toy_model: Make) -> None:
    tuned = fine_tune(toy_model(), TRAIN, VALID, "regression", SETTINGS, seed=0).tuned
    features = []
    with torch.no_grad():
        for items in (TRAIN, TEST):
            model = toy_model()
            features.append(model.hidden_states(model.encode(items.sequences), 2).mean(dim=1).numpy())
    weights, *_ = np.linalg.lstsq(np.c_[features[0], np.ones(512)], TRAIN.labels, rcond=None)
    frozen = _r(np.c_[features[1], np.ones(128)] @ weights, TEST.labels)
    assert _r(tuned.predict(TEST.sequences), TEST.labels) > frozen + 0.5


def test_predictions_are_in_the_label_s_own_unit(toy_model: Make) -> None:
    tuned = fine_tune(toy_model(), TRAIN, VALID, "regression", SETTINGS, seed=0).tuned
    predicted = tuned.predict(TEST.sequences)
    assert predicted.dtype == np.float64
    assert abs(predicted.mean() - TEST.labels.mean()) < 3
    assert tuned.predict([]).shape == (0,)


def test_a_binary_label_gives_probabilities(toy_model: Make) -> None:
    binary = [Labelled(d.sequences, (d.labels > 30).astype(float)) for d in (TRAIN, VALID, TEST)]
    tuned = fine_tune(toy_model(), binary[0], binary[1], "binary", SETTINGS, seed=0).tuned
    p = tuned.predict(binary[2].sequences)
    assert ((p >= 0) & (p <= 1)).all()
    assert p[binary[2].labels == 1].mean() > p[binary[2].labels == 0].mean() + 0.3


def test_only_the_adapter_and_the_head_move(toy_model: Make) -> None:
    model = toy_model()
    before = {k: v.clone() for k, v in network_of(model).state_dict().items()}
    tuned = fine_tune(
        model, TRAIN, VALID, "regression", SETTINGS.model_copy(update={"epochs": 1}), seed=0
    ).tuned
    after = {k.replace(".base_layer", ""): v for k, v in network_of(model).state_dict().items()}
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    assert all(("lora_" in name) or name.startswith("head.") for name in tuned.trainable())
    assert len([name for name in tuned.trainable() if "lora_B" in name]) == 2


def test_before_training_the_adapter_changes_nothing(toy_model: Make) -> None:
    plain, adapted = toy_model(), toy_model()
    attach(adapted, SETTINGS)
    batch = plain.encode(TEST.sequences[:4])
    assert torch.equal(plain.hidden_states(batch, 2), adapted.hidden_states(batch, 2))


def test_the_update_of_a_dilated_convolution_is_a_low_rank_change_of_its_dilated_kernel(
    toy_model: Make,
) -> None:
    model = toy_model()
    attach(model, SETTINGS)
    layer = network_of(model).blocks[1]  # type: ignore[union-attr, index]
    a, b = layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data.normal_()
    base = layer.base_layer
    merged = nn.Conv1d(8, 8, 3, padding="same", dilation=base.dilation[0])
    merged.bias.data = base.bias.data
    merged.weight.data = base.weight.data + SETTINGS.alpha / SETTINGS.rank * torch.einsum(
        "orx,rik->oik", b, a
    )
    x = torch.randn(2, 8, 11)
    torch.testing.assert_close(layer(x), merged(x), rtol=1e-4, atol=1e-4)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(toy_model: Make) -> None:
    short = SETTINGS.model_copy(update={"epochs": 1, "dropout": 0.1})
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    runs = [fine_tune(toy_model(), TRAIN, VALID, "regression", short, seed=s).tuned for s in (3, 3, 4)]
    a, b, c = (run.predict(TEST.sequences) for run in runs)
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-3
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_epoch_best_on_validation_is_kept(toy_model: Make) -> None:
    wild = SETTINGS.model_copy(update={"learning_rate": 0.5, "epochs": 4})
    done = fine_tune(toy_model(), TRAIN, VALID, "regression", wild, seed=1)
    losses = [e.valid_loss for e in done.epochs]
    assert done.best_epoch == 1 + int(np.argmin(losses))
    kept = np.mean(((done.tuned.predict(VALID.sequences) - VALID.labels) / TRAIN.labels.std()) ** 2)
    assert kept == pytest.approx(min(losses), rel=1e-6)
    assert all(e.seconds > 0 for e in done.epochs)


def test_padding_does_not_reach_the_head() -> None:
    from glmstore.models.base import Batch

    head = PooledHead(2, None)
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [99.0, -99.0]]])
    special = torch.tensor([[False, False, True]])
    nothing = torch.zeros(1, 3)
    batch = Batch(nothing, ~special, special, nothing, torch.tensor([2]))
    short = Batch(nothing[:, :2], ~special[:, :2], special[:, :2], nothing[:, :2], torch.tensor([2]))
    assert torch.equal(head(tokens, batch), head(tokens[:, :2], short))


def test_progress_counts_training_sequences(toy_model: Make) -> None:
    seen: list[tuple[int, int]] = []
    short = SETTINGS.model_copy(update={"epochs": 2, "batch_size": 300})
    fine_tune(
        toy_model(),
        TRAIN,
        VALID,
        "regression",
        short,
        seed=0,
        progress=lambda done, of: seen.append((done, of)),
    )
    assert seen == [(300, 1024), (512, 1024), (812, 1024), (1024, 1024)]


def test_the_sample_of_training_items_depends_on_their_keys_alone() -> None:
    keys = ["d", "a", "c", "b"]
    assert first_by_key(keys, 2).tolist() == [1, 3]
    assert first_by_key(keys[::-1], 2).tolist() == [2, 0]
    assert first_by_key(keys, None).tolist() == [1, 3, 2, 0]


def test_what_cannot_be_trained_is_refused(toy_model: Make) -> None:
    def run(model: GenomicLM, train: Labelled, valid: Labelled = VALID, **changes: object) -> None:
        fine_tune(model, train, valid, "regression", SETTINGS.model_copy(update=changes), seed=0)

    with pytest.raises(HeadError, match="needs training items"):
        run(toy_model(), Labelled([], np.empty(0)))
    with pytest.raises(HeadError, match="needs validation items"):
        run(toy_model(), TRAIN, Labelled([], np.empty(0)))
    with pytest.raises(HeadError, match="every training label is the same"):
        run(toy_model(), Labelled(TRAIN.sequences, np.ones(512)))
    with pytest.raises(LayerError, match="layers 0 to 2"):
        run(toy_model(), TRAIN, layer=9)
    without = toy_model()
    without.spec = without.spec.model_copy(update={"lora_targets": None})
    with pytest.raises(HeadError, match="no layers for LoRA"):
        run(without, TRAIN)


def test_a_training_that_diverges_is_said_to(toy_model: Make) -> None:
    huge = (
        Labelled(TRAIN.sequences, TRAIN.labels),
        SETTINGS.model_copy(update={"learning_rate": 1e30, "epochs": 1}),
    )
    with pytest.raises(TrainingDivergedError, match=r"epoch 1.*learning rate below 1e\+30"):
        fine_tune(toy_model(), huge[0], VALID, "regression", huge[1], seed=0)


def test_trainings_in_two_threads_give_what_they_give_alone(toy_model: Make) -> None:
    short = SETTINGS.model_copy(update={"epochs": 2, "dropout": 0.1})

    def run(seed: int) -> np.ndarray:
        return fine_tune(toy_model(), TRAIN, VALID, "regression", short, seed=seed).tuned.predict(
            TEST.sequences
        )

    alone = [run(seed) for seed in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(run, (0, 1)))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_head_sees_features_of_mean_0_and_deviation_1_however_small_or_shifted_they_are() -> None:
    layer = Standardise(3)
    raw = torch.tensor([[1e-4, 500.0, 7.0], [3e-4, 500.5, 7.0], [2e-4, 501.0, 7.0]])
    layer.fit(raw)
    seen = layer(raw)
    assert torch.allclose(seen.mean(dim=0), torch.zeros(3), atol=1e-4)
    assert torch.allclose(seen.std(dim=0, correction=0)[:2], torch.ones(2), atol=1e-3)
    assert torch.equal(seen[:, 2], torch.zeros(3)), "a constant feature stays finite"


def test_validation_chooses_the_learning_rate_and_a_diverging_one_is_passed_over(
    toy_model: Make,
) -> None:
    settings = FineTuneSettings(rank=2, epochs=2, learning_rate=1e-5, other_learning_rates=(5e-2, 1e30))
    best, chosen = fine_tune_best(toy_model, TRAIN, VALID, "regression", settings, seed=0)
    assert chosen.learning_rate == 5e-2
    slow = fine_tune(toy_model(), TRAIN, VALID, "regression", settings, seed=0)
    assert min(e.valid_loss for e in best.epochs) < min(e.valid_loss for e in slow.epochs)
    hopeless = FineTuneSettings(rank=2, epochs=2, learning_rate=1e30)
    with pytest.raises(TrainingDivergedError):
        fine_tune_best(toy_model, TRAIN, VALID, "regression", hopeless, seed=0)
