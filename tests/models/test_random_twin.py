"""Random twins: like their model in everything but what it has learnt."""

import hashlib
from pathlib import Path

import pytest
import torch

from glmstore.errors import UnknownNameError, WeightsError
from glmstore.models import get_model
from glmstore.models.checkpoints.source import Pulled, PulledFile, write_record


def test_a_twin_shares_code_tokeniser_and_shapes_but_not_weights():
    model, twin = get_model("gpn-mini"), get_model("rand_init:gpn-mini:3")
    same = (
        "family",
        "dim",
        "n_layers",
        "default_layer",
        "poolings",
        "tokenizer_sha256",
        "n_parameters",
        "max_nt",
    )
    assert [getattr(model.spec, f) for f in same] == [getattr(twin.spec, f) for f in same]
    assert twin.spec.name == "rand_init:gpn-mini:3"
    assert (twin.spec.control, twin.spec.twin_of) == ("random_twin", "gpn-mini")
    assert twin.spec.weights_sha256 is None
    trained, random = (entry.load("cpu").network.state_dict() for entry in (model, twin))
    assert {n: t.shape for n, t in trained.items()} == {n: t.shape for n, t in random.items()}
    assert not torch.equal(trained["model.encoder.0.conv.1.weight"], random["model.encoder.0.conv.1.weight"])


def test_a_twin_has_seen_nothing():
    assert get_model("rand_init:gpn-mini:0").spec.pretraining.chromosomes == ()


def test_a_seed_stands_for_one_set_of_weights_and_one_revision():
    first, again, other = (get_model(f"rand_init:gpn-mini:{seed}") for seed in (1, 1, 2))
    assert first.spec.revision == again.spec.revision != other.spec.revision
    a, b, c = (e.load("cpu").network.cls.decoder[0].weight for e in (first, again, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_vocabulary_that_is_pulled_anew_makes_another_revision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path))
    (tmp_path / "grover").mkdir()
    revisions = [get_model("rand_init:grover:0").spec.revision]
    for content in ("one", "other"):
        file = PulledFile(name="tokenizer.json", size=1, sha256=hashlib.sha256(content.encode()).hexdigest())
        write_record(
            tmp_path / "grover", Pulled(model="grover", repo="a/b", revision="0" * 40, files=(file,))
        )
        revisions.append(get_model("rand_init:grover:0").spec.revision)
        assert get_model("rand_init:rand_init:grover:0:1").spec.revision.startswith(revisions[-1][:25])
    assert len(set(revisions)) == 3
    assert revisions[0].endswith("-seed0")


def test_leading_zeros_make_no_second_name():
    assert get_model("rand_init:gpn-mini:007").spec.name == "rand_init:gpn-mini:7"


@pytest.mark.parametrize("argument", ["gpn-mini", "gpn-mini:", "gpn-mini:-1", "gpn-mini:x", "gpn-mini:²"])
def test_a_bad_seed_is_told_how_to_write_it(argument: str):
    with pytest.raises(UnknownNameError, match=r"rand_init:gpn-mini:0.*whole number"):
        get_model(f"rand_init:{argument}")


def test_an_unknown_model_has_no_twin():
    with pytest.raises(UnknownNameError, match="gpn-mini"):
        get_model("rand_init:gpn-mimi:0")


@pytest.mark.parametrize("name", ["onehot", "kmer4"])
def test_a_model_without_weights_has_no_twin(name: str):
    with pytest.raises(WeightsError, match=f"{name} has no weights"):
        get_model(f"rand_init:{name}:0")


def test_a_twin_has_a_twin_of_the_model_it_came_from():
    entry = get_model("rand_init:rand_init:gpn-mini:0:5")
    assert entry.spec.twin_of == "rand_init:gpn-mini:0"
