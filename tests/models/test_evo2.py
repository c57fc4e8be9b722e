"""Evo 2 where it cannot run, and its adapter over a stand-in with upstream's signatures."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from glmstore.errors import (
    LayerError,
    ModelUnavailableError,
    SequenceTooLongError,
    UnknownNameError,
    WeightsError,
)
from glmstore.models import MODELS, get_model
from glmstore.models import evo2 as registry
from glmstore.models.architectures.evo2 import LAYERS_AT_ONCE, Evo2Model
from glmstore.models.causal_scoring import log_likelihood

NAMES = ["evo2-1b-base", "evo2-7b", "evo2-40b"]


class Block(nn.Module):
    """Adds the running mean of what lies to the left; returns a pair, as upstream's blocks do."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.mix = nn.Linear(d, d)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        steps = torch.arange(1, x.shape[1] + 1).unsqueeze(-1)
        return x + self.mix(x.cumsum(1) / steps), None


class Hyena(nn.Module):
    """Submodules named as in vortex' StripedHyena; `forward` returns logits and inference parameters."""

    def __init__(self, d: int, n: int) -> None:
        super().__init__()
        self.embedding_layer = nn.Embedding(512, d)
        self.blocks = nn.ModuleList([Block(d) for _ in range(n)])
        self.norm = nn.LayerNorm(d)
        self.passes = 0

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        self.passes += 1
        x = self.embedding_layer(x)
        for block in self.blocks:
            x, _ = block(x)
        return self.norm(x) @ self.embedding_layer.weight.T, None


class Evo2:
    """``evo2.models.Evo2`` of ArcInstitute/evo2 at 8a20a4a, as far as its signatures go."""

    def __init__(self, model_name: str = "evo2_7b", local_path: str | None = None) -> None:
        torch.manual_seed(0)
        self.model_name, self.local_path = model_name, local_path
        self.model = Hyena(8, 10).eval()

    def forward(
        self, input_ids: Tensor, return_embeddings: bool = False, layer_names: list[str] | None = None
    ) -> tuple[Any, dict[str, Tensor] | None]:
        assert input_ids.dtype == torch.int
        embeddings: dict[str, Tensor] = {}
        handles = []
        for name in layer_names or [] if return_embeddings else []:

            def hook(_: Any, __: Any, output: Any, name: str = name) -> None:
                embeddings[name] = (output[0] if isinstance(output, tuple) else output).detach()

            handles.append(self.model.get_submodule(name).register_forward_hook(hook))
        try:
            logits = self.model.forward(input_ids)
        finally:
            for handle in handles:
                handle.remove()
        return (logits, embeddings) if return_embeddings else (logits, None)


@pytest.fixture
def model() -> Evo2Model:
    spec = MODELS["evo2-7b"].spec.model_copy(update={"dim": 8, "n_layers": 10, "max_nt": 100})
    return Evo2Model(spec, registry.tokenizer(), Evo2(), "cpu")


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_without_its_gpu_is_told_everything_it_needs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelUnavailableError) as caught:
        get_model(name).load("cpu")
    message = str(caught.value)
    needed = "8.0" if name == "evo2-7b" else "8.9"
    for part in (
        f"{name} cannot run here",
        "no NVIDIA GPU is visible",
        "the package evo2 is not installed",
        "asked for on cpu",
        "Linux",
        "CUDA 12.1",
        f"compute capability {needed}",
        "pip install evo2",
        "GB of GPU memory",
    ):
        assert part in message
    assert ("the package transformer_engine is not installed" in message) == (name != "evo2-7b")
    assert isinstance(caught.value, WeightsError)


@pytest.mark.parametrize(
    ("found", "refused"), [((8, 0), True), ((8, 9), False), ((9, 0), False), ((7, 5), True)]
)
def test_the_1b_wants_a_gpu_with_8_bit_floats(
    found: tuple[int, int], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: (found, (9, 0))[i])
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(sys, "platform", "linux")
    needs = registry.Needs("evo2_1b_base", fp8=True, weight_gb=3)
    assert registry.lacking(needs) == (
        [f"a GPU here has compute capability {found[0]}.{found[1]}"] if refused else []
    )


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("evo2-1b-base", ("arcinstitute/evo2_1b_base", 1920, 25, 8192, 1_107_989_760)),
        ("evo2-7b", ("arcinstitute/evo2_7b", 4096, 32, 1_048_576, 6_581_722_880)),
        ("evo2-40b", ("arcinstitute/evo2_40b", 8192, 50, 1_048_576, 41_117_574_144)),
    ],
)
def test_descriptions_hold_the_published_facts(name: str, facts: tuple[object, ...]) -> None:
    """Sizes: ArcInstitute/evo2, ``evo2/configs/*.yml``; weights: summed over the modules of those sizes."""
    spec = MODELS[name].spec
    assert (spec.hub_id, spec.dim, spec.n_layers, spec.max_nt, spec.n_parameters) == facts
    assert (spec.objective, spec.causal, spec.licence, spec.has_cls) == ("clm", True, "Apache-2.0", False)
    assert spec.tokenizer_sha256
    source = MODELS[name].source
    assert source is not None
    assert source.repo == spec.hub_id


def test_the_bytes_of_the_40b_are_those_of_its_weights() -> None:
    published_bytes = 82_253_491_694
    assert MODELS["evo2-40b"].spec.n_parameters * 2 == pytest.approx(published_bytes, rel=1e-3)


def test_it_has_no_random_twin() -> None:
    with pytest.raises(WeightsError, match="evo2-7b has no weights that could be drawn anew"):
        get_model("rand_init:evo2-7b:0")
    with pytest.raises(UnknownNameError, match="evo2-7b"):
        get_model("evo2-7")


def test_layers_are_the_outputs_of_the_modules_upstream_names(model: Evo2Model) -> None:
    batch = model.encode(["ACGTN", "GATTACA"])
    assert batch.ids.tolist() == [[*b"ACGTN", 1, 1], [*b"GATTACA"]]
    network = model.upstream.model  # type: ignore[attr-defined]
    with torch.no_grad():
        x = network.embedding_layer(batch.ids)
        expected = [x]
        for block in network.blocks[:-1]:
            x, _ = block(x)
            expected.append(x)
        expected.append(network.norm(network.blocks[-1](x)[0]))
    found = list(model.layers(batch))
    assert len(found) == 11
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(model.hidden_states(batch, number), b)


def test_one_layer_takes_one_pass_and_all_take_few(model: Evo2Model) -> None:
    network = model.upstream.model  # type: ignore[attr-defined]
    model.hidden_states(model.encode(["ACGT"]), 5)
    assert network.passes == 1
    list(model.layers(model.encode(["ACGT"])))
    assert network.passes == 1 + -(-11 // LAYERS_AT_ONCE)


def test_its_log_likelihoods_are_scored_from_the_second_letter_on(model: Evo2Model) -> None:
    sequences = ["ACGTAC", "GATTACAGATTACA"]
    found = log_likelihood(model, sequences)
    for sequence, nats in zip(sequences, found, strict=True):
        ids = torch.tensor([[*sequence.encode()]])
        with torch.inference_mode():
            logits = model.upstream.model(ids)[0][0].double().log_softmax(-1)  # type: ignore[attr-defined]
        assert nats == pytest.approx(
            sum(float(logits[t - 1, ids[0, t]]) for t in range(1, len(sequence))), rel=1e-5
        )


def test_limits_hold(model: Evo2Model) -> None:
    with pytest.raises(SequenceTooLongError, match="sequence 0"):
        model.encode(["A" * 101])
    with pytest.raises(LayerError, match="layers 0 to 10; 11"):
        model.hidden_states(model.encode(["A"]), 11)


def _able(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Pretend a machine that can, with the weights of the 40B pulled in two parts."""
    from glmstore.models.checkpoints.source import RECORD, Pulled, PulledFile

    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path))
    monkeypatch.setattr(registry, "lacking", lambda _: [])
    monkeypatch.setitem(sys.modules, "evo2", SimpleNamespace(Evo2=Evo2))
    folder = tmp_path / "evo2-40b"
    folder.mkdir()
    files = []
    for i in range(2):
        (folder / f"evo2_40b.pt.part{i}").write_bytes(b"x")
        files.append(PulledFile(name=f"evo2_40b.pt.part{i}", size=1, sha256="0" * 64))
    record = Pulled(model="evo2-40b", repo="arcinstitute/evo2_40b", revision="a" * 40, files=tuple(files))
    (folder / RECORD).write_text(record.model_dump_json())
    return folder


def test_weights_in_parts_have_to_be_joined_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = _able(monkeypatch, tmp_path)
    with pytest.raises(WeightsError, match=r"cat evo2_40b.pt.part\* > evo2_40b.pt"):
        MODELS["evo2-40b"].load("cuda")
    (folder / "evo2_40b.pt").write_bytes(b"xx")
    loaded: Any = MODELS["evo2-40b"].load("cuda")
    assert loaded.upstream.model_name == "evo2_40b"
    assert loaded.upstream.local_path == str(folder / "evo2_40b.pt")


def test_weights_that_were_not_pulled_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _able(monkeypatch, tmp_path)
    with pytest.raises(WeightsError, match="glmstore models pull evo2-7b"):
        MODELS["evo2-7b"].load("cuda")
