"""Where a checkpoint is published, and what lies on this machine after it was pulled."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from glmstore.config import Frozen, Settings
from glmstore.errors import WeightsError

RECORD = "glmstore.json"
"""File beside the weights that says what they are; it is written last, so a folder with it is complete."""


class HubSource(Frozen):
    """The files of a hub repository that a model is made of; nothing else of it is fetched or run."""

    repo: str = Field(description="owner/name on the Hugging Face hub.")
    weights: tuple[str, ...] = Field(
        ("model.safetensors",),
        min_length=1,
        description="Weight files, safetensors where published; shards in any order.",
    )
    config: str | None = Field(
        "config.json", description="Configuration file, compared with ours when pulled."
    )
    tokenizer: tuple[str, ...] = Field((), description="Tokenizer files; none where the vocabulary is code.")

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is fetched."""
        return (*self.weights, *self.tokenizer, *((self.config,) if self.config else ()))


class PulledFile(Frozen):
    """One file of a pulled checkpoint."""

    name: str
    size: int = Field(ge=0, description="Bytes.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Pulled(Frozen):
    """What `glmstore models pull` recorded."""

    model: str = Field(description="Registry name.")
    repo: str | None = Field(description="Hub repository; None for a folder that was adopted.")
    revision: str = Field(
        pattern="^[0-9a-f]{40}$|^[0-9a-f]{64}$",
        description="Commit the hub resolved to, or sha256 over the files where there is none.",
    )
    files: tuple[PulledFile, ...]

    def sha256_of(self, names: tuple[str, ...]) -> str | None:
        """Return one digest for some files: that of the file, or of the digests of several in order."""
        import hashlib

        found = [f.sha256 for f in self.files if f.name in names]
        if len(found) <= 1:
            return found[0] if found else None
        return hashlib.sha256("\n".join(found).encode()).hexdigest()


def folder_of(model: str, root: Path | None = None) -> Path:
    """Return where the checkpoint of a model lies, or would lie."""
    return (root or Settings().models) / model


def read_record(folder: Path) -> Pulled | None:
    """Return what was pulled into a folder; None where nothing was.

    Raises
    ------
    WeightsError
        If the record is there and cannot be read.
    """
    try:
        return Pulled.model_validate_json((folder / RECORD).read_text())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise WeightsError(
            f"{folder / RECORD} cannot be read ({error}); remove the folder and pull again."
        ) from error


def require(model: str, folder: Path) -> Pulled:
    """Return the record of a pulled checkpoint whose files have the sizes recorded.

    Raises
    ------
    WeightsError
        If nothing was pulled, or a file is missing or has another size.
    """
    record = read_record(folder)
    if record is None:
        raise WeightsError(
            f"the weights of {model} are not here: {folder} holds none. Run `glmstore models pull {model}` "
            f"where there is a network; on a machine without one, copy that folder here, or point "
            f"GLMSTORE_MODELS at its parent."
        )
    for file in record.files:
        path = folder / file.name
        size = path.stat().st_size if path.is_file() else None
        if size != file.size:
            what = "is missing" if size is None else f"has {size} bytes, not {file.size}"
            raise WeightsError(f"{path} {what}; run `glmstore models pull {model}` again.")
    return record
