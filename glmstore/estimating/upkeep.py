"""What keeping a store in order would touch, found out without touching it."""

from __future__ import annotations

from glmstore.estimating.plan import Plan, Unplanned
from glmstore.estimating.shelf import Shelf
from glmstore.workspace import Workspace


def maintenance_dry_run(uri: str) -> Plan:
    """Plan what ``maintain_store`` would look at: every table, its files and its versions.

    How many files it would merge is known to the run alone: that depends on the sizes it finds.

    Raises
    ------
    StoreVersionError
        If this glmstore cannot read the store.
    """
    shelf = Shelf(uri)
    tables = [] if shelf.store is None else shelf.store.tables().rows(named=True)
    notes = (
        f"{t['table']}: {t['rows']:,} rows in {t['files']:,} files, {t['versions']:,} versions"
        for t in tables
    )
    return _plan("maintain-store", shelf, tuple(notes))


def leaderboard_dry_run(uri: str) -> Plan:
    """Plan what ``refresh_leaderboard`` would write, and from how many results.

    Raises
    ------
    StoreVersionError
        If this glmstore cannot read the store.
    """
    shelf = Shelf(uri)
    notes: tuple[str, ...] = ()
    if shelf.store is not None:
        cells = shelf.store.results()["cell_key"].n_unique()
        notes = (f"{cells:,} cells' results would be read and {Workspace.of(shelf.uri).report} written.",)
    return _plan("refresh-leaderboard", shelf, notes)


def _plan(title: str, shelf: Shelf, notes: tuple[str, ...]) -> Plan:
    absent = () if shelf.store is not None else (Unplanned(what="everything", why="there is no store yet"),)
    return Plan(
        title=title,
        store=shelf.uri,
        store_exists=shelf.store is not None,
        free_bytes=shelf.free_bytes,
        unplanned=absent,
        notes=notes,
    )
