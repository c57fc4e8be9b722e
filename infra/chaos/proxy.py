"""A proxy before object storage that misbehaves."""

from __future__ import annotations

import http.client
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from xml.sax.saxutils import escape

from infra.s3.server import aws

_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "te", "upgrade"}
_DATES = {"date", "last-modified"}
_CHANGES = {"PUT", "POST", "DELETE"}


class Proxy:
    """Passes requests on to a server, and some of them badly.

    Parameters
    ----------
    port
        Of the server.
    delay_s
        Waited before every request is passed on.
    unavailable
        Share of requests answered with 503 at once.
    truncated
        Share of answers with a body that break off in the middle of it.
    unanswered
        Share of requests that change something, are carried out, and get no answer.
    failing
        Share of requests that change something, are carried out, and are answered with 500.
    ahead
        What the server's clock is ahead, by the dates in its answers.
    watch
        Called with method and path of every request once it was carried out, before it is answered.

    Attributes
    ----------
    endpoint
        Its URL.
    struck
        Fault -> how many requests it hit.
    """

    def __init__(
        self,
        port: int,
        *,
        delay_s: float = 0.0,
        unavailable: float = 0.0,
        truncated: float = 0.0,
        unanswered: float = 0.0,
        failing: float = 0.0,
        ahead: timedelta = timedelta(0),
        watch: Callable[[str, str], None] | None = None,
    ) -> None:
        self.delay_s, self.unavailable, self.truncated = delay_s, unavailable, truncated
        self.unanswered, self.failing, self.ahead, self.watch = unanswered, failing, ahead, watch
        self.struck: Counter[str] = Counter()
        self.upstream, self.chance, self.lock = port, random.Random(7), threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def faults(self) -> list[str]:
        """What it does badly, by the names in :attr:`struck`."""
        shares = {
            "slow": self.delay_s,
            "unavailable": self.unavailable,
            "truncated": self.truncated,
            "unanswered": self.unanswered,
            "failing": self.failing,
        }
        return [fault for fault, share in shares.items() if share]

    @property
    def environment(self) -> dict[str, str]:
        """What leads the AWS chain of a process here."""
        return aws(self.endpoint)

    def behave(self) -> None:
        """Pass everything on as it is from now on."""
        self.delay_s = self.unavailable = self.truncated = self.unanswered = self.failing = 0.0

    def strikes(self, fault: str, share: float) -> bool:
        """Draw whether this request is hit, and count it."""
        with self.lock:
            hit = self.chance.random() < share
            self.struck[fault] += hit
        return hit


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show what went wrong, unless it is that a killed client's connection ended."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: else each answer waits for the client's delayed ACK
    disable_nagle_algorithm = True
    owner: Proxy

    def handle_expect_100(self) -> bool:
        """Ask for the body at once: boto3 waits a second for this line."""
        told = super().handle_expect_100()
        self.wfile.flush()
        return told

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy = self.owner
        if proxy.delay_s:
            proxy.struck["slow"] += 1
            time.sleep(proxy.delay_s)
        if proxy.strikes("unavailable", proxy.unavailable):
            self._answer(_error(503, "SlowDown", "Please reduce your request rate."))
            return
        try:
            answer = self._ask(body)
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # the server is away: its client's connection ends without an answer
            return
        if proxy.watch is not None:
            proxy.watch(self.command, self.path)
        done = self.command in _CHANGES and answer.status < 300
        if done and proxy.strikes("unanswered", proxy.unanswered):
            self.close_connection = True
        elif done and proxy.strikes("failing", proxy.failing):
            self._answer(_error(500, "InternalError", "We encountered an internal error. Please try again."))
        else:
            self._answer(answer)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815 - named by the library

    def _ask(self, body: bytes) -> _Answer:
        server = http.client.HTTPConnection("127.0.0.1", self.owner.upstream, timeout=60)
        try:
            headers = {n: v for n, v in self.headers.items() if n.lower() not in _HOP}
            server.request(self.command, self.path, body, headers)
            answer = server.getresponse()
            return _Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            server.close()

    def _answer(self, answer: _Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() in _DATES:
                self.send_header(name, _shifted(value, self.owner.ahead))
            elif name.lower() not in _HOP | {"content-length"}:
                self.send_header(name, value)
        length = {n.lower(): v for n, v in answer.headers}.get("content-length", str(len(answer.body)))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if len(answer.body) > 1 and self.owner.strikes("truncated", self.owner.truncated):
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(answer.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the writers tell what they met."""


def _error(status: int, code: str, message: str) -> _Answer:
    said = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>".encode()
    return _Answer(status, [("Content-Type", "application/xml")], said)


def _shifted(value: str, by: timedelta) -> str:
    then: datetime = parsedate_to_datetime(value)
    return format_datetime(then + by, usegmt=True)
