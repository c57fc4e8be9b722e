"""A search resumes, stays within its budget, shares its work, and never loses to the default."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from glmstore.errors import HeadError, StudyError, UnknownNameError
from glmstore.heads import HEADS
from glmstore.store import FeatureStore
from glmstore.tuning import (
    StudyRef,
    TuneSettings,
    best,
    open_study,
    remaining,
    run_trials,
)
from glmstore.views import FeatureView

SETTINGS = TuneSettings(n_trials=6, max_epochs=4, min_epochs=1)
OVERRIDES = {"batch_size": 64, "learning_rate": 1e-3}


@pytest.fixture
def study(store: FeatureStore, pooled: FeatureView, tmp_path: Path) -> StudyRef:
    return open_study(store, "counts", pooled, "mlp", SETTINGS, tmp_path, overrides=OVERRIDES)


def trials(ref: StudyRef, *states: TrialState) -> list[optuna.trial.FrozenTrial]:
    return ref.load().get_trials(states=states or None)


def finished(ref: StudyRef) -> list[optuna.trial.FrozenTrial]:
    return trials(ref, TrialState.COMPLETE, TrialState.PRUNED)


def test_a_search_starts_from_the_default_and_never_loses_to_it(store: FeatureStore, study: StudyRef) -> None:
    assert remaining(study) == 6
    assert run_trials(store, study) == 6
    first = finished(study)[0]
    assert first.state == TrialState.COMPLETE
    assert first.user_attrs["hyperparameters"] == {**HEADS["mlp"].defaults, **OVERRIDES}
    found = best(study)
    assert found.default_score == first.value
    assert found.valid_score >= found.default_score
    assert (found.trials, found.pruned) == (6, len(trials(study, TrialState.PRUNED)))
    assert best(study).hyperparameters["batch_size"] == 64
    assert run_trials(store, study) == 0


def test_trials_run_in_batches_and_a_later_batch_goes_on_where_the_first_ended(
    store: FeatureStore, study: StudyRef, pooled: FeatureView, tmp_path: Path
) -> None:
    assert run_trials(store, study, 2) == 2
    reopened = open_study(store, "counts", pooled, "mlp", SETTINGS, tmp_path, overrides=OVERRIDES)
    assert reopened == study
    assert remaining(reopened) == 4
    with pytest.raises(StudyError, match="2 of 6 trials"):
        best(reopened)
    assert run_trials(store, reopened, 10) == 4


def test_the_same_settings_give_the_same_search(
    store: FeatureStore, pooled: FeatureView, tmp_path: Path
) -> None:
    found = []
    for name in ("a", "b"):
        ref = open_study(store, "counts", pooled, "mlp", SETTINGS, tmp_path / name, overrides=OVERRIDES)
        run_trials(store, ref)
        found.append([(t.params, t.value) for t in finished(ref)])
    assert found[0] == found[1]
    assert len({str(params) for params, _ in found[0]}) == 6


def test_workers_side_by_side_share_one_budget_and_never_try_the_same_twice(
    store: FeatureStore, study: StudyRef
) -> None:
    with ThreadPoolExecutor(3) as pool:
        ran = [pool.submit(run_trials, store, study) for _ in range(3)]
    assert sum(r.result() for r in ran) == 6
    assert len(finished(study)) == 6
    assert len({str(t.params) for t in finished(study)}) == 6
    assert not list(study.folder.glob("*.worker-*"))


_WORKER = """
import sys, time
from pathlib import Path
from glmstore.heads.neural import training
from glmstore.store import FeatureStore
from glmstore.tuning import StudyRef, run_trials

ref = StudyRef.model_validate_json(Path(sys.argv[2]).read_text())
epochs = training._Loop.epoch

def slow(self):
    epochs(self)
    if len(ref.load().trials) > 2:  # in the third trial: say so, and wait to be killed
        Path(sys.argv[3]).touch()
        time.sleep(300)

training._Loop.epoch = slow
run_trials(FeatureStore.open(sys.argv[1]), ref)
"""


def test_a_trial_whose_worker_was_killed_is_run_again_with_its_configuration(
    filled: Callable[[Path], FeatureStore], pooled: FeatureView, tmp_path: Path
) -> None:
    store = filled(tmp_path / "store")
    ref = open_study(store, "counts", pooled, "mlp", SETTINGS, tmp_path / "studies", overrides=OVERRIDES)
    (tmp_path / "ref.json").write_text(ref.model_dump_json())
    stuck = tmp_path / "stuck"
    arguments = [str(tmp_path / "store"), str(tmp_path / "ref.json"), str(stuck)]
    worker = subprocess.Popen([sys.executable, "-c", _WORKER, *arguments])
    try:
        deadline = time.monotonic() + 120
        while not stuck.exists():
            assert worker.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (abandoned,) = trials(ref, TrialState.RUNNING)
        assert run_trials(store, ref, 1) == 1  # a worker beside it leaves the trial alone
        assert [t.number for t in trials(ref, TrialState.RUNNING)] == [abandoned.number]
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    assert remaining(ref) == 3
    assert run_trials(store, ref) == 3
    assert [t.number for t in trials(ref, TrialState.FAIL)] == [abandoned.number]
    again = [t for t in finished(ref) if t.params == abandoned.params]
    assert len(again) == 1
    assert len(finished(ref)) == 6
    assert best(ref).trials == 6


def test_a_line_that_a_killed_writer_left_half_written_is_cut_off(
    store: FeatureStore, study: StudyRef
) -> None:
    run_trials(store, study, 2)
    with study.files.journal.open("ab") as file:
        file.write(b'{"op_code":4,"worker')
    assert run_trials(store, study) == 4
    assert best(study).trials == 6


def test_a_damaged_journal_is_named(store: FeatureStore, study: StudyRef) -> None:
    content = study.files.journal.read_bytes()
    study.files.journal.write_bytes(b"not json\n" + content)
    with pytest.raises(StudyError, match="delete it"):
        run_trials(store, study)


def test_what_changes_a_trial_makes_another_study_and_a_larger_budget_does_not(
    store: FeatureStore, pooled: FeatureView, tokens: FeatureView, tmp_path: Path
) -> None:
    def opened(view: FeatureView = pooled, **changes: int) -> StudyRef:
        return open_study(store, "counts", view, "mlp", SETTINGS.model_copy(update=changes), tmp_path)

    assert opened(n_trials=7).name == opened().name
    assert len({opened().name, opened(tokens).name, opened(max_epochs=5).name, opened(seed=1).name}) == 4


def test_trials_that_diverge_are_pruned_and_the_search_goes_on(
    store: FeatureStore, study: StudyRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmstore.errors import TrainingDivergedError
    from glmstore.heads.neural import probe

    train, calls = probe.train, []

    def diverging(*args, **options):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 2:
            raise TrainingDivergedError("training diverged in epoch 1")
        return train(*args, **options)

    monkeypatch.setattr(probe, "train", diverging)
    assert run_trials(store, study) == 6
    assert finished(study)[1].state == TrialState.PRUNED


def test_what_cannot_be_tuned_is_refused_by_name(
    store: FeatureStore, pooled: FeatureView, tmp_path: Path
) -> None:
    with pytest.raises(HeadError, match="nothing to tune"):
        open_study(store, "counts", pooled, "ridge", SETTINGS, tmp_path)
    with pytest.raises(HeadError, match="no hyperparameter 'depth'"):
        open_study(store, "counts", pooled, "mlp", SETTINGS, tmp_path, overrides={"depth": 2})
    with pytest.raises(HeadError, match="cannot start"):
        open_study(store, "counts", pooled, "mlp", SETTINGS, tmp_path, overrides={"width": 0.3})
    with pytest.raises(UnknownNameError):
        open_study(store, "count", pooled, "mlp", SETTINGS, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match="no study can be kept there"):
        open_study(store, "counts", pooled, "mlp", SETTINGS, tmp_path / "file" / "below")


def test_a_trial_that_fails_says_why_and_stays_in_the_budget(
    store: FeatureStore, pooled: FeatureView, tmp_path: Path
) -> None:
    ref = open_study(store, "counts", pooled, "cnn", SETTINGS, tmp_path)
    with pytest.raises(HeadError, match="pooling 'tokens'"):
        run_trials(store, ref)
    assert remaining(ref) == 6
    assert len(trials(ref, TrialState.FAIL)) == 1
    assert not list(tmp_path.glob("*.worker-*"))
