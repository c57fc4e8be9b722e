"""Break things on purpose and say what held: ``python -m infra.chaos [--short] [FAULT…]``."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from rich.console import Console

from infra.chaos.outcome import Outcome, Place
from infra.s3.server import ObjectStorage, aws

FAULTS = ("kills", "pauses", "storage", "disk", "upkeep", "clocks", "soak", "flows")


def struck(fault: str, place: Place) -> Iterator[Outcome]:
    """Run one family of faults; one that could not be run is an outcome that is not ok."""
    try:
        yield from import_module(f"infra.chaos.faults.{fault}").run(place)
    except Exception as error:  # noqa: BLE001 - it is shown, recorded and fails the run
        traceback.print_exc()
        yield Outcome(f"{fault}: could not be run", broken=[f"{type(error).__name__}: {error}"])


def main(arguments: list[str]) -> int:
    """Run the faults named, or all; return 1 when one of them did harm or could not be run."""
    parser = argparse.ArgumentParser(prog="infra.chaos", description=__doc__)
    parser.add_argument("faults", nargs="*", help=f"of {', '.join(FAULTS)}; all by default")
    parser.add_argument("--short", action="store_true", help="fewer and shorter trials")
    parser.add_argument("--out", type=Path, default=Path("build/chaos.json"), help="where the counts go")
    chosen = parser.parse_args(arguments)
    if unknown := sorted(set(chosen.faults) - set(FAULTS)):
        parser.error(f"no fault is called {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended too
    console, outcomes = Console(soft_wrap=True, highlight=False), []
    os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        ObjectStorage(Path(folder) / "s3") as objects,
    ):
        os.environ |= aws(objects.endpoint)
        for fault in chosen.faults or FAULTS:
            own = Path(folder) / fault
            own.mkdir()
            begun = time.monotonic()
            for outcome in struck(fault, Place(own, objects, chosen.short, random.Random(fault))):
                mark = "[green]ok [/green]" if outcome.ok else "[red]NOT[/red]"
                took = time.monotonic() - begun
                counts = outcome.as_dict()
                console.print(
                    f"{mark} {outcome.name} ({took:.0f} s): {outcome.trials} trials, {counts['lost']} lost, "
                    f"{counts['partial']} partial, {counts['duplicated']} doubled; {outcome.proved}"
                )
                for problem in outcome.problems():
                    console.print(f"      {problem}", markup=False)
                outcomes.append(outcome)
                begun = time.monotonic()
    chosen.out.parent.mkdir(exist_ok=True)
    chosen.out.write_text(json.dumps([outcome.as_dict() for outcome in outcomes], indent=2) + "\n")
    return int(not all(outcome.ok for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
