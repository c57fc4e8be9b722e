from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmstore.results import ResultRow
from glmstore.store import FeatureStore
from glmstore.workspace import Workspace

Invoke = Callable[..., Any]


@pytest.fixture
def results(store: Path) -> FeatureStore:
    """Return the default store with one finished and one failed row."""
    opened = FeatureStore.open(store)
    shared = {"view": "-", "split": "official", "protocol": "glmstore", "benchmark": "mpra", "seeds": 1}
    good = ResultRow(
        **shared,
        cell_key="a" * 32,
        model="gpn-mini",
        head="ridge",
        metric="pearson_r",
        value=0.5,
        ci_low=0.4,
        ci_high=0.6,
        n=10,
    )
    none = {"value": None, "ci_low": None, "ci_high": None, "n": 0}
    bad = ResultRow(
        **shared,
        **none,
        cell_key="b" * 32,
        model="big",
        head="mlp",
        metric="r2",
        status="failed",
        error="OOM",
    )
    opened.write_results([good])
    opened.write_results([bad])
    return opened


def checks(result: Any) -> dict[str, str]:
    return {check["what"]: check["verdict"] for check in json.loads(result.stdout)}


def test_the_leaderboard_is_json_for_machines(glmstore: Invoke, results: FeatureStore) -> None:
    rows = json.loads(glmstore("leaderboard", "--json").stdout)
    assert [row["status"] for row in rows] == ["ok", "failed"]
    assert list(rows[0])[:7] == ["model", "view", "benchmark", "split", "head", "metric", "value"]
    assert rows[0]["value"] == 0.5
    assert rows[0]["controls"].startswith("missing: random twin")


def test_the_leaderboard_is_a_table_for_people(glmstore: Invoke, results: FeatureStore) -> None:
    text = glmstore("leaderboard").stdout
    assert "0.500 [0.400, 0.600]" in text
    assert "failed: big with mlp: OOM" in text


def test_filters_that_match_nothing_are_errors(refused: Invoke, results: FeatureStore) -> None:
    assert "Did you mean mpra?" in refused("leaderboard", "--benchmark", "mpr")
    assert "Did you mean pearson_r?" in refused("leaderboard", "--metric", "pearson")
    assert "Did you mean gpn-mini?" in refused("leaderboard", "--model", "gpn-mni")


def test_a_store_without_results_says_so_and_is_no_error(glmstore: Invoke, store: Path) -> None:
    FeatureStore.open(store)
    result = glmstore("leaderboard")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no results yet" in result.stderr
    assert json.loads(glmstore("leaderboard", "--json").stdout) == []


def test_the_report_is_written_where_asked_and_beside_the_store_otherwise(
    glmstore: Invoke, results: FeatureStore, tmp_path: Path
) -> None:
    out = tmp_path / "my" / "report.html"
    assert glmstore("report", "--out", out).stdout == f"{out}\n"
    assert "0.500" in out.read_text(encoding="utf-8")
    beside = Workspace.of(results.uri).report
    assert glmstore("report").stdout == f"{beside}\n"
    assert "0.500" in beside.read_text(encoding="utf-8")


def test_migrate_tells_where_the_store_stands(glmstore: Invoke, results: FeatureStore) -> None:
    assert "already" in glmstore("migrate").stdout


def test_migrate_brings_an_older_store_up(glmstore: Invoke, results: FeatureStore) -> None:
    import lancedb

    lancedb.connect(results.uri).open_table("store").update(values={"schema_version": 1})
    assert glmstore("leaderboard").exit_code == 2
    assert "went from layout 1 to 2" in glmstore("migrate").stdout
    assert glmstore("leaderboard").exit_code == 0


def test_doctor_finds_a_good_installation_fit(glmstore: Invoke, results: FeatureStore) -> None:
    result = glmstore("doctor", "--json")
    found = checks(result)
    assert result.exit_code == 0
    assert {found[what] for what in ("python", "packages", "torch", "store")} == {"ok"}


def test_doctor_takes_an_absent_store_for_a_fresh_start(glmstore: Invoke, store: Path) -> None:
    result = glmstore("doctor", "--json")
    assert result.exit_code == 0
    assert checks(result)["store"] == "note"
    assert not store.exists()


def test_doctor_exits_with_1_when_something_is_broken(
    glmstore: Invoke, results: FeatureStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GLMSTORE_MIRROR", str(tmp_path / "nowhere"))
    result = glmstore("doctor", "--json")
    assert result.exit_code == 1
    assert checks(result)["mirror"] == "broken"


def test_doctor_names_what_is_wrong_with_a_store(glmstore: Invoke, results: FeatureStore) -> None:
    for manifest in Path(results.uri).glob("results.lance/_versions/*"):
        manifest.chmod(stat.S_IRUSR | stat.S_IWUSR)
        manifest.write_bytes(b"damaged")
    result = glmstore("doctor")
    assert result.exit_code == 1
    assert "broken" in result.stdout


def test_doctor_names_a_device_that_does_not_work(glmstore: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMSTORE_DEVICE", "cuda:77")
    result = glmstore("doctor", "--json")
    assert result.exit_code == 1
    assert checks(result)["torch"] == "broken"


def test_doctor_names_a_store_whose_files_are_damaged(
    glmstore: Invoke, results: FeatureStore, store: Path
) -> None:
    for file in (store / "store.lance" / "data").iterdir():
        file.write_bytes(b"short")
    answer = glmstore("doctor", "--json")
    assert answer.exit_code == 1
    (found,) = (check["found"] for check in json.loads(answer.stdout) if check["what"] == "store")
    assert "damaged" in found


def test_a_damaged_store_ends_a_reading_command_in_one_line(
    glmstore: Invoke, results: FeatureStore, store: Path
) -> None:
    for file in (store / "results.lance" / "data").iterdir():
        file.write_bytes(file.read_bytes()[:50])
    done = glmstore("leaderboard", "--store", store)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: the store cannot be read or written (")
    assert "`glmstore doctor`" in " ".join(done.stderr.split())


def test_doctor_refuses_a_file_in_the_place_of_a_store_as_embed_does(
    glmstore: Invoke, refused: Invoke, fasta: Path
) -> None:
    answer = glmstore("doctor", "--json", "--store", fasta)
    assert answer.exit_code == 1
    (found,) = (check["found"] for check in json.loads(answer.stdout) if check["what"] == "store")
    assert found in refused("embed", fasta, "--model", "kmer1", "--store", fasta)


@pytest.mark.parametrize(("there", "verdict", "code"), [(True, "note", 0), (False, "broken", 1)])
def test_doctor_takes_a_store_to_read_from_and_no_place_where_none_can_be_made(
    glmstore: Invoke,
    results: FeatureStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: bool,
    verdict: str,
    code: int,
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    place = results.uri if there else tmp_path / "nothing" / "here"
    answer = glmstore("doctor", "--json", "--store", place)
    assert checks(answer)["disk of the store"] == verdict
    assert answer.exit_code == code
