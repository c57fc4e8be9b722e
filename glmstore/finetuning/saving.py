"""Adapters on disk: peft's own files, the head, and a manifest that says what they belong to."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from glmstore import __version__
from glmstore.config import Frozen
from glmstore.errors import WeightsError
from glmstore.finetuning.settings import FineTuneSettings
from glmstore.heads.base import TrainedKind

if TYPE_CHECKING:
    from glmstore.finetuning.adapter import TunedModel
    from glmstore.models.base import GenomicLM

ADAPTER = "adapter_model.safetensors"
HEAD = "head.safetensors"
MANIFEST = "manifest.json"


class Origin(Frozen):
    """What an adapter was trained on, and how."""

    benchmark: str
    benchmark_digest: str = Field(description="BenchmarkData.digest at the time of training.")
    seed: int
    settings: FineTuneSettings
    n_train: int = Field(gt=0, description="Training items used.")
    best_epoch: int = Field(gt=0, description="1-based epoch that is kept.")
    epochs: tuple[dict[str, float], ...] = Field(
        (), description="number, train_loss, valid_loss, seconds of each."
    )


class Manifest(Frozen):
    """All that is needed to load an adapter again, and to refuse it where it does not belong."""

    base_model: str = Field(description="Registry name of the backbone.")
    base_revision: str = Field(description="Its revision when the adapter was trained.")
    layer: int = Field(ge=0)
    kind: TrainedKind = Field(description="What the label is.")
    origin: Origin
    adapter_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    head_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    code_version: str = Field(description="glmstore version that trained it.")
    peft_version: str
    torch_version: str


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _card(manifest: Manifest) -> str:
    origin = manifest.origin
    return (
        f"# LoRA adapter of {manifest.base_model}\n\n"
        f"Trained on the train split of {origin.benchmark} ({origin.n_train} items), layer {manifest.layer}, "
        f"rank {origin.settings.rank}, seed {origin.seed}. See {MANIFEST} for everything else.\n\n"
        f"Load it with glmstore.finetuning.load_finetuned(folder), or embed with the model name lora:FOLDER. "
        f"peft alone rebuilds convolution updates without their dilation.\n"
    )


def save_finetuned(tuned: TunedModel, folder: Path, origin: Origin) -> Manifest:
    """Write adapter, head and manifest; the folder appears whole or not at all.

    Parameters
    ----------
    tuned
        As returned by training.
    folder
        New folder; its parents are made.
    origin
        Goes into the manifest.

    Raises
    ------
    WeightsError
        If the folder exists, or the base model is not pinned to a revision.
    """
    from safetensors.torch import save_file

    spec = tuned.model.spec
    if spec.revision is None:
        raise WeightsError(
            f"{spec.name} is not pinned to a revision; an adapter of it could not be checked later."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        tuned.peft.save_pretrained(str(draft), save_embedding_layers=False)
        save_file({k: v.contiguous() for k, v in tuned.head.state_dict().items()}, draft / HEAD)
        manifest = _describe(tuned, spec.revision, draft, origin)
        (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        (draft / "README.md").write_text(_card(manifest))
        draft.chmod(0o755)
        draft.rename(folder)
    except OSError as error:
        raise WeightsError(f"{folder}: the adapter could not be written ({error}).") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def _describe(tuned: TunedModel, revision: str, draft: Path, origin: Origin) -> Manifest:
    import torch

    from glmstore.hugging_face import PEFT_VERSION

    return Manifest(
        base_model=tuned.model.spec.name,
        base_revision=revision,
        layer=tuned.layer,
        kind=tuned.kind,
        origin=origin,
        adapter_sha256=_sha256(draft / ADAPTER),
        head_sha256=_sha256(draft / HEAD),
        code_version=__version__,
        peft_version=PEFT_VERSION,
        torch_version=str(torch.__version__),
    )


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an adapter without loading any weights.

    Raises
    ------
    WeightsError
        If the folder holds no adapter of glmstore's, or its manifest cannot be read.
    """
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_text())
    except FileNotFoundError:
        raise WeightsError(
            f"{folder} holds no adapter: there is no {MANIFEST}. If it should, fine-tune again with --force."
        ) from None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise WeightsError(
            f"{folder / MANIFEST} cannot be read ({reason}). Copy it again, or fine-tune again with --force."
        ) from error


def _check_files(folder: Path, manifest: Manifest) -> None:
    for name, expected in ((ADAPTER, manifest.adapter_sha256), (HEAD, manifest.head_sha256)):
        path = folder / name
        found = _sha256(path) if path.is_file() else "nothing"
        if found != expected:
            raise WeightsError(
                f"{path} is not the file that was trained (sha256 {found[:12]}; manifest: {expected[:12]}). "
                f"Copy it again, or fine-tune again with --force."
            )


def _base(manifest: Manifest, folder: Path, device: str) -> GenomicLM:
    from glmstore.models.catalogue import get_model

    entry = get_model(manifest.base_model)
    if entry.spec.revision != manifest.base_revision:
        raise WeightsError(
            f"{folder} was trained on {manifest.base_model} at revision {manifest.base_revision}; here that "
            f"model has revision {entry.spec.revision}. Install the glmstore that has it "
            f"({manifest.code_version}), or train again."
        )
    return entry.load(device)


def load_finetuned(folder: Path | str, device: str = "cpu") -> TunedModel:
    """Load an adapter with its backbone and head; predictions are those it had when it was saved.

    Raises
    ------
    WeightsError
        If a file is missing, truncated or not the one that was trained, or the backbone has another revision.
    UnknownNameError
        If the backbone is not known here.
    """
    from glmstore.finetuning.adapter import Backbone, PooledHead, TunedModel, dilate, network_of

    folder = Path(folder)
    manifest = read_manifest(folder)
    _check_files(folder, manifest)
    model = _base(manifest, folder, device)
    from safetensors.torch import load_file

    from glmstore.hugging_face import PeftModel

    peft = PeftModel.from_pretrained(Backbone(network_of(model)), str(folder), torch_device=device)
    dilate(peft)
    head = PooledHead(model.spec.dim, manifest.origin.settings.hidden)
    head.load_state_dict(load_file(folder / HEAD))
    tuned = TunedModel(model, peft, head.to(device), manifest.layer, manifest.kind)
    tuned.train(False)
    return tuned
