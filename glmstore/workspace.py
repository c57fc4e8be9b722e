"""Where a store's companions lie: adapters, probes, studies, figures and reports."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

from glmstore.config import Settings
from glmstore.errors import WeightsError
from glmstore.objects import open_objects
from glmstore.objects.base import check_name
from glmstore.objects.folders import fetch_folder, folder_names, forget_folder, publish_folder
from glmstore.objects.places import Place, below, store_place
from glmstore.objects.writing import writing

Kind = Literal["adapters", "probes"]
"""Companions that are a folder each, under a name of their own."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workspace:
    """The folder beside a store that holds what is not a table: ``<store>-artifacts``.

    Parameters
    ----------
    root
        An existing or future folder, or ``s3://…``.
    """

    root: Place

    @classmethod
    def of(cls, store_uri: str) -> Workspace:
        """Return the workspace of the store at `store_uri`; of ``memory://`` a new temporary one.

        Raises
        ------
        StoreError
            If the store lies neither in a directory nor below a bucket in ``s3://``, nor in ``memory://``.
        """
        if urlparse(store_uri).scheme == "memory":
            return cls(Path(tempfile.mkdtemp(prefix="glmstore-")))
        place = store_place(store_uri)
        if isinstance(place, Path):
            return cls(place.with_name(place.name + "-artifacts"))
        return cls(f"{place}-artifacts")

    @property
    def adapters(self) -> Place:
        """LoRA adapters, one folder each; see :meth:`working_on`."""
        return below(self.root, "adapters")

    @property
    def probes(self) -> Place:
        """Fitted probes that later flows reload, one folder a cell; see :meth:`working_on`."""
        return below(self.root, "probes")

    @property
    def studies(self) -> Place:
        """Optuna journals, by name."""
        return below(self.root, "studies")

    @property
    def figures(self) -> Place:
        """PNG figures with their captions, read by the report."""
        return below(self.root, "figures")

    @property
    def has_figures(self) -> bool:
        """Whether there is any figure."""
        return any(name.endswith(".png") for name in open_objects(self.figures).names())

    @property
    def report(self) -> Place:
        """The HTML report of the last suite."""
        return below(self.root, "report.html")

    @contextmanager
    def working_on(self, kind: Kind, names: Iterable[str]) -> Iterator[Path]:
        """Give a local folder that holds those of the named folders which there are, and keep what is made.

        On disk that is the folder itself. In object storage it is a copy, of which every named folder that is
        new or changed is published when the block ends, however it ends: a folder is written to whole. One
        that is damaged there is as good as gone: it is left out, with a warning, so that it is made again.

        Parameters
        ----------
        kind
            What they are.
        names
            Of the folders that the block may read or write.

        Raises
        ------
        ValueError
            If a name leads out of the folder.
        StoreError
            If the storage refuses or does not answer.
        """
        names = [check_name(name) for name in names]
        shelf = below(self.root, kind)
        if isinstance(shelf, Path):
            yield shelf
            return
        with tempfile.TemporaryDirectory(prefix="glmstore-") as made:
            desk = Path(made)
            for name in names:
                try:
                    there = self.fetched(kind, name)
                except WeightsError as damage:
                    log.warning("doing without what cannot be read: %s", damage)
                    continue
                if there is not None:
                    shutil.copytree(there, desk / name)
            try:
                yield desk
            finally:
                for name in names:
                    if (desk / name).is_dir():
                        publish_folder(open_objects(shelf), name, desk / name)

    def fetched(self, kind: Kind, name: str) -> Path | None:
        """Return where a folder can be read here, None if there is none.

        Raises
        ------
        ValueError, StoreError
            As :meth:`working_on`.
        WeightsError
            If it lies in object storage and is damaged.
        """
        shelf = below(self.root, kind)
        if isinstance(shelf, Path):
            folder = shelf / check_name(name)
            return folder if folder.is_dir() else None
        return fetch_folder(open_objects(shelf), name, Settings().cache / "companions")

    def names(self, kind: Kind) -> list[str]:
        """Return the names of the folders that are there, sorted; raises StoreError as `working_on`."""
        shelf = below(self.root, kind)
        if isinstance(shelf, Path):
            found = shelf.iterdir() if shelf.is_dir() else ()
            return sorted(path.name for path in found if path.is_dir() and path.name[0] != ".")
        return folder_names(open_objects(shelf))

    def forget(self, kind: Kind, name: str) -> None:
        """Remove a folder, if it is there; raises as `working_on`."""
        shelf = below(self.root, kind)
        if isinstance(shelf, Path):
            with writing(str(shelf)), suppress(FileNotFoundError):
                shutil.rmtree(shelf / check_name(name))
        else:
            forget_folder(open_objects(shelf), name)
