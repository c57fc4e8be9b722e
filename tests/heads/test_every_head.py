"""What every head in the registry promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import optuna
import pytest

from glmstore.errors import HeadError, WeightsError
from glmstore.heads import HEADS, Head
from glmstore.heads.base import FitData, TrainedKind
from glmstore.heads.saving import FILE, load_probe, save_probe

TRAINED = [(head, kind) for head in HEADS for kind in head.spec.kinds]
IDS = [f"{head.name}-{kind}" for head, kind in TRAINED]
QUICK = {
    "mlp": {"learning_rate": 3e-3, "width": 0.1, "dropout": 0.1, "batch_size": 64},
    "cnn": {"learning_rate": 3e-3, "width": 0.1, "batch_size": 64},
}


def easy(
    head: Head, kind: TrainedKind, *, n: int = 600, seed: int = 0
) -> tuple[FitData, np.ndarray, np.ndarray]:
    """Features whose first column, or first channel, decides the label; and test items apart."""
    rng = np.random.default_rng(seed)
    shape = (n, 24, 6) if head.spec.input == "tokens" else (n, 12)
    x = (3 * rng.normal(size=shape) + 2).astype(np.float16)
    signal = x[:, :, 0].mean(axis=1) if x.ndim == 3 else x[:, 0]
    signal = signal.astype(float) - np.median(signal.astype(float))
    y = (signal > 0).astype(float) if kind == "binary" else 50 + 10 * signal + rng.normal(size=n)
    train, valid, test = np.split(np.arange(n), [int(0.7 * n), int(0.85 * n)])
    return FitData(x[train], y[train], x[valid], y[valid], kind), x[test], y[test]


def fit(head: Head, data: FitData, **options: int):  # type: ignore[no-untyped-def]
    options = {"seed": 0, "max_epochs": 12, **options}
    return head.fit(data, hyperparameters=QUICK.get(head.name), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("head", "kind"), TRAINED, ids=IDS)
def test_it_learns_an_easy_problem_and_predicts_in_the_labels_unit(head: Head, kind: TrainedKind) -> None:
    data, x, y = easy(head, kind)
    fitted = fit(head, data)
    predicted = fitted.probe.predict(x)
    assert predicted.dtype == np.float64
    assert predicted.shape == y.shape
    constant = data.y_train.mean()
    assert np.mean((predicted - y) ** 2) < 0.7 * np.mean((constant - y) ** 2)
    assert 0.2 < fitted.valid_score <= 1
    if kind == "binary":
        assert ((predicted >= 0) & (predicted <= 1)).all()


@pytest.mark.parametrize(("head", "kind"), TRAINED, ids=IDS)
def test_its_validation_score_is_the_share_of_deviance_explained(head: Head, kind: TrainedKind) -> None:
    from sklearn.metrics import d2_log_loss_score, r2_score

    data, _, _ = easy(head, kind)
    fitted = fit(head, data)
    predicted = fitted.probe.predict(data.x_valid)
    score = r2_score if kind == "regression" else d2_log_loss_score
    assert fitted.valid_score == pytest.approx(score(data.y_valid, predicted), abs=2e-4)


@pytest.mark.parametrize(("head", "kind"), TRAINED, ids=IDS)
def test_the_same_seed_gives_the_same_predictions_even_beside_other_trainings(
    head: Head, kind: TrainedKind
) -> None:
    data, x, _ = easy(head, kind)
    alone = fit(head, data, seed=3, max_epochs=3).probe.predict(x)
    with ThreadPoolExecutor(2) as pool:
        beside = [
            pool.submit(lambda s=s: fit(head, data, seed=s, max_epochs=3).probe.predict(x)) for s in (3, 4)
        ]
    np.testing.assert_array_equal(beside[0].result(), alone)
    assert (beside[1].result() != alone).any() == head.spec.stochastic


@pytest.mark.parametrize(("head", "kind"), TRAINED, ids=IDS)
def test_a_probe_comes_back_from_disk_as_it_was(head: Head, kind: TrainedKind, tmp_path: Path) -> None:
    data, x, _ = easy(head, kind)
    probe = fit(head, data, max_epochs=2).probe
    save_probe(probe, tmp_path / "probe")
    np.testing.assert_array_equal(load_probe(tmp_path / "probe").predict(x), probe.predict(x))
    assert [p.name for p in (tmp_path / "probe").iterdir()] == [FILE]


@pytest.mark.parametrize("head", HEADS, ids=lambda h: h.name)
def test_it_refuses_data_that_do_not_suit_it_and_says_what_to_do(head: Head) -> None:
    kind = head.spec.kinds[0]
    data, x, _ = easy(head, kind)
    bad_x = data.x_train.copy()
    bad_x[7].flat[2] = np.nan
    bad_y = data.y_train.copy()
    bad_y[5] = np.inf
    cases = {
        "row 7 .*NaN": data._replace(x_train=bad_x),
        "row 5 .*not finite": data._replace(y_train=bad_y),
        "too few": data._replace(x_train=data.x_train[:5], y_train=data.y_train[:5]),
        "nothing to learn": data._replace(y_valid=np.full(len(data.y_valid), 1.0)),
        r"labels for 420 rows": data._replace(y_train=data.y_train[:-1]),
        "one view": data._replace(x_valid=data.x_valid[..., :-1]),
        "it reads": data._replace(x_train=data.x_train[..., 0] if x.ndim == 3 else data.x_train[:, 0]),
        "not numbers": data._replace(x_train=data.x_train.astype("S4")),
    }
    for message, broken in cases.items():
        with pytest.raises(HeadError, match=message):
            fit(head, broken)
    with pytest.raises(HeadError, match="no hyperparameter 'depth'"):
        head.fit(data, seed=0, hyperparameters={"depth": 3})
    probe = fit(head, data, max_epochs=1).probe
    with pytest.raises(HeadError, match="view it was trained on"):
        probe.predict(x[..., :-1])


@pytest.mark.parametrize("head", [h for h in HEADS if len(h.spec.kinds) == 1], ids=lambda h: h.name)
def test_it_refuses_a_label_kind_it_is_not_for(head: Head) -> None:
    other = "binary" if head.spec.kinds == ("regression",) else "regression"
    data, _, _ = easy(head, head.spec.kinds[0])
    with pytest.raises(HeadError, match=f"not {other}; use"):
        fit(head, data._replace(kind=other))


@pytest.mark.parametrize("head", [h for h in HEADS if "binary" in h.spec.kinds], ids=lambda h: h.name)
def test_binary_labels_have_to_be_zero_and_one(head: Head) -> None:
    data, _, _ = easy(head, "binary")
    with pytest.raises(HeadError, match="0 or 1"):
        fit(head, data._replace(y_train=data.y_train * 2 - 1))


@pytest.mark.parametrize("head", [h for h in HEADS if h.search_space], ids=lambda h: h.name)
def test_its_search_space_draws_hyperparameters_it_knows_and_holds_the_default(head: Head) -> None:
    assert head.search_space is not None
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(5):
        assert set(head.search_space(study.ask())) <= set(head.defaults)
    fixed = optuna.trial.FixedTrial(dict(head.defaults))
    assert all(head.defaults[k] == v for k, v in head.search_space(fixed).items())


@pytest.mark.parametrize("head", [h for h in HEADS if h.search_space], ids=lambda h: h.name)
def test_it_reports_every_epoch_and_lets_pruning_through(head: Head) -> None:
    data, _, _ = easy(head, head.spec.kinds[0])
    seen: list[tuple[int, float]] = []

    def report(epoch: int, score: float) -> None:
        seen.append((epoch, score))
        if epoch == 3:
            raise optuna.TrialPruned

    with pytest.raises(optuna.TrialPruned):
        head.fit(data, seed=0, hyperparameters=QUICK[head.name], max_epochs=9, report=report)
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert seen[2][1] > seen[0][1]


def test_a_probe_that_is_not_there_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="train the probe again"):
        load_probe(tmp_path)
    data, _, _ = easy(HEADS["ridge"], "regression")
    path = save_probe(fit(HEADS["ridge"], data).probe, tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(WeightsError, match="damaged"):
        load_probe(tmp_path)
    with pytest.raises(WeightsError, match="cannot be written"):
        save_probe(fit(HEADS["ridge"], data).probe, path / "below-a-file")
