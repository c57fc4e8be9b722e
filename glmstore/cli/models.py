"""`glmstore models`: what can embed, and getting and checking the weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from glmstore.cli.console import emit_json, print_table, progress, to_stderr, to_stdout
from glmstore.cli.options import Json, help_text

if TYPE_CHECKING:
    from glmstore.models import ModelEntry
    from glmstore.models.checkpoints.checking import Check

HELP = """Models and controls that turn sequences into features.

  glmstore models list
  glmstore models show rand_init:gpn-mini:0 --json
  glmstore models pull nt-v2-50m
  glmstore models check nt-v2-50m
"""
PULL_HELP = """Pull the weights of a model from its hub, or adopt them from a folder.

The newest commit is pinned, or the one that --revision names; every file is verified. A pull that broke off
goes on where it stopped. Without a network: pull on a machine that has one, copy the folder, and set
GLMSTORE_MODELS.

  glmstore models pull hyenadna-tiny-1k-d256 --into /data/models
  glmstore models pull gpn-human --from runs/gpn-human
"""
CHECK_HELP = """Check the architecture of models on tiny weights, and their real weights where these are here.

Exits with 1 if a check fails.

  glmstore models check gpn-mini
  glmstore models check --all --json
"""
_STYLE = {"ok": "green", "note": "yellow", "failed": "bold red"}

app = typer.Typer(
    no_args_is_help=True,
    help=help_text(HELP),
)


@app.command("list")
def list_models(json: Json = False) -> None:
    """List every model with where its weights are, and the ways to derive one from another."""
    from glmstore.models.catalogue import DERIVED, MODELS

    if json:
        derived = [{"prefix": d.name, "usage": d.usage} for d in DERIVED]
        models = [e.spec.model_dump(mode="json") | {"weights": _weights(e)} for e in MODELS]
        emit_json({"models": models, "derived": derived})
        return
    print_table(("model", "weights", "D", "layers", "max nt", "parameters"), list(_by_family(MODELS)))
    for entry in DERIVED:
        to_stdout(f"derived: {entry.usage}")


def _by_family(entries: Any) -> Iterator[tuple[Any, ...]]:
    """Yield a line for each family, and under it one for each of its models, smallest first."""
    ordered = sorted(entries, key=lambda e: (e.spec.family.lower(), e.spec.n_parameters, e.name))
    for family, members in groupby(ordered, key=lambda e: e.spec.family):
        group = list(members)
        control = "" if group[0].spec.control == "none" else f"  (control: {group[0].spec.control})"
        yield Text(family + control, style="bold"), *[Text("")] * 5
        for entry in group:
            s = entry.spec
            yield f"  {s.name}", _weights(entry), s.dim, s.n_layers, s.max_nt, s.n_parameters


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="As listed, or derived: rand_init:gpn-mini:0, lora:<adapter>.")],
    json: Json = False,
) -> None:
    """Show everything known of one model: weights, layers, poolings, pretraining, licence, citation."""
    from glmstore.models.catalogue import get_model
    from glmstore.models.checkpoints.advice import how_to_get
    from glmstore.models.checkpoints.readiness import lineage

    entry = get_model(name)
    spec = entry.spec.model_dump(mode="json") | {"weights": _weights(entry)}
    origin = lineage(entry)[-1]
    spec["needs"] = origin.needs.describe() if origin.needs else None
    spec["lacking_here"] = origin.needs.lacking() if origin.needs else []
    if json:
        emit_json(spec)
        return
    if spec["revision"] is None:
        whose = f"the weights of {origin.name} are " if origin is not entry else ""
        spec["revision"] = whose + how_to_get(origin.name, origin.source)
    first = ("name", "family", "summary", "hub_id", "weights", "revision", "needs", "lacking_here")
    ordered = {key: spec[key] for key in (*first, *spec)}
    if origin.needs is None:
        del ordered["needs"], ordered["lacking_here"]
    rows = [(key.replace("_", " "), _text(value)) for key, value in ordered.items()]
    print_table((name, ""), rows)


@app.command("pull", help=help_text(PULL_HELP))
def pull_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model, as listed.")],
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="DIR", help="Folder of checkpoints.", show_default="GLMSTORE_MODELS"),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="HEX40", help="A commit other than the newest.")
    ] = None,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Replace what is here by the newest commit, or by --revision.")
    ] = False,
    origin: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="Adopt the files of a folder instead.")
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="With --from: make hard links, which take no room.")
    ] = False,
    json: Json = False,
) -> None:
    """Pull or adopt; PULL_HELP is what users read."""
    import re

    from glmstore.config import Settings
    from glmstore.errors import WeightsError
    from glmstore.models.catalogue import get_model
    from glmstore.models.checkpoints.adopting import adopt
    from glmstore.models.checkpoints.presence import shipped_folder
    from glmstore.models.checkpoints.pulling import pull
    from glmstore.models.checkpoints.readiness import machine_text

    if revision is not None and not re.fullmatch("[0-9a-f]{40}", revision):
        raise typer.BadParameter("write all 40 hex digits of a commit.", param_hint="--revision")
    if origin is not None and revision is not None:
        raise typer.BadParameter(
            "a folder is of no commit; leave it out with --from.", param_hint="--revision"
        )
    if link and origin is None:
        raise typer.BadParameter("only a folder can be linked to; name it with --from.", param_hint="--link")
    entry = get_model(name)
    if (shipped := shipped_folder(entry.name)) is not None:
        if origin is not None or revision is not None or into is not None:
            raise WeightsError(f"{name} comes with the package: there is nothing to pull or to adopt.")
        _say_shipped(entry, shipped, json=json)
        return
    if entry.needs is not None:
        to_stderr(f"note: {machine_text(name, entry.needs)}", style="yellow")
    if origin is not None:
        outcome = adopt(entry, origin, into=into, link=link, upgrade=upgrade)
    else:
        with progress(f"pulling {name}", "bytes", quiet=json) as advance:
            outcome = pull(entry, into=into, revision=revision, upgrade=upgrade, progress=advance)
    for note in outcome.notes:
        to_stderr(f"note: {note}", style="yellow")
    if into is not None and into.resolve() != Settings().models.resolve():
        to_stderr(
            f"note: set GLMSTORE_MODELS={into.resolve()} for the other commands to find it", style="yellow"
        )
    record = outcome.record
    if json:
        found = {"verdict": outcome.verdict, "folder": str(outcome.folder), "notes": list(outcome.notes)}
        emit_json(found | record.model_dump(mode="json"))
        return
    size = sum(file.size for file in record.files)
    said = "already here, nothing to do:" if outcome.verdict == "present" else outcome.verdict
    to_stdout(f"{name}  {said} {len(record.files)} files, {size:,} bytes, revision {record.revision}")
    to_stdout(f"{outcome.folder}")


def _say_shipped(entry: ModelEntry, folder: Path, *, json: bool) -> None:
    if json:
        found = {"verdict": "shipped", "folder": str(folder), "model": entry.name}
        none: dict[str, object] = {"repo": None, "notes": [], "files": [], "fingerprint": None}
        emit_json({**found, "revision": entry.spec.revision, **none})
        return
    to_stdout(f"{entry.name}  comes with the package, nothing to do: revision {entry.spec.revision}")
    to_stdout(f"{folder}")


@app.command("check", help=help_text(CHECK_HELP))
def check_models(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models, as listed.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Check every architecture, on tiny weights.")
    ] = False,
    device: Annotated[
        str, typer.Option("--device", help="Where the real weights are asked: cpu, cuda, cuda:1, mps.")
    ] = "cpu",
    json: Json = False,
) -> None:
    """Check; CHECK_HELP is what users read."""
    from glmstore.extraction import resolve_device

    if bool(names) == everything:
        raise typer.BadParameter("name at least one model, or pass --all alone.", param_hint="NAME")
    place = resolve_device(device)
    found: list[Check] = []
    with progress("checking", "checks", quiet=json) as advance:
        for check in _checks(names or [], place):
            found.append(check)
            advance(len(found), len(found) + 1)
    if json:
        emit_json([check._asdict() for check in found])
    else:
        rows = [(c.model, c.what, Text(c.verdict, style=_STYLE[c.verdict]), c.found) for c in found]
        print_table(("model", "check", "verdict", "found"), rows)
    if any(check.verdict == "failed" for check in found):
        raise typer.Exit(1)


def _checks(names: list[str], device: str) -> Iterator[Check]:
    from glmstore.models.catalogue import FAMILIES, get_model
    from glmstore.models.checkpoints.checking import Check, Verdict, check_family, check_model
    from glmstore.models.checkpoints.fitting import require_weights_of_its_own
    from glmstore.models.checkpoints.readiness import machine_text

    entries = [get_model(name) for name in names]
    for entry in entries:
        # Before anything is computed, so that a mistyped name is an error and not half a table.
        require_weights_of_its_own(entry)
    for entry in entries:
        if entry.needs is not None:
            verdict: Verdict = "note" if entry.needs.lacking() else "ok"
            yield Check(entry.name, "machine", verdict, machine_text(entry.name, entry.needs))
        yield from check_model(entry, device)
    if not names:
        for family in FAMILIES:
            yield from check_family(family)


def _weights(entry: ModelEntry) -> str | None:
    """Return where the weights of a model are; None where it has none of its own."""
    from glmstore.models.checkpoints.fitting import own_architecture
    from glmstore.models.checkpoints.presence import state_of

    own = entry.source is not None or own_architecture(entry) is not None
    return state_of(entry.name) if own else None


def _text(value: object) -> str | None:
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_text(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or None
    return None if value is None else str(value)
