from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmstore.store import FeatureStore

N = 300


@pytest.fixture(scope="module", params=["pooled", "tokens"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    from glmstore.views import FeatureView, Provenance

    tokens = request.param == "tokens"
    store = FeatureStore.open(tmp_path_factory.mktemp("order"))
    rng = np.random.default_rng(0)
    sequences = ["".join("ACGT"[i] for i in row) for row in rng.integers(0, 4, (N, 30))]
    keys = store.add_sequences(sequences)
    view = FeatureView(model="toy", revision="1", layer=0, pooling="tokens" if tokens else "mean")
    origin = {"model_spec": {}, "weights_sha256": None, "tokenizer_sha256": None, "code_version": "0"}
    store.declare(view, Provenance(**origin, dim=5, precision="float32"))
    values = rng.normal(size=(N, 7, 5) if tokens else (N, 5)).astype(np.float16)
    lengths = rng.integers(1, 8, N) if tokens else None
    for rows in np.array_split(rng.permutation(N), 4):
        store.write(view, [keys[i] for i in rows], values[rows], None if lengths is None else lengths[rows])
    if lengths is not None:
        values[np.arange(7)[None, :] >= lengths[:, None]] = 0
    return store, view, keys, values, lengths


@settings(max_examples=30)
@given(asked=st.lists(st.integers(0, N - 1), max_size=60))
def test_any_selection_with_any_repeats_comes_back_row_for_row(written, asked: list[int]) -> None:
    store, view, keys, values, lengths = written
    read = store.read(view, [keys[i] for i in asked])
    if lengths is None:
        assert read.lengths is None
        assert read.values.tobytes() == values[asked].tobytes()
        return
    expected = lengths[asked] if asked else np.empty(0, int)
    assert read.lengths.tolist() == expected.tolist()
    assert read.values.shape == (len(asked), expected.max(initial=0), 5)
    assert read.values.tobytes() == values[asked][:, : expected.max(initial=0)].tobytes()
