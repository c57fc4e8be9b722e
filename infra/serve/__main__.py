"""Start a whole service on one machine: server, pools, workers, automations, deployments.

Everything it starts ends with it, in order: workers first, with the runs they carry, the server last.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout
from rich.console import Console

from glmstore.errors import StoreError
from infra.serve.children import ChildDiedError
from infra.serve.options import Options, lasting_store, withhold
from infra.serve.service import CannotServeError, check_place, serve, visible_gpus

console = Console(highlight=False, soft_wrap=True, markup=True)


def main(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback needs PREFECT_SERVER_API_AUTH_STRING.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of UI and API.")] = 4200,
    store: Annotated[
        str, typer.Option(envvar="GLMSTORE_STORE", help="Store that runs work on: a directory or s3://….")
    ] = "./.glmstore/store",
    gpus: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="GPUs of all machines together; this one's get a worker each.",
            show_default="the machine's, or 1",
        ),
    ] = None,
    cpu_runs: Annotated[int, typer.Option(min=1, help="Runs the cpu worker takes at once.")] = 2,
    notify_url: Annotated[
        str | None,
        typer.Option(
            envvar="SERVE_NOTIFY_URL",
            help='Webhook told {"text": …} of failures and staleness; by the variable `ps` does not show it.',
        ),
    ] = None,
    silent: Annotated[
        float, typer.Option(min=35, help="Seconds without a sign of life that make a run Crashed.")
    ] = 90.0,
    unbegun: Annotated[
        float,
        typer.Option(min=30, help="Seconds that a submitted run has to begin; then it is Crashed."),
    ] = 300.0,
    stale: Annotated[
        float, typer.Option(min=10, help="Seconds without upkeep or build that make a store stale.")
    ] = 36 * 3600.0,
    grace: Annotated[float, typer.Option(min=0, help="Seconds that runs have to end at Ctrl-C.")] = 10.0,
    deployments: Annotated[Path, typer.Option(exists=True, help="What is deployed.")] = Path("prefect.yaml"),
) -> None:
    """Serve until Ctrl-C."""
    try:
        uri = lasting_store(store)
    except StoreError as error:
        console.print(f"--store {store!r}: {error}", style="red", markup=False)
        raise typer.Exit(2) from None
    options = Options(
        host=host,
        port=port,
        store=uri,
        gpus=max(1, len(visible_gpus())) if gpus is None else gpus,
        cpu_runs=cpu_runs,
        notify_url=notify_url,
        silent_s=silent,
        unbegun_s=unbegun,
        stale_s=stale,
        grace_s=grace,
        deployments=deployments,
    )
    os.environ |= options.environment()
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    home.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(home / "serve.lock", timeout=0):
            check_place(options)
            of_server = options.server_environment()
            withhold()
            asyncio.run(serve(options, of_server, home, console))
    except Timeout:
        console.print(
            f"[red]Another `make serve` runs with {home}, whose database takes one server.[/red] "
            "End it, or set PREFECT_HOME to another folder."
        )
        raise typer.Exit(2) from None
    except CannotServeError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(2) from None
    except ChildDiedError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
