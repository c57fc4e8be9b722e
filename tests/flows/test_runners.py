import sys
import time
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest
from prefect import flow, task

from flows import cluster
from flows.outcomes import WorkFailedError, settle
from flows.runners import IN_FLIGHT, ChosenRunner, require_runner, scheduler_address
from flows.settings import FlowConfig
from glmstore.errors import RunnerError


def test_a_runner_is_threads_or_the_address_of_a_scheduler() -> None:
    assert scheduler_address("threads") is None
    assert scheduler_address("dask://10.0.0.7:8786") == "tcp://10.0.0.7:8786"
    assert scheduler_address("dask+tls://[::1]:8786") == "tls://[::1]:8786"


@pytest.mark.parametrize(
    "wrong", ["dask", "dask://", "dask://host", "dask://host:port", "dask://host:1/x", "tcp://host:1", ""]
)
def test_anything_else_is_refused_with_what_can_be_given(wrong: str) -> None:
    with pytest.raises(RunnerError, match=r"give 'threads', or dask://HOST:PORT"):
        scheduler_address(wrong)


def test_ray_is_refused_by_name_with_the_reason() -> None:
    with pytest.raises(RunnerError, match=r"Ray is not supported, because .* dask://HOST:PORT"):
        scheduler_address("ray://127.0.0.1:10001")


def test_a_flow_is_configured_by_the_environment_where_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GLMSTORE_RUNNER", "dask://127.0.0.1:8786")
    assert FlowConfig().runner == "dask://127.0.0.1:8786"
    assert FlowConfig(runner="threads").runner == "threads"
    monkeypatch.setenv("GLMSTORE_RUNNER", "ray://head:10001")
    with pytest.raises(ValueError, match="Ray is not supported"):
        FlowConfig()


def test_tasks_get_a_store_that_means_the_same_in_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert FlowConfig(store="here/store").store == str(tmp_path / "here/store")
    assert FlowConfig(store="s3://bucket/store").store == "s3://bucket/store"


def test_an_address_where_nothing_listens_fails_in_seconds_and_says_what_to_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert cluster.SECONDS < 10
    monkeypatch.setattr(cluster, "SECONDS", 1)
    pytest.importorskip("prefect_dask", reason="needs the extra 'service'")  # importing it takes its time
    started = time.monotonic()
    with pytest.raises(RunnerError, match=r"no Dask scheduler answers at .*`dask scheduler"):
        require_runner("dask://127.0.0.1:1")
    assert time.monotonic() - started < 25, "Dask by itself tries for 30 s"


def test_a_cluster_that_wants_certificates_names_the_settings_that_hold_them() -> None:
    with pytest.raises(RunnerError, match="DASK_DISTRIBUTED__COMM__TLS__CA_FILE"):
        require_runner("dask+tls://127.0.0.1:1")


def test_without_prefect_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)
    with pytest.raises(RunnerError, match=r"pip install 'glmstore\[service\]'"):
        require_runner("dask://127.0.0.1:1")


@pytest.mark.usefixtures("quiet")
def test_few_more_tasks_are_submitted_than_run_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GLMSTORE_WORKERS", "2")
    lock, counts, full = Lock(), {"open": 0, "most": 0}, Event()

    @task
    def work(number: int) -> None:
        assert full.wait(120)
        time.sleep(0.02)  # in which one more would be submitted, were it allowed
        with lock:
            counts["open"] -= 1
        if number == 7:
            raise ValueError("seven")

    def submit(number: int) -> Any:
        with lock:
            counts["open"] += 1
            counts["most"] = max(counts["most"], counts["open"])
            if counts["open"] == IN_FLIGHT * 2:
                full.set()
        return work.submit(number)

    @flow(task_runner=ChosenRunner())
    def many(config: FlowConfig) -> None:
        settle(range(20), submit, stage="work", name=str)

    with pytest.raises(WorkFailedError, match="7: ValueError: seven") as failed:
        many(FlowConfig(store=str(tmp_path)))
    assert failed.value.tally.computed == 19
    assert counts == {"open": 0, "most": IN_FLIGHT * 2}
