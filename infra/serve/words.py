"""What the service says once it is up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from infra.serve.options import Options

if TYPE_CHECKING:
    from infra.serve.provision import Provisioned


def show_ready(
    console: Console,
    options: Options,
    found: Provisioned,
    deployments: list[str],
    logs: Path,
    seconds: float,
) -> None:
    """Show where everything is, and what to do next."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    slots = f"{options.gpus} GPU slot{'s' if options.gpus != 1 else ''}"
    rows = {
        "UI": f"[bold]{options.seen_as}[/bold]",
        "store": options.store,
        "pools": f"cpu ({options.cpu_runs} runs at once), gpu ({slots})",
        "deployments": f"{len(deployments)}: {', '.join(name.partition('/')[2] for name in deployments)}",
        "automations": ", ".join(found.automations),
        "notifications": _notified(options, found),
        "logs": str(logs),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(f"\n[green]Serving[/green] after {seconds:.0f} s.")
    console.print(table)
    first = next((d for d in deployments if d.endswith("/demo-nightly")), deployments[0])
    console.print(
        "\nNext, in the UI: Deployments, choose one, Run, Quick run. Or in another terminal:\n"
        f"  PREFECT_API_URL={options.api} prefect deployment run '{first}' --watch\n"
        "Schedules of upkeep are on, those of the suites off; the UI switches them. Ctrl-C ends everything."
    )


def _notified(options: Options, found: Provisioned) -> str:
    if options.notify_url:
        return "to the webhook given"
    if found.notifies:
        return "as Automations, in the UI, has it"
    return 'to nobody; NOTIFY_URL=https://… make serve (takes POST {"text": …}, as Slack does)'
