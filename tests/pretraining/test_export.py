"""What is shipped: pinned, scored as shipped, and loadable by name and hash."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from glmstore.errors import WeightsError
from glmstore.models.gpn import entry_from_folder
from glmstore.pretraining import About, PretrainConfig, export_weights, heldout, markov, pretrain
from glmstore.pretraining import checkpoint as ckpt
from glmstore.pretraining.export import main

TOY = About(name="toy", corpus="a toy genome", species=("Toy toy",), assembly="toy1", licence="CC0-1.0")


def entry(folder):
    return entry_from_folder(folder, summary="toy")


@pytest.fixture
def run(config: PretrainConfig):
    return pretrain(config)


def test_an_export_loads_as_a_model_with_the_weights_of_the_checkpoint(run, config, tmp_path):
    scores = export_weights(config.out_dir, config.fasta, tmp_path / "out", TOY)
    model = entry(tmp_path / "out").load("cpu")
    trained = load_file(run.checkpoint / ckpt.WEIGHTS)
    shipped = load_file(tmp_path / "out" / "model.safetensors")
    assert all(t.dtype == torch.float16 for t in shipped.values())
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, trained[name].half().float())
    assert scores == run.heldout


def test_what_the_run_scored_is_not_scored_again(run, config, tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("computed again")

    with monkeypatch.context() as patched:
        for module, name in ((heldout, "score"), (markov, "baselines")):
            patched.setattr(module, name, refuse)
        assert export_weights(config.out_dir, config.fasta, tmp_path / "out", TOY) == run.heldout
        assert pretrain(config).heldout == run.heldout
    (config.out_dir / "heldout.json").write_text("{")
    assert export_weights(config.out_dir, config.fasta, tmp_path / "out", TOY) == run.heldout
    assert pretrain(config.model_copy(update={"final_windows": 2})).heldout.windows == 2


def test_weights_the_run_did_not_score_are_scored_on_its_device_and_no_more_windows(
    config, tmp_path, monkeypatch
):
    def stop(report) -> None:
        if report.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(config.model_copy(update={"final_windows": 3}), stop)
    asked = []
    plain = heldout.model_nll
    monkeypatch.setattr(
        heldout, "model_nll", lambda network, masked, device: asked.append(device) or plain(network, masked)
    )
    scores = export_weights(config.out_dir, config.fasta, tmp_path / "out", TOY, device="cpu:0")
    assert asked == ["cpu:0", "cpu:0"]
    assert (scores.windows, scores.windows_available) == (3, 13)
    asked.clear()
    (config.out_dir / "heldout.json").unlink()
    export_weights(config.out_dir, config.fasta, tmp_path / "out", TOY)
    assert asked == ["cpu", "cpu"]
    assert "3 windows, drawn at random from 13, of 192 nt" in (tmp_path / "out" / "MODEL_CARD.md").read_text()


def test_name_revision_and_hash_come_from_the_exported_files(run, config, tmp_path):
    export_weights(run.checkpoint, config.fasta, tmp_path, TOY)
    spec = entry(tmp_path).spec
    digest = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert (spec.name, spec.revision, spec.weights_sha256) == ("toy", digest, digest)
    assert (spec.dim, spec.n_layers, spec.default_layer) == (16, 2, 1)


def test_the_card_states_data_recipe_scores_and_verdict(run, config, tmp_path):
    scores = export_weights(config.out_dir, config.fasta, tmp_path, TOY)
    card = (tmp_path / "MODEL_CARD.md").read_text()
    verdict = "beat the ±3" if scores.beats_baselines else "these weights do worse than baselines"
    for fact in (
        "Pretrained on a toy genome.",
        verdict,
        f"{scores.separated['flank3']:.4f}",
        run.corpus.sha256,
        "stretch 2 (from 0)",
        f"{run.tokens:,} nt seen",
        "Trained on Toy toy, toy1, unknown chromosomes",
        "CC0-1.0 for the weights.",
    ):
        assert fact in card


def test_a_second_export_keeps_the_words_and_replaces_the_rest(run, config, tmp_path):
    export_weights(config.out_dir, config.fasta, tmp_path, TOY)
    before = (tmp_path / "config.json").read_text()
    main([str(config.out_dir), str(config.fasta), str(tmp_path), "--name", "toy"])
    assert (tmp_path / "config.json").read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir() if not p.is_dir() and p != config.fasta) == [
        "MODEL_CARD.md",
        "config.json",
        "model.safetensors",
    ]
    main([*map(str, (config.out_dir, config.fasta, tmp_path)), "--name", "toy", "--licence", "MIT"])
    spec = entry(tmp_path).spec
    assert (spec.licence, spec.pretraining.species) == ("MIT", ("Toy toy",))


def test_where_species_and_licence_are_not_said_nothing_is_made_up(run, config, tmp_path):
    export_weights(config.out_dir, config.fasta, tmp_path)
    spec, card = entry(tmp_path).spec, (tmp_path / "MODEL_CARD.md").read_text()
    assert spec.licence == "not stated"
    assert "No licence was stated" in card
    assert not spec.pretraining.complete
    assert "any item may have been seen" in card


def test_a_corpus_that_is_read_otherwise_is_refused(run, config, tmp_path):
    (config.out_dir / "heldout.json").unlink()
    state = run.checkpoint / "state.json"
    record = json.loads(state.read_text())
    record["corpus"]["train_nt"] += 1
    state.write_text(json.dumps(record))
    with pytest.raises(WeightsError, match="read otherwise than when step-000000012 was trained"):
        export_weights(config.out_dir, config.fasta, tmp_path / "out")


def test_a_checkpoint_before_the_end_says_that_it_was_not_annealed(config, tmp_path):
    def stop(report) -> None:
        if report.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(config, stop)
    export_weights(config.out_dir, config.fasta, tmp_path)
    assert "at 50% of the budget" in (tmp_path / "MODEL_CARD.md").read_text()


def test_another_corpus_is_refused_and_nothing_written(run, config, tmp_path):
    config.fasta.write_text(config.fasta.read_text().replace("ACGG", "ACGC", 1))
    with pytest.raises(WeightsError, match=r"toy\.fa is not the corpus"):
        export_weights(config.out_dir, config.fasta, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_past_float16_are_refused(run, config, tmp_path):
    weights = load_file(run.checkpoint / ckpt.WEIGHTS)
    weights["cls.decoder.3.bias"][0] = 1e6
    save_file(weights, run.checkpoint / ckpt.WEIGHTS)
    with pytest.raises(WeightsError, match=r"cls\.decoder\.3\.bias is not finite"):
        export_weights(run.checkpoint, config.fasta, tmp_path / "out")


def test_a_folder_without_checkpoints_is_refused(config, tmp_path):
    with pytest.raises(WeightsError, match="holds no checkpoint"):
        export_weights(tmp_path, config.fasta, tmp_path / "out")


def test_a_folder_without_a_record_is_no_model(tmp_path):
    with pytest.raises(WeightsError, match="not a readable GPN configuration"):
        entry(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 16}))
    with pytest.raises(WeightsError, match="no record of an export"):
        entry(tmp_path)
