"""How far a vector computed in bfloat16 depends on what is embedded beside it, for every family.

Networks of convolutions and state spaces do not depend on it on this kind of processor. Attention does: its
kernels sum in an order that follows the padded length, and bfloat16 rounds away all but 8 bits of the result,
now up, now down. HyenaDNA's FFTs do too. In float32 the same happens five orders of magnitude lower, which
the contract of models tests.
"""

import numpy as np
import pytest

from glmstore.extraction import batching, embed
from glmstore.models import FAMILIES, GenomicLM, get_model
from glmstore.views import Pooling

ON_AVERAGE: dict[Pooling, float] = {"mean": 0.005, "max": 0.02, "cls": 0.03}
AT_MOST = 0.2
"""The change of a number, in standard deviations between sequences: by pooling on average, and of any."""

TINY = {f"tiny-{family.name}": family for family in FAMILIES}


@pytest.fixture(params=["gpn-mini", *TINY])
def model(request: pytest.FixtureRequest) -> GenomicLM:
    name = request.param
    return TINY[name].tiny_model() if name in TINY else get_model(name).load("cpu")


def vectors(model: GenomicLM, sequences: list[str], pooling: Pooling, precision: str) -> np.ndarray:
    """Return float32 [n, D] of the last layer."""
    options = {"layer": model.spec.n_layers, "dtype": "float32", "precision": precision, "device": "cpu"}
    chunks = list(embed(model, sequences, pooling=pooling, **options))
    order = np.argsort(np.concatenate([chunk.indices for chunk in chunks]))
    return np.concatenate([chunk.values for chunk in chunks])[order]


def mixed(longest: int) -> list[str]:
    """Return twelve sequences from a twelfth of a length to all of it."""
    letters = np.random.default_rng(0)
    return ["".join(letters.choice(list("ACGT"), max(1, longest * i // 12))) for i in range(1, 13)]


def test_a_vector_in_bf16_depends_on_its_batch_by_its_rounding_only(
    model: GenomicLM, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batching, "LITTLE_PADDING", 1.0)  # all in one batch, padded to the longest
    sequences = mixed(min(model.spec.max_nt or 400, 400))
    for pooling in ON_AVERAGE.keys() & set(model.spec.poolings):
        together = vectors(model, sequences, pooling, "bfloat16")
        alone = np.concatenate([vectors(model, [s], pooling, "bfloat16") for s in sequences])
        exact = vectors(model, sequences, pooling, "float32")
        spread = exact.std(axis=0).mean()
        change, rounding = np.abs(together - alone) / spread, np.abs(together - exact) / spread
        assert change.mean() < ON_AVERAGE[pooling], pooling
        assert change.max() < AT_MOST, pooling
        assert change.mean() < rounding.mean(), pooling
