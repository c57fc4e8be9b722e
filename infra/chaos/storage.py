"""An S3-compatible server on loopback that can be stopped and started, and a proxy that misbehaves."""

from __future__ import annotations

import http.client
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "te", "upgrade"}


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, seconds: float = 20.0) -> None:
    """Wait until something listens; TimeoutError if nothing does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port} after {seconds:.0f} s")


def aws(endpoint: str) -> dict[str, str]:
    """Return the environment that leads the AWS chain to a server which checks no credentials."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "chaos",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-no-worth",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


class Bucket:
    """`localbucket` serving one folder, on one port for its whole life, behind a proxy without faults.

    Of the servers that come as packages it is the one whose objects outlive it. It cannot delete several
    objects in one request, as Lance does: the proxy does that for it.

    Parameters
    ----------
    folder
        Where it keeps its objects; made if need be, with a bucket called ``chaos`` in it.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "chaos").mkdir(parents=True, exist_ok=True)
        self._folder, self.port = folder, free_port()
        self._proxy = Proxy(self.port)
        self.endpoint = self._proxy.endpoint
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        self._proxy.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.__exit__()
        self.kill()

    def uri(self, name: str) -> str:
        """Return a place in it."""
        return f"s3://chaos/{name}"

    def start(self) -> None:
        """Start the server, again after :meth:`kill`."""
        program = Path(sys.executable).with_name("localbucket")
        with self._folder.with_suffix(".log").open("ab") as log:
            command = [str(program), "--port", str(self.port), str(self._folder)]
            self._server = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for_port(self.port)

    def kill(self) -> None:
        """Kill the server; what it has stored stays."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def pause(self, seconds: float) -> None:
        """Let the server hang: connections are taken and nothing is answered."""
        if self._server is None:
            raise RuntimeError("the server is not running")
        self._server.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            self._server.send_signal(signal.SIGCONT)


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

    Attributes
    ----------
    struck
        Fault -> how many requests it hit.
    """

    def __init__(
        self, port: int, *, delay_s: float = 0.0, unavailable: float = 0.0, truncated: float = 0.0
    ) -> None:
        self.delay_s, self.unavailable, self.truncated = delay_s, unavailable, truncated
        self.struck: Counter[str] = Counter()
        self.upstream, self.chance, self.lock = port, random.Random(7), threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

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
            self._refuse()
            return
        try:
            many = self.command == "POST" and urlsplit(self.path).query == "delete"
            status, headers, answer = self._delete_each(body) if many else self._ask(body)
        except (
            OSError,
            http.client.HTTPException,
        ):  # the server is away: its client sees a connection that ends without an answer
            self.close_connection = True
            return
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP | {"content-length"}:
                self.send_header(name, value)
        length = {n.lower(): v for n, v in headers}.get("content-length", str(len(answer)))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(answer)))
        self.end_headers()
        if len(answer) > 1 and proxy.strikes("truncated", proxy.truncated):
            self.wfile.write(answer[: len(answer) // 2])
            self.close_connection = True
        else:
            self.wfile.write(answer)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815 - named by the library

    def _ask(self, body: bytes, verb: str = "", path: str = "") -> tuple[int, list[tuple[str, str]], bytes]:
        server = http.client.HTTPConnection("127.0.0.1", self.owner.upstream, timeout=60)
        try:
            skipped = _HOP | {"content-length"} if verb else _HOP
            headers = {n: v for n, v in self.headers.items() if n.lower() not in skipped}
            server.request(verb or self.command, path or self.path, body, headers)
            answer = server.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            server.close()

    def _delete_each(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        bucket, deleted = urlsplit(self.path).path.strip("/"), ""
        asked = ElementTree.fromstring(body)  # noqa: S314 - written by our own client
        for key in (found.text or "" for found in asked.iter() if _is_key(found)):
            status, headers, answer = self._ask(b"", "DELETE", f"/{bucket}/{quote(key)}")
            if status not in {200, 204, 404}:
                return status, headers, answer
            deleted += f"<Deleted><Key>{escape(key)}</Key></Deleted>"
        said = f"<DeleteResult>{deleted}</DeleteResult>".encode()
        return 200, [("Content-Type", "application/xml")], said

    def _refuse(self) -> None:
        said = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        self.send_response_only(503)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the writers tell what they met."""


def _is_key(found: ElementTree.Element) -> bool:
    return found.tag.rpartition("}")[2] == "Key"
