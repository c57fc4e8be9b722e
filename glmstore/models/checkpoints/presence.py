"""Whether the files of a checkpoint are here, whole, and those that its record names."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from glmstore.errors import WeightsError
from glmstore.models.checkpoints.advice import how_to_mend
from glmstore.models.checkpoints.source import SHIPPED, Pulled, WeightsState, folder_of, read_record


def damage(record: Pulled, folder: Path) -> str | None:
    """Return the first file that is missing or has another size than recorded, in words; None if all fit."""
    for file in record.files:
        path = folder / file.name
        size = path.stat().st_size if path.is_file() else None
        if size != file.size:
            return f"{path} " + ("is missing" if size is None else f"has {size} bytes, not {file.size}")
    return None


def verify(record: Pulled, folder: Path, names: Collection[str] | None = None) -> None:
    """Hash files of a pulled checkpoint.

    Parameters
    ----------
    record, folder
        What was pulled, and where it lies.
    names
        The files to hash; all when not given.

    Raises
    ------
    WeightsError
        If one is missing or has another sha256 than recorded.
    """
    for file in record.files:
        if names is not None and file.name not in names:
            continue
        try:
            with (folder / file.name).open("rb") as handle:
                found = hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            raise WeightsError(f"{folder / file.name} cannot be read: {error}") from error
        if found != file.sha256:
            raise WeightsError(
                f"{folder / file.name} has sha256 {found}, not {file.sha256} as recorded: it was changed or "
                f"damaged. Remove it. {how_to_mend(record)}"
            )


def require(model: str, folder: Path) -> Pulled:
    """Return the record of a pulled checkpoint whose files have the sizes recorded.

    Raises
    ------
    WeightsError
        If nothing was pulled, the folder holds another model, or a file is missing or has another size.
    """
    record = read_record(folder)
    if record is None:
        raise WeightsError(
            f"the weights of {model} are not here: {folder} holds none. Run `glmstore models pull {model}` "
            f"where there is a network; on a machine without one, copy that folder here, or point "
            f"GLMSTORE_MODELS at its parent."
        )
    if record.model != model:
        raise WeightsError(
            f"{folder} holds {record.model}, not {model}: move it to {folder.parent / record.model}."
        )
    problem = damage(record, folder)
    if problem is not None:
        raise WeightsError(f"{problem}. {how_to_mend(record)}")
    return record


def shipped_folder(model: str) -> Path | None:
    """Return the folder of weights that come with the package; None where they do not."""
    folder = SHIPPED / model
    return folder if folder.is_dir() else None


def state_of(model: str) -> WeightsState:
    """Return where the weights of a model are, by its record; no file is hashed.

    Parameters
    ----------
    model
        Registry name of a model with published or shipped weights.
    """
    if shipped_folder(model) is not None:
        return "shipped"
    folder = folder_of(model)
    try:
        if read_record(folder) is None:
            return "not pulled"
        record = require(model, folder)
    except WeightsError:
        return "damaged"
    return "pulled" if record.repo is not None else "adopted"
