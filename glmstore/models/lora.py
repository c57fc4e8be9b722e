"""Models that a LoRA adapter makes of another: ``lora:ADAPTER`` is embedded like any, into its own view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glmstore.config import Settings
from glmstore.errors import UnknownNameError
from glmstore.models.base import Batch, DerivedModel, GenomicLM, ModelEntry
from glmstore.models.encoding import TokenLimited
from glmstore.models.layered import Layered
from glmstore.models.spec import ModelSpec
from glmstore.objects.places import as_place
from glmstore.views import Provenance
from glmstore.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from glmstore.finetuning.saving import Manifest


class AdaptedModel(Layered):
    """A backbone with its adapter in place; it predicts no masked letters, having been trained for labels."""

    def __init__(self, spec: ModelSpec, backbone: GenomicLM) -> None:
        self.spec = spec
        self._backbone = backbone

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Tokenise as the backbone does."""
        return self._backbone.encode(sequences)

    @property
    def device(self) -> torch.device | None:
        """Where the backbone lies, so that batches go there; None where it does not say."""
        return getattr(self._backbone, "device", None)

    @property
    def max_tokens(self) -> int | None:
        """Longest input in tokens, as the backbone has it."""
        return self._backbone.max_tokens if isinstance(self._backbone, TokenLimited) else None

    def count_tokens(self, sequences: Sequence[str]) -> np.ndarray:
        """Return int64 [n], the tokens of each sequence; asked only where `max_tokens` is a number."""
        if not isinstance(self._backbone, TokenLimited):
            raise TypeError(f"{self.spec.name} counts letters, not tokens.")
        return self._backbone.count_tokens(sequences)

    def layers(self, batch: Batch) -> Iterator[Tensor]:
        """Yield the adapted backbone's hidden states, [B, T, D], layer by layer."""
        return self._backbone.layers(batch)

    def provenance(self, precision: str) -> Provenance:
        """Return the backbone's provenance under this spec and the adapter's weights."""
        return self._backbone.provenance(precision).model_copy(
            update={
                "model_spec": self.spec.model_dump(mode="json"),
                "weights_sha256": self.spec.weights_sha256,
            }
        )


def find_adapter(name: str) -> Path:
    """Return the folder of an adapter, fetched from object storage if it lies there.

    Parameters
    ----------
    name
        Of an adapter beside the default store, or where it lies beside another: the path of a folder, or
        ``s3://BUCKET/STORE-artifacts/adapters/NAME``.

    Raises
    ------
    UnknownNameError
        If there is none; suggests the nearest names.
    WeightsError
        If it lies in object storage and is damaged.
    StoreError
        If a URI is none of object storage, or the storage refuses or does not answer.
    """
    here = Path(name)
    if here.is_dir():
        return here
    root, _, wanted = name.rpartition("/adapters/") if "://" in name else ("", "", name)
    beside = Workspace(as_place(root)) if root else Workspace.of(Settings().store)
    known = beside.names("adapters")
    if wanted in known and (folder := beside.fetched("adapters", wanted)) is not None:
        return folder
    hint = (
        f"Looked for in {beside.adapters}; beside another store than the default (GLMSTORE_STORE), name its "
        "path, or s3://BUCKET/STORE-artifacts/adapters/NAME."
    )
    raise UnknownNameError("adapter", wanted, known, hint)


def _spec(name: str, manifest: Manifest, base: ModelSpec) -> ModelSpec:
    return base.model_copy(
        update={
            "name": f"lora:{name}",
            "summary": f"{base.name} with a LoRA adapter (rank {manifest.origin.settings.rank}) trained on "
            f"{manifest.origin.benchmark}, seed {manifest.origin.seed}.",
            "revision": manifest.adapter_sha256,
            "weights_sha256": manifest.adapter_sha256,
            "objective": "none",
            "scores_masked_bases": False,
            "default_layer": manifest.layer,
            "lora_targets": None,
            "twin_of": base.name,
        }
    )


def _build(argument: str) -> ModelEntry:
    from glmstore.finetuning.saving import read_manifest
    from glmstore.models.catalogue import get_model

    folder = find_adapter(argument)
    manifest = read_manifest(folder)
    spec = _spec(argument, manifest, get_model(manifest.base_model).spec)

    def load(device: str) -> GenomicLM:
        from glmstore.finetuning.saving import load_finetuned

        return AdaptedModel(spec, load_finetuned(folder, device).model)

    return ModelEntry(spec, load)


LORA = DerivedModel(name="lora", usage="lora:<adapter: name, folder or s3:// URI>", build=_build)
