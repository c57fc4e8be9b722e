"""Upkeep: files are merged and shown, one run at a time; the leaderboard is written without computing."""

import json
from pathlib import Path

import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from pydantic import ValidationError

from flows.build_features import BuildFeaturesConfig, build_features
from flows.maintain_store import MaintainStoreConfig, maintain_store
from flows.refresh_leaderboard import RefreshLeaderboardConfig, refresh_leaderboard
from flows.train_probes import TrainProbesConfig, train_probes
from glmstore.benchmarks.plans import ProbePlan, ViewRequest
from glmstore.errors import StoreNotFoundError
from glmstore.estimating import Plan
from glmstore.leases import lease
from glmstore.planning import FeatureUse
from glmstore.store import FeatureStore
from glmstore.upkeep import LEASE, Upkeep

KMER = ViewRequest(model="kmer2")


def artifact(key: str):
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return max(found, key=lambda a: a.created)


@pytest.fixture
def scattered(toy_store: FeatureStore) -> FeatureStore:
    """Return a store whose sequences lie in many small files."""
    rng = np.random.default_rng(1)
    for _ in range(8):
        toy_store.add_sequences(["".join(rng.choice(list("ACGT"), size=30)) for _ in range(5)])
    return toy_store


def test_small_files_become_few_and_the_table_is_shown(scattered: FeatureStore):
    keys = scattered.sequences()["seq_key"].to_list()
    done = maintain_store(MaintainStoreConfig(store=scattered.uri))
    assert isinstance(done, Upkeep)
    (sequences,) = [t for t in done.tables if t.table == "sequences"]
    assert (sequences.files_before, sequences.files_after, sequences.rows) == (9, 1, 280)
    assert set(FeatureStore.open(scattered.uri).sequences()["seq_key"]) == set(keys)
    shown = artifact("maintain-store")
    assert shown.description == done.sentence
    rows = {row["table"]: row for row in json.loads(shown.data)}
    assert (rows["sequences"]["files_before"], rows["sequences"]["files_after"]) == (9, 1)
    assert set(rows["sequences"]) == {"table", "rows", "files_before", "files_after", "bytes_freed"}


def test_while_another_run_holds_the_lease_nothing_is_done_and_nothing_fails(scattered: FeatureStore):
    config = MaintainStoreConfig(store=scattered.uri)
    before = scattered.tables()
    with lease(scattered.uri, LEASE, seconds=60):
        state = maintain_store(config, return_state=True)
    assert state.is_completed()
    assert state.name == "Skipped"
    assert "another run" in state.message.lower()
    assert FeatureStore.open(scattered.uri).tables().equals(before)
    assert isinstance(maintain_store(config), Upkeep)


def test_a_dry_run_says_what_lies_there_and_changes_nothing(scattered: FeatureStore):
    before = scattered.tables()
    plan = maintain_store(MaintainStoreConfig(store=scattered.uri, dry_run=True))
    assert isinstance(plan, Plan)
    assert "sequences: 280 rows in 9 files, 10 versions" in plan.notes
    assert FeatureStore.open(scattered.uri).tables().equals(before)


def test_a_store_that_is_not_there_fails_by_name_and_is_not_made(tmp_path: Path):
    nowhere = tmp_path / "nowhere"
    with pytest.raises(StoreNotFoundError, match="nowhere"):
        maintain_store(MaintainStoreConfig(store=str(nowhere)))
    with pytest.raises(StoreNotFoundError, match="nowhere"):
        refresh_leaderboard(RefreshLeaderboardConfig(store=str(nowhere)))
    plan = maintain_store(MaintainStoreConfig(store=str(nowhere), dry_run=True))
    assert [u.why for u in plan.unplanned] == ["there is no store yet"]
    assert not nowhere.exists()


def test_versions_that_readers_may_still_hold_cannot_be_asked_away():
    with pytest.raises(ValidationError, match="keep_hours"):
        MaintainStoreConfig(store="somewhere", keep_hours=0.1)


def test_the_leaderboard_is_written_anew_and_no_cell_is_computed(toy_store: FeatureStore):
    uri, ridge = toy_store.uri, ProbePlan(benchmark="toy_gc", heads=("ridge",))
    build_features(BuildFeaturesConfig(store=uri, uses=(FeatureUse(benchmark="toy_gc", view=KMER),)))
    train_probes(TrainProbesConfig(store=uri, probes=(ridge,), models=(KMER,)))
    before = FeatureStore.open(uri).results()
    planned = refresh_leaderboard(RefreshLeaderboardConfig(store=uri, dry_run=True))
    report = Path(uri + "-artifacts") / "report.html"
    assert not report.exists()
    assert str(report) in planned.notes[0]
    assert refresh_leaderboard(RefreshLeaderboardConfig(store=uri)) == str(report)
    assert "toy_gc" in report.read_text()
    shown = artifact("leaderboard").data
    assert "toy_gc" in shown
    assert "| kmer2 |" in shown
    assert FeatureStore.open(uri).results().equals(before)
