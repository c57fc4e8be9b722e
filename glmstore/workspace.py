"""Where a store's companions lie: adapters, probes, studies, figures and reports."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from glmstore.errors import StoreError


@dataclass(frozen=True)
class Workspace:
    """The folder beside a store that holds what is not a table: ``<store>-artifacts``.

    Parameters
    ----------
    root
        An existing or future local folder.
    """

    root: Path

    @classmethod
    def of(cls, store_uri: str) -> Workspace:
        """Return the workspace of the store at `store_uri`.

        Raises
        ------
        StoreError
            If the store is neither a directory nor ``memory://``: its companions have no place yet.
        """
        parsed = urlparse(store_uri)
        if parsed.scheme == "memory":
            return cls(Path(tempfile.mkdtemp(prefix="glmstore-")))
        if parsed.scheme in {"", "file"}:
            path = Path(unquote(parsed.path) if parsed.scheme else store_uri)
            return cls(path.with_name(path.name + "-artifacts"))
        raise StoreError(
            f"{store_uri}: adapters, studies and reports are written beside a store in a directory; "
            f"use a directory store for flows that make them."
        )

    @property
    def adapters(self) -> Path:
        """LoRA adapters, one folder each."""
        return self.root / "adapters"

    @property
    def probes(self) -> Path:
        """Fitted probes that later flows reload, one folder each."""
        return self.root / "probes"

    @property
    def studies(self) -> Path:
        """Optuna journals, one file a study."""
        return self.root / "studies"

    @property
    def figures(self) -> Path:
        """PNG figures with their captions, read by the report."""
        return self.root / "figures"

    @property
    def has_figures(self) -> bool:
        """Whether there is any figure."""
        return any(self.figures.glob("*.png"))

    @property
    def report(self) -> Path:
        """The HTML report of the last suite."""
        return self.root / "report.html"
