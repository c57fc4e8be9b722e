"""A small convolutional language model that fine-tuning can be proven on in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from glmstore.models import catalogue
from glmstore.models.architectures.drawing import DrawnFrom
from glmstore.models.base import Batch, GenomicLM, ModelEntry
from glmstore.models.layered import Layered
from glmstore.models.spec import ModelSpec
from glmstore.views import Provenance

SPEC = ModelSpec(
    name="toy",
    family="toy",
    summary="Two residual convolutions, the second dilated.",
    revision="a" * 64,
    objective="mlm",
    tokenization="character",
    max_nt=None,
    dim=8,
    n_layers=2,
    default_layer=2,
    n_parameters=0,
    lora_targets=r".*blocks\.\d+",
    licence="Apache-2.0",
    citation="",
)


class ToyNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, SPEC.dim, padding_idx=0)
        self.blocks = nn.ModuleList(
            [nn.Conv1d(8, 8, 3, padding="same"), nn.Conv1d(8, 8, 3, padding="same", dilation=2)]
        )

    def forward(self, ids: Tensor) -> Iterator[Tensor]:
        x = self.embed(ids).mT
        yield x.mT
        for block in self.blocks:
            x = x + torch.tanh(block(x))
            yield x.mT


class ToyLM(Layered):
    def __init__(self, spec: ModelSpec = SPEC) -> None:
        self.spec = spec
        with DrawnFrom(0):
            self.network = ToyNetwork().eval()

    def encode(self, sequences: Sequence[str]) -> Batch:
        lengths = torch.tensor([len(s) for s in sequences])
        ids = torch.zeros(len(sequences), int(lengths.max()), dtype=torch.int64)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(["NACGT".index(c) + 1 for c in sequence])
        return Batch(ids, ids > 0, ids == 0, torch.zeros(*ids.shape, 2, dtype=torch.int32), lengths)

    def layers(self, batch: Batch) -> Iterator[Tensor]:
        yield from self.network(batch.ids)

    def provenance(self, precision: str) -> Provenance:
        return Provenance(
            model_spec=self.spec.model_dump(mode="json"),
            weights_sha256=self.spec.revision,
            tokenizer_sha256=None,
            dim=self.spec.dim,
            code_version="0",
            precision=precision,
        )


@pytest.fixture
def toy_model() -> Callable[[], GenomicLM]:
    """Return a function that makes the same toy model anew."""
    return ToyLM


@pytest.fixture
def toy_in_catalogue(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put the toy among the known models; call again with fields of its spec to change them."""
    plain = catalogue.get_model

    def put(**changes: object) -> None:
        spec = SPEC.model_copy(update=changes)

        def get_model(name: str) -> ModelEntry:
            return ModelEntry(spec, lambda device: ToyLM(spec)) if name == "toy" else plain(name)

        monkeypatch.setattr(catalogue, "get_model", get_model)

    put()
    return put
