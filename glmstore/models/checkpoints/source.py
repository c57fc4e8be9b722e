"""Where a checkpoint is published, and what lies on this machine after it was pulled."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from glmstore.config import Frozen, Settings
from glmstore.errors import WeightsError
from glmstore.objects.base import check_name

RECORD = "glmstore.json"
"""File beside the weights that says what they are; it is written last, so a folder with it is complete."""
SHIPPED = Path(__file__).parents[1] / "weights"
_WEIGHTS = re.compile(r".*\.(safetensors|bin|pt|pth|ckpt)(\.part\d+)?")

FileName = Annotated[str, AfterValidator(check_name)]
"""Path of a file within its checkpoint, which never leads out of the folder."""

WeightsState = Literal["shipped", "pulled", "adopted", "damaged", "not pulled"]


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
    pieces: dict[str, int | None] = Field(
        {},
        description="Pieces that tell its tokenizer from another of the same size: their ids, None for none.",
    )

    @property
    def beside(self) -> tuple[str, ...]:
        """The files that are not weights: tokenizer and configuration."""
        return (*self.tokenizer, *((self.config,) if self.config else ()))

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is fetched, where the repository holds the weights in this format only."""
        return (*self.weights, *self.beside)


class PulledFile(Frozen):
    """One file of a pulled checkpoint."""

    name: FileName
    size: int = Field(ge=0, description="Bytes.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Fingerprint(Frozen):
    """What real weights gave for one sequence, for other machines to compare with."""

    made_with: str = Field(description="Version of torch and the device that computed it.")
    values: dict[str, tuple[float, ...]] = Field(
        description="By layer: the first columns at one token, and the mean absolute value over all tokens."
    )


class Pulled(Frozen):
    """What `glmstore models pull` recorded."""

    model: str = Field(description="Registry name.")
    repo: str | None = Field(description="Hub repository; None for a folder that was adopted.")
    revision: str = Field(
        pattern="^[0-9a-f]{40}$|^[0-9a-f]{64}$",
        description="Commit the hub resolved to, or sha256 over the files where there is none.",
    )
    files: tuple[PulledFile, ...]
    fingerprint: Fingerprint | None = Field(
        None, description="Written by the first `glmstore models check` of these weights."
    )

    @property
    def weights(self) -> tuple[str, ...]:
        """The files that hold weights."""
        return tuple(f.name for f in self.files if holds_weights(f.name))

    def sha256_of(self, names: tuple[str, ...]) -> str | None:
        """Return one digest for some files: that of the file, or of the digests of several in order."""
        found = [f.sha256 for f in self.files if f.name in names]
        if len(found) <= 1:
            return found[0] if found else None
        return hashlib.sha256("\n".join(found).encode()).hexdigest()


def holds_weights(name: str) -> bool:
    """Return whether a file of this name holds weights."""
    return _WEIGHTS.fullmatch(name) is not None


def weights_in(source: HubSource, present: Collection[str], read: Callable[[str], bytes]) -> tuple[str, ...]:
    """Return the weight files to take: safetensors where there are any, else those the source names.

    Parameters
    ----------
    source
        Names the files, and by them the folder of the repository.
    present
        Names of all files there are.
    read
        Returns the contents of one of them; called for the index of a checkpoint in shards.

    Returns
    -------
    tuple of str
        Empty where neither the files named nor those of the usual names are there.

    Raises
    ------
    WeightsError
        If an index of shards cannot be read or names a file that is not there.
    """
    folder = PurePosixPath(source.weights[0]).parent
    named = source.weights if set(source.weights) <= set(present) else ()
    if named and all(name.endswith(".safetensors") for name in named):
        return named
    usual = (str(folder / "model.safetensors"), str(folder / "pytorch_model.bin"))
    return _whole_or_shards(usual[0], present, read) or named or _whole_or_shards(usual[1], present, read)


def _whole_or_shards(name: str, present: Collection[str], read: Callable[[str], bytes]) -> tuple[str, ...]:
    if name in present:
        return (name,)
    index = f"{name}.index.json"
    if index not in present:
        return ()
    try:
        shards = sorted(set(json.loads(read(index))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index} is no index of a checkpoint in shards ({error!r}).") from error
    paths = tuple(str(PurePosixPath(index).parent / str(shard)) for shard in shards)
    absent = [path for path in paths if path not in present or ".." in PurePosixPath(path).parts]
    if absent or not paths:
        raise WeightsError(f"{index} names {(absent or ['no file'])[0]}, which is not there.")
    return paths


def folder_of(model: str, root: Path | None = None) -> Path:
    """Return where the checkpoint of a model lies, or would lie."""
    return (root or Settings().models) / model


def in_a_line(error: Exception) -> str:
    """Return what is wrong with a record in one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'contents'}: {first['msg']}"


def read_record(folder: Path) -> Pulled | None:
    """Return what was pulled into a folder; None where nothing was.

    Raises
    ------
    WeightsError
        If the record is there and cannot be read.
    """
    try:
        return Pulled.model_validate_json((folder / RECORD).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise WeightsError(
            f"{folder / RECORD} cannot be read ({in_a_line(error)}); remove the folder and pull again."
        ) from error


def write_record(folder: Path, record: Pulled) -> None:
    """Write the record of a folder in one step, so that a reader finds all of it or none.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    new = folder / f".{RECORD}.{os.getpid()}"
    try:
        with new.open("w") as file:
            file.write(record.model_dump_json(indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / RECORD)
    finally:
        new.unlink(missing_ok=True)
