"""The memory formula against a process that was measured."""

import subprocess
import sys

import pytest

from glmstore.estimating.memory import peak_memory
from glmstore.models import get_model
from glmstore.views import Pooling

FACTOR = 2
"""The formula and the measured peak differ by less than this, either way."""
RUN = """
import re, sys
from pathlib import Path
import numpy as np
from glmstore.extraction import materialize
from glmstore.store import FeatureStore
name, n, length, pooling, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), size=(n, length))
materialize(FeatureStore.open(folder), name, [row.tobytes().decode() for row in letters], pooling=pooling)
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024)
"""
# getrusage would report the peak of the process that forked this one, where that is larger.


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(
    ("name", "n", "length", "pooling", "stored"),
    [("gpn-mini", 300, 230, "mean", 300 * 96 * 2), ("gpn-mini", 300, 230, "tokens", 300 * 230 * 96 * 2)],
)
def test_the_formula_is_within_a_factor_of_two_of_a_measured_run(
    tmp_path: object, name: str, n: int, length: int, pooling: Pooling, stored: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, name, str(n), str(length), pooling, f"{tmp_path}/store"],
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    measured = int(done.stdout)
    estimated = peak_memory(
        get_model(name).spec, "cpu", nt=n * length, longest=length, tokens=1.0, stored=stored
    )
    assert estimated.value is not None
    assert measured / FACTOR < estimated.value < measured * FACTOR


def test_weights_dominate_a_large_model_and_the_formula_is_stated() -> None:
    spec = get_model("nt-2.5b-multi-species").spec
    found = peak_memory(spec, "cpu", nt=10**6, longest=230, tokens=40 / 230, stored=0)
    assert found.value is not None
    assert found.value > 4 * spec.n_parameters
    assert "weights" in found.how
    assert "tokens a batch" in found.how
    assert found.basis == "estimate"


def test_a_longer_sequence_takes_a_larger_batch() -> None:
    spec = get_model("gpn-mini").spec
    short, long = (
        peak_memory(spec, "cpu", nt=10**6, longest=n, tokens=1.0, stored=0).value or 0 for n in (230, 60_000)
    )
    assert long > short
