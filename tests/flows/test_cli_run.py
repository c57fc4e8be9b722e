"""`glmstore run` as a user types it: a process of its own, with a Prefect server of its own."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GLMSTORE = [sys.executable, "-c", "from flows.cli import main; main()"]


def table(path: Path, n: int = 200) -> Path:
    rng = np.random.default_rng(3)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "seq", "activity"])
        for i in range(n):
            sequence = "".join(rng.choice(list("ACGT"), size=50))
            writer.writerow([f"e{i}", sequence, sequence.count("G") - sequence.count("T") + rng.normal()])
    return path


def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = {"PREFECT_HOME": str(cwd / "prefect"), "GLMSTORE_STORE": str(cwd / "store")}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return subprocess.run(
        [*GLMSTORE, *arguments],
        cwd=cwd,
        env=kept | own,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def board(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


@pytest.mark.slow
def test_a_table_of_ones_own_is_judged_beside_every_control_and_not_computed_twice(tmp_path: Path) -> None:
    source = table(tmp_path / "my.csv")
    options = ("--sequence", "seq", "--label", "activity", "--seeds", "1", "--json")
    first = board(run(tmp_path, "run", str(source), *options))
    rows = {(row["model"], row["head"]): row for row in first["leaderboard"] if row["control"] != "label"}
    models = {"gpn-mini", "rand_init:gpn-mini", "kmer4", "onehot"}
    assert set(rows) == {(model, head) for model in models for head in ("ridge", "mlp")} | {("onehot", "cnn")}
    tested = rows["gpn-mini", "ridge"]
    assert tested["ci_low"] < tested["value"] < tested["ci_high"]
    assert tested["controls"] == "complete"
    assert first["summary"]["computed_cells"] > 0
    assert (tmp_path / "store-artifacts" / "report.html").exists()

    second = board(run(tmp_path, "run", str(source), *options))
    assert second["summary"]["computed_cells"] == second["summary"]["computed_vectors"] == 0
    assert second["leaderboard"] == first["leaderboard"]


def test_an_unknown_suite_is_a_usage_error_with_a_suggestion(tmp_path: Path) -> None:
    done = run(tmp_path, "run", "dmeo")
    assert done.returncode == 2
    assert "Did you mean demo" in done.stderr
    assert not (tmp_path / "store").exists()


def test_a_bad_row_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("seq,activity\nACGTACGT,1.0\nACGTXCGT,2.0\n")
    done = run(tmp_path, "run", str(bad), "--sequence", "seq", "--label", "activity")
    assert done.returncode == 2
    assert "line 3" in done.stderr
    assert "'X'" in done.stderr
    assert not (tmp_path / "store").exists()


def test_a_model_whose_weights_are_not_here_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = table(tmp_path / "assay.csv")
    done = run(
        tmp_path, "run", str(source), "--sequence", "seq", "--label", "activity", "--model", "nt-v2-50m"
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "run `glmstore models pull nt-v2-50m` here" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["assay.csv"], "no store, and no Prefect"
