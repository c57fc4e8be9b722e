"""Names that end in a seed: ``prefix:<what>:<seed>``."""

from __future__ import annotations

from glmstore.errors import UnknownNameError

LARGEST = 2**63


def split_seed(prefix: str, argument: str, what: str) -> tuple[str, int]:
    """Return the part before the last colon and the seed after it.

    Parameters
    ----------
    prefix
        The derived model's prefix, for messages.
    argument
        Everything after the prefix.
    what
        What stands before the seed, for messages (``<model>``).

    Raises
    ------
    UnknownNameError
        If there is no such part, or the seed is not a whole number from 0 up.
    """
    before, _, seed = argument.rpartition(":")
    if not before or not (seed.isascii() and seed.isdigit()) or int(seed) >= LARGEST:
        example = f"{prefix}:{before or argument or what}:0"
        raise UnknownNameError(
            "model", f"{prefix}:{argument}", [example], "The seed is a whole number from 0 up, below 2^63."
        )
    return before, int(seed)
