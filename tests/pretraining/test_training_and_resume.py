"""Training learns, anneals, stops on its budget, and a resume changes nothing."""

import json
import math
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from glmstore.errors import WeightsError
from glmstore.pretraining import PretrainConfig, StepReport, heldout, pretrain
from glmstore.pretraining import checkpoint as ckpt
from glmstore.pretraining.train import Trainer, lr_multiplier


class StopHereError(Exception):
    """Stands for a killed process."""


def stop_at(step: int):
    def on_step(report: StepReport) -> None:
        if report.step == step:
            raise StopHereError

    return on_step


def with_(config: PretrainConfig, **changes) -> PretrainConfig:
    return config.model_copy(update=changes)


def test_learning_rate_warms_up_and_anneals():
    rates = [lr_multiplier(p, warmup=0.1, final=0.01) for p in (0, 0.05, 0.1, 0.55, 1.0, 1.2)]
    assert rates == pytest.approx([0, 0.5, 1, 0.505, 0.01, 0.01])


def test_it_learns_what_recurs(config: PretrainConfig):
    report = pretrain(with_(config, steps=100))
    assert report.step == 100
    assert report.heldout.masked15["model"] < 0.8 * math.log(4)
    assert report.curve[-1].heldout_nll < report.curve[0].heldout_nll
    assert report.corpus.file == "toy.fa"


def test_a_run_waits_for_another_in_its_folder_and_goes_on_from_there(
    config: PretrainConfig, caplog: pytest.LogCaptureFixture
):
    half = pretrain(with_(config, steps=6))
    assert half.step == 6
    with ThreadPoolExecutor(1) as threads, FileLock(config.out_dir / ".lock"):
        steps: list[int] = []
        later = threads.submit(pretrain, with_(config, steps=6), lambda step: steps.append(step.step))
        deadline = time.monotonic() + 60
        while "another run trains in" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not later.done()
        shutil.rmtree(half.checkpoint)  # what the other run does while it is waited for counts
    assert later.result(60).step == 6
    assert steps == [6]


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(config: PretrainConfig, tmp_path):
    whole = pretrain(config)
    broken = with_(config, out_dir=tmp_path / "broken")
    for step in (4, 7):
        with pytest.raises(StopHereError):
            pretrain(broken, stop_at(step))
        assert ckpt.read_state(ckpt.newest(broken.out_dir))["step"] == step
    resumed = pretrain(broken)
    a, b = (load_file(r.checkpoint / ckpt.WEIGHTS) for r in (whole, resumed))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert [(p.step, p.train_loss, p.heldout_nll) for p in whole.curve] == [
        (p.step, p.train_loss, p.heldout_nll) for p in resumed.curve
    ]
    assert (whole.tokens, whole.heldout) == (resumed.tokens, resumed.heldout)


def test_a_finished_run_is_reported_without_another_step(config: PretrainConfig):
    steps: list[int] = []
    pretrain(config, lambda r: steps.append(r.step))
    pretrain(config, lambda r: steps.append(r.step))
    assert steps == list(range(1, 13))


def test_on_step_hears_of_progress_loss_and_curve_points(config: PretrainConfig):
    told: list[StepReport] = []
    pretrain(config, told.append)
    assert [r.progress for r in told] == pytest.approx([i / 12 for i in range(1, 13)])
    assert [r.step for r in told if r.heldout_nll is not None] == [5, 10]
    assert all(math.isfinite(r.loss) for r in told)
    assert told[-1].tokens >= 12 * (640 // 64) * 40


def test_without_a_new_best_it_stops_early_and_keeps_the_best_weights(config: PretrainConfig, monkeypatch):
    falling_then_rising = iter([1.3, 1.2, 1.1, 1.15, 1.16, 1.0])
    scored: list[dict[str, torch.Tensor]] = []

    def nll(network, *_):
        scored.append({n: t.clone() for n, t in network.state_dict().items()})
        return np.array([next(falling_then_rising)])

    monkeypatch.setattr(heldout, "model_nll", nll)
    monkeypatch.setattr(Trainer, "report", lambda self, path: (path, self.step, len(self.curve)))
    path, step, points = pretrain(with_(config, steps=100, eval_every=4, patience=2))
    assert (step, points, path.name) == (12, 5, "step-000000012")
    kept = load_file(path / ckpt.WEIGHTS)
    assert all(torch.equal(kept[name], scored[2][name]) for name in kept)


def test_an_early_stop_survives_a_kill_at_its_best_point(config: PretrainConfig, tmp_path):
    patient = with_(config, steps=40, eval_every=4, patience=1, checkpoint_minutes=60.0)
    whole = pretrain(patient)
    broken = with_(patient, out_dir=tmp_path / "broken")
    with pytest.raises(StopHereError):
        pretrain(broken, stop_at(4))
    resumed = pretrain(broken)
    assert resumed.checkpoint.name == whole.checkpoint.name
    assert resumed.heldout == whole.heldout
    assert len(ckpt.checkpoints(broken.out_dir / "best")) == 1


def test_a_time_budget_ends_the_run_annealed(config: PretrainConfig):
    told: list[StepReport] = []
    pretrain(with_(config, steps=None, minutes=0.02, checkpoint_minutes=1.0), told.append)
    assert told[-1].progress == 1
    assert told[-1].learning_rate < 0.2 * config.learning_rate
    assert max(r.learning_rate for r in told) > 0.8 * config.learning_rate


def test_bf16_trains_as_well(config: PretrainConfig):
    report = pretrain(with_(config, steps=30, precision="bfloat16"))
    assert report.heldout.masked15["model"] < math.log(4)
    weights = load_file(report.checkpoint / ckpt.WEIGHTS)
    assert {t.dtype for t in weights.values()} == {torch.float32}


def test_another_recipe_or_corpus_does_not_resume(config: PretrainConfig):
    pretrain(config)
    with pytest.raises(WeightsError, match="another recipe or corpus"):
        pretrain(with_(config, learning_rate=1e-3))
    config.fasta.write_text(config.fasta.read_text().replace("ACGG", "ACGC", 1))
    with pytest.raises(WeightsError, match="another recipe or corpus"):
        pretrain(config)


def test_bookkeeping_may_change_between_resumes(config: PretrainConfig):
    with pytest.raises(StopHereError):
        pretrain(config, stop_at(3))
    assert pretrain(with_(config, keep_checkpoints=1, eval_every=3)).step == 12


def test_only_whole_checkpoints_are_seen_and_only_the_newest_kept(config: PretrainConfig):
    (config.out_dir / ".partial-of-a-killed-run").mkdir(parents=True)
    (config.out_dir / "step-000000099").mkdir()
    report = pretrain(config)
    assert report.checkpoint.name == "step-000000012"
    assert [p.name for p in ckpt.checkpoints(config.out_dir)] == ["step-000000011", "step-000000012"]
    assert not list(config.out_dir.glob(".partial-*"))


def test_a_damaged_checkpoint_is_refused_by_name(config: PretrainConfig):
    report = pretrain(config)
    weights = report.checkpoint / ckpt.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"step-000000012 does not load .* Delete it"):
        pretrain(config)
    (report.checkpoint / ckpt.STATE).write_text(json.dumps({"step": 1})[:-1])
    with pytest.raises(WeightsError, match="is damaged"):
        pretrain(config)
