"""What `make chaos` records: a run replaces what the same faults told in the same form, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.chaos import __main__ as suite
from infra.chaos import record
from infra.chaos.outcome import Outcome, Place

FIELDS = ["name", "trials", "lost", "partial", "duplicated", "ok", "fault", "short", "when"]


def entry(fault: str, name: str, *, short: bool = False, trials: int = 1) -> dict[str, Any]:
    return {"name": name, "trials": trials, "ok": True, "fault": fault, "short": short}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every fault tell two outcomes at once; "disk" loses a row where the form is full."""

    def run(fault: str, place: Place) -> Iterator[Outcome]:
        for name in ("first", "second"):
            outcome = Outcome(f"{fault} {name}", trials=place.pick(short=1, full=5))
            outcome.found.lost = int(fault == "disk" and not place.short)
            yield outcome

    modules = {f"infra.chaos.faults.{f}": SimpleNamespace(run=lambda p, f=f: run(f, p)) for f in suite.FAULTS}
    monkeypatch.setattr(suite, "import_module", modules.__getitem__)
    monkeypatch.setattr(suite, "_WAITING", set())
    monkeypatch.setattr(suite.os, "environ", dict(suite.os.environ))
    monkeypatch.setattr(suite.signal, "signal", lambda *_: None)


def test_a_single_fault_or_the_short_form_leaves_the_record_of_the_whole_suite(
    quick: None, tmp_path: Path
) -> None:
    out = tmp_path / "build" / "chaos.json"
    full = [*suite.FAULTS, "--out", str(out)]
    assert suite.main(full) == 1
    whole = json.loads(out.read_text())
    assert len(whole) == 2 * len(suite.FAULTS)
    assert all(list(e) == FIELDS and e["trials"] == 5 and not e["short"] for e in whole)
    assert [e["name"] for e in whole if not e["ok"]] == ["disk first", "disk second"]

    assert suite.main(["disk", "--short", "--out", str(out)]) == 0
    both = json.loads(out.read_text())
    assert both[: len(whole)] == whole
    assert [(e["name"], e["short"], e["trials"]) for e in both[len(whole) :]] == [
        ("disk first", True, 1),
        ("disk second", True, 1),
    ]

    assert suite.main(["kills", "--out", str(out)]) == 0
    again = json.loads(out.read_text())
    assert len(again) == len(both)
    others = [e for e in both if e["fault"] != "kills"]
    assert again[: len(others)] == others
    assert [e["name"] for e in again[len(others) :]] == ["kills first", "kills second"]


def test_a_fault_that_once_could_not_be_run_is_forgotten_when_it_can(tmp_path: Path) -> None:
    path = tmp_path / "chaos.json"
    record.merge(path, [entry("disk", "disk: could not be run"), entry("kills", "kills")])
    record.merge(path, [entry("disk", "disk full")])
    assert [e["name"] for e in record.read(path)] == ["kills", "disk full"]


def test_what_was_recorded_without_its_fault_gives_way(tmp_path: Path) -> None:
    path = tmp_path / "chaos.json"
    path.write_text('[{"name": "disk full", "ok": true}]')
    record.merge(path, [entry("kills", "kills")])
    assert [e["name"] for e in record.read(path)] == ["kills"]


@pytest.mark.parametrize("text", ["", '{"kills": 1}', '[{"ok": true}]', "[1]"])
def test_a_file_that_is_no_record_is_refused_before_anything_runs_and_kept(
    quick: None, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "chaos.json"
    path.write_text(text)
    with pytest.raises(SystemExit, match="2"):
        suite.main(["disk", "--out", str(path)])
    assert "is no record of this suite" in capsys.readouterr().err
    assert path.read_text() == text
