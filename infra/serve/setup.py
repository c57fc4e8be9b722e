"""Set up a Prefect server that runs already, at PREFECT_API_URL: pools, automations, deployments.

For servers that `make serve` does not start, as of infra/compose.yaml and infra/kubernetes/. Safe to repeat.
"""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from glmstore.errors import StoreError
from infra.serve.deploying import DeployError, deploy
from infra.serve.options import Options, lasting_store
from infra.serve.pools import Kind
from infra.serve.provision import PoolError, provision


def main(
    api: Annotated[str, typer.Option(envvar="PREFECT_API_URL", help="API of the server.")],
    store: Annotated[str, typer.Option(envvar="GLMSTORE_STORE", help="Store that runs work on.")],
    kind: Annotated[Kind, typer.Option(help="How runs are started.")] = "process",
    image: Annotated[str, typer.Option(help="Image of runs, for docker and kubernetes.")] = "glmstore:cuda",
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of all workers together.")] = 1,
    unbegun: Annotated[
        float | None,
        typer.Option(
            min=30,
            help="Seconds that a submitted run has to begin, image and node included; then it is Crashed.",
            show_default="300 for processes, else 3600",
        ),
    ] = None,
    notify_url: Annotated[
        str | None, typer.Option(envvar="SERVE_NOTIFY_URL", help='Webhook told {"text": …}.')
    ] = None,
) -> None:
    """Set up what runs need."""
    try:
        uri = lasting_store(store)
    except StoreError as error:
        typer.echo(f"--store {store!r}: {error}", err=True)
        raise typer.Exit(2) from None
    options = Options(
        ui=api.rstrip("/").removesuffix("/api"),
        store=uri,
        gpus=gpus,
        unbegun_s=unbegun if unbegun is not None else 300.0 if kind == "process" else 3600.0,
        notify_url=notify_url,
    )
    os.environ["GLMSTORE_STORE"] = uri
    try:
        found = asyncio.run(provision(options, kind, image))
        names = asyncio.run(deploy(options, kind))
    except (PoolError, DeployError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"pools: {', '.join(found.pools)} ({kind})")
    typer.echo(f"automations: {', '.join(found.automations)}")
    typer.echo(f"deployments: {', '.join(names)}")
    for name, value in found.environment.items():
        typer.echo(f"workers need {name}={value}")


if __name__ == "__main__":
    typer.run(main)
