"""What ``glmstore plan`` is asked about: a benchmark, a suite, or so many sequences of one length."""

from __future__ import annotations

from glmstore.benchmarks import BENCHMARKS
from glmstore.benchmarks.suites import SUITES, get_suite
from glmstore.errors import FetchError, UnknownNameError
from glmstore.estimating.plan import Unplanned
from glmstore.estimating.shelf import Shelf
from glmstore.estimating.workload import Workload, parse_shape


def read_target(text: str, shelf: Shelf) -> tuple[Workload, list[Unplanned]]:
    """Return the sequences that a name or ``N×L`` stands for, and the benchmarks that cannot be counted.

    A benchmark whose files are not on this machine stands for nothing here, and is named; nothing is fetched.

    Raises
    ------
    UnknownNameError
        If it is none of these; suggests the nearest.
    PlanError
        If N or L make no sense.
    ChecksumError, TableError, LabelError
        If the files of a benchmark are here and cannot be used.
    """
    shaped = parse_shape(text)
    if shaped is not None:
        return shaped, []
    stored = shelf.store.benchmarks()["name"].to_list() if shelf.store is not None else []
    known = {*SUITES, *BENCHMARKS.names(), *stored}
    if text not in known:
        hint = "No file has that name either; made-up sequences are written 1000x230."
        raise UnknownNameError("benchmark, suite or file", text, known, hint)
    names = get_suite(text).benchmarks if text in SUITES else (text,)
    sequences: list[str] = []
    absent: list[Unplanned] = []
    for name in names:
        try:
            sequences += shelf.sequences(name)
        except FetchError as error:
            absent.append(Unplanned(what=name, why=str(error)))
    return Workload.of(sequences), absent
