"""`glmstore models`: what can embed."""

from __future__ import annotations

from typing import Annotated

import typer

from glmstore.cli.console import emit_json, print_table, to_stdout
from glmstore.cli.options import Json, help_text

HELP = """Models and controls that turn sequences into features.

  glmstore models list
  glmstore models show rand_init:gpn-mini:0 --json
"""

app = typer.Typer(
    no_args_is_help=True,
    help=help_text(HELP),
)


@app.command("list")
def list_models(json: Json = False) -> None:
    """List every model, and the ways to derive one from another."""
    from glmstore.models.catalogue import DERIVED, MODELS

    specs = [entry.spec for entry in MODELS]
    if json:
        derived = [{"prefix": d.name, "usage": d.usage} for d in DERIVED]
        emit_json({"models": [s.model_dump(mode="json") for s in specs], "derived": derived})
        return
    rows = [
        (
            s.name,
            s.family,
            s.control if s.control != "none" else "",
            s.dim,
            s.n_layers,
            s.max_nt,
            s.n_parameters,
        )
        for s in specs
    ]
    print_table(("model", "family", "control", "D", "layers", "max nt", "parameters"), rows)
    for entry in DERIVED:
        to_stdout(f"derived: {entry.usage}")


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="As listed, or derived: rand_init:gpn-mini:0, lora:<adapter>.")],
    json: Json = False,
) -> None:
    """Show everything known of one model: revision, layers, poolings, pretraining, licence, citation."""
    from glmstore.models.catalogue import get_model

    spec = get_model(name).spec.model_dump(mode="json")
    if json:
        emit_json(spec)
        return
    rows = [(key.replace("_", " "), _text(value)) for key, value in spec.items()]
    print_table((name, ""), rows)


def _text(value: object) -> str | None:
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_text(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or None
    return None if value is None else str(value)
