"""What to do about a checkpoint that is not here, not whole, or not what it is taken for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from glmstore.errors import WeightsError

if TYPE_CHECKING:
    from glmstore.models.checkpoints.source import HubSource, Pulled


def how_to_get(model: str, source: HubSource | str | None) -> str:
    """Return the command that brings a model's weights here, and where to run it; no `source`: on no hub."""
    if source is None:
        return f"on no hub: `glmstore models pull {model} --from FOLDER` adopts them from a folder"
    return (
        f"not pulled: run `glmstore models pull {model}` here, or, if this machine has no network, with "
        f"`--into DIR` on one that has; then copy DIR here and set GLMSTORE_MODELS to it"
    )


def how_to_mend(record: Pulled) -> str:
    """Return what brings back files that are missing, or other than recorded and removed by then."""
    if record.repo is None:
        return f"It was adopted: do so again with `glmstore models pull {record.model} --from FOLDER`."
    return (
        f"Run `glmstore models pull {record.model}` again, or, on a machine without a network, copy the "
        f"folder once more from the one that pulled it."
    )


def how_to_replace_tokenizer(record: Pulled, source: HubSource) -> str:
    """Return what to do about a recorded checkpoint whose tokenizer is another model's."""
    if record.repo is not None:
        return (
            f"Run `glmstore models pull {record.model} --upgrade` for what {record.repo} publishes now, or "
            f"name a commit with --revision too."
        )
    return (
        f"It was adopted: put the weights and {', '.join(source.beside)} of {source.repo} into one folder, "
        f"and run `glmstore models pull {record.model} --from FOLDER --upgrade`."
    )


@contextmanager
def advised(advice: str) -> Iterator[None]:
    """Put advice behind whatever is found wrong with weights or tokenizer inside the block."""
    try:
        yield
    except WeightsError as error:
        raise WeightsError(f"{error} {advice}".rstrip()) from error
