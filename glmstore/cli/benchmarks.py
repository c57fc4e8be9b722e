"""`glmstore benchmarks`: what embeddings are judged on."""

from __future__ import annotations

from typing import Annotated

import typer

from glmstore.cli.console import emit_json, print_table
from glmstore.cli.options import Json, Store, help_text, store_uri

HELP = """Benchmarks: data, split, labels and metrics.

  glmstore benchmarks list
  glmstore benchmarks show sortseq_lac
"""

app = typer.Typer(
    no_args_is_help=True,
    help=help_text(HELP),
)


@app.command("list")
def list_benchmarks(json: Json = False) -> None:
    """List every benchmark that glmstore knows how to fetch and read."""
    from glmstore.benchmarks import BENCHMARKS

    specs = [entry.spec for entry in BENCHMARKS]
    if json:
        emit_json([s.model_dump(mode="json") for s in specs])
        return
    rows = [(s.name, s.family, s.sequence_length, s.split, s.metrics[0], s.title) for s in specs]
    print_table(("benchmark", "family", "nt", "split", "ranked by", "title"), rows)


@app.command("show")
def show_benchmark(
    name: Annotated[str, typer.Argument(help="As listed by `glmstore benchmarks list`.")],
    store: Store = None,
    json: Json = False,
) -> None:
    """Show a benchmark's description and sources, and what was measured of it if the store holds it."""
    from glmstore.benchmarks import BENCHMARKS

    facts = _facts(name, store_uri(store))
    if name not in BENCHMARKS and facts is not None:
        from glmstore.cli.options import open_existing

        spec = open_existing(store).benchmark_spec(name)
    else:
        spec = BENCHMARKS[name].spec
    shown = spec.model_dump(mode="json")
    if json:
        emit_json(shown | {"facts": facts})
        return
    sources = shown.pop("sources")
    rows = [(key.replace("_", " "), _text(value)) for key, value in shown.items()]
    rows += [(f"source {i}", f"{s['url']} ({s['licence']})") for i, s in enumerate(sources, start=1)]
    rows += [(key.replace("_", " "), str(value)) for key, value in (facts or {}).items()]
    print_table((name, ""), rows)


def _facts(name: str, uri: str) -> dict[str, float | int | str] | None:
    """Return the measured facts the store has of a benchmark; None where it has not registered it."""
    from glmstore.errors import StoreNotFoundError, UnknownNameError
    from glmstore.store import FeatureStore

    try:
        return dict(FeatureStore.open(uri, create=False).benchmark_facts(name))
    except (StoreNotFoundError, UnknownNameError):
        return None


def _text(value: object) -> str | None:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or None
    return None if value in (None, "") else str(value)
