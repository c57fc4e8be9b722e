"""The short form of `make chaos` holds, and what counts the rows would see harm done to a store."""

import json
import os
import subprocess
import sys
from pathlib import Path

import lancedb
import pyarrow as pa
import pytest

from glmstore.leases import lease
from glmstore.store import FeatureStore
from glmstore.store.schema import VIEW_PREFIX
from infra.chaos.census import census
from infra.chaos.content import WRITES, Chunk, declare, write
from infra.chaos.nest import ROOT
from infra.chaos.outcome import Outcome

EVERYTHING = {(step, 0) for step in WRITES}


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    store = FeatureStore.open(tmp_path / "store")
    declare(store)
    write(store, Chunk(0), lambda step, job: job())
    return tmp_path / "store"


def pooled_table(place: Path) -> lancedb.table.Table:
    names = FeatureStore.open(place).tables()["table"].to_list()
    (name,) = [n for n in names if n.startswith(VIEW_PREFIX) and not n.endswith(("_t5", "_t6"))]
    return lancedb.connect(place).open_table(name)


def test_a_whole_store_is_clean(filled: Path) -> None:
    assert census(str(filled), [0], EVERYTHING).clean


def test_a_row_that_is_gone_counts_as_lost(filled: Path) -> None:
    pooled_table(filled).delete(f"seq_key = '{Chunk(0).keys[3]}'")
    found = census(str(filled), [0], EVERYTHING)
    assert (found.lost, found.partial, found.duplicated) == (1, 0, 0)


def test_part_of_a_commit_nobody_was_told_of_counts_as_partial(filled: Path) -> None:
    pooled_table(filled).delete(f"seq_key = '{Chunk(0).keys[3]}'")
    found = census(str(filled), [0], EVERYTHING - {("pooled", 0)})
    assert (found.lost, found.partial, found.duplicated) == (0, 249, 0)


def test_another_number_counts_as_partial(filled: Path) -> None:
    pooled = pooled_table(filled)
    pooled.update(where=f"seq_key = '{Chunk(0).keys[3]}'", values={"vector": [0.0] * 64})
    found = census(str(filled), [0], EVERYTHING)
    assert (found.lost, found.partial, found.duplicated) == (0, 1, 0)


def test_a_second_row_of_a_key_counts_as_doubled(filled: Path) -> None:
    pooled = pooled_table(filled)
    pooled.add(pa.Table.from_batches(pooled.to_arrow().to_batches()).slice(0, 1))
    found = census(str(filled), [0], EVERYTHING)
    assert found.duplicated == 1


def test_lost_results_count(filled: Path) -> None:
    lancedb.connect(filled).open_table("results").delete("true")
    assert census(str(filled), [0], EVERYTHING).lost > 0


def test_a_fault_that_never_struck_or_broke_a_promise_is_not_ok() -> None:
    assert not Outcome("a").ok
    assert Outcome("a", trials=1).ok
    assert not Outcome("a", trials=1, broken=["it was taken"]).ok


CONTEND = """
import sys, time
from pathlib import Path
from glmstore.objects.local import LocalObjects
from infra.chaos.contender import main

def age_by_own_clock(self, name):
    return time.time() - (Path(self.root) / name).stat().st_mtime

if sys.argv[2] == "own":
    LocalObjects.age_s = age_by_own_clock
main(sys.argv[1], "work", 6.0, 1.0, 3600.0)
"""


@pytest.mark.parametrize(("clock", "stolen"), [("storage", False), ("own", True)])
def test_a_lease_judged_by_the_contenders_own_clock_would_be_stolen(
    tmp_path: Path, clock: str, stolen: bool
) -> None:
    with lease(str(tmp_path), "work", 6.0):
        words = [sys.executable, "-c", CONTEND, str(tmp_path), clock]
        said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.startswith("held") is stolen, said
    assert "tried" in said


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_short_form_of_the_suite_holds(tmp_path: Path) -> None:
    told = tmp_path / "chaos.json"
    command = [sys.executable, "-m", "infra.chaos", "--short", "--out", str(told)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    outcomes = json.loads(told.read_text())
    assert [o for o in outcomes if not o["ok"]] == [], done.stdout + done.stderr
    assert done.returncode == 0
    assert len(outcomes) == 12
    for outcome in outcomes:
        counts = {"name", "trials", "lost", "partial", "duplicated", "ok"}
        assert set(outcome) == counts | {"fault", "short", "when"}
        assert outcome["trials"] > 0
        assert (outcome["lost"], outcome["partial"], outcome["duplicated"]) == (0, 0, 0)
