"""What a service is told: by options, or by the environment."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from glmstore.errors import StoreError
from glmstore.store.connection import MEMORY, normalise_uri

PREFECT_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "glmstore",
    "PREFECT_CLI_COLORS": "false",
    "PYTHONUNBUFFERED": "1",
}


_ANYWHERE = {"0.0.0.0", "::"}  # noqa: S104  (compared, not bound)

_OF_THE_SERVER = ("PREFECT_SERVER_", "PREFECT_API_DATABASE_", "PREFECT_UI_API_URL", "PREFECT_REDIS_")
"""Beginnings of the variables that the server reads and no worker needs, passwords among them."""

_OF_NOBODY = ("SERVE_NOTIFY_URL", "NOTIFY_URL")
"""Who has a chat's webhook can write there; the server keeps it in a block, encrypted."""

_LEASES = "prefect.server.concurrency.lease_storage.filesystem"
"""Of deployments' limits. In memory, Prefect's default, a restart of the server loses leases, not slots."""

_EVENTS = "infra.serve.events"
"""Says how the server orders events."""


@dataclass(frozen=True)
class Options:
    """One service on one machine.

    Attributes
    ----------
    host, port
        Where the server listens.
    store
        URI that runs work on unless their form says otherwise.
    gpus
        Runs that the gpu pool takes at once, on all machines together; so many workers are started here at
        most, one for each GPU of this machine. Without a GPU one that computes on the CPU is started if this
        is 1, and none if it is more. 0: none.
    cpu_runs
        Runs the cpu worker takes at once.
    notify_url
        Takes POST {"text": …} on failures and a stale store, as Slack's and Mattermost's webhooks do.
    silent_s
        Seconds without a sign of life after which a run is marked Crashed.
    unbegun_s
        Seconds after which a run that was submitted and did not begin is marked Crashed.
    stale_s
        Seconds without finished upkeep or build after which the store counts as stale.
    grace_s
        Seconds that runs have to end themselves when the service ends.
    deployments
        File in the form of prefect.yaml.
    ui
        Address of the UI where it is not told by host and port.
    """

    host: str = "127.0.0.1"
    port: int = 4200
    store: str = ""
    gpus: int = 1
    cpu_runs: int = 2
    notify_url: str | None = field(default=None, repr=False)
    silent_s: float = 90.0
    unbegun_s: float = 300.0
    stale_s: float = 36 * 3600.0
    grace_s: float = 10.0
    deployments: Path = Path("prefect.yaml")
    ui: str = ""

    @property
    def url(self) -> str:
        """Of the UI, for a browser on this machine."""
        host = "127.0.0.1" if self.host in _ANYWHERE else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def api(self) -> str:
        """Of the API."""
        return f"{self.url}/api"

    @property
    def seen_as(self) -> str:
        """Of the UI, for browsers on any machine that can reach it: PREFECT_UI_URL, where that is set."""
        if said := os.environ.get("PREFECT_UI_URL") or self.ui:
            return said.rstrip("/")
        host = socket.gethostname() if self.host in _ANYWHERE else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def in_s3(self) -> bool:
        """Whether the store lies in object storage."""
        return urlsplit(self.store).scheme == "s3"

    @property
    def origins(self) -> list[str]:
        """Of the pages that a browser lets read what the API answers: the UI, under each of its names."""
        names = {"127.0.0.1", "localhost"} | (_addresses() if self.host in _ANYWHERE else set())
        urls = (*(f"http://{name}:{self.port}" for name in names), self.url, self.seen_as)
        return sorted({str(httpx.URL(url).join("/")).rstrip("/") for url in urls})

    def environment(self) -> dict[str, str]:
        """Return what every process of the service finds in its environment."""
        found = PREFECT_QUIET | {
            "PREFECT_API_URL": self.api,
            "PREFECT_UI_URL": self.seen_as,
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "GLMSTORE_STORE": self.store,
        }
        if auth := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
            found["PREFECT_API_AUTH_STRING"] = auth
        return found

    def server_environment(self) -> dict[str, str]:
        """Return what the server alone finds in its environment; what this process has goes first.

        Prefect lets every page of the web use an API by default. A page elsewhere could have the browser of
        whoever runs this start code here: reading is refused by origin, writing for want of a token.
        """
        return {
            "PREFECT_UI_API_URL": f"{self.seen_as}/api",
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(self.origins),
            "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": _LEASES,
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": _EVENTS,
        } | {name: value for name, value in os.environ.items() if name.startswith(_OF_THE_SERVER)}


def _addresses() -> set[str]:
    """Return this machine's, by which others may open the UI."""
    of_all = (address for addresses in psutil.net_if_addrs().values() for address in addresses)
    return {address.address for address in of_all if address.family == socket.AF_INET}


def withhold() -> None:
    """Take out of this process's environment, and so of all that it starts, what only the server reads."""
    for name in [name for name in os.environ if name.startswith((*_OF_THE_SERVER, *_OF_NOBODY))]:
        del os.environ[name]


def lasting_store(store: str) -> str:
    """Return the URI of a store that every run can open.

    Raises
    ------
    StoreError
        If it is empty, lives in one process only, or no store can lie there.
    """
    if not store.strip():
        raise StoreError("a store needs a place: write a directory or s3://BUCKET/PREFIX.")
    uri = normalise_uri(store)
    if uri.startswith(MEMORY):
        raise StoreError(f"{MEMORY} lives in one process only, and every run is one of its own.")
    return uri
