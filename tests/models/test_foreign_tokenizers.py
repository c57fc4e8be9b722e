"""A tokenizer that was made for other weights is refused before anything is recorded, with what to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from itertools import islice, product
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from glmstore.errors import WeightsError
from glmstore.models import MODELS
from glmstore.models import dnabert2 as dnabert2_family
from glmstore.models import gena_lm as gena_family
from glmstore.models.base import ModelEntry
from glmstore.models.checkpoints.adopting import adopt
from glmstore.models.checkpoints.source import RECORD, HubSource, PulledFile, read_record, write_record
from glmstore.models.checkpoints.vocabulary import misplaced_piece
from glmstore.models.family import Architecture, Family, published
from glmstore.models.spec import Pretraining
from glmstore.models.tokenizers.tiny_bpe import SPECIALS, tiny_bpe_json

PLAIN = tiny_bpe_json()
# The first pieces of the two vocabularies of GENA-LM's source, and one that needs two merges; see gena_lm.py.
FIRST = {"\n": 5, "A": 6, "C": 7, "G": 8, "T": 9, "AC": 16, "ACG": 114}
T2T = {"-": 5, "A": 6, "C": 8, "G": 9, "N": 12, "T": 15, "AC": 24, "ACG": 120}
MERGES = ["A C", "AC G"]


def bpe(size: int, pieces: Mapping[str, int], merges: list[str] = MERGES) -> str:
    """Return a tokenizer.json of so many pieces, those named where they are named."""
    vocabulary = {**{name: i for i, name in enumerate(SPECIALS)}, **pieces}
    taken = set(vocabulary.values())
    free = [i for i in range(size) if i not in taken]
    # Longer than any piece that is merged, so that none of them is ever made.
    others = ("".join(letters) for letters in product("ACGT", repeat=9))
    vocabulary |= dict(zip(islice(others, len(free)), free, strict=True))
    content = json.loads(PLAIN)
    content["model"] |= {"vocab": vocabulary, "merges": merges}
    return json.dumps(content)


def entry_of(family: Family, name: str, **changes: Any) -> ModelEntry:
    """Return the entry of a small network of a family, published with a vocabulary as a file."""
    config = {**family.tiny, **changes.pop("config")}
    spec = family.describe(
        config,
        name=name,
        summary="-",
        revision=None,
        n_parameters=1,
        pretraining=Pretraining(species=(), assembly=None, chromosomes=None),
    )
    source = HubSource(repo="lab/tiny", tokenizer=("tokenizer.json",), **changes)
    return published(family, spec, config, source)


def dnabert2() -> ModelEntry:
    return entry_of(dnabert2_family.FAMILY, "small-dnabert2", config={"vocab_size": 4096})


def gena(published_as: str) -> ModelEntry:
    """Return a small GENA-LM that is known by what tells a published checkpoint's tokenizer from others."""
    source = MODELS[published_as].source
    assert source is not None
    config = {"vocab_size": 32_000}
    return entry_of(gena_family.FAMILY, f"small-{published_as}", config=config, pieces=source.pieces)


def brought(entry: ModelEntry, folder: Path, tokenizer: str) -> Path:
    """Write the files of a model into a folder, beside some tokenizer."""
    architecture = entry.untrained
    assert isinstance(architecture, Architecture)
    folder.mkdir()
    network = architecture.family.untrained_network(architecture.config, 0)
    save_file({n: t.clone() for n, t in network.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(architecture.config))
    (folder / "tokenizer.json").write_text(tokenizer)
    return folder


def refused(action: Callable[[], object], *words: str) -> str:
    with pytest.raises(WeightsError) as caught:
        action()
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert "\n" not in message
    return message


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


LETTERS = {"A": 5, "C": 6, "G": 7, "T": 8, "AC": 9, "ACG": 10}
LOWER = {"a": 5, "c": 6, "g": 7, "t": 8}


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        (PLAIN, ["has 64 ids and its embedding 4096 rows"]),
        (bpe(4097, LETTERS), ["has 4097 ids and its embedding 4096 rows"]),
        (bpe(4096, LOWER, []), ["none of its tokens stands for letters"]),
        (json.dumps({"model": {"type": "WordPiece", "vocab": {}}}), ["WordPiece model, not BPE"]),
        ("{", ["tokenizer.json cannot be read"]),
    ],
)
def test_a_folder_with_a_foreign_tokenizer_is_not_adopted_and_the_same_command_works_once_it_is_right(
    models: Path, tmp_path: Path, tokenizer: str, words: list[str]
):
    folder = brought(dnabert2(), tmp_path / "brought", tokenizer)
    advice = ["Nothing was recorded", f"Copy tokenizer.json of lab/tiny into {folder}", "the same command"]
    said = refused(lambda: adopt(dnabert2(), folder), *words, *advice)
    assert "models pull" not in said, "there may be no network here"
    assert not models.exists()
    assert not (folder / RECORD).exists()
    (folder / "tokenizer.json").write_text(bpe(4096, LETTERS))
    assert adopt(dnabert2(), folder).verdict == "adopted"
    assert dnabert2().load("cpu").spec.revision is not None


def test_a_tokenizer_that_is_no_text_is_refused_with_the_same_advice(models: Path, tmp_path: Path):
    folder = brought(dnabert2(), tmp_path / "brought", "")
    (folder / "tokenizer.json").write_bytes(b"\xff\xfe")
    refused(
        lambda: adopt(dnabert2(), folder), "cannot be read", f"Copy tokenizer.json of lab/tiny into {folder}"
    )
    assert not models.exists()


RELEASES = {"gena-lm-bert-base": FIRST, "gena-lm-bert-base-t2t": T2T, "gena-lm-bert-large-t2t": T2T}


@pytest.mark.parametrize("name", RELEASES)
def test_the_two_vocabularies_of_gena_lm_are_told_apart_though_their_sizes_are_equal(
    models: Path, tmp_path: Path, name: str
):
    entry, own = gena(name), RELEASES[name]
    other = T2T if own is FIRST else FIRST
    folder = brought(entry, tmp_path / "brought", bpe(32_000, other))
    ids = [f"ACG has id {other['ACG']} in it, and id {own['ACG']} in the one published"]
    refused(lambda: adopt(entry, folder), *ids, "another model's", "Nothing was recorded")
    assert not models.exists()
    (folder / "tokenizer.json").write_text(bpe(32_000, own))
    assert adopt(entry, folder).verdict == "adopted"
    assert gena(name).load("cpu").encode(["ACG"]).ids.tolist() == [[1, own["ACG"], 2]]


def test_a_letter_that_only_one_vocabulary_has_tells_them_apart_too():
    source = MODELS["gena-lm-bert-base"].source
    assert source is not None
    strings = [""] * 121
    strings[12], strings[114] = "N", "ACG"
    said = misplaced_piece(strings, source.pieces)
    assert said == "N has id 12 in it, and no id in the one published with the weights"
    strings[12] = ""
    assert misplaced_piece(strings, source.pieces) is None


@pytest.mark.parametrize(
    ("repo", "advice"),
    [
        ("lab/tiny", "models pull small-gena-lm-bert-base --upgrade`"),
        (None, "models pull small-gena-lm-bert-base --from FOLDER --upgrade`"),
    ],
)
def test_a_checkpoint_recorded_with_a_foreign_tokenizer_loads_neither_as_itself_nor_as_its_twin(
    models: Path, tmp_path: Path, repo: str | None, advice: str
):
    entry = gena("gena-lm-bert-base")
    folder = adopt(entry, brought(entry, tmp_path / "brought", bpe(32_000, FIRST))).folder
    content = bpe(32_000, T2T).encode()
    (folder / "tokenizer.json").write_bytes(content)
    record = read_record(folder)
    assert record is not None
    foreign = PulledFile(name="tokenizer.json", size=len(content), sha256=hashlib.sha256(content).hexdigest())
    files = tuple(foreign if f.name == foreign.name else f for f in record.files)
    write_record(folder, record.model_copy(update={"files": files, "repo": repo}))

    entry = gena("gena-lm-bert-base")
    said = refused(lambda: entry.load("cpu"), "ACG has id 120 in it, and id 114", advice)
    assert ("It was adopted" in said) is (repo is None)
    twin = entry.untrained
    assert twin is not None
    refused(lambda: twin.build(entry.spec, 0, "cpu"), "ACG has id 120 in it, and id 114", advice)
    # Recorded elsewhere, it is not adopted either; without the record the folder is only files.
    refused(lambda: adopt(entry, folder, into=tmp_path / "else"), f"remove {RECORD} there")


def test_a_damaged_file_of_an_adopted_checkpoint_is_not_said_to_be_on_a_hub(models: Path, tmp_path: Path):
    folder = adopt(dnabert2(), brought(dnabert2(), tmp_path / "brought", bpe(4096, LETTERS))).folder
    path = folder / "tokenizer.json"
    content = path.read_text()
    path.write_text(content + "\n")
    refused(lambda: dnabert2().load("cpu"), "has", "bytes, not", "small-dnabert2 --from FOLDER`")
    path.write_text(content.replace("[MASK]", "[HIDE]"))
    refused(lambda: dnabert2().load("cpu"), "has sha256", "small-dnabert2 --from FOLDER`")


def test_every_published_vocabulary_file_of_equal_size_is_told_from_the_others():
    sized: dict[int, set[tuple[str, str]]] = {}
    for entry in MODELS:
        architecture = entry.untrained
        if entry.source is None or not entry.source.tokenizer or not isinstance(architecture, Architecture):
            continue
        known = json.dumps(entry.source.pieces, sort_keys=True)
        sized.setdefault(architecture.config["vocab_size"], set()).add((architecture.family.name, known))
    # Mistral-DNA's tokenizer is DNABERT-2's.
    assert sized.pop(4096) == {("dnabert2", "{}"), ("mistral-dna", "{}")}
    assert {size: len(kinds) for size, kinds in sized.items()} == {609: 1, 32_000: 2}
