"""`glmstore doctor`: whether the installation, the store and the data are fit to work."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Literal, NamedTuple

import typer
from rich.text import Text

from glmstore.cli.console import emit_json, print_table
from glmstore.cli.options import Json, Store, help_text, store_uri
from glmstore.config import Settings

HELP = """Check Python, packages, torch, the store, the mirror and the disk.

Exits with 1 if something is broken. A store that can be read and not written is a note: it serves those who
only read. Where there is no store yet and none can be made, that is broken.

  glmstore doctor
  glmstore doctor --json
"""
Verdict = Literal["ok", "note", "broken"]
_STYLE = {"ok": "green", "note": "yellow", "broken": "bold red"}
_OLDEST = (3, 11)
_ROOM_BYTES = 1 << 28
_SHOWN = ("lancedb", "pylance", "pyarrow", "polars", "torch", "transformers", "peft", "optuna", "prefect")


class Check(NamedTuple):
    """One thing looked at, and what was found."""

    what: str
    verdict: Verdict
    found: str


def add_to(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("doctor", help=help_text(HELP))(doctor)


def doctor(store: Store = None, json: Json = False) -> None:
    """Check what the work rests on; HELP is what users read."""
    uri = store_uri(store)
    checks = [*_installation(), _torch(), *_store(uri), *_data(), *_room(uri)]
    if json:
        emit_json([check._asdict() for check in checks])
    else:
        print_table(
            ("", "", ""), [(c.what, Text(c.verdict, style=_STYLE[c.verdict]), c.found) for c in checks]
        )
    if any(check.verdict == "broken" for check in checks):
        raise typer.Exit(1)


def _installation() -> Iterator[Check]:
    found = f"{platform.python_version()} at {sys.executable}"
    yield Check("python", "ok" if sys.version_info >= _OLDEST else "broken", found)
    wrong = list(_wrong_packages())
    shown = ", ".join(f"{name} {_version(name)}" for name in _SHOWN)
    yield Check("packages", "broken" if wrong else "ok", "; ".join(wrong) or shown)


def _wrong_packages() -> Iterator[str]:
    from packaging.requirements import Requirement

    for line in requires("glmstore") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        installed = _version(requirement.name)
        if installed is None:
            yield f"{requirement.name} is not installed"
        elif not requirement.specifier.contains(installed, prereleases=True):
            yield f"{requirement.name} {installed} is not {requirement.specifier}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _torch() -> Check:
    try:
        import torch
    except ImportError as error:
        return Check("torch", "broken", f"cannot be imported: {error}")
    from glmstore.errors import DeviceError
    from glmstore.extraction.hardware import resolve_device, resolve_precision
    from glmstore.models.catalogue import get_model

    try:
        device = resolve_device()
    except DeviceError as error:
        return Check("torch", "broken", str(error))
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        return Check("torch", "broken", f"device {device} does not work: {str(error).splitlines()[0]}")
    precision = resolve_precision(None, get_model("gpn-mini").spec, device)
    cpu = torch.backends.cpu.get_cpu_capability()
    found = f"{torch.__version__}, device {device}, {torch.get_num_threads()} threads, {cpu}"
    return Check("torch", "ok", f"{found}; models compute in {precision}")


def _store(uri: str) -> Iterator[Check]:
    from glmstore.errors import GlmstoreError, StoreNotFoundError
    from glmstore.store import FeatureStore

    try:
        found = FeatureStore.open(uri, create=False).check()
    except StoreNotFoundError:
        yield Check("store", "note", f"none at {uri} yet; `make demo` or `glmstore embed` makes one")
        return
    except GlmstoreError as error:
        yield Check("store", "broken", str(error))
        return
    except (OSError, RuntimeError, ValueError) as error:
        problem = f"{uri} cannot be read ({str(error).splitlines()[0]})"
        cure = "Files are damaged, missing or not yours: restore them from a copy, or mend their permissions."
        yield Check("store", "broken", f"{problem}. {cure}")
        return
    if found.ok:
        rows = sum(found.tables["rows"])
        whole = f"{found.uri}, layout {found.schema_version}, {len(found.tables)} tables, {rows:,} rows"
        yield Check("store", "ok", whole)
    yield from (Check("store", "broken", problem) for problem in found.problems)
    yield from (Check("store", "note", note) for note in found.notes)


def _data() -> Iterator[Check]:
    settings = Settings()
    if settings.mirror is None:
        yield Check("mirror", "note", "GLMSTORE_MIRROR is not set; files come from the cache or the network")
    else:
        there = settings.mirror.is_dir()
        yield Check(
            "mirror", "ok" if there else "broken", f"{settings.mirror}" + ("" if there else " is no folder")
        )


def _room(uri: str) -> Iterator[Check]:
    from glmstore.store.connection import local_path, normalise_uri

    places = {"store": local_path(normalise_uri(uri)), "cache": Settings().cache.absolute()}
    for name, place in places.items():
        if place is None:
            continue
        existing = next(p for p in (place, *place.parents) if os.path.exists(p))
        free = shutil.disk_usage(existing).free
        found = f"{place}, {free / 2**30:.1f} GiB free"
        if not os.access(existing, os.W_OK):
            none = name == "store" and existing != place
            yield Check(f"disk of the {name}", "broken" if none else "note", f"{found}; it cannot be written")
        else:
            verdict: Verdict = "ok" if free >= _ROOM_BYTES else "broken"
            yield Check(f"disk of the {name}", verdict, found)
