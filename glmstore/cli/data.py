"""`glmstore data`: the files behind the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from glmstore.cli.console import emit_json, print_table, progress, to_stderr, to_stdout
from glmstore.cli.options import Json, help_text

if TYPE_CHECKING:
    from pathlib import Path

    from glmstore.benchmarks import Benchmark
    from glmstore.data.fetch import Fetcher

HELP = """Files behind the benchmarks: where they can be had, and whether they are intact.

A file is looked for in the mirror (GLMSTORE_MIRROR), then in the cache (GLMSTORE_CACHE), then on the network.

  glmstore data list
  glmstore data pull sortseq_lac
  glmstore data check --json
"""

app = typer.Typer(
    no_args_is_help=True,
    help=help_text(HELP),
)


@dataclass(frozen=True)
class SourceStatus:
    """One file of one benchmark: where it is, or why it cannot be had."""

    benchmark: str
    url: str
    sha256: str
    licence: str
    place: str | None
    path: str | None
    problem: str | None


Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[BENCHMARK]...", help="Benchmarks by name; all when none is given."),
]


@app.command("list")
def list_sources(names: Names = None, json: Json = False) -> None:
    """List every source file, and whether it can be had: from the mirror, the cache or the network."""
    from glmstore.data.fetch import Fetcher

    fetcher = Fetcher()
    found = [
        _status(fetcher, b.name, s.url, s.sha256, s.licence) for b in _chosen(names) for s in b.spec.sources
    ]
    if json:
        emit_json([asdict(status) for status in found])
        return
    rows = [(s.benchmark, s.place or "not to be had", *_host_and_file(s.url), s.licence) for s in found]
    print_table(("benchmark", "from", "host", "file", "licence"), rows)
    for problem in dict.fromkeys(f"{s.url}: {s.problem}" for s in found if s.problem):
        to_stderr(f"note: {problem}", style="yellow")


@app.command("pull")
def pull(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="BENCHMARK...", help="Benchmarks by name.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Pull the files of every benchmark.")] = False,
    json: Json = False,
) -> None:
    """Fetch and verify the files of benchmarks, so that later runs need no network."""
    from glmstore.data.fetch import Fetcher
    from glmstore.errors import FetchError

    if not names and not everything:
        raise typer.BadParameter("name at least one benchmark, or pass --all.", param_hint="BENCHMARK")
    done: list[dict[str, str]] = []
    failed: list[str] = []
    with progress("fetching", "bytes") as advance:
        fetcher = Fetcher(progress=lambda _, got, total: advance(got, total or got))
        for benchmark in _chosen(names):
            for source in benchmark.spec.sources:
                try:
                    path = fetcher.fetch(source.url, source.sha256)
                except FetchError as error:
                    failed.append(str(error))
                    continue
                done.append({"benchmark": benchmark.name, "url": source.url, "path": str(path)})
    if json:
        emit_json(done)
    else:
        for row in done:
            to_stdout(f"{row['benchmark']}  {row['path']}")
    if failed:
        raise FetchError("\nerror: ".join(dict.fromkeys(failed)))


@app.command("check")
def check(names: Names = None, json: Json = False) -> None:
    """Verify the sha256 of every file that lies in the mirror or the cache; exits with 1 if one is wrong."""
    from glmstore.data.fetch import Fetcher, sha256_of

    fetcher = Fetcher()
    rows: list[dict[str, str | None]] = []
    with progress("hashing", "files") as advance:
        files = list(_local_files(fetcher, names))
        for i, (benchmark, url, sha256, place, path) in enumerate(files, start=1):
            got = sha256_of(path)
            verdict = "ok" if got == sha256 else f"wrong: expected sha256 {sha256}, got {got}"
            rows.append(
                {"benchmark": benchmark, "url": url, "place": place, "path": str(path), "verdict": verdict}
            )
            advance(i, len(files))
    if json:
        emit_json(rows)
    else:
        print_table(("benchmark", "from", "verdict", "host", "file"), [_checked(row) for row in rows])
    bad = [row for row in rows if row["verdict"] != "ok"]
    for row in bad:
        to_stderr(f"error: {row['path']}: {row['verdict']}. Remove it, and pull it again.", style="red")
    if bad:
        raise typer.Exit(1)


def _checked(row: dict[str, str | None]) -> tuple[str | None, ...]:
    verdict = row["verdict"] or ""
    return row["benchmark"], row["place"], verdict.partition(":")[0], *_host_and_file(row["url"] or "")


def _host_and_file(url: str) -> tuple[str, str]:
    """Return where a URL points in the few letters that fit a table; --json gives it whole."""
    parts = urlsplit(url)
    return parts.netloc, parts.path.rpartition("/")[2]


def _chosen(names: list[str] | None) -> list[Benchmark]:
    from glmstore.benchmarks import BENCHMARKS

    return [BENCHMARKS[name] for name in names] if names else list(BENCHMARKS)


def _status(fetcher: Fetcher, benchmark: str, url: str, sha256: str, licence: str) -> SourceStatus:
    local = fetcher.locate(url, sha256)
    if local is not None:
        place, path = local
        return SourceStatus(benchmark, url, sha256, licence, place, str(path), None)
    problem = fetcher.reachable(url, sha256)
    remote = "package index" if urlsplit(url).scheme == "wheel" else "network"
    return SourceStatus(benchmark, url, sha256, licence, None if problem else remote, None, problem)


def _local_files(fetcher: Fetcher, names: list[str] | None) -> Iterator[tuple[str, str, str, str, Path]]:
    seen = set()
    for benchmark in _chosen(names):
        for source in benchmark.spec.sources:
            local = fetcher.locate(source.url, source.sha256)
            if local is not None and local[1] not in seen:
                seen.add(local[1])
                yield benchmark.name, source.url, source.sha256, *local
