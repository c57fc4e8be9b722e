"""Break things on purpose and say what held: ``python -m infra.chaos [--short] [FAULT…]``.

The record is a list with one entry for each thing proved: name, trials, lost, partial, duplicated, ok; which
fault it belongs to, whether it was the short form, and when it ended. A run replaces the entries of the
faults and the form that it ran; those of others stay.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import Any

from rich.console import Console

from infra.chaos import record
from infra.chaos.nest import ROOT, Mother
from infra.chaos.outcome import Outcome, Place
from infra.s3.server import ObjectStorage, aws

FAULTS = ("kills", "pauses", "storage", "disk", "upkeep", "soak", "flows", "clocks")
_WAITING = {"flows", "clocks"}
"""Faults that mostly wait, and meet no others' files: they run beside the rest."""

_told_to_end = Event()


def _end(*_: object) -> None:
    """Leave by an exception, so that what was started is ended too."""
    _told_to_end.set()
    sys.exit(143)


def struck(fault: str, place: Place) -> Iterator[Outcome]:
    """Run one family of faults; one that could not be run is an outcome that is not ok."""
    try:
        yield from import_module(f"infra.chaos.faults.{fault}").run(place)
    except Exception as error:  # noqa: BLE001 - it is shown, recorded and fails the run
        if _told_to_end.is_set():  # Lance makes an error of its own of what a signal raises within it
            sys.exit(143)
        traceback.print_exc()
        yield Outcome(f"{fault}: could not be run", broken=[f"{type(error).__name__}: {error}"])


def strike(faults: Sequence[str], *, short: bool) -> list[dict[str, Any]]:
    """Run faults one after another, say what each proved, and return what is to be recorded."""
    console, told = Console(soft_wrap=True, highlight=False), []
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        ObjectStorage(Path(folder) / "s3") as storage,
        Mother() as mother,
    ):
        os.environ |= aws(storage.endpoint)
        for fault in faults:
            own = Path(folder) / fault
            own.mkdir()
            begun = time.monotonic()
            for outcome in struck(fault, Place(own, storage, mother, short, random.Random(fault))):
                mark = "[green]ok [/green]" if outcome.ok else "[red]NOT[/red]"
                took = time.monotonic() - begun
                counts = outcome.as_dict()
                console.print(
                    f"{mark} {outcome.name} ({took:.0f} s): {outcome.trials} trials, {counts['lost']} lost, "
                    f"{counts['partial']} partial, {counts['duplicated']} doubled; {outcome.proved}"
                )
                for problem in outcome.problems():
                    console.print(f"      {problem}", markup=False)
                now = datetime.now(UTC).isoformat(timespec="seconds")
                told.append(counts | {"fault": fault, "short": short, "when": now})
                begun = time.monotonic()
    return told


@contextmanager
def beside(faults: Sequence[str], *, short: bool) -> Iterator[list[dict[str, Any]]]:
    """Run faults in a process of their own; what they told is there at the end of the block."""
    told: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        out = Path(folder) / "told.json"
        command = [sys.executable, "-m", "infra.chaos", *faults, "--out", str(out)]
        other = subprocess.Popen(command + ["--short"] * short, cwd=ROOT)
        try:
            yield told
            other.wait()
            told += json.loads(out.read_text())
        finally:
            other.terminate()
            other.wait()


def main(arguments: list[str]) -> int:
    """Run the faults named, or all; return 1 when one of them did harm or could not be run."""
    parser = argparse.ArgumentParser(prog="infra.chaos", description=__doc__)
    parser.add_argument("faults", nargs="*", help=f"of {', '.join(FAULTS)}; all by default")
    parser.add_argument(
        "--short", action="store_true", help="fewer and shorter trials, recorded beside the full ones"
    )
    parser.add_argument("--out", type=Path, default=Path("build/chaos.json"), help="record of the counts")
    chosen = parser.parse_args(arguments)
    try:
        record.read(chosen.out)
    except ValueError as error:
        parser.error(str(error))
    if unknown := sorted(set(chosen.faults) - set(FAULTS)):
        parser.error(f"no fault is called {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    signal.signal(signal.SIGTERM, _end)
    os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    faults = chosen.faults or FAULTS
    here = [fault for fault in faults if fault not in _WAITING] or faults
    there = [fault for fault in faults if fault not in here]
    if there:
        with beside(there, short=chosen.short) as others:
            told = strike(here, short=chosen.short)
        told += others
    else:
        told = strike(here, short=chosen.short)
    record.merge(chosen.out, told)
    return int(not all(outcome["ok"] for outcome in told))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
