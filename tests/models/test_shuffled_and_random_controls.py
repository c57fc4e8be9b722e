"""Controls between a model and nothing: shuffled weights, random vectors, random projections."""

import numpy as np
import pytest
import torch

from glmstore.errors import UnknownNameError, WeightsError
from glmstore.extraction import embed
from glmstore.models import FAMILIES, MODELS, ModelEntry, Untrained, get_model, shuffled_weights

SEQUENCES = ["ACGTACGTTGCA", "GATTACAGATTACA", "TTTTTTTTTTTT", "ACGTACGTTGCA"]


def features(name: str, sequences: list[str]) -> np.ndarray:
    entry = get_model(name)
    options = {"layer": entry.spec.default_layer, "pooling": "mean", "dtype": "float32"}
    chunks = list(embed(entry.load("cpu"), sequences, precision="float32", **options))
    found = np.concatenate([c.values for c in chunks])
    return found[np.argsort(np.concatenate([c.indices for c in chunks]))]


def test_shuffled_weights_keep_every_tensor_s_values_and_lose_their_places():
    trained = get_model("gpn-mini").load("cpu").network.state_dict()
    shuffled = get_model("shuf_weights:gpn-mini:1").load("cpu").network.state_dict()
    for name, weights in trained.items():
        assert torch.equal(weights.flatten().sort().values, shuffled[name].flatten().sort().values)
    moved = [not torch.equal(w, shuffled[n]) for n, w in trained.items()]
    assert all(moved)


def test_running_statistics_are_learnt_and_shuffled_too(monkeypatch: pytest.MonkeyPatch):
    family = FAMILIES["residualbind"]
    tiny = family.tiny_model()
    for name, buffer in tiny.network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.arange(buffer.numel()) + 1.0)
    before = {n: b.clone() for n, b in tiny.network.state_dict().items()}
    recipe = Untrained("0" * 16, lambda *_: tiny)
    entry = ModelEntry(tiny.spec.model_copy(update={"name": "gpn-mini"}), lambda _: tiny, recipe)
    monkeypatch.setattr(shuffled_weights, "get_model", lambda _: entry)
    after = shuffled_weights.build("gpn-mini:0").load("cpu").network.state_dict()
    statistics = [n for n in before if n.endswith(("running_mean", "running_var"))]
    assert statistics
    for name in statistics:
        assert not torch.equal(before[name], after[name])
        assert torch.equal(before[name].sort().values, after[name].sort().values)


def test_a_shuffle_is_named_by_its_seed_and_by_the_weights_it_came_from():
    first, other = (get_model(f"shuf_weights:gpn-mini:{seed}").spec for seed in (0, 1))
    assert first.revision != other.revision
    assert first.revision.startswith(get_model("gpn-mini").spec.revision[:16])
    assert (first.control, first.twin_of) == ("shuffled_weights", "gpn-mini")
    assert np.array_equal(features(first.name, SEQUENCES), features(first.name, SEQUENCES))
    assert not np.allclose(features(first.name, SEQUENCES), features(other.name, SEQUENCES))


def test_random_vectors_tell_sequences_apart_and_nothing_else():
    found = features("rand_vec:2048:0", SEQUENCES)
    assert np.array_equal(found[0], found[3])
    assert abs(np.corrcoef(found[0], found[1])[0, 1]) < 0.1
    assert found[0].mean() == pytest.approx(0, abs=0.1)
    assert found[0].std() == pytest.approx(1, abs=0.1)
    one_letter_away = features("rand_vec:2048:0", ["ACGTACGTTGCC"])[0]
    assert abs(np.corrcoef(found[0], one_letter_away)[0, 1]) < 0.1
    assert not np.allclose(found[0], features("rand_vec:2048:1", SEQUENCES)[0])


def test_random_projections_are_6mer_frequencies_times_one_matrix():
    basis = {}
    for sequence in SEQUENCES:
        for start in range(len(sequence) - 5):
            word = sequence[start : start + 6]
            basis[word] = features("rand_proj:16:3", [word])[0]
    for sequence, found in zip(SEQUENCES, features("rand_proj:16:3", SEQUENCES), strict=True):
        words = [sequence[i : i + 6] for i in range(len(sequence) - 5)]
        np.testing.assert_allclose(found, np.mean([basis[w] for w in words], axis=0), atol=1e-5)


def test_distances_survive_the_projection_in_expectation():
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACGT"), 200)) for _ in range(8)]
    exact, projected = features("kmer6", sequences), features("rand_proj:2048:0", sequences)
    a = ((exact[:, None] - exact[None]) ** 2).sum(-1)[np.triu_indices(8, 1)]
    b = ((projected[:, None] - projected[None]) ** 2).sum(-1)[np.triu_indices(8, 1)]
    np.testing.assert_allclose(b / a, 1, atol=0.2)


@pytest.mark.parametrize(
    "name", ["rand_vec:0:0", "rand_vec:x:0", "rand_proj:99999:0", "rand_vec:64", f"rand_vec:64:{2**63}"]
)
def test_a_bad_width_or_seed_is_told_how_to_write_it(name: str):
    with pytest.raises(UnknownNameError, match=r"rand_(vec|proj):\d+:0"):
        get_model(name)


def test_a_model_without_weights_cannot_be_shuffled():
    with pytest.raises(WeightsError, match="onehot has no weights"):
        get_model("shuf_weights:onehot:0")


@pytest.mark.parametrize("name", MODELS.names())
def test_every_network_has_five_random_twins(name: str):
    entry = MODELS[name]
    if entry.untrained is None:
        assert entry.spec.n_parameters == 0 or entry.spec.family == "Evo 2"
        return
    twins = [get_model(f"rand_init:{name}:{seed}").spec for seed in range(5)]
    assert len({t.revision for t in twins}) == 5
    assert {t.twin_of for t in twins} == {name}
