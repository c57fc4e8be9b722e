"""A GPN trained here, read from the folder that it was exported to: ``gpn:FOLDER``.

Which model it is follows from its weights and its shape, not from where they lie. A folder that is named by
its path is copied among the pulled models, once, as ``gpn:NAME-DIGITS``: the name in its card and the first
digits of its revision. That is the name that views, results and adapters carry, whatever becomes of the
folder, and by which the model is found in every process that shares GLMSTORE_MODELS. Other weights exported
to the same folder are another model.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from glmstore.data.fetch import sha256_of
from glmstore.errors import UnknownNameError, WeightsError
from glmstore.models.base import DerivedModel, ModelEntry
from glmstore.models.checkpoints.presence import damage
from glmstore.models.checkpoints.source import Pulled, PulledFile, folder_of, read_record, write_record
from glmstore.models.family import record_of
from glmstore.models.gpn import CARD, CONFIG, FAMILY, WEIGHTS, entry_from_folder, read_card, read_facts
from glmstore.models.gpn_config import GPNConfig

log = logging.getLogger(__name__)

PREFIX = "gpn"
DIGITS = 12


class Identity(NamedTuple):
    """What an export is called here, and what pins its numbers."""

    name: str
    revision: str


def identify(folder: Path) -> Identity:
    """Return the name and the revision of an export; hashes no weights, loading does.

    The revision is a sha256 over the digest of the weights and the shape of the network: dilations are no
    part of any tensor.

    Raises
    ------
    WeightsError
        If the folder holds no export.
    """
    shape, facts = GPNConfig.read(folder / CONFIG), read_facts(folder)
    pinned = f"{facts.weights_sha256}\n{FAMILY.recipe(shape.model_dump())}"
    revision = hashlib.sha256(pinned.encode()).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", facts.name).strip("-.") or "unnamed"
    return Identity(f"{PREFIX}:{readable}-{revision[:DIGITS]}", revision)


def build(argument: str) -> ModelEntry:
    """Return the entry of an export: of a folder, which is copied first, or of a name it was copied under.

    Raises
    ------
    UnknownNameError
        If there is neither.
    WeightsError
        If the folder holds no export, its weights are not those that its configuration pins, or it cannot be
        copied.
    """
    copied, folder = folder_of(f"{PREFIX}:{argument}"), Path(argument).expanduser()
    if not argument or (read_record(copied) is None and not folder.is_dir()):
        known = (path.name for path in copied.parent.glob(f"{PREFIX}:*") if path.is_dir())
        hint = "A folder that `pretrain` exported to does as well, by its path."
        raise UnknownNameError("model", f"{PREFIX}:{argument}", known, hint)
    if read_record(copied) is None:
        copied = _copied(folder)
    shape, found = GPNConfig.read(copied / CONFIG), identify(copied)
    if found.name != copied.name:
        raise WeightsError(f"{copied} holds {found.name}: move it to {copied.with_name(found.name)}.")
    return entry_from_folder(
        copied,
        name=found.name,
        revision=found.revision,
        summary=f"A GPN of {shape.n_layers} blocks of width {shape.hidden_size}, pretrained on "
        f"{_corpus(copied)}.",
    )


def _corpus(folder: Path) -> str:
    corpus = read_card(folder).get("corpus")
    return str(corpus["description"]) if isinstance(corpus, dict) and "description" in corpus else "a FASTA"


def _copied(folder: Path) -> Path:
    """Return the copy of an export among the pulled models, made now unless it is there already."""
    found, facts = identify(folder), read_facts(folder)
    target = folder_of(found.name)
    try:
        files = (
            PulledFile(name=WEIGHTS, size=(folder / WEIGHTS).stat().st_size, sha256=facts.weights_sha256),
            PulledFile(name=CONFIG, size=(folder / CONFIG).stat().st_size, sha256=sha256_of(folder / CONFIG)),
        )
        if _holds(target, files):
            return target
        if sha256_of(folder / WEIGHTS) != facts.weights_sha256:
            raise WeightsError(
                f"{folder / WEIGHTS} is not what {CONFIG} beside it pins, sha256 {facts.weights_sha256}. "
                f"Copy both from one export, or export again."
            )
        target.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{target.name}.lock"):
            if not _holds(target, files):
                _copy(folder, target, found, files)
    except OSError as error:
        raise WeightsError(
            f"the export in {folder} cannot be copied to {target}: {error}. Set GLMSTORE_MODELS to a folder "
            f"that can be written."
        ) from error
    return target


def _holds(target: Path, files: tuple[PulledFile, ...]) -> bool:
    here = record_of(target.name)
    return here is not None and here.files == files and damage(here, target) is None


def _copy(folder: Path, target: Path, found: Identity, files: tuple[PulledFile, ...]) -> None:
    """Copy an export; the record goes last, and keeps the fingerprint of weights that were there before."""
    here = record_of(found.name)
    for name in (WEIGHTS, CONFIG, CARD):
        if (folder / name).is_file():
            new = target / f".{name}.partial"
            shutil.copyfile(folder / name, new)
            new.replace(target / name)
    known = here.fingerprint if here is not None else None
    record = Pulled(model=found.name, repo=None, revision=found.revision, files=files, fingerprint=known)
    write_record(target, record)
    log.info("copied the export in %s to %s", folder, target)


GPN_FOLDER = DerivedModel(PREFIX, f"{PREFIX}:<folder>", build)
