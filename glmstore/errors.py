"""Every error a user can cause, named, carrying the record it concerns and what to do about it.

Each class derives from the builtin a caller would expect, and from :class:`GlmstoreError`, which the command
line turns into one readable line and exit code 2.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class GlmstoreError(Exception):
    """Base of every error raised on purpose; its message is fit to be shown to a user as it is."""

    exit_code: ClassVar[int] = 2
    """What the command line exits with: 2 for what the user gave, 1 for work that failed."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling whatever `__init__` takes: errors travel between worker processes."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[GlmstoreError], args: tuple[Any, ...], attributes: dict[str, Any]) -> GlmstoreError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(attributes)
    return error


class UnknownNameError(GlmstoreError, LookupError):
    """A model, view, benchmark, head, scorer or suite that is not known, with the nearest names that are."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        near = get_close_matches(name, self.known, n=3, cutoff=0.5)
        if near:
            advice = f"Did you mean {' or '.join(near)}?"
        elif self.known:
            shown = ", ".join(self.known[:12]) + (", …" if len(self.known) > 12 else "")
            advice = f"Known: {shown}."
        else:
            advice = f"There is no {kind} yet."
        super().__init__(f"no {kind} is called {name!r}. {advice}{' ' + hint if hint else ''}")


class AmbiguousViewError(UnknownNameError):
    """The beginning of a view's name that several views share."""

    def __init__(self, name: str, fits: list[str]) -> None:
        self.kind, self.name, self.known = "feature view", name, sorted(fits)
        shown = ", ".join(self.known[:4]) + (", …" if len(fits) > 4 else "")
        GlmstoreError.__init__(
            self, f"{len(fits)} views begin with {name!r}: {shown}. Write more of the name, or the id."
        )


class DuplicateNameError(GlmstoreError, ValueError):
    """Two registry entries claim one name."""


class SequenceError(GlmstoreError, ValueError):
    """A sequence that cannot be used; carries the record it came from."""

    def __init__(self, record: str, problem: str, cure: str) -> None:
        self.record = record
        super().__init__(f"{record}: {problem}. {cure}")


class EmptySequenceError(SequenceError):
    """A sequence of length zero."""


class AlphabetError(SequenceError):
    """A letter outside the alphabet."""


class SequenceTooLongError(SequenceError):
    """A sequence longer than the model's context."""


class TableError(GlmstoreError, ValueError):
    """A table (CSV, TSV, FASTA, R data) that cannot be read as the benchmark it should be."""


class LabelError(GlmstoreError, ValueError):
    """A label that is missing, not a number, or not finite; the message names the record."""


class NonFiniteFeatureError(GlmstoreError, ValueError):
    """An embedding holding NaN or infinity; nothing of its batch is written."""


class ShapeError(GlmstoreError, ValueError):
    """An array whose shape does not fit the view, the keys or the head it is given to."""


class FetchError(GlmstoreError, OSError):
    """A file that neither mirror, cache nor network could deliver."""


class ChecksumError(FetchError):
    """A fetched file whose sha256 is not the one pinned for it."""


class StoreError(GlmstoreError):
    """A store that cannot be used as asked."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """No store lies at the URI."""


class StoreVersionError(StoreError):
    """A store written by a newer glmstore, or an older one that has to be migrated first."""


class StoreNotWritableError(StoreError, OSError):
    """A store on a read-only or full file system; nothing partial became visible."""


class UnsafeStorageError(StoreError):
    """Object storage that does not let exactly one writer of an object win: a store there would lose rows."""


class UnfitStorageError(StoreError):
    """Object storage that lacks a request a store cannot do without."""


class S3RefusedError(StoreError):
    """Object storage that says no: the credentials may not do this."""


class S3UnavailableError(StoreError, ConnectionError):
    """Object storage that gave no proper answer, after several tries; it may pass."""

    exit_code = 1


class MissingFeaturesError(StoreError, KeyError):
    """Keys that a view does not hold."""

    def __init__(self, view: str, missing: list[str], asked: int) -> None:
        self.view, self.missing = view, missing
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        super().__init__(
            f"view {view} lacks {len(missing)} of the {asked} keys asked for ({shown}). "
            f"Fill it with `glmstore embed … --model …`, or ask store.missing(view, keys) first."
        )

    def __str__(self) -> str:  # KeyError would print its message in quotes
        return str(self.args[0])


class ViewConflictError(StoreError, ValueError):
    """A view already stored under the same identity but with other provenance or dimensions."""


class SequenceKeyError(StoreError, LookupError):
    """A key that is malformed, or that names no sequence of the store; carries the key."""

    def __init__(self, key: str, problem: str, cure: str) -> None:
        self.key = key
        super().__init__(f"{problem}. {cure}.")


class ConflictingFeaturesError(StoreError, ValueError):
    """One key with two different embeddings in a single write; nothing of it is stored."""

    def __init__(self, view: str, key: str) -> None:
        self.view, self.key = view, key
        super().__init__(
            f"key {key} stands twice in one write to {view}, with different numbers; nothing was written. "
            f"A sequence has one embedding under a view: drop one of the two."
        )


class ReadOnlySnapshotError(StoreError):
    """A write to a store that was opened at a snapshot."""


class LayerError(GlmstoreError, ValueError):
    """A layer the model does not have."""


class PoolingError(GlmstoreError, ValueError):
    """A pooling the model or the view cannot give."""


class WeightsError(GlmstoreError, ValueError):
    """Model weights that are missing, truncated, unpinned or do not fit the architecture."""


class ModelUnavailableError(WeightsError):
    """A model that this machine or installation cannot run; the message says what it needs."""


class HeadError(GlmstoreError, ValueError):
    """A head that cannot be trained on this view or for this kind of label."""


class VariantError(GlmstoreError, ValueError):
    """A variant whose reference allele, position or allele form does not fit the sequence."""


class ScorerError(GlmstoreError, ValueError):
    """A zero-shot scorer that this model or this pair of sequences cannot serve."""


class IntervalError(GlmstoreError, ValueError):
    """Genomic coordinates that cannot be read, or that lie outside their chromosome."""


class TrainingDivergedError(HeadError):
    """A training whose loss is not finite any more."""


class StaleCellError(GlmstoreError, ValueError):
    """A cell planned for a benchmark that has changed since."""


class StudyError(GlmstoreError, ValueError):
    """A hyperparameter study that cannot be opened, or is not finished."""


class DeviceMemoryError(GlmstoreError, MemoryError):
    """A single sequence that does not go through a model in the memory there is; carries its record."""


class HostMemoryError(GlmstoreError, MemoryError):
    """A commit to the store that does not fit into the memory of this machine."""

    exit_code = 1


class WorkerError(GlmstoreError, RuntimeError):
    """A worker process that ended before its work did."""

    exit_code = 1


class PlanError(GlmstoreError, ValueError):
    """Work that cannot be planned as it was asked for."""


class RunnerError(GlmstoreError, ValueError):
    """A place to run tasks that does not exist, does not answer, or lacks what the tasks need."""


class DeviceError(GlmstoreError, RuntimeError):
    """A torch device that this machine does not have, or that is no device at all."""
