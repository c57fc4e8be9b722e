"""The feature store: sequences, and the numbers that models make of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from glmstore.errors import MissingFeaturesError
from glmstore.store import maintenance, search
from glmstore.store.connection import Connection
from glmstore.store.features import Features, FeatureTables
from glmstore.store.keys import key_words
from glmstore.store.records import RecordStore
from glmstore.store.views import ViewCatalogue
from glmstore.views import FeatureView, Provenance

if TYPE_CHECKING:
    from glmstore.store.dataset import FeatureDataset

View = FeatureView | str
"""A view itself, or its full name, a unique beginning of one, or its id."""


class FeatureStore(RecordStore):
    """A feature store at a URI; open one with :meth:`open`.

    Every method that reads sees what was committed when it was called. Every method that writes raises
    ReadOnlySnapshotError on a store opened at a snapshot, StoreNotWritableError on a read-only or full file
    system, and StoreVersionError (as every method but `migrate` and `check` does) on an older layout.
    """

    def __init__(self, connection: Connection, store_id: str, layout: int) -> None:
        super().__init__(connection, store_id, layout)
        self._catalogue = ViewCatalogue(connection)

    def add_sequences(self, sequences: Sequence[str]) -> list[str]:
        """Store normalised sequences, each once, and return their keys in order.

        Raises
        ------
        EmptySequenceError, AlphabetError
            If one is not normalised (see :func:`glmstore.sequences.normalise.normalise`); nothing is stored.
        """
        self._connection.require_writable()
        return self._sequence_table.add(sequences)

    def sequences(self, keys: Sequence[str] | None = None) -> pl.DataFrame:
        """Return ``seq_key``, ``sequence`` and ``length`` [nt] in the order asked, or of every sequence.

        Raises
        ------
        SequenceKeyError
            If a key is malformed or not in the store.
        """
        return self._sequence_table.frame(keys)

    def declare(self, view: FeatureView, provenance: Provenance) -> None:
        """Make `view` known with its origin; the same declaration again changes nothing.

        Raises
        ------
        ViewConflictError
            If the view is stored with another width, other weights or another compute precision.
        """
        self._connection.require_writable()
        self._catalogue.declare(view, provenance)

    def views(self) -> pl.DataFrame:
        """Return one row a view: name, id, identity, dim, rows stored, and where the numbers come from."""
        return self._catalogue.frame()

    def view(self, name: str) -> FeatureView:
        """Return the view with this full name, unique beginning of a name, or id.

        Raises
        ------
        UnknownNameError
            If none or several fit; suggests the nearest.
        """
        return self._catalogue.find(name).view

    def provenance(self, view: View) -> Provenance:
        """Return where the numbers of a view come from, as declared first.

        Raises
        ------
        UnknownNameError
            If the view is not in the store.
        """
        return self._catalogue.require(view).provenance

    def drop(self, view: View) -> None:
        """Remove a view: from sight in one commit, its files unless a snapshot still names them.

        Raises
        ------
        UnknownNameError
            If the view is not in the store.
        """
        record = self._catalogue.require(view)
        tables = record.tables(self._connection)
        self._catalogue.forget(record.view)
        kept = {name for snapshot in self._snapshots.all().values() for name in snapshot.versions}
        for name in tables:
            if name not in kept:
                self._connection.drop(name)

    def forget(self, view: View, keys: Sequence[str]) -> None:
        """Take the features of these sequences out of a view; the sequences and other views stay.

        Snapshots taken before still show them. Keys that the view lacks are passed over.

        Raises
        ------
        UnknownNameError
            If the view is not in the store.
        SequenceKeyError
            If a key is malformed; nothing is taken out.
        """
        self._connection.require_writable()
        FeatureTables(self._connection, self._catalogue.require(view)).forget(keys)

    def missing(self, view: View, keys: Sequence[str]) -> list[str]:
        """Return the keys that have no features under `view`, in the order asked, each once.

        A view that was never declared misses every key.

        Raises
        ------
        SequenceKeyError
            If a key is malformed.
        UnknownNameError
            If `view` is a name that fits no view or several.
        """
        record = self._catalogue.get(view)
        if record is None:
            key_words(keys)
            return list(dict.fromkeys(keys))
        return FeatureTables(self._connection, record).missing(keys)

    def write(
        self, view: View, keys: Sequence[str], vectors: np.ndarray, lengths: np.ndarray | None = None
    ) -> int:
        """Store features and return how many rows were new; rows already there stay as they are.

        Everything is checked before anything is written. Rows become visible in whole commits of up to 256
        MiB, so a writer that dies leaves whole rows only, and running it again completes them. Commit at
        least about 5,000 pooled rows or 64 MiB at a time, and :meth:`optimize` after some twenty commits.

        Parameters
        ----------
        view
            A declared view.
        keys
            N keys of stored sequences. One may repeat with equal features.
        vectors
            Finite numbers [N, D]; for a token-level view [N, T, D], padded on the right.
        lengths
            int [N], true token counts of a token-level view; None where all are T.

        Raises
        ------
        UnknownNameError
            If the view was not declared.
        SequenceKeyError
            If a key is malformed or names no stored sequence.
        ShapeError
            If the arrays fit neither the view nor the keys.
        NonFiniteFeatureError
            If a number is NaN, infinite or beyond the view's number type; names the key.
        ConflictingFeaturesError
            If one key comes with two different vectors.
        """
        self._connection.require_writable()
        record = self._catalogue.require(view)
        self._sequence_table.require(keys)
        return FeatureTables(self._connection, record).write(keys, np.asarray(vectors), lengths)

    def read(self, view: View, keys: Sequence[str]) -> Features:
        """Return features in the order asked, repeats included.

        Raises
        ------
        MissingFeaturesError
            If any key has none; names them.
        SequenceKeyError
            If a key is malformed.
        UnknownNameError
            If `view` is a name that fits no view or several.
        """
        record = self._catalogue.get(view)
        if record is None:
            return _nothing_declared(view, keys)
        return FeatureTables(self._connection, record).read(keys)

    def scan(self, view: View, *, batch_size: int = 8192) -> Iterator[pa.RecordBatch]:
        """Yield every row of a view as Arrow batches over Lance's own memory, in stored order.

        Columns are ``seq_key`` and ``vector``, a FixedSizeList of D numbers; token-level rows are T * D
        numbers each (C order), by rising T. A batch holds `batch_size` rows or 16 MiB, whichever is less.
        What is read stays readable to the end, whatever is compacted meanwhile.

        Raises
        ------
        UnknownNameError
            If the view is not in the store.
        """
        record = self._catalogue.require(view)
        return FeatureTables(self._connection, record).scan(batch_size)

    def torch_dataset(
        self, view: View, keys: Sequence[str], labels: np.ndarray | Sequence[float]
    ) -> FeatureDataset:
        """Return a map-style PyTorch dataset of these keys, read into memory once.

        Raises
        ------
        MissingFeaturesError, SequenceKeyError, UnknownNameError
            As :meth:`read`.
        ShapeError
            If there is not one label a key.
        """
        from glmstore.store.dataset import FeatureDataset

        return FeatureDataset(self.read(view, keys), labels)

    def similar(self, view: View, query: np.ndarray, k: int = 10) -> pl.DataFrame:
        """Return the sequences nearest to a vector: ``seq_key``, ``sequence``, ``distance``, ascending.

        Parameters
        ----------
        view
            A pooled float view.
        query
            Finite, non-zero vector [D].
        k
            Neighbours; distance is cosine distance, 0 to 2.

        Raises
        ------
        UnknownNameError
            If the view is not in the store.
        PoolingError
            If the view is token-level or holds whole numbers.
        ShapeError, NonFiniteFeatureError
            If the query is not such a vector.
        """
        record = self._catalogue.require(view)
        return search.similar(self._connection, self._sequence_table, record, np.asarray(query), k)

    def tables(self) -> pl.DataFrame:
        """Return one row a table: ``table``, ``rows``, ``files`` and ``versions``; nothing is changed."""
        return maintenance.survey(self._connection)

    def optimize(
        self,
        view: View | None = None,
        *,
        older_than: timedelta = timedelta(hours=1),
        index_rows: int = 500_000,
    ) -> pl.DataFrame:
        """Merge small files and remove what nobody can see; return what was done to each table.

        Safe beside readers and writers: tagged versions (snapshots, scans in progress) stay. Memory stays
        bounded, whatever the size of a table.

        Parameters
        ----------
        view
            Only this view; None: every table, dropped views and replaced results included.
        older_than
            Superseded versions younger than this are kept for readers that hold no tag. Where it is
            shorter than a commit takes, writers and other optimizers begin theirs again.
        index_rows
            Pooled views of at least so many rows get an index for :meth:`similar`.

        Raises
        ------
        UnknownNameError
            If the view is not in the store.
        """
        records = [self._catalogue.require(view)] if view is not None else self._catalogue.records().values()
        return maintenance.optimize(
            self._connection, records, older_than=older_than, index_rows=index_rows, sweep=view is None
        )


def _nothing_declared(view: View, keys: Sequence[str]) -> Features:
    key_words(keys)
    name = view if isinstance(view, str) else view.name
    raise MissingFeaturesError(name, list(dict.fromkeys(keys)), len(set(keys)))
