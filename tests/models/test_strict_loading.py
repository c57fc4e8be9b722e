"""Weights that do not fit are refused by the names that differ, and files that are no weights as such."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import Tensor, nn

from glmstore.errors import WeightsError
from glmstore.models.base import ModelEntry
from glmstore.models.checkpoints.loading import build_unfilled, load_strict, read_tensors
from glmstore.models.checkpoints.presence import state_of
from glmstore.models.checkpoints.source import RECORD, HubSource, Pulled, PulledFile, folder_of, write_record
from glmstore.models.checkpoints.vocabulary import vocabulary_fits
from glmstore.models.family import Family, published
from glmstore.models.gpn import FAMILY
from glmstore.models.tokenizers.character import CharacterTokenizer

State = dict[str, Tensor]
NAME = "tied-model"


class Tied(nn.Module):
    """An embedding whose weights are the decoder's too, and a buffer."""

    def __init__(self, rows: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, 4)
        self.decoder = nn.Linear(4, rows)
        self.decoder.weight = self.embedding.weight
        self.register_buffer("scale", torch.ones(2))


def state() -> State:
    torch.manual_seed(0)
    return {n: t.detach().clone() for n, t in Tied().state_dict().items()}


def load(tmp_path: Path, *parts: State, **options: Any) -> Tied:
    files = []
    for i, part in enumerate(parts):
        files.append(tmp_path / f"part{i}.safetensors")
        save_file(part, files[-1])
    network = build_unfilled(Tied)
    load_strict(network, files, owner=NAME, **options)
    assert isinstance(network, Tied)
    return network


def refused(action: Callable[[], object], *words: str) -> str:
    with pytest.raises(WeightsError) as caught:
        action()
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert "\n" not in message
    return message


def test_the_first_differences_are_listed_and_the_rest_counted(tmp_path: Path):
    network = build_unfilled(lambda: FAMILY.network(FAMILY.tiny))
    good = {n: t.clone() for n, t in network.state_dict().items()}
    bad = {n: t for n, t in good.items() if not n.startswith("model.encoder.0.conv")}
    bad["cls.decoder.0.bias"] = torch.zeros(3)
    bad["another.weight"] = torch.zeros(2, 2)
    save_file(bad, tmp_path / "x.safetensors")
    said = refused(
        lambda: load_strict(network, [tmp_path / "x.safetensors"], owner="tiny"), "does not fit tiny"
    )
    first = ["unexpected another.weight [2, 2]", "cls.decoder.0.bias is [3], not [16]"]
    positions = [said.index(text) for text in first]
    assert positions == sorted(positions)
    assert "missing model.encoder.0.conv.1.bias [16]" in said
    assert "… and 1 more" in said


def test_a_tied_tensor_may_be_saved_under_either_name_or_both(tmp_path: Path):
    whole = state()
    for left_out in ("decoder.weight", "embedding.weight", None):
        network = load(tmp_path, {n: t for n, t in whole.items() if n != left_out})
        assert network.decoder.weight is network.embedding.weight
        assert torch.equal(network.embedding.weight, whole["embedding.weight"])


def test_a_tied_tensor_missing_under_both_names_is_missed(tmp_path: Path):
    rest = {n: t for n, t in state().items() if not n.endswith("g.weight") and n != "decoder.weight"}
    refused(lambda: load(tmp_path, rest), "missing decoder.weight [8, 4]; missing embedding.weight [8, 4]")


def test_tied_tensors_that_differ_are_refused(tmp_path: Path):
    whole = state()
    whole["decoder.weight"] = whole["decoder.weight"] + 1
    refused(
        lambda: load(tmp_path, whole), "one tensor there, and differ", "decoder.weight", "embedding.weight"
    )


def test_one_tensor_in_two_shards_is_refused(tmp_path: Path):
    refused(
        lambda: load(tmp_path, state(), {"scale": torch.zeros(2)}), "scale is in its files twice", "part1"
    )


def test_a_prefix_is_refused_unless_the_family_renames_it(tmp_path: Path):
    prefixed = {f"bert.{n}": t for n, t in state().items()}
    said = refused(
        lambda: load(tmp_path, prefixed), "unexpected bert.decoder.bias [8]", "missing decoder.bias [8]"
    )
    assert "… and 3 more" in said
    network = load(tmp_path, prefixed, rename=lambda n: n.removeprefix("bert."))
    assert torch.equal(network.decoder.bias, prefixed["bert.decoder.bias"])


def test_only_the_names_said_to_be_left_out_are(tmp_path: Path):
    more = {**state(), "pooler.weight": torch.zeros(3), "xpooler.weight": torch.zeros(3)}
    refused(
        lambda: load(tmp_path, more, ignored=(r"pooler\..*",)),
        "fit tied-model: unexpected xpooler.weight [3].",
    )
    load(tmp_path, more, ignored=(r"x?pooler\..*",))


def test_weights_become_the_type_of_the_network(tmp_path: Path):
    half = {n: t.half() for n, t in state().items()}
    network = load(tmp_path, half)
    assert network.embedding.weight.dtype == torch.float32
    assert torch.equal(network.embedding.weight, half["embedding.weight"].float())


def _saved(kind: str, path: Path) -> Path:
    target = path / f"x.{'safetensors' if kind == 'safetensors' else 'bin'}"
    if kind == "safetensors":
        save_file(state(), target)
    else:
        torch.save(state(), target, _use_new_zipfile_serialization=kind == "zip")
    return target


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_each_format_is_read(kind: str, tmp_path: Path):
    read = dict(read_tensors(_saved(kind, tmp_path)))
    assert read.keys() == state().keys()
    assert all(torch.equal(read[n], t) for n, t in state().items())


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused_by_name(
    kind: str, tmp_path_factory: pytest.TempPathFactory, share: float
):
    path = _saved(kind, tmp_path_factory.mktemp("cut"))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(lambda: list(read_tensors(path)), str(path))


class _Runs:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("written", ["torch", "legacy", "pickle 2", "pickle 4"])
def test_code_in_a_file_is_refused_and_not_run(written: str, tmp_path: Path):
    path, mark = tmp_path / "x.bin", tmp_path / "mark"
    content = {**state(), "extra": _Runs(mark)}
    if written.startswith("pickle"):
        path.write_bytes(pickle.dumps(content["extra"], protocol=int(written[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=written == "torch")
    said = refused(lambda: list(read_tensors(path)), str(path))
    assert "weights_only" not in said, "advice to switch the protection off is not passed on"
    if written in {"torch", "legacy"}:
        assert "posix.mkdir" in said
    assert not mark.exists()


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"state_dict": {"a": "b"}}, torch.zeros(2)])
def test_a_file_of_something_else_is_refused(content: object, tmp_path: Path):
    torch.save(content, tmp_path / "x.bin")
    refused(lambda: list(read_tensors(tmp_path / "x.bin")), "other than named tensors")


def test_the_weights_of_a_training_checkpoint_are_found(tmp_path: Path):
    torch.save({"state_dict": state(), "epoch": 3}, tmp_path / "x.ckpt")
    assert dict(read_tensors(tmp_path / "x.ckpt")).keys() == state().keys()


# A pulled model whose tokenizer is a file.


class _Network(Tied):
    def states(self, ids: Tensor, attention_mask: Tensor | None) -> Any:
        yield self.embedding(ids)

    def logits(self, hidden: Tensor) -> Tensor:
        return self.decoder(hidden)


def _tokenizer(_: Any, folder: Path | None) -> CharacterTokenizer:
    assert folder is not None
    return CharacterTokenizer(json.loads((folder / "vocab.json").read_text()), pad_id=0, unknown_id=1)


FILED = Family(
    name="filed",
    network=lambda _: _Network(),
    tokenizer=_tokenizer,
    traits={
        "family": "filed",
        "objective": "mlm",
        "tokenization": "character",
        "licence": "MIT",
        "citation": "-",
    },
    shape=lambda _: {"dim": 4, "n_layers": 0, "max_nt": 100},
    tiny={"rows": 8},
    source="this test",
)


def _entry() -> ModelEntry:
    facts = {"revision": None, "n_parameters": 40, "pretraining": None, "summary": "-"}
    return published(
        FILED,
        FILED.describe({}, name=NAME, **facts),
        {},
        HubSource(repo="a/b", config=None, tokenizer=("vocab.json",)),
    )


@pytest.fixture
def pulled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path))

    def write(vocabulary: list[str], **changes: Any) -> Path:
        folder = folder_of(NAME)
        folder.mkdir()
        (folder / "vocab.json").write_text(json.dumps(vocabulary))
        (folder / "model.safetensors").write_bytes(save(state()))
        files = []
        for path in sorted(folder.iterdir()):
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            files.append(PulledFile(name=path.name, size=len(content), sha256=digest))
        record = Pulled(model=NAME, repo="a/b", revision="0" * 40, files=tuple(files))
        write_record(folder, record.model_copy(update=changes))
        return folder

    return write


VOCABULARY = ["[PAD]", "[UNK]", "A", "C", "G", "T"]


def test_a_tokenizer_with_more_ids_than_rows_does_not_belong_to_the_weights(pulled: Callable[..., Path]):
    foreign = [*VOCABULARY, "[A]", "[B]", "[C]"]
    folder = pulled(foreign)
    words = "has 9 ids and its embedding 8 rows"
    refused(partial(_entry().load, "cpu"), words, f"models pull {NAME} --upgrade` for what a/b publishes now")
    shutil.rmtree(folder)
    pulled(foreign, repo=None)
    refused(partial(_entry().load, "cpu"), words, "vocab.json of a/b into one folder", "--from FOLDER")


def test_a_tokenizer_other_than_the_recorded_one_is_refused(pulled: Callable[..., Path]):
    folder = pulled(VOCABULARY)
    assert _entry().load("cpu").spec.revision == "0" * 40
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY[:2] + VOCABULARY[:1:-1]))
    refused(partial(_entry().load, "cpu"), "vocab.json has sha256", "as recorded", f"models pull {NAME}")


def test_a_record_of_another_model_pins_nothing_and_loads_nothing(pulled: Callable[..., Path]):
    pulled(VOCABULARY, model="another")
    assert _entry().spec.revision is None
    refused(partial(_entry().load, "cpu"), "holds another, not tied-model")


@pytest.mark.parametrize(
    "content", ["", "{}", '{"model": 3}', "\x00", '{"model": "tied-model", "files": []}']
)
def test_a_damaged_record_does_not_keep_models_from_being_listed(pulled: Callable[..., Path], content: str):
    folder = pulled(VOCABULARY)
    (folder / RECORD).write_text(content)
    entry = _entry()
    assert entry.spec.revision is None
    assert state_of(NAME) == "damaged"
    refused(partial(entry.load, "cpu"), RECORD, "remove the folder and pull again")


def test_weights_that_are_not_here_say_where_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path))
    said = refused(partial(_entry().load, "cpu"), str(tmp_path / NAME), f"glmstore models pull {NAME}")
    assert "GLMSTORE_MODELS" in said


def test_quantised_weights_are_refused(tmp_path: Path):
    parts = state()
    name = next(n for n, t in parts.items() if t.is_floating_point())
    parts[name] = parts[name].to(torch.int8)
    refused(lambda: load(tmp_path, parts), name, "int8", "quantised")


def test_a_vocabulary_far_smaller_than_the_embedding_does_not_belong_to_it():
    tiny = FAMILY.tiny_model()
    tiny.network.wide = torch.nn.Embedding(4096, 2)
    assert not vocabulary_fits(tiny)
    tiny.network.wide = torch.nn.Embedding(7 + 63, 2)
    assert vocabulary_fits(tiny)
