"""`glmstore embed`: fill a view with the embeddings of a file or a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glmstore.cli.console import emit_json, progress, to_stdout
from glmstore.cli.inputs import Ambiguous, checked, input_file, read_sequences
from glmstore.cli.options import Json, Store, help_text, store_uri
from glmstore.cli.view_options import (
    AmbiguousLetters,
    Layer,
    SequenceColumn,
    ViewDType,
    ViewPooling,
    ViewStrand,
)
from glmstore.config import Precision

if TYPE_CHECKING:
    from glmstore.extraction import Materialized
    from glmstore.models.spec import ModelSpec
    from glmstore.store import FeatureStore

HELP = """Embed the sequences of a file or a benchmark and keep them in the store.

What the store already holds is not computed again. FILE is FASTA, a .csv or .tsv with a header, or one
sequence a line, gzipped or not. Sequences are upper-cased and U is read as T; a bad record stops the command
before anything is written.

A view holds numbers of one compute precision, the one it was begun in: that of --precision or
GLMSTORE_PRECISION, else bfloat16 where every device has it natively, else float32. Later runs follow it on
any device. In bfloat16 a transformer's vectors vary by a percent or so with what is embedded beside them; in
float32 they do not.

  glmstore embed promoters.fa --model gpn-mini
  glmstore embed assay.csv --sequence oligo --model gpn-mini --layer mid
  glmstore embed assay.csv --model gpn-mini --layer all --device cuda:0 --device cuda:1
  glmstore embed assay.csv --model gpn-mini --dtype float32 --precision float32
  glmstore embed sortseq_lac --model rand_init:gpn-mini:0
"""


def add_to(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("embed", help=help_text(HELP))(embed)


def embed(
    source: Annotated[str, typer.Argument(metavar="FILE|BENCHMARK", help="A file, or a benchmark by name.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model by name; see `glmstore models list`.")],
    layer: Layer = None,
    pooling: ViewPooling = None,
    strand: ViewStrand = "forward",
    dtype: ViewDType = "float16",
    column: SequenceColumn = None,
    ambiguous: AmbiguousLetters = "refuse",
    device: Annotated[
        list[str] | None,
        typer.Option("--device", help="Torch device; several share the work.", show_default="the settings'"),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            "--precision",
            help="Compute precision; 'auto' is the view's own, or for a new one what suits the device.",
            show_default="the settings'",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Compute again what the store holds.")] = False,
    store: Store = None,
    json: Json = False,
) -> None:
    """Embed a file or a benchmark; HELP is what users read."""
    from glmstore.extraction import materialize_many, resolve_device
    from glmstore.models.catalogue import get_model
    from glmstore.models.checkpoints.readiness import require_ready

    entry = get_model(model)
    spec = entry.spec
    if spec.revision is None or spec.control == "random_twin":
        # What can be named may be in the store already, whether or not it could be computed here.
        require_ready(entry)
    views = [
        spec.view(layer=number, pooling=pooling, strand=strand, dtype=dtype)
        for number in spec.resolve_layers(layer)
    ]
    # Windows read sequences of any length.
    limits = None if views[0].pooling == "windowed-mean" else spec
    for name in device or (None,):
        resolve_device(name)
    sequences, opened = _gather(source, store_uri(store), column, ambiguous, limits)
    unique = list(dict.fromkeys(sequences))
    with progress(f"embedding with {model}", "sequences") as advance:
        filled = materialize_many(
            opened,
            model,
            unique,
            views,
            force=force,
            precision=precision,
            progress=advance,
            devices=device or (),
        )
    if json:
        reports = [_report(done, opened, len(sequences)) for done in filled]
        emit_json(reports if len(reports) > 1 else reports[0])
        return
    for done in filled:
        to_stdout(done.view.name)
        to_stdout(
            f"{done.asked:,} sequences: {done.computed:,} computed in {done.seconds:.1f} s, {done.present:,} "
            f"already in the store ({len(sequences):,} records read)"
        )


def _report(done: Materialized, store: FeatureStore, records: int) -> dict[str, object]:
    return {
        "view": done.view.name,
        "store": store.uri,
        "records": records,
        "asked": done.asked,
        "present": done.present,
        "computed": done.computed,
        "seconds": round(done.seconds, 3),
    }


def _gather(
    source: str, uri: str, column: str | None, ambiguous: Ambiguous, spec: ModelSpec | None
) -> tuple[list[str], FeatureStore]:
    """Return the normalised sequences and the store, which is made only once they are known good."""
    from glmstore.store import FeatureStore

    path = input_file(source)
    if path is not None:
        sequences = read_sequences(path, column=column, ambiguous=ambiguous, model=spec)
        return sequences, FeatureStore.open(uri)
    store = _store_with_benchmark(source, uri)
    items = store.benchmark_items(source)
    names = [f"{source} item {item}" for item in items["item_id"]]
    return checked(items["sequence"].to_list(), names, model=spec), store


def _store_with_benchmark(name: str, uri: str) -> FeatureStore:
    """Return the store holding a benchmark; an absent store is made only once the data were read.

    Raises
    ------
    UnknownNameError
        If neither the registry nor the store knows the benchmark.
    """
    from glmstore.benchmarks import BENCHMARKS
    from glmstore.benchmarks.registering import ensure_benchmark
    from glmstore.data.fetch import Fetcher
    from glmstore.errors import UnknownNameError
    from glmstore.store import FeatureStore

    held = _existing(uri)
    registered = set(held.benchmarks()["name"]) if held is not None else set()
    if name not in BENCHMARKS and name not in registered:
        known = {*BENCHMARKS.names(), *registered}
        folder = Path(name).is_dir()
        hint = "That is a folder; name a file in it." if folder else "No file has that name."
        raise UnknownNameError("file or benchmark", name, known, hint=hint)
    with progress(f"fetching {name}", "bytes") as advance:
        fetcher = Fetcher(progress=lambda _, got, total: advance(got, total or got))
        if held is not None:
            ensure_benchmark(held, name, fetcher)
            return held
        benchmark = BENCHMARKS[name]
        data = benchmark.load(fetcher)
    made = FeatureStore.open(uri)
    made.register_benchmark(benchmark.spec, data)
    return made


def _existing(uri: str) -> FeatureStore | None:
    from glmstore.errors import StoreNotFoundError
    from glmstore.store import FeatureStore

    try:
        return FeatureStore.open(uri, create=False)
    except StoreNotFoundError:
        return None
