"""Artifacts: what the Prefect UI shows of a run while it works and when it is done."""

from __future__ import annotations

import re


def artifact_key(*words: str) -> str:
    """Return a key that Prefect takes: lower-case letters, digits and single hyphens.

    Examples
    --------
    >>> artifact_key("leaderboard", "My toy_2")
    'leaderboard-my-toy-2'
    """
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")
