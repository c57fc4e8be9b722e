"""Fork processes that run build_features on the toy benchmark.

Each line `STORE JOURNAL PAUSE` starts one and is answered with its pid; a line with a pid waits for that one
and is answered with its exit code. In JOURNAL is written when work is asked for, and when computing begins
and ends, with its number of vectors. It lasts PAUSE seconds at least, as with a model of more than toy size,
after the store was asked what it lacks.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path

import torch  # noqa: F401  (once, before the forks)

import tasks.features
from flows.build_features import BuildFeaturesConfig, build_features
from glmstore.benchmarks.plans import ViewRequest
from glmstore.extraction.filling import Job
from glmstore.planning import FeatureUse
from tasks.policies import alone


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.split()
        if len(words) == 1:
            print(os.waitstatus_to_exitcode(os.waitpid(int(words[0]), 0)[1]), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            try:
                run(words[0], Path(words[1]), float(words[2]))
            except BaseException:  # noqa: BLE001  (nothing of this process goes on in its copy)
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(pid, flush=True)


def run(store: str, journal: Path, pause: float) -> None:
    fill = Job.fill

    def note(word: str, vectors: int) -> None:
        with journal.open("a") as file:
            file.write(f"{word} {os.getpid()} {vectors} {time.monotonic()}\n")

    def slowly(job, missing, *rest):
        vectors = sum(len(keys) for keys in missing)
        if vectors:
            note("begin", vectors)
            time.sleep(pause)
        fill(job, missing, *rest)
        if vectors:
            note("end", vectors)

    def asked(*work):
        note("asks", 0)
        return alone(*work)

    Job.fill, tasks.features.alone = slowly, asked
    uses = (FeatureUse(benchmark="toy_gc", view=ViewRequest(model="kmer2")),)
    build_features(BuildFeaturesConfig(store=store, uses=uses, chunk=60))
    note("finished", 0)


if __name__ == "__main__":
    main()
