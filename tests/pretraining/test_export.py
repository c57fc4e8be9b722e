"""What is shipped: pinned, scored as shipped, and loadable by name and hash."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from glmstore.errors import WeightsError
from glmstore.models.gpn import entry_from_folder
from glmstore.models.spec import Pretraining
from glmstore.pretraining import PretrainConfig, export_weights, pretrain
from glmstore.pretraining import checkpoint as ckpt
from glmstore.pretraining.export import main

SEEN = Pretraining(species=("Toy toy",), assembly="toy1", chromosomes=("chrT",))


def entry(folder):
    return entry_from_folder(folder, summary="toy", pretraining=SEEN, licence="Apache-2.0")


@pytest.fixture
def run(config: PretrainConfig):
    return pretrain(config)


def test_an_export_loads_as_a_model_with_the_weights_of_the_checkpoint(run, config, tmp_path):
    scores = export_weights(config.out_dir, config.fasta, tmp_path / "out", name="toy")
    model = entry(tmp_path / "out").load("cpu")
    trained = load_file(run.checkpoint / ckpt.WEIGHTS)
    shipped = load_file(tmp_path / "out" / "model.safetensors")
    assert all(t.dtype == torch.float16 for t in shipped.values())
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, trained[name].half().float())
    assert scores.masked15["model"] == pytest.approx(run.heldout.masked15["model"], abs=1e-3)
    assert scores.masked15["flank3"] == run.heldout.masked15["flank3"]


def test_name_revision_and_hash_come_from_the_exported_files(run, config, tmp_path):
    export_weights(run.checkpoint, config.fasta, tmp_path, name="toy")
    spec = entry(tmp_path).spec
    digest = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert (spec.name, spec.revision, spec.weights_sha256) == ("toy", digest, digest)
    assert (spec.dim, spec.n_layers, spec.default_layer) == (16, 2, 1)


def test_the_card_states_data_recipe_scores_and_verdict(run, config, tmp_path):
    scores = export_weights(config.out_dir, config.fasta, tmp_path, name="toy", corpus="a toy genome")
    card = (tmp_path / "MODEL_CARD.md").read_text()
    verdict = "beat the ±3" if scores.beats_flank3 else "do not beat the ±3"
    for fact in (
        "Pretrained on a toy genome.",
        verdict,
        f"{scores.separated['flank3']:.4f}",
        run.corpus.sha256,
        "stretch 2 (from 0)",
        f"{run.tokens:,} nt seen",
        "Apache-2.0",
    ):
        assert fact in card


def test_a_second_export_keeps_the_words_and_replaces_the_rest(run, config, tmp_path):
    export_weights(config.out_dir, config.fasta, tmp_path, corpus="a toy genome")
    before = (tmp_path / "config.json").read_text()
    main([str(config.out_dir), str(config.fasta), str(tmp_path)])
    assert (tmp_path / "config.json").read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir() if not p.is_dir() and p != config.fasta) == [
        "MODEL_CARD.md",
        "config.json",
        "model.safetensors",
    ]


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
