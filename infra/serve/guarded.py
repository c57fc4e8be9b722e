"""Prefect's server, for those who call it by one of its own names: `python -m infra.serve.guarded HOST PORT`.

Two things get past the browser's rule of one origin and past tokens: a page of another name that is made to
point at this machine, which is then of the server's own origin, and websockets, by which events come in and
logs go out, for browsers open them to anywhere. A password stops both; where there is none, this does.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import prefect
import typer
import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, get_current_settings
from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from infra.serve.sqlite import prepare

REFUSED = 1008
"""What a websocket is closed with: the code for a violated policy."""


class OwnNamesOnly:
    """Pass on what is addressed to one of these origins' hosts, and websockets of these origins' pages only.

    Parameters
    ----------
    app
        Is asked what is passed on.
    origins
        As a browser names them. Programs, which name none, may open websockets.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        hosts = [urlsplit(origin).hostname or "" for origin in origins]
        self._asked = TrustedHostMiddleware(app, allowed_hosts=hosts, www_redirect=False)
        self._may_open = {None, *origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or refuse it."""
        if scope["type"] == "websocket" and Headers(scope=scope).get("origin") not in self._may_open:
            await WebSocketClose(REFUSED)(scope, receive, send)
        else:
            await self._asked(scope, receive, send)


def guarded(app: ASGIApp, origins: Sequence[str], *, has_password: bool) -> ASGIApp:
    """Return the app behind the check, where it needs one; a person may have allowed every origin."""
    return app if has_password or "*" in origins else OwnNamesOnly(app, origins)


def main(host: str, port: int) -> None:
    """Serve as `prefect server start` does, behind the check."""
    settings = get_current_settings().server
    prepare(PREFECT_API_DATABASE_CONNECTION_URL.value() or "")
    origins = settings.api.cors_allowed_origins.split(",")
    app = guarded(create_app(final=True), origins, has_password=bool(settings.api.auth_string))
    typer.echo(f"Prefect {prefect.__version__} on {host}, port {port}")
    uvicorn.run(
        app,
        host=host,
        port=port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )


if __name__ == "__main__":
    typer.run(main)
