"""Checkpoints are pulled pinned, verified and resumable, or adopted; and every refusal says what to do."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load, save

from glmstore.errors import ChecksumError, FetchError, WeightsError
from glmstore.models import FAMILIES, get_model
from glmstore.models.base import ModelEntry
from glmstore.models.checkpoints import adopting, pulling
from glmstore.models.checkpoints.presence import state_of
from glmstore.models.checkpoints.pulling import Outcome
from glmstore.models.checkpoints.source import RECORD, HubSource, Pulled, PulledFile, read_record
from glmstore.models.family import published
from glmstore.models.tokenizers.tiny_bpe import tiny_bpe_json

PROGRAM = Path(__file__).with_name("fake_hub.py")


def _load_fake_hub() -> Any:
    spec = importlib.util.spec_from_file_location("fake_hub_of_models", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


fake = _load_fake_hub()
MODEL = fake.MODEL


class Site(NamedTuple):
    """A hub with one commit, and an empty folder of checkpoints."""

    hub: Any
    models: Path
    first: str

    def pull(self, entry: ModelEntry | None = None, **options: Any) -> Outcome:
        return pulling.pull(entry or fake.entry(), endpoint=self.hub.endpoint, first_wait=0.01, **options)

    @property
    def folder(self) -> Path:
        return self.models / MODEL

    def files(self) -> set[str]:
        return {p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file()}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub, server = fake.serve()
    first = hub.push(fake.commit())
    yield Site(hub, tmp_path / "models", first)
    hub.release.set()
    server.shutdown()
    server.server_close()


def refused(error: type[Exception], action: Callable[[], object], *words: str) -> str:
    with pytest.raises(error) as caught:
        action()
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert "\n" not in message
    return message


def test_only_the_files_of_the_model_are_pulled_and_the_commit_is_pinned(site: Site):
    outcome = site.pull()
    assert outcome.verdict == "pulled"
    assert site.files() == {"config.json", "model.safetensors", RECORD}
    record = read_record(site.folder)
    assert record is not None
    assert (record.model, record.repo, record.revision) == (MODEL, fake.REPO, site.first)
    for file in record.files:
        content = (site.folder / file.name).read_bytes()
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert content == site.hub.commits[site.first][file.name]
    assert state_of(MODEL) == "pulled"
    model = fake.entry().load("cpu")
    assert model.spec.revision == site.first
    assert model.spec.weights_sha256 == hashlib.sha256(fake.weights()).hexdigest()


def test_a_model_listed_before_the_pull_is_described_by_what_was_pulled_when_it_is_loaded(site: Site):
    entry = fake.entry()
    assert entry.spec.revision is None
    site.pull(entry)
    assert entry.load("cpu").spec.revision == site.first


def test_it_goes_where_the_user_says(site: Site, tmp_path: Path):
    assert site.pull(into=tmp_path / "else").folder == tmp_path / "else" / MODEL
    assert read_record(tmp_path / "else" / MODEL) is not None
    assert not site.folder.exists()


def test_progress_counts_every_byte_once(site: Site):
    seen: list[tuple[int, int]] = []
    site.pull(progress=lambda done, total: seen.append((done, total)))
    size = sum(len(site.hub.commits[site.first][n]) for n in ("config.json", "model.safetensors"))
    assert {total for _, total in seen} == {size}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (size, size)


def _bin(content: bytes, path: Path) -> bytes:
    torch.save(load(content), path)
    return path.read_bytes()


def _shards(content: bytes) -> dict[str, bytes]:
    tensors = load(content)
    names = sorted(tensors)
    halves = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    index = {"weight_map": {n: shard for shard, part in halves.items() for n in part}}
    files = {shard: save({n: tensors[n] for n in part}) for shard, part in halves.items()}
    return {**files, "model.safetensors.index.json": json.dumps(index).encode()}


@pytest.mark.parametrize("layout", ["both", "bin", "shards"])
def test_safetensors_are_taken_where_there_are_any_and_else_the_file_named(
    site: Site, tmp_path: Path, layout: str
):
    files = fake.commit()
    content = files.pop("model.safetensors")
    pickled = {"pytorch_model.bin": _bin(content, tmp_path / "x.bin")}
    both = {"model.safetensors": content, **pickled}
    site.hub.push(files | {"both": both, "bin": pickled, "shards": _shards(content) | pickled}[layout])
    site.pull()
    expected = {
        "both": {"model.safetensors"},
        "bin": {"pytorch_model.bin"},
        "shards": {"model-1.safetensors", "model-2.safetensors"},
    }
    assert site.files() == expected[layout] | {"config.json", RECORD}
    state = fake.entry().load("cpu").network.state_dict()
    assert all(torch.equal(state[n], t) for n, t in load(content).items())


def test_an_index_that_names_files_elsewhere_is_refused(site: Site):
    files = fake.commit() | {"model.safetensors.index.json": b'{"weight_map": {"a": "../../secret"}}'}
    del files["model.safetensors"]
    site.hub.push(files)
    refused(WeightsError, site.pull, "model.safetensors.index.json", "../../secret")
    assert read_record(site.folder) is None


def test_pulling_again_does_nothing_and_says_so(site: Site):
    site.pull()
    before = {p: p.stat().st_mtime_ns for p in site.folder.iterdir()}
    site.hub.requests.clear()
    again = site.pull()
    assert (again.verdict, again.notes) == ("present", ())
    assert [r.path.partition("?")[0] for r in site.hub.requests] == [f"/api/models/{fake.REPO}"]
    assert {p: p.stat().st_mtime_ns for p in site.folder.iterdir()} == before


def test_a_branch_that_moved_is_reported_and_followed_only_when_asked(site: Site):
    site.pull()
    second = site.hub.push(fake.commit(README__md=b"# better\n"))
    again = site.pull()
    assert (again.verdict, again.record.revision) == ("present", site.first)
    assert (
        f"moved on from {site.first} to {second} (the files of this model are the same there)"
        in again.notes[0]
    )
    third = site.hub.push(fake.commit(seed=1))
    assert f"{third} (other files of this model)" in site.pull().notes[0]
    upgraded = site.pull(upgrade=True)
    assert (upgraded.verdict, upgraded.record.revision) == ("pulled", third)
    assert (site.folder / "model.safetensors").read_bytes() == fake.weights(1)
    assert site.pull(upgrade=True).verdict == "present"


def test_an_upgrade_that_breaks_off_leaves_the_old_checkpoint_whole(site: Site):
    site.pull()
    site.hub.push(fake.commit(seed=1))
    site.hub.spoil = True
    refused(ChecksumError, lambda: site.pull(upgrade=True), "model.safetensors")
    assert fake.entry().load("cpu").spec.revision == site.first


def test_weights_pulled_after_a_model_was_named_are_not_loaded_under_its_old_revision(site: Site):
    site.pull()
    named = fake.entry()
    site.hub.push(fake.commit(seed=1))
    site.pull(upgrade=True)
    with pytest.raises(WeightsError, match="were pulled meanwhile"):
        named.load("cpu")
    assert named.current is not None
    assert named.current().load("cpu").spec.revision != named.spec.revision


def test_an_upgrade_removes_what_it_replaces(site: Site, tmp_path: Path):
    files = fake.commit()
    pickled = _bin(files.pop("model.safetensors"), tmp_path / "x.bin")
    site.hub.push(files | {"pytorch_model.bin": pickled})
    site.pull()
    site.hub.push(fake.commit())
    site.pull(upgrade=True)
    assert site.files() == {"config.json", "model.safetensors", RECORD}


def test_a_commit_can_be_named_and_another_is_not_replaced_unasked(site: Site):
    second = site.hub.push(fake.commit(seed=1))
    assert site.pull(revision=site.first).record.revision == site.first
    refused(WeightsError, lambda: site.pull(revision=second), site.first, second, "--upgrade")
    assert site.pull(revision=second, upgrade=True).record.revision == second


def test_a_pull_that_was_killed_goes_on_where_it_was(site: Site):
    content = fake.weights()
    site.hub.hold_at = len(content) // 2 // fake.PIECE * fake.PIECE
    process = subprocess.Popen([sys.executable, PROGRAM, site.hub.endpoint, site.models])
    try:
        deadline = time.monotonic() + 120
        while not _half(site.folder, site.hub.hold_at):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=120)
    have = _half(site.folder, site.hub.hold_at)  # it may have gone on until it was killed
    assert read_record(site.folder) is None
    assert state_of(MODEL) == "not pulled"
    site.hub.release.set()
    moved = site.hub.push(fake.commit(seed=1))
    site.hub.requests.clear()

    outcome = site.pull()
    assert outcome.record.revision == site.first, "it goes on with the commit it began with"
    assert moved in outcome.notes[0]
    (transfer,) = site.hub.got("/cdn/")
    assert transfer.asked_range == f"bytes={have}-"
    assert transfer.sent == len(content) - have
    assert (site.folder / "model.safetensors").read_bytes() == content
    assert site.files() == {"config.json", "model.safetensors", RECORD}


def _half(folder: Path, wanted: int) -> int:
    """Return the bytes of a partial file once they are nearly all that the server gives away."""
    sizes = [p.stat().st_size for p in folder.glob(".partial/*model.safetensors")]
    return sizes[0] if sizes and sizes[0] > wanted - fake.PIECE else 0


@pytest.mark.parametrize("fault", ["busy", "cut", "cut, no ranges"])
def test_what_passes_is_tried_again(site: Site, fault: str):
    if fault == "busy":
        site.hub.busy = 2
    else:
        site.hub.cut_at = 4 * fake.PIECE
        site.hub.ranges = fault == "cut"
    site.pull()
    sent = sum(r.sent for r in site.hub.got("/cdn/"))
    whole = len(fake.weights())
    assert sent == (whole + 4 * fake.PIECE if fault == "cut, no ranges" else whole)


def test_contents_that_are_not_those_announced_are_not_kept(site: Site):
    site.hub.spoil = True
    refused(
        ChecksumError, site.pull, "model.safetensors", fake.REPO, hashlib.sha256(fake.weights()).hexdigest()
    )
    assert not list(site.folder.glob("**/*model.safetensors"))
    assert read_record(site.folder) is None
    site.hub.spoil = False
    assert site.pull().verdict == "pulled"


def test_a_damaged_part_is_transferred_anew(site: Site):
    content = fake.weights()
    part = site.folder / ".partial" / f"{hashlib.sha256(content).hexdigest()}-model.safetensors"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\xff" * 1000)
    site.pull()
    assert (site.folder / "model.safetensors").read_bytes() == content


@pytest.mark.parametrize("damage", ["missing", "shorter"])
def test_a_damaged_file_is_repaired_at_its_commit(site: Site, damage: str):
    site.pull()
    site.hub.push(fake.commit(seed=1))
    path = site.folder / "model.safetensors"
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-1])
    refused(WeightsError, lambda: fake.entry().load("cpu"), "model.safetensors", f"models pull {MODEL}")
    assert state_of(MODEL) == "damaged"
    assert site.pull().record.revision == site.first
    assert path.read_bytes() == fake.weights()


def test_two_at_once_transfer_once(site: Site):
    outcomes: list[str] = []
    threads = [threading.Thread(target=lambda: outcomes.append(site.pull().verdict)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=240)
    assert sorted(outcomes) == ["present", "present", "pulled"]
    assert len(site.hub.got("/cdn/")) == 1


def test_a_token_goes_to_the_hub_and_to_no_other_host(site: Site):
    site.pull()
    assert {(r.host, r.authorised) for r in site.hub.requests} == {("127.0.0.1", True), ("localhost", False)}


def test_refusals_of_the_hub_say_what_to_do(site: Site, monkeypatch: pytest.MonkeyPatch):
    unknown = fake.entry(HubSource(repo="lab/none"))
    refused(FetchError, lambda: site.pull(unknown), MODEL, "lab/none", "private", "HF_TOKEN")
    refused(FetchError, lambda: site.pull(revision="0" * 40), "no such commit", "/lab/tiny/commits/main")
    site.hub.gated = True
    refused(FetchError, site.pull, "on request", f"{site.hub.endpoint}/lab/tiny", "hf auth login")
    site.hub.gated, site.hub.private = False, True
    refused(FetchError, site.pull, "private (401)", "HF_TOKEN")
    site.hub.private, site.hub.lost = False, {"config.json"}
    refused(FetchError, site.pull, "404", "run the command again")
    site.hub.lost, site.hub.busy = set(), 99
    refused(FetchError, site.pull, "503", "try again later")
    assert read_record(site.folder) is None
    assert not site.files()


def test_a_file_that_the_repository_lacks_is_named_with_those_it_holds(site: Site):
    files = fake.commit()
    del files["config.json"]
    site.hub.push(files)
    refused(FetchError, site.pull, "no config.json", "model.safetensors", "--revision")
    site.hub.push({"config.json": fake.commit()["config.json"]})
    refused(FetchError, site.pull, "no pytorch_model.bin", "it holds config.json")


def test_without_a_network_it_says_what_to_run_where(site: Site, monkeypatch: pytest.MonkeyPatch):
    elsewhere = ("where there is one", f"glmstore models pull {MODEL} --into DIR", "GLMSTORE_MODELS")
    dead = "http://127.0.0.1:9"
    refused(FetchError, lambda: pulling.pull(fake.entry(), endpoint=dead, first_wait=0.01), dead, *elsewhere)
    monkeypatch.setenv("GLMSTORE_OFFLINE", "1")
    refused(FetchError, site.pull, "GLMSTORE_OFFLINE", *elsewhere)
    assert site.hub.requests == []
    monkeypatch.delenv("GLMSTORE_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(FetchError, site.pull, "HF_HUB_OFFLINE", *elsewhere)


def test_the_endpoint_of_the_library_is_used_where_none_is_given(site: Site):
    environment = {**os.environ, "HF_ENDPOINT": site.hub.endpoint}
    subprocess.run([sys.executable, PROGRAM, "", site.models], env=environment, check=True, timeout=120)
    assert state_of(MODEL) == "pulled"


def test_a_checkpoint_that_is_here_needs_no_network(site: Site, monkeypatch: pytest.MonkeyPatch):
    site.pull()
    again = pulling.pull(fake.entry(), endpoint="http://127.0.0.1:9", first_wait=0.01)
    assert again.verdict == "present"
    assert "is not known" in again.notes[0]
    monkeypatch.setenv("GLMSTORE_OFFLINE", "1")
    assert site.pull().notes == ()


def test_a_disk_without_room_is_seen_before_the_transfer(site: Site, monkeypatch: pytest.MonkeyPatch):
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 10**5, 10**5)
    monkeypatch.setattr("glmstore.models.checkpoints.transfer.shutil.disk_usage", lambda _: usage)
    refused(FetchError, site.pull, "room for 0.00 GB", "--into")
    assert not site.hub.got("/cdn/")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_disk_that_fills_up_is_named_and_nothing_is_recorded(site: Site):
    digest = hashlib.sha256(fake.weights()).hexdigest()
    part = site.folder / ".partial" / f"{digest}-model.safetensors"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    refused(FetchError, site.pull, str(site.folder), "No space left", "--into")
    assert read_record(site.folder) is None
    part.unlink()
    assert site.pull().verdict == "pulled"


def test_a_folder_that_cannot_be_made_is_named(site: Site):
    site.models.write_text("a file")
    refused(FetchError, site.pull, str(site.folder), "--into")


def test_another_configuration_is_refused_before_the_weights_are_transferred(site: Site):
    other = {**fake.CONFIG, "hidden_size": 128, "n_layers": 7, "model_type": "ConvNet"}
    site.hub.push(fake.commit(config__json=json.dumps(other).encode()))
    refused(WeightsError, site.pull, MODEL, "hidden_size is 128, not 96", "n_layers is 7, not 6")
    assert not site.hub.got("/cdn/")
    assert read_record(site.folder) is None
    site.hub.push(fake.commit(config__json=b'{"d_model": 96}'))
    refused(WeightsError, lambda: site.pull(upgrade=True), "shares no key")
    site.hub.push(fake.commit(config__json=b"<html>"))
    refused(WeightsError, lambda: site.pull(upgrade=True), "no configuration in JSON")


def test_other_tensors_are_refused_and_not_recorded(site: Site):
    tensors = {n.replace("cls.", "head."): t for n, t in load(fake.weights()).items()}
    site.hub.push(fake.commit(model__safetensors=save(tensors)))
    refused(WeightsError, site.pull, "missing cls.decoder.0.bias [96]")
    assert read_record(site.folder) is None


def test_a_foreign_tokenizer_is_refused_before_the_weights_are_transferred(site: Site):
    family = FAMILIES["dnabert2"]
    config = {**family.tiny, "vocab_size": 128}
    facts = {"summary": "-", "revision": None, "n_parameters": 1, "pretraining": None}
    source = HubSource(repo=fake.REPO, tokenizer=("tokenizer.json",))
    entry = published(family, family.describe(config, name=MODEL, **facts), config, source)
    state = {n: t.clone() for n, t in family.untrained_network(config, 0).state_dict().items()}
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": save(state)}
    commit = site.hub.push(files | {"tokenizer.json": tiny_bpe_json().encode()})
    why = ("64 ids and its embedding 128 rows", f"{fake.REPO} publishes it so at {commit}")
    refused(WeightsError, lambda: site.pull(entry), *why, "--revision", "--upgrade")
    assert not site.hub.got("/cdn/")
    assert read_record(site.folder) is None
    content = json.loads(tiny_bpe_json())
    more = {"ACGT"[i % 4] * (20 + i): 64 + i for i in range(64)}
    content["model"]["vocab"] |= more
    site.hub.push(files | {"tokenizer.json": json.dumps(content).encode()})
    assert site.pull(entry, upgrade=True).verdict == "pulled"
    assert entry.load("cpu").spec.name == MODEL


def test_a_record_of_another_model_is_left_alone(site: Site):
    site.pull()
    record = (site.folder / RECORD).read_text()
    (site.folder / RECORD).write_text(record.replace(MODEL, "another"))
    refused(WeightsError, site.pull, "holds another", "move it to")
    refused(WeightsError, lambda: fake.entry().load("cpu"), "holds another")


@pytest.mark.parametrize("name", ["onehot", "rand_init:gpn-mini:0"])
def test_models_without_weights_of_their_own_are_not_pulled(site: Site, name: str):
    refused(WeightsError, lambda: site.pull(get_model(name)), name, "no weights of its own")


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    """Return a folder with the files of a commit, as somebody copied them."""
    folder = tmp_path / "brought"
    folder.mkdir()
    for name, content in fake.commit().items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("source", [HubSource(repo=fake.REPO), None])
def test_a_folder_is_adopted_with_a_digest_for_revision(site: Site, brought: Path, source: HubSource | None):
    entry = fake.entry(source)
    outcome = adopting.adopt(entry, brought)
    assert outcome.verdict == "adopted"
    assert site.files() == {"config.json", "model.safetensors", RECORD}
    assert outcome.record.repo is None
    assert len(outcome.record.revision) == 64
    assert state_of(MODEL) == "adopted"
    assert fake.entry(source).load("cpu").spec.revision == outcome.record.revision
    assert adopting.adopt(entry, brought).verdict == "present"
    (brought / "model.safetensors").write_bytes(fake.weights(1))
    refused(WeightsError, lambda: adopting.adopt(entry, brought), outcome.record.revision, "--upgrade")
    assert adopting.adopt(entry, brought, upgrade=True).record.revision != outcome.record.revision


def test_the_digest_is_of_names_and_contents_wherever_they_lie(site: Site, brought: Path, tmp_path: Path):
    shutil.copytree(brought, tmp_path / "copy")
    first = adopting.adopt(fake.entry(), brought, into=tmp_path / "a").record
    assert first == adopting.adopt(fake.entry(), tmp_path / "copy", into=tmp_path / "b").record


def test_links_take_no_room_and_copies_stand_alone(site: Site, brought: Path, tmp_path: Path):
    linked = adopting.adopt(fake.entry(), brought, into=tmp_path / "linked", link=True).folder
    copied = adopting.adopt(fake.entry(), brought, into=tmp_path / "copied").folder
    assert os.path.samefile(linked / "model.safetensors", brought / "model.safetensors")
    assert not os.path.samefile(copied / "model.safetensors", brought / "model.safetensors")


def test_a_pulled_folder_of_another_machine_keeps_its_commit(site: Site, tmp_path: Path):
    pulled = site.pull(into=tmp_path / "other machine")
    outcome = adopting.adopt(fake.entry(), pulled.folder)
    assert outcome.record == pulled.record
    assert fake.entry().load("cpu").spec.revision == site.first


def test_a_folder_in_place_is_recorded_without_a_copy(site: Site, brought: Path):
    site.models.mkdir()
    brought.rename(site.folder)
    assert adopting.adopt(fake.entry(), site.folder).verdict == "adopted"
    assert fake.entry().load("cpu").spec.name == MODEL


def test_folders_that_do_not_hold_the_model_are_refused(site: Site, brought: Path, tmp_path: Path):
    refused(WeightsError, lambda: adopting.adopt(fake.entry(), tmp_path / "none"), "is no folder")
    pulled = site.pull(into=tmp_path / "other").folder
    weights = pulled / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    refused(WeightsError, lambda: adopting.adopt(fake.entry(), pulled), "has sha256", "changed or damaged")
    record = (pulled / RECORD).read_text()
    (pulled / RECORD).write_text(record.replace(MODEL, "another"))
    refused(WeightsError, lambda: adopting.adopt(fake.entry(), pulled), "holds another")
    (brought / "model.safetensors").unlink()
    refused(WeightsError, lambda: adopting.adopt(fake.entry(), brought), "no pytorch_model.bin", "README.md")
    for name in ("a.bin", "b.pt"):
        (brought / name).write_bytes(b"")
    refused(WeightsError, lambda: adopting.adopt(fake.entry(None), brought), "several formats", "a.bin, b.pt")
    (brought / "model.safetensors").write_bytes(fake.weights())
    (brought / "config.json").write_text(json.dumps({**fake.CONFIG, "kernel_size": 5}))
    refused(WeightsError, lambda: adopting.adopt(fake.entry(None), brought), "kernel_size is 5, not 9")
    assert not site.folder.exists()


def test_a_model_on_no_hub_says_how_it_is_adopted(site: Site):
    refused(
        WeightsError, lambda: site.pull(fake.entry(None)), "on no hub", f"models pull {MODEL} --from FOLDER"
    )


def test_an_adopted_checkpoint_is_replaced_by_that_of_the_hub_only_when_asked(site: Site, brought: Path):
    adopted = adopting.adopt(fake.entry(), brought)
    again = site.pull()
    assert again.verdict == "present"
    assert "adopted from a folder" in again.notes[0]
    (site.folder / "config.json").unlink()
    refused(WeightsError, site.pull, "was adopted", "--from FOLDER")
    assert site.pull(upgrade=True).record.revision == site.first != adopted.record.revision


LEADING_OUT = ("../../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "evil\0.txt", "..\\evil.txt", "")


def evil_record(folder: Path, name: str) -> Path:
    """Write a record of a checkpoint that lists a file under a name that no pull ever writes."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = fake.weights()
    (folder / "model.safetensors").write_bytes(weights)
    listed = [
        {"name": n, "size": len(c), "sha256": hashlib.sha256(c).hexdigest()}
        for n, c in (("model.safetensors", weights), (name, b"evil"))
    ]
    record = {"model": MODEL, "repo": None, "revision": "0" * 40, "files": listed}
    (folder / RECORD).write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize("name", LEADING_OUT)
def test_a_record_that_leads_out_of_its_folder_is_refused_and_nothing_is_written_or_removed(
    site: Site, tmp_path: Path, name: str
):
    brought = evil_record(tmp_path / "dl" / "a" / "w", name)
    (tmp_path / "dl" / "evil.txt").write_bytes(b"evil")
    site.folder.mkdir(parents=True)
    beside = tmp_path / "evil.txt"  # where ../../ of the folder of the checkpoint leads
    beside.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    refused(WeightsError, lambda: adopting.adopt(fake.entry(), brought), RECORD, "must stay below", "remove")
    assert sorted(tmp_path.rglob("*")) == before
    evil_record(site.folder, name)
    refused(WeightsError, lambda: site.pull(upgrade=True), RECORD, "must stay below")
    assert state_of(MODEL) == "damaged"
    assert beside.read_text() == "mine"


@pytest.mark.parametrize("name", ["../../evil.safetensors", "/etc/evil.safetensors", "a\\b.safetensors"])
def test_a_hub_that_lists_files_outside_the_repository_is_refused(site: Site, name: str):
    index = json.dumps({"weight_map": {"a": name}}).encode()
    files = fake.commit() | {"model.safetensors.index.json": index, name: b"evil"}
    del files["model.safetensors"]
    site.hub.push(files)
    refused(FetchError, site.pull, repr(name), "must stay below")
    assert not site.hub.got("evil")
    assert read_record(site.folder) is None


def test_a_hub_whose_digests_are_paths_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.modules[fake.__name__], "_blob", lambda content: "../../../evil")
    refused(FetchError, site.pull, "git_sha1", "README.md")
    assert read_record(site.folder) is None


def test_a_folder_whose_weights_have_a_name_that_cannot_be_kept_is_refused(site: Site, brought: Path):
    (brought / "model.safetensors").rename(brought / "a\\b.safetensors")
    refused(WeightsError, lambda: adopting.adopt(fake.entry(None), brought), "must stay below", "Rename")


def test_a_file_of_a_checkpoint_never_has_a_name_that_leads_out():
    for name in LEADING_OUT:
        with pytest.raises(ValueError, match="must stay below"):
            PulledFile(name=name, size=0, sha256="0" * 64)
    kept = PulledFile(name="a/b.safetensors", size=0, sha256="0" * 64)
    assert Pulled(model=MODEL, repo=None, revision="0" * 40, files=(kept,)).weights == ("a/b.safetensors",)
