"""Storage that goes away under a flow itself, between its tasks: the flow waits, as its tasks do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task

from flows import build_features as features
from flows.build_features import BuildFeaturesConfig, build_features
from flows.outcomes import WorkFailedError, settle
from glmstore.benchmarks.base import BenchmarkData
from glmstore.benchmarks.plans import ViewRequest
from glmstore.errors import AlphabetError, S3UnavailableError
from glmstore.objects.s3 import s3_client
from glmstore.planning import FeatureUse
from glmstore.store import FeatureStore
from infra.s3.server import ObjectStorage
from tasks import policies


@pytest.fixture
def storage(tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStorage]:
    """Start object storage of this test's own, for it will be killed."""
    with ObjectStorage(tmp_path / "served") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        s3_client.cache_clear()
        yield server
    s3_client.cache_clear()


def away_at_first(storage: ObjectStorage, job: Callable[..., Any], tries: list[str]) -> Callable[..., Any]:
    """Return `job`, with storage that goes away right before its first try and is back for its second."""

    def struck(*args: Any, **kwargs: Any) -> Any:
        if not tries:
            storage.kill()
        elif tries == ["away"]:
            storage.start()
        tries.append("well" if tries else "away")
        return job(*args, **kwargs)

    return struck


@pytest.mark.parametrize("where", ["open", "plan_features"])
@pytest.mark.usefixtures("quiet")
def test_a_flow_outlives_storage_that_is_away(
    where: str,
    storage: ObjectStorage,
    toy_store: FeatureStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FeatureStore.open(f"{storage.bucket('flows')}/{where}")
    items = toy_store.benchmark_items("toy_gc")
    store.register_benchmark(toy_store.benchmark_spec("toy_gc"), BenchmarkData(items))
    monkeypatch.setattr(policies, "RETRY_DELAYS_S", [0.1])
    owner = FeatureStore if where == "open" else features
    tries: list[str] = []
    monkeypatch.setattr(owner, where, away_at_first(storage, getattr(owner, where), tries))
    use = FeatureUse(benchmark="toy_gc", view=ViewRequest(model="kmer2"))
    done = build_features(BuildFeaturesConfig(store=store.uri, uses=(use,)))
    assert done.vectors_computed == 240
    assert tries[:2] == ["away", "well"]


@pytest.mark.usefixtures("quiet")
def test_bad_input_to_a_flow_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "RETRY_DELAYS_S", [60.0])
    tries = []

    def plan() -> None:
        tries.append(1)
        raise AlphabetError("record 7", "has J", "Remove it")

    with pytest.raises(AlphabetError):
        policies.patiently(plan)
    assert tries == [1]


@pytest.mark.usefixtures("quiet")
def test_waiting_for_storage_ends(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(policies, "RETRY_DELAYS_S", [0.01, 0.01])
    tries = []

    def plan() -> None:
        tries.append(1)
        raise S3UnavailableError("s3://b: no answer")

    with pytest.raises(S3UnavailableError):
        policies.patiently(plan)
    assert len(tries) == 3
    assert "plan failed: s3://b: no answer; again in 0 s" in caplog.text


@pytest.mark.usefixtures("quiet")
def test_a_failure_that_cannot_be_recorded_stops_none_of_the_other_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policies, "RETRY_DELAYS_S", [0.01])
    done: list[int] = []

    @task
    def work(number: int) -> None:
        if number == 1:
            raise AlphabetError("record 1", "has J", "Remove it")
        done.append(number)

    def record(*_: object) -> None:
        raise S3UnavailableError("s3://b: no answer")

    @flow
    def all_of_it() -> None:
        settle(range(12), work.submit, stage="work", name=lambda n: f"piece {n}", on_failure=record)

    with pytest.raises(WorkFailedError) as failed:
        all_of_it()
    assert sorted(done) == [0, *range(2, 12)]
    assert [name for name, _ in failed.value.failures] == ["piece 1", "the record of piece 1"]
