"""What runs let be seen from outside: metrics, progress, leaderboards, names, logs."""

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, LogFilter
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL

from flows.build_features import BuildFeaturesConfig, build_features
from flows.finetune_adapters import FinetuneAdaptersConfig
from flows.naming import models_named, named
from flows.run_suite import RunSuiteConfig, run_suite
from flows.score_variants import ScoreVariantsConfig
from flows.train_probes import TrainProbesConfig
from glmstore import exporting, metering
from glmstore.benchmarks.plans import ProbePlan, VariantPlan, ViewRequest
from glmstore.benchmarks.suites import Suite
from glmstore.exporting import MetricsNotPushedWarning
from glmstore.planning import FeatureUse
from glmstore.report.board import board_markdown, board_rows
from glmstore.report.leaderboard import leaderboard
from glmstore.store import FeatureStore
from tasks import progress
from tasks.artifacts import artifact_key
from tasks.policies import compute_task
from tasks.progress import StageProgress

KMER, ONE_HOT = ViewRequest(model="kmer2"), ViewRequest(model="onehot", pooling="tokens", dtype="uint8")
KEY, SECRET = "AKIANOTAREALKEY00001", "not-a-real-secret-0123456789abcdef"


class Collector:
    """An OTLP/HTTP receiver: keeps the last value that each process pushed of each series."""

    def __init__(self) -> None:
        self.points: dict[tuple[str, str, tuple[tuple[str, str], ...]], tuple[float, str]] = {}
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/metrics":
                    collector.take(ExportMetricsServiceRequest.FromString(body))
                self.send_response(200 if self.path == "/v1/metrics" else 404)
                self.end_headers()
                self.wfile.write(ExportMetricsServiceResponse().SerializeToString())

            def log_message(self, *args: Any) -> None:
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, request: ExportMetricsServiceRequest) -> None:
        for of in request.resource_metrics:
            resource = {a.key: a.value.string_value for a in of.resource.attributes}
            self.services.add(resource["service.name"])
            for metric in (m for scope in of.scope_metrics for m in scope.metrics):
                for point in (*metric.sum.data_points, *metric.histogram.data_points):
                    attributes = tuple(sorted((a.key, a.value.string_value) for a in point.attributes))
                    value = point.count if metric.HasField("histogram") else point.as_int
                    series = (resource["service.instance.id"], metric.name, attributes)
                    self.points[series] = value, metric.unit

    def totals(self) -> Counter[tuple[str, tuple[tuple[str, str], ...]]]:
        """Return the sum over processes, series by series."""
        found: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        for (_, name, attributes), (value, _) in self.points.items():
            found[name, attributes] += value  # type: ignore[assignment]
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def watched_run(store: str, **environment: str) -> subprocess.CompletedProcess[str]:
    url = PREFECT_API_URL.value()
    assert url, "the harness has a server of its own"
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name("watched_run.py")), store],
        env=os.environ | {"PREFECT_API_URL": url, "GLMSTORE_LOG": "json"} | environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def artifacts(run: UUID) -> list[Any]:
    with get_client(sync_client=True) as client:
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        return client.read_artifacts(artifact_filter=of_run)


def messages(run: UUID) -> list[str]:
    with get_client(sync_client=True) as client:
        return [log.message for log in client.read_logs(LogFilter(flow_run_id={"any_": [run]}))]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_a_run_pushes_is_what_the_store_holds_and_its_log_is_json_under_the_ids_of_the_runs(
    toy_store: FeatureStore, collector: Collector
) -> None:
    first = watched_run(toy_store.uri, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    assert first.returncode == 0, first.stderr
    assert collector.services == {"glmstore"}
    units = {name: unit for (_, name, _), (_, unit) in collector.points.items()}
    assert units["glmstore.sequences"] == "{sequence}"
    assert units["glmstore.store.io"] == "By"
    assert units["glmstore.embedding.duration"] == "s"
    found = collector.totals()
    for view in toy_store.views().iter_rows(named=True):
        model = (("model", view["model"]),)
        rows = sum(batch.num_rows for batch in toy_store.scan(view["name"]))
        vectors = toy_store.read(view["name"], toy_store.benchmark_items("toy_gc")["seq_key"].to_list())
        assert rows == 240
        assert found["glmstore.sequences", model] == found["glmstore.store.rows", model] == rows
        assert found["glmstore.store.io", (("direction", "write"), *model)] == vectors.values.nbytes
        assert found["glmstore.embedding.duration", model] == 1
    cells = toy_store.results()["cell_key"].n_unique()
    assert found["glmstore.items", (("kind", "vector"), ("outcome", "computed"))] == 480
    assert found["glmstore.items", (("kind", "cell"), ("outcome", "computed"))] == cells == 2

    lines = [json.loads(line) for line in first.stderr.splitlines()]
    assert {"time", "level", "logger", "message", "flow_run_id"} <= set(lines[0])
    (probes,) = {line["flow_run_id"] for line in lines if line.get("stage") == "probes"}
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(probes))
    logged = messages(run.id)
    assert run.name == "probes of kmer2 and onehot on toy_gc"
    assert any(message.startswith("probes: 2 of 2") for message in logged), "the log is in the UI too"

    collector.points.clear()
    again = watched_run(toy_store.uri, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    assert again.returncode == 0, again.stderr
    found = collector.totals()
    assert found["glmstore.items", (("kind", "vector"), ("outcome", "reused"))] == 480
    assert found["glmstore.items", (("kind", "cell"), ("outcome", "reused"))] == cells
    assert not {name for name, _ in found} & {"glmstore.sequences", "glmstore.store.rows"}


def test_a_collector_that_is_away_costs_a_process_seconds_and_no_error() -> None:
    code = (  # what is registered first is called last, after the last push
        "import atexit, time\n"
        "from glmstore import exporting, metering\n"
        "started = time.monotonic()\n"
        "atexit.register(lambda: print(time.monotonic() - started))\n"
        "assert exporting.push_metrics()\n"
        "metering.sequences_embedded('m', 3)\n"
        "exporting.flush_metrics()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Failed to export metrics" in done.stderr
    assert float(done.stdout) < 4 * exporting.PATIENCE_S


def test_an_endpoint_without_the_packages_that_push_is_said_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(exporting, "_asked", False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics.export", None)
    with pytest.warns(MetricsNotPushedWarning, match=r"opentelemetry\.sdk.*glmstore\[service\]"):
        assert not exporting.push_metrics()


@pytest.mark.parametrize("off", [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_METRICS_EXPORTER": "none"}])
def test_nothing_is_pushed_where_nobody_asked_or_it_is_switched_off(
    monkeypatch: pytest.MonkeyPatch, off: dict[str, str]
) -> None:
    monkeypatch.setattr(exporting, "_asked", False)
    for name, value in ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} | off if off else {}).items():
        monkeypatch.setenv(name, value)
    assert not exporting.push_metrics()


def test_a_task_that_is_tried_again_is_counted_with_its_error_and_bad_input_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metering, "_retries", provider.get_meter("test").create_counter("glmstore.retries"))
    errors: list[Exception] = [ConnectionError("away"), TimeoutError("slow"), ValueError("bad input")]

    @compute_task("fragile")
    def fragile() -> None:
        raise errors.pop(0)

    @flow
    def trying() -> None:
        fragile.with_options(retry_delay_seconds=0)()

    with pytest.raises(ValueError, match="bad input"):
        trying()
    data = reader.get_metrics_data()
    assert data is not None
    points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert {point.attributes["error.type"]: point.value for point in points} == {  # type: ignore[union-attr, index]
        "ConnectionError": 1,
        "TimeoutError": 1,
    }
    assert {point.attributes["task"] for point in points} == {"fragile"}  # type: ignore[index]
    provider.shutdown()


def test_progress_ends_at_the_share_that_did_not_fail_and_is_updated_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    updates: list[float] = []
    send = progress.update_progress_artifact

    def counted(artifact: UUID, percent: float, description: str) -> None:
        updates.append(percent)
        send(artifact, percent, description)

    monkeypatch.setattr(progress, "update_progress_artifact", counted)

    @flow
    def staged() -> UUID:
        from prefect.context import FlowRunContext

        with StageProgress("My stage_1", 1000, unit="cells") as shown:
            for number in range(1000):
                shown.advance(failed=number % 4 == 0)
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        return context.flow_run.id

    (shown,) = artifacts(staged())
    assert (shown.key, shown.type, shown.data) == ("progress-my-stage-1", "progress", 75)
    assert shown.description.startswith("My stage_1: 750 of 1,000 cells, 250 failed, ")
    assert "cells/s, in " in shown.description
    assert updates == [75], "one at the end, as it took less than the interval"


def test_rate_and_time_left_are_in_the_units_one_can_grasp() -> None:
    shown = StageProgress("features", 40_000, unit="vectors")
    shown.advance(10_000)
    assert shown.percent == 25
    assert shown.describe(20) == "features: 10,000 of 40,000 vectors, 500 vectors/s, about 1 min 0 s left"
    slow = StageProgress("adapters", 4, unit="cells")
    slow.advance()
    assert slow.describe(1800) == "adapters: 1 of 4 cells, 2.0 cells/h, about 1 h 30 min left"


def test_a_server_that_does_not_answer_stops_no_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise httpx.ConnectError("no route")

    monkeypatch.setattr(progress, "INTERVAL_S", 0)
    monkeypatch.setattr(progress, "update_progress_artifact", away)

    @flow
    def staged() -> int:
        with StageProgress("probes", 3, unit="cells") as shown:
            for _ in range(3):
                shown.advance()
        return 3

    assert staged() == 3
    assert [r.getMessage() for r in caplog.records if r.name == "glmstore.progress"] == [
        "probes: the progress is not shown: no route"
    ]


def test_a_leaderboard_is_shown_with_intervals_and_controls_and_a_link_to_the_report(
    toy_store: FeatureStore,
) -> None:
    plan = ProbePlan(benchmark="toy_gc", heads=("ridge",))
    suite = Suite(name="Watched", summary="s", models=(KMER, ONE_HOT), probes=(plan,), seeds=(0,))
    state = run_suite(RunSuiteConfig(store=toy_store.uri, suite=suite), return_state=True)
    assert state.is_completed()
    assert state.state_details.flow_run_id is not None
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
    assert run.name == "Watched suite: kmer2 and onehot on toy_gc"
    shown = {artifact.key: artifact for artifact in artifacts(run.id)}
    assert set(shown) == {"leaderboard-watched", "leaderboard-watched-table", "report-watched"}
    lines = board_rows(leaderboard(toy_store))
    assert json.loads(shown["leaderboard-watched-table"].data) == lines
    assert shown["leaderboard-watched"].data == board_markdown(lines)
    report = Path(toy_store.uri + "-artifacts") / "report.html"
    assert shown["report-watched"].data == f"[Open the report]({report.as_uri()})"


def test_the_markdown_keeps_a_model_and_its_differences_to_its_controls_in_four_columns() -> None:
    line: dict[str, str | int] = {
        "benchmark": "b",
        "model": "m|x",
        "head": "ridge",
        "value [95 % interval]": "0.500 [0.400, 0.600]",
        "minus random twin": "+0.100 [+0.050, +0.150]",
        "minus one-hot": "–",
        "controls": "missing: one-hot",
        "metric": "pearson_r",
        "view": "L1 mean",
        "n": 10,
        "seeds": 1,
    }
    assert board_markdown([line]).splitlines() == [
        "### b: ridge",
        "",
        "|  | pearson_r [95 % interval] | minus random twin | minus one-hot |",
        "|---|---|---|---|",
        "| **m\\|x** (controls missing: one-hot) | 0.500 [0.400, 0.600] | +0.100 [+0.050, +0.150] | – |",
    ]
    assert board_markdown([]) == "No results yet."


def test_names_of_runs_say_models_and_benchmarks_and_stay_short() -> None:
    twins = (f"rand_init:gpn-mini:{i}" for i in range(9))
    many = tuple(ViewRequest(model=model) for model in (*twins, "kmer1"))
    uses = tuple(FeatureUse(benchmark=f"b{i}", view=view) for i, view in enumerate(many))
    features = BuildFeaturesConfig(store="s", uses=uses)
    assert features.title == "rand_init:gpn-mini and kmer1 on b0, b1, b2 and 7 more"
    assert TrainProbesConfig(store="s", probes=(), models=many).title.startswith(
        "rand_init:gpn-mini and kmer1"
    )
    assert FinetuneAdaptersConfig(store="s", benchmark="b", models=("m",)).title == "m on b"
    demo = RunSuiteConfig(store="s", suite="demo").title
    assert demo.startswith("demo suite: gpn-mini")
    assert " on sortseq_lac" in demo
    assert named(["a", "b", "c", "d"]) == "a, b, c and d"
    assert models_named([]) == ""
    plan = VariantPlan(benchmarks=("cagi5_ldlr",), models=("gpn-mini",), scorers=("llr",))
    assert ScoreVariantsConfig(store="s", plan=plan).title == "gpn-mini on cagi5_ldlr"


def test_keys_of_artifacts_are_what_prefect_takes() -> None:
    assert artifact_key("report", "s3://Bucket/My store_2") == "report-s3-bucket-my-store-2"


def test_progress_asks_the_server_every_two_seconds_however_many_tasks_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, shown = itertools.count(step=0.01), list[float]()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(progress, "create_progress_artifact", lambda *_: uuid4())
    monkeypatch.setattr(progress, "update_progress_artifact", lambda _, percent, __: shown.append(percent))

    @flow
    def counting() -> None:
        with StageProgress("cost", 2_000, unit="cells") as stage:
            for _ in range(2_000):
                stage.advance()

    counting()
    # A look at the clock for each task, and one more for each update: 20 seconds and a little.
    assert 9 <= len(shown) <= 11
    assert shown[-1] == 100


UNREACHABLE = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",
    "GLMSTORE_LOG": "json",
}
BUILD = """
from flows.build_features import BuildFeaturesConfig, build_features
from tasks import policies
policies.RETRY_DELAYS_S[:] = [0.1, 0.1]
use = {"benchmark": "toy_gc", "view": {"model": "kmer2"}}
build_features(BuildFeaturesConfig(store="s3://bucket/store", uses=[use]))
"""


def test_credentials_are_in_no_log_of_a_flow_that_cannot_reach_its_storage() -> None:
    url = PREFECT_API_URL.value()
    assert url
    done = subprocess.run(
        [sys.executable, "-c", BUILD],
        env=os.environ | UNREACHABLE | {"PREFECT_API_URL": url},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode != 0
    assert "127.0.0.1:9" in done.stderr, "the error says what could not be reached"
    assert not any(word in done.stdout + done.stderr for word in (KEY, SECRET))
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
    logged = "\n".join(messages(run.id))
    assert run.name == "features of kmer2 on toy_gc"
    assert "127.0.0.1:9" in logged
    assert not any(word in f"{logged} {run.state}" for word in (KEY, SECRET))


def test_an_error_of_the_command_line_is_one_json_object_where_asked(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", "run", "dmeo"],
        env=os.environ | {"GLMSTORE_LOG": "json", "GLMSTORE_STORE": str(tmp_path / "store")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    (line,) = map(json.loads, done.stderr.splitlines())
    assert done.returncode == 2
    assert (line["level"], line["logger"]) == ("ERROR", "glmstore")
    assert "Did you mean demo" in line["message"]


def test_a_dry_run_counts_no_vectors(toy_store: FeatureStore) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metering, "_items", provider.get_meter("test").create_counter("glmstore.items"))
        use = FeatureUse(benchmark="toy_gc", view=ViewRequest(model="kmer2"))
        build_features(BuildFeaturesConfig(store=toy_store.uri, uses=(use,), dry_run=True))
    assert reader.get_metrics_data() is None
    provider.shutdown()
