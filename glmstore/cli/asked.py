"""What `glmstore get` is asked for, a sequence, a key or the records of a file, and what a view lacks."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from glmstore.cli.inputs import Ambiguous, checked, input_file, read_records
from glmstore.errors import TableError, UnknownNameError, WeightsError

if TYPE_CHECKING:
    from glmstore.views import FeatureView

GIVEN = "the sequence given"
_KEY = re.compile(r"(?=.*[0-9bdef])[0-9a-f]{32}")
_SHOWN = 3


class Asked(NamedTuple):
    """One sequence that is to be read.

    Attributes
    ----------
    record
        Its name in the file that was given; None where no file was.
    key
        Its content key.
    """

    record: str | None
    key: str


def find_asked(source: str, column: str | None, ambiguous: Ambiguous) -> list[Asked]:
    """Return what is to be read, in order; parameters and errors as for `read_records`."""
    from glmstore.sequences.normalise import seq_key

    path = input_file(source)
    if path is not None:
        records = read_records(path, column=column, ambiguous=ambiguous)
        return [Asked(record.name, seq_key(record.sequence)) for record in records]
    if _KEY.fullmatch(source):
        return [Asked(None, source)]
    if os.path.isdir(source):
        raise TableError(f"{source} is a folder. Name a file in it.")
    if "." in source or os.sep in source:
        raise TableError(f"{source}: there is no such file.")
    (sequence,) = checked([source], [GIVEN], ambiguous=ambiguous)
    return [Asked(None, seq_key(sequence))]


def lacking(asked: list[Asked], source: str, view: FeatureView, missing: set[str], command: str) -> str:
    """Return which of the records a view lacks, and the command that fills it."""
    names = [one.record for one in asked if one.key in missing]
    if None in names:
        what = f"key {source}" if source in missing else f"{GIVEN} (key {asked[0].key})"
        return f"view {view.name} lacks {what}. Put it into a file, and fill the view with `{command}`."
    shown = ", ".join(map(str, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
    return (
        f"view {view.name} lacks {len(names)} of the {len(asked)} records of {source} ({shown}). Fill it "
        f"with `{command}`."
    )


def embed_command(
    source: str, column: str | None, ambiguous: Ambiguous, view: FeatureView, store: str | None
) -> str:
    """Return the command that fills a view with the sequences of a file, as it can be typed."""
    from glmstore.models.catalogue import get_model

    try:
        usual = get_model(view.model).spec.view()
    except (UnknownNameError, WeightsError):
        usual = None
    options = {"sequence": column, "model": view.model}
    for name in ("layer", "pooling", "strand", "dtype"):
        if usual is None or getattr(view, name) != getattr(usual, name):
            options[name] = str(getattr(view, name))
    options |= {"ambiguous": None if ambiguous == "refuse" else ambiguous, "store": store}
    words = [word for name, value in options.items() if value is not None for word in (f"--{name}", value)]
    file = shlex.quote(source) if input_file(source) else "FILE"
    return f"glmstore embed {file} {shlex.join(words)}"
