"""The other end of a webhook, for trials and tests: on this machine only."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True)
class Told:
    """One message, as it arrived."""

    kind: str
    body: bytes


class Receiver(ThreadingHTTPServer):
    """A webhook's other end; keeps all that it is told.

    Parameters
    ----------
    path
        Of its address.
    """

    def __init__(self, path: str) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.told: list[Told] = []
        self.url = f"http://127.0.0.1:{self.server_port}/{path}"

    def __enter__(self) -> Self:
        """Listen, until the end of the block."""
        threading.Thread(target=self.serve_forever).start()
        return self

    def __exit__(self, *args: object) -> None:
        """Stop listening."""
        self.shutdown()
        self.server_close()


class _Taking(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append(Told(self.headers["Content-Type"], body))
        self.send_response(200)
        self.end_headers()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Keep quiet."""
