from pathlib import Path

import numpy as np
import pytest

from glmstore.estimating.clock import Clock
from glmstore.store import FeatureStore


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.open(tmp_path / "store")


@pytest.fixture(scope="session")
def clock() -> Clock:
    return Clock("cpu", seconds=0.2)


@pytest.fixture
def sequences() -> list[str]:
    """Return 24 sequences of 20 to 66 nt, some with N."""
    rng = np.random.default_rng(1)
    made = ["".join(rng.choice(list("ACGT"), size=20 + 2 * i)) for i in range(24)]
    return [s[:7] + "N" + s[8:] if i % 5 == 0 else s for i, s in enumerate(made)]
