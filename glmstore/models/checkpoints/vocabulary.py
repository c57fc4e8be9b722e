"""Whether a tokenizer was made for the network beside it: by its size, and by where known pieces stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from glmstore.errors import WeightsError

if TYPE_CHECKING:
    from glmstore.models.architectures.language_model import LanguageModel

ROUNDING = 64
"""Published embeddings are padded to multiples of this at most, so that many rows may have no id."""


def vocabulary_fits(model: LanguageModel) -> bool:
    """Tell whether the embedding has a row for every id of the tokenizer, and not many more.

    Published embeddings are rounded up, to a multiple of 64 at most; a table with more rows to spare was made
    for another vocabulary.
    """
    rows, ids = model.n_embeddings, len(model.tokenizer.strings)
    return rows is None or 0 <= rows - ids < ROUNDING


def misplaced_piece(strings: Sequence[str], pieces: Mapping[str, int | None]) -> str | None:
    """Return, in words, the first piece that does not stand where it was published; None if all do.

    Parameters
    ----------
    strings
        The letters that each id of a tokenizer stands for, by id.
    pieces
        Letters with the id that they were published with; None for those that have none.
    """
    for piece, published in pieces.items():
        found = strings.index(piece) if piece in strings else None
        if found != published:
            return (
                f"{piece} has {_id(found)} in it, and {_id(published)} in the one published with the weights"
            )
    return None


def _id(number: int | None) -> str:
    return "no id" if number is None else f"id {number}"


def check_vocabulary(model: LanguageModel, pieces: Mapping[str, int | None] | None = None) -> None:
    """Refuse a model whose tokenizer was made for other weights.

    Parameters
    ----------
    model
        The network may lie on the meta device.
    pieces
        What is known of the published tokenizer; see :func:`misplaced_piece`.

    Raises
    ------
    WeightsError
        If the embedding lacks rows for ids, or has many that no id stands for; if a known piece has another
        id, or one that it should not have.
    """
    if not vocabulary_fits(model):
        raise WeightsError(
            f"the tokenizer of {model.spec.name} has {len(model.tokenizer.strings)} ids and its embedding "
            f"{model.n_embeddings} rows: they do not belong together."
        )
    misplaced = misplaced_piece(model.tokenizer.strings, pieces or {})
    if misplaced is not None:
        raise WeightsError(f"the tokenizer beside {model.spec.name} is another model's: {misplaced}.")
