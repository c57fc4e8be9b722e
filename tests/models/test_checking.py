"""A check finds weights in wrong places, files that changed, and networks that mind their batch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from glmstore.errors import WeightsError
from glmstore.models import FAMILIES, MODELS, get_model
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.base import Batch, ModelEntry
from glmstore.models.checkpoints import checking, measuring
from glmstore.models.checkpoints.adopting import adopt
from glmstore.models.checkpoints.checking import ANSWER, ShippedAnswer, check_family, check_model
from glmstore.models.checkpoints.presence import shipped_folder
from glmstore.models.checkpoints.source import folder_of, read_record, write_record
from glmstore.models.family import Architecture, Family, published
from glmstore.models.gpn import FAMILY
from glmstore.models.known_answers import promoter
from glmstore.models.spec import Pretraining

MINI = MODELS["gpn-mini"]
COPY = "a-copy-of-gpn-mini"


def verdicts(checks: Iterator[checking.Check]) -> dict[str, tuple[str, str]]:
    return {f"{c.model}: {c.what}": (c.verdict, c.found) for c in checks}


def _entry(species: tuple[str, ...] = ("Homo sapiens",)) -> ModelEntry:
    """Return an entry whose weights can be those of gpn-mini, changed or not."""
    architecture = MINI.untrained
    assert isinstance(architecture, Architecture)
    pretraining = Pretraining(species=species, assembly=None, chromosomes=None)
    facts = MINI.spec.model_dump() | {
        "name": COPY,
        "revision": None,
        "weights_sha256": None,
        "pretraining": pretraining,
    }
    return published(FAMILY, FAMILY.describe(architecture.config, **facts), architecture.config)


@pytest.fixture
def adopted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., ModelEntry]:
    """Return a function that adopts the weights of gpn-mini after a change, and returns their entry."""
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path / "models"))
    shipped = shipped_folder("gpn-mini")
    assert shipped is not None

    def make(change: Callable[[dict[str, Tensor]], object] = len, **options: Any) -> ModelEntry:
        state = load_file(shipped / "model.safetensors")
        change(state)
        (tmp_path / "changed").mkdir()
        save_file(state, tmp_path / "changed" / "model.safetensors")
        adopt(_entry(**options), tmp_path / "changed")
        return _entry(**options)

    return make


def test_the_shipped_model_passes_every_check():
    found = verdicts(check_model(MINI))
    assert {verdict for verdict, _ in found.values()} == {"ok"}
    asked = {"known answer", "finite", "batch invariance", "tokenizer"}
    real = {"strict load", "finite", "batch invariance", "tokenizer", "promoter", "fingerprint"}
    assert found.keys() == {f"tiny gpn: {q}" for q in asked} | {f"gpn-mini: {q}" for q in real}


def test_the_promoter_is_1024_letters_upstream_of_and_into_a_transcript():
    start, end = map(int, promoter.REGION.partition(":")[2].split("-"))
    assert len(promoter.SEQUENCE) == end - start == 1024
    assert set(promoter.SEQUENCE) == set("ACGT")
    assert promoter.SEQUENCE[768:].startswith("AGTTAAAAGGGTGGGAGCGTCCGGGGGCCC"), (
        "the 5' end of the LGALS1 mRNA"
    )


@pytest.mark.mirror
def test_the_promoter_is_the_human_sequence_of_its_region(mirror: Path):
    import gzip

    first, last = map(int, promoter.REGION.partition(":")[2].split("-"))
    with gzip.open(mirror / "derived" / "hg19_chr22_epo_blocks.fa.gz", "rt") as file:
        for line in file:
            if line.startswith(">"):
                start, end = map(int, line.split(":")[1].split("-"))
                if start <= first and last <= end:
                    break
        block = ""
        for line in file:
            if line.startswith(">"):
                break
            block += line.strip()
    assert block[first - start : last - start].upper() == promoter.SEQUENCE


def _swap_blocks(state: dict[str, Tensor]) -> None:
    """Put the weights of the first and the last layer in each other's places: all shapes fit.

    Neighbours in the middle do similar work, and swapped they predict nearly as well.
    """
    for name in [n for n in state if n.startswith("model.encoder.0.")]:
        other = name.replace("encoder.0.", "encoder.7.")
        state[name], state[other] = state[other], state[name]


def _shuffle(state: dict[str, Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        order = torch.randperm(tensor.numel(), generator=generator)
        state[name] = tensor.flatten()[order].reshape(tensor.shape).contiguous()


@pytest.mark.parametrize("change", [_swap_blocks, _shuffle])
def test_weights_in_wrong_places_predict_no_better_than_guessing(
    adopted: Callable[..., ModelEntry], change: Callable[[dict[str, Tensor]], None]
):
    found = verdicts(check_model(adopted(change)))
    assert found[f"{COPY}: strict load"][0] == "ok"
    verdict, words = found[f"{COPY}: promoter"]
    assert verdict == "failed"
    assert f"guessing {math.log(4):.3f}" in words
    assert_not_recorded(found)


def test_a_model_of_other_species_is_measured_and_not_judged(adopted: Callable[..., ModelEntry]):
    found = verdicts(check_model(adopted(_shuffle, species=("Arabidopsis thaliana",))))
    verdict, words = found[f"{COPY}: promoter"]
    assert verdict == "note"
    assert "not trained on human" in words


def test_nan_is_found_in_the_layer_where_it_begins(adopted: Callable[..., ModelEntry]):
    def spoil(state: dict[str, Tensor]) -> None:
        state["model.encoder.3.ffn.0.bias"][0] = math.nan

    found = verdicts(check_model(adopted(spoil)))
    places = ", ".join(f"layer {i}" for i in range(4, 9))
    assert found[f"{COPY}: finite"] == ("failed", f"NaN or infinity at {places}, logits")


def test_nan_in_the_head_alone_is_found_in_the_logits(adopted: Callable[..., ModelEntry]):
    def spoil(state: dict[str, Tensor]) -> None:
        state["cls.decoder.3.bias"][0] = math.nan

    found = verdicts(check_model(adopted(spoil)))
    assert found[f"{COPY}: finite"] == ("failed", "NaN or infinity at logits")
    assert_not_recorded(found)


def assert_not_recorded(found: dict[str, tuple[str, str]]) -> None:
    verdict, words = found[f"{COPY}: fingerprint"]
    assert verdict == "note"
    assert words.startswith("not recorded")
    record = read_record(folder_of(COPY))
    assert record is not None
    assert record.fingerprint is None


def test_the_first_check_records_a_fingerprint_that_later_ones_compare_with(
    adopted: Callable[..., ModelEntry],
):
    entry = adopted()
    assert verdicts(check_model(entry))[f"{COPY}: fingerprint"][1].startswith("recorded now")
    record = read_record(folder_of(COPY))
    assert record is not None
    assert record.fingerprint is not None
    assert record.fingerprint.values.keys() == {f"layer {i}" for i in range(9)}
    verdict, words = verdicts(check_model(entry))[f"{COPY}: fingerprint"]
    assert (verdict, words[:7]) == ("ok", "0.0e+00")

    values = dict(record.fingerprint.values)
    values["layer 3"] = (values["layer 3"][0] * 1.01, *values["layer 3"][1:])
    elsewhere = record.fingerprint.model_copy(update={"values": values})
    write_record(folder_of(COPY), record.model_copy(update={"fingerprint": elsewhere}))
    assert verdicts(check_model(entry))[f"{COPY}: fingerprint"][0] == "failed"


def test_where_the_architecture_fails_no_fingerprint_is_recorded_and_one_that_is_there_is_compared(
    adopted: Callable[..., ModelEntry], monkeypatch: pytest.MonkeyPatch
):
    entry = adopted()
    with monkeypatch.context() as wrong:
        wrong.setattr(checking.known_answers, "read_known", lambda name: {"logits": [0.0]})
        found = verdicts(check_model(entry))
        assert found["tiny gpn: known answer"][0] == "failed"
        assert_not_recorded(found)
        wrong.undo()
        assert verdicts(check_model(entry))[f"{COPY}: fingerprint"][1].startswith("recorded now")
        wrong.setattr(checking.known_answers, "read_known", lambda name: {"logits": [0.0]})
        assert verdicts(check_model(entry))[f"{COPY}: fingerprint"] == (
            "ok",
            f"0.0e+00 from that of torch {torch.__version__}, cpu; 0.001 is allowed",
        )


def test_fingerprints_of_other_layers_do_not_compare():
    known = measuring.fingerprint(MINI.load("cpu"))
    fewer = known.model_copy(update={"values": dict(list(known.values.items())[:-1])})
    assert measuring.fingerprint_deviation(fewer, known) == math.inf
    nan = known.model_copy(update={"values": {**known.values, "layer 2": (math.nan,) * 7}})
    assert measuring.fingerprint_deviation(nan, known) == math.inf


def test_a_file_that_changed_is_found_by_its_digest_and_not_loaded(adopted: Callable[..., ModelEntry]):
    entry = adopted()
    path = folder_of(COPY) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    found = verdicts(check_model(entry))
    assert found[f"{COPY}: files"][0] == "failed"
    assert "has sha256" in found[f"{COPY}: files"][1]
    assert f"{COPY}: strict load" not in found


def test_the_answer_of_other_shipped_weights_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    shipped = shipped_folder("gpn-mini")
    assert shipped is not None
    known = ShippedAnswer.model_validate_json((shipped / ANSWER).read_text())
    weights = (shipped / "model.safetensors").read_bytes()
    assert known.weights_sha256 == hashlib.sha256(weights).hexdigest()
    other = known.model_copy(update={"weights_sha256": "0" * 64})
    (tmp_path / ANSWER).write_text(other.model_dump_json())
    monkeypatch.setattr(checking, "shipped_folder", lambda _: tmp_path)
    verdict, words = verdicts(check_model(MINI))["gpn-mini: fingerprint"]
    assert verdict == "failed"
    assert "python -m glmstore.models.known_answers gpn-mini" in words


def test_weights_that_are_not_here_are_a_note_that_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path))
    found = verdicts(check_model(MODELS["gpn-brassicales"]))
    verdict, words = found["gpn-brassicales: weights"]
    assert verdict == "note"
    assert words.startswith("not pulled: run `glmstore models pull gpn-brassicales` here")
    assert found["tiny gpn: known answer"][0] == "ok"


class _MindsPadding(LanguageModel):
    """Takes padding for sequence, as networks do that are given no mask."""

    def layers(self, batch: Batch) -> Iterator[Tensor]:
        return super().layers(batch._replace(attention_mask=torch.ones_like(batch.attention_mask)))


def test_a_network_that_minds_its_padding_is_found():
    model = MINI.load("cpu")
    assert isinstance(model, LanguageModel)
    right, _ = measuring.batch_deviation(model)
    wrong, _ = measuring.batch_deviation(_MindsPadding(model.spec, model.network, model.tokenizer))
    assert right < 1e-4
    assert wrong > 0.1 > checking.BATCH_TOLERANCE["torch.float32"]


def test_letters_that_tokens_do_not_stand_for_are_found():
    model = MINI.load("cpu")
    assert isinstance(model, LanguageModel)
    assert measuring.misread_letters(model) is None
    letters = list(model.tokenizer.strings)
    a, t = letters.index("A"), letters.index("T")
    letters[a], letters[t] = letters[t], letters[a]
    model.tokenizer.strings = tuple(letters)
    found = measuring.misread_letters(model)
    assert found is not None
    assert f"token {a} stands for T" in found


@pytest.mark.parametrize("name", FAMILIES.names())
def test_the_tiny_network_of_every_family_passes(name: str):
    found = list(check_family(FAMILIES[name]))
    assert [c.what for c in found][:3] == ["known answer", "finite", "batch invariance"]
    assert [c for c in found if c.verdict != "ok"] == []


def test_a_network_that_gives_other_numbers_than_known_fails():
    def other(config: Any) -> torch.nn.Module:
        network = FAMILY.network(config)
        with torch.no_grad():
            network.cls.decoder[0].bias.add_(0.5)
        return network

    (check, *_) = check_family(replace(FAMILY, network=other))
    assert (check.verdict, check.found) == ("failed", "differs at logits")


def test_a_family_without_a_known_answer_fails():
    unknown: Family = replace(FAMILY, name="nobody")
    assert [(c.verdict, c.what) for c in check_family(unknown)] == [("failed", "known answer")]


@pytest.mark.parametrize("name", ["kmer3", "rand_init:gpn-mini:0"])
def test_models_without_weights_of_their_own_are_refused(name: str):
    with pytest.raises(WeightsError, match=f"{name} has no weights of its own"):
        list(check_model(get_model(name)))
