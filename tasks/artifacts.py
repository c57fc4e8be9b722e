"""Artifacts: what the Prefect UI shows of a run while it works and when it is done."""

from __future__ import annotations

import re
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from glmstore.report.publish import Published


def artifact_key(*words: str) -> str:
    """Return a key that Prefect takes: lower-case letters, digits and single hyphens.

    Examples
    --------
    >>> artifact_key("leaderboard", "My toy_2")
    'leaderboard-my-toy-2'
    """
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


def show_leaderboard(published: Published, *of: str) -> None:
    """Show a leaderboard as Markdown and as a table, and a link to its report.

    Every line of a model holds its interval and its differences to its controls. A report in a bucket is
    linked to by its ``s3://`` address: a presigned one would be a secret in Prefect's database, and expire.

    Parameters
    ----------
    published
        What is shown.
    of
        What the leaderboard is of, for the keys; nothing for that of a whole store.
    """
    place = str(published.path)
    link = published.path.absolute().as_uri() if isinstance(published.path, Path) else place
    told = f"{len(published.rows)} results, each beside its controls"
    create_markdown_artifact(published.markdown, artifact_key("leaderboard", *of), told)
    create_table_artifact(published.rows, artifact_key("leaderboard", *of, "table"), told)
    create_link_artifact(link, "Open the report", artifact_key("report", *of), description=f"Report: {place}")
