"""What lies beside a store lies beside one in object storage too: whole, checked, and for many at once."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage

from glmstore.config import Settings
from glmstore.errors import StudyError, WeightsError
from glmstore.finetuning import FineTuneSettings, adapter_names, forget_adapters
from glmstore.models import get_model
from glmstore.objects import Objects, open_objects
from glmstore.objects.folders import INDEX, fetch_folder, publish_folder
from glmstore.report.atomic import write_atomically
from glmstore.report.record import load_figures, load_summary, save_figure, save_summary
from glmstore.report.summary import Figure, SuiteSummary
from glmstore.results import Cell
from glmstore.tuning import StudyRef, TuneSettings
from glmstore.tuning.objects import ObjectJournal, StudyObjects
from glmstore.views import FeatureView
from glmstore.workspace import Workspace


@pytest.fixture
def beside(s3: Any) -> Workspace:
    return Workspace.of(f"{s3.bucket('companions')}/{uuid.uuid4().hex}/store")


def shelf(beside: Workspace) -> Objects:
    return open_objects(beside.probes)


def make(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def contents(folder: Path | None) -> dict[str, str] | None:
    if folder is None:
        return None
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_companions_lie_beside_the_store(s3: Any, tmp_path: Path) -> None:
    assert Workspace.of("s3://bucket/lab/store/").report == "s3://bucket/lab/store-artifacts/report.html"
    assert Workspace.of(str(tmp_path / "store")).studies == tmp_path / "store-artifacts" / "studies"


def test_a_folder_made_in_one_place_is_read_in_another(beside: Workspace) -> None:
    with beside.working_on("probes", ["cell"]) as desk:
        make(desk / "cell", a="1", seed__b="2", **{".draft": "not this"})
    found = beside.fetched("probes", "cell")
    assert found is not None
    assert contents(found) == {"a": "1", "seed/b": "2"}
    assert (found.name, found.is_relative_to(Settings().cache)) == ("cell", True)
    assert beside.names("probes") == ["cell"]
    assert beside.fetched("probes", "other") is None


def test_what_was_whole_before_a_failure_is_kept(beside: Workspace) -> None:
    def fail_at_the_second() -> None:
        with beside.working_on("adapters", ["one", "two"]) as desk:
            make(desk / "one", a="1")
            raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        fail_at_the_second()
    assert beside.names("adapters") == ["one"]
    with beside.working_on("adapters", ["one", "two"]) as desk:
        assert contents(desk / "one") == {"a": "1"}


class Broken:
    """Objects whose writer is killed after so many objects."""

    def __init__(self, inner: Objects, puts: int) -> None:
        self.inner, self.uri, self.left = inner, inner.uri, puts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def put(self, name: str, data: bytes) -> None:
        if self.left == 0:
            raise ConnectionError("killed")
        self.left -= 1
        self.inner.put(name, data)


@pytest.mark.parametrize("puts", [0, 1, 2])
def test_a_killed_writer_leaves_no_folder_and_the_old_one_as_it_was(
    beside: Workspace, tmp_path: Path, puts: int
) -> None:
    new = make(tmp_path / "new", a="new", b="new")
    with pytest.raises(ConnectionError):
        publish_folder(Broken(shelf(beside), puts), "cell", new)
    assert beside.fetched("probes", "cell") is None
    assert beside.names("probes") == []
    publish_folder(shelf(beside), "cell", make(tmp_path / "old", a="old", b="old"))
    with pytest.raises(ConnectionError):
        publish_folder(Broken(shelf(beside), puts), "cell", new)
    assert contents(beside.fetched("probes", "cell")) == {"a": "old", "b": "old"}


def test_a_folder_replaced_while_it_is_read_is_read_again(beside: Workspace, tmp_path: Path) -> None:
    objects = shelf(beside)
    publish_folder(objects, "cell", make(tmp_path / "old", a="old", b="old"))
    new = make(tmp_path / "new", a="new", b="new")

    class Replaced(Broken):
        def get(self, name: str) -> bytes | None:
            if name.endswith("/b") and self.left:
                self.left = 0
                publish_folder(objects, "cell", new)
            return self.inner.get(name)

    assert contents(fetch_folder(Replaced(objects, 1), "cell", tmp_path / "cache")) == {
        "a": "new",
        "b": "new",
    }
    assert len(objects.names("cell/")) == 3  # two files and the index: nothing of the old one is left


def test_writers_of_one_folder_at_once_leave_one_that_is_whole(beside: Workspace, tmp_path: Path) -> None:
    folders = [make(tmp_path / str(i), a=f"{i}", b=f"{i}") for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda folder: publish_folder(shelf(beside), "cell", folder), folders))
    found = contents(beside.fetched("probes", "cell"))
    assert found is not None
    assert found["a"] == found["b"]


def test_a_folder_that_is_equal_is_not_put_again(beside: Workspace, tmp_path: Path) -> None:
    publish_folder(shelf(beside), "cell", make(tmp_path / "x", a="1"))
    before = shelf(beside).names()
    publish_folder(shelf(beside), "cell", tmp_path / "x")
    assert shelf(beside).names() == before


def test_a_damaged_folder_is_named_and_a_damaged_copy_is_made_again(
    beside: Workspace, tmp_path: Path
) -> None:
    publish_folder(shelf(beside), "cell", make(tmp_path / "x", a="1"))
    copy = beside.fetched("probes", "cell")
    assert copy is not None
    (copy / "a").write_text("bad")
    assert contents(beside.fetched("probes", "cell")) == {"a": "1"}
    (stored,) = (name for name in shelf(beside).names() if not name.endswith(INDEX))
    shelf(beside).put(stored, b"bad")
    (copy / "a").unlink()
    with pytest.raises(WeightsError, match="cell is damaged: a is not the file that was written"):
        beside.fetched("probes", "cell")


def vanish(objects: Objects) -> None:
    objects.delete(stored_file(objects))


def cut(objects: Objects) -> None:
    name = stored_file(objects)
    objects.put(name, (objects.get(name) or b"")[:-1])


def empty_index(objects: Objects) -> None:
    objects.put(f"cell/{INDEX}", b"")


def index_that_leads_out(objects: Objects) -> None:
    index = {"version": "0" * 32, "files": {"../../x": "0" * 64}}
    objects.put(f"cell/{INDEX}", json.dumps(index).encode())


def stored_file(objects: Objects) -> str:
    return next(name for name in objects.names("cell/") if not name.endswith(INDEX))


DAMAGE = pytest.mark.parametrize("damage", [vanish, cut, empty_index, index_that_leads_out])
Damage = Callable[[Objects], None]


@pytest.fixture
def another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what leaves behind the copies that this machine has made."""
    return lambda: monkeypatch.setenv("GLMSTORE_CACHE", str(tmp_path / uuid.uuid4().hex))


@DAMAGE
def test_a_damaged_folder_is_made_again_even_with_the_same_contents(
    beside: Workspace,
    tmp_path: Path,
    another_machine: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
    damage: Damage,
) -> None:
    publish_folder(shelf(beside), "cell", make(tmp_path / "x", a="1", b="2"))
    damage(shelf(beside))
    another_machine()
    with pytest.raises(WeightsError, match="--force"):
        beside.fetched("probes", "cell")
    with beside.working_on("probes", ["cell"]) as desk:
        assert not (desk / "cell").exists()
        make(desk / "cell", a="1", b="2")
    assert "doing without what cannot be read" in caplog.text
    another_machine()
    assert contents(beside.fetched("probes", "cell")) == {"a": "1", "b": "2"}
    assert len(shelf(beside).names()) == 3, "nothing of the damaged one is left"


@DAMAGE
def test_a_failure_leaves_a_damaged_folder_as_it_is(
    beside: Workspace, tmp_path: Path, another_machine: Callable[[], None], damage: Damage
) -> None:
    publish_folder(shelf(beside), "cell", make(tmp_path / "x", a="1"))
    damage(shelf(beside))
    before = shelf(beside).names()
    another_machine()
    with pytest.raises(RuntimeError, match="broke"), beside.working_on("probes", ["cell"]):
        raise RuntimeError("broke")
    assert shelf(beside).names() == before


def test_who_has_a_whole_copy_mends_the_folder_by_working_on_it(
    beside: Workspace, tmp_path: Path, another_machine: Callable[[], None]
) -> None:
    publish_folder(shelf(beside), "cell", make(tmp_path / "x", a="1"))
    beside.fetched("probes", "cell")
    vanish(shelf(beside))
    with beside.working_on("probes", ["cell"]) as desk:
        assert contents(desk / "cell") == {"a": "1"}
    another_machine()
    assert contents(beside.fetched("probes", "cell")) == {"a": "1"}


@DAMAGE
def test_a_damaged_folder_is_forgotten_with_all_its_files(
    beside: Workspace, tmp_path: Path, damage: Damage
) -> None:
    for name in ("cell", "cell-2"):
        publish_folder(shelf(beside), name, make(tmp_path / "x", a="1", b="2"))
    damage(shelf(beside))
    beside.forget("probes", "cell")
    assert beside.fetched("probes", "cell") is None
    assert beside.names("probes") == ["cell-2"]
    assert shelf(beside).names("cell/") == []


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "a//b", "a\\b", ""])
def test_names_never_lead_out(beside: Workspace, tmp_path: Path, name: str) -> None:
    for workspace in (beside, Workspace(tmp_path)):
        for refuse in (workspace.fetched, workspace.forget):
            with pytest.raises(ValueError, match="must stay below"):
                refuse("probes", name)
        with pytest.raises(ValueError, match="must stay below"), workspace.working_on("probes", [name]):
            pass


def test_an_index_that_leads_out_is_refused(beside: Workspace) -> None:
    index_that_leads_out(shelf(beside))
    with pytest.raises(WeightsError, match=r"no index of a folder.*must stay below"):
        beside.fetched("probes", "cell")


def test_forgotten_adapters_are_gone(beside: Workspace) -> None:
    cell = Cell(
        benchmark="toy", benchmark_digest="0", model="gpn", view="-", head="lora", protocol="glmstore",
        split="hash", seeds=(0, 1), settings=FineTuneSettings().model_dump(mode="json"),
    )  # fmt: skip
    names = adapter_names(cell)
    with beside.working_on("adapters", names) as desk:
        for name in names:
            make(desk / name, a="1")
    assert beside.names("adapters") == sorted(names)
    forget_adapters(cell, beside)
    assert open_objects(beside.adapters).names() == []


def test_figures_summary_and_report_are_objects(beside: Workspace) -> None:
    figure = Figure("Logo of X", "What it shows.", b"\x89PNG")
    summary = SuiteSummary(
        name="toy", started=datetime.now(UTC).isoformat(), seconds=1.0, computed_cells=1, reused_cells=0,
        failed_cells=0, seeds=(0,),
    )  # fmt: skip
    assert (beside.has_figures, load_figures(beside.figures), load_summary(beside.root)) == (False, [], None)
    save_figure(beside.figures, figure)
    save_summary(beside.root, summary)
    assert write_atomically(beside.report, b"<html>") == beside.report
    assert (beside.has_figures, load_figures(beside.figures)) == (True, [figure])
    assert load_summary(beside.root) == summary
    assert open_objects(beside.root).get("report.html") == b"<html>"


def test_a_journal_of_many_writers_has_every_record_once_in_one_order(beside: Workspace) -> None:
    objects = open_objects(beside.studies)

    def write(writer: int) -> None:
        journal = ObjectJournal(objects, "study")
        for i in range(5):
            journal.append_logs(
                [{"writer": writer, "i": i, "half": 0}, {"writer": writer, "i": i, "half": 1}]
            )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    logs = ObjectJournal(objects, "study").read_logs(0)
    assert len(logs) == 40
    for writer in range(4):
        own = [(log["i"], log["half"]) for log in logs if log["writer"] == writer]
        assert own == [(i, half) for i in range(5) for half in (0, 1)]
    assert ObjectJournal(objects, "study").read_logs(37) == logs[37:]


def study_of(beside: Workspace) -> StudyRef:
    view: FeatureView = get_model("kmer1").spec.view(dtype="float32")
    return StudyRef(
        name="study", folder=beside.studies, benchmark="toy", view=view, head="mlp",
        settings=TuneSettings(n_trials=6, max_epochs=4, min_epochs=1),
    )  # fmt: skip


def test_a_study_is_shared_by_all_who_open_it(beside: Workspace) -> None:
    ref = study_of(beside)
    first, second = ref.load(), StudyRef.model_validate_json(ref.model_dump_json()).load()
    for study in (first, second, first):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        study.tell(trial, trial.params["x"])
    assert [t.number for t in second.get_trials()] == [0, 1, 2]
    assert [t.params for t in ref.load().get_trials()] == [t.params for t in first.get_trials()]
    ref.files.forget()
    assert ref.load().get_trials() == []


def test_a_study_that_lacks_a_record_is_named(beside: Workspace) -> None:
    ref = study_of(beside)
    study = ref.load()
    study.tell(study.ask(), 1.0)
    open_objects(beside.studies).delete("study/000000001")
    with pytest.raises(StudyError, match="study is damaged"):
        ref.load()


def test_a_worker_is_at_work_until_it_stops(beside: Workspace) -> None:
    files = StudyObjects(str(beside.studies), "study")
    with files.at_work() as worker:
        assert files.is_at_work(worker)
    assert not files.is_at_work(worker)
    assert not files.is_at_work("never-there")


def test_a_journal_holds_records_of_json_and_no_pickled_snapshot(beside: Workspace) -> None:
    storage = JournalStorage(ObjectJournal(open_objects(beside.studies), "study"))
    study = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "study")
    for _ in range(101):  # a hundred trials are when Optuna would keep one
        storage.create_new_trial(study)
    records = open_objects(beside.studies)
    assert len(records.names()) == 102
    assert all(json.loads(records.get(name) or b"") for name in records.names())
