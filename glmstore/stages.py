"""What a stage of a run did, in numbers that can be added up."""

from __future__ import annotations

from typing import NamedTuple


class Tally(NamedTuple):
    """Cells, and feature vectors, that stages computed or found in the store; and what failed."""

    computed: int = 0
    reused: int = 0
    failed: int = 0
    vectors_computed: int = 0
    vectors_reused: int = 0

    def plus(self, other: Tally) -> Tally:
        """Return the sum, field by field."""
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))
