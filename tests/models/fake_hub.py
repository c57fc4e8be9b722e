"""A small Hugging Face hub on this machine, with the faults that the real one has, and a model on it.

Run as a program, it pulls that model: ``python fake_hub.py ENDPOINT INTO`` (ENDPOINT "": the usual one).
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from safetensors.torch import save

from glmstore.models.base import ModelEntry
from glmstore.models.checkpoints.pulling import pull
from glmstore.models.checkpoints.source import HubSource
from glmstore.models.family import published
from glmstore.models.gpn import FAMILY
from glmstore.models.gpn_config import GPNConfig
from glmstore.models.spec import Pretraining

MODEL, REPO = "tiny-on-a-hub", "lab/tiny"
SOURCE = HubSource(repo=REPO, weights=("pytorch_model.bin",))
CONFIG = GPNConfig(hidden_size=96, n_layers=6).model_dump()
PIECE = 1 << 16
LARGE = (".safetensors", ".bin")


def entry(source: HubSource | None = SOURCE) -> ModelEntry:
    """Return the model under test; its weights are those of `weights`."""
    spec = FAMILY.describe(
        CONFIG,
        name=MODEL,
        summary="A small GPN with random weights.",
        hub_id=REPO,
        revision=None,
        n_parameters=GPNConfig(**CONFIG).n_parameters,
        pretraining=Pretraining(species=("Homo sapiens",), assembly=None, chromosomes=None),
    )
    return published(FAMILY, spec, CONFIG, source)


def weights(seed: int = 0) -> bytes:
    """Return a safetensors file of the model."""
    return save({n: t.contiguous() for n, t in FAMILY.untrained_network(CONFIG, seed).state_dict().items()})


def commit(seed: int = 0, **files: bytes) -> dict[str, bytes]:
    """Return the files of a commit: what the model needs, and what nobody asked for."""
    there = {
        "README.md": b"# tiny\n",
        "modeling.py": b"raise SystemExit('remote code was run')\n",
        "config.json": json.dumps({**CONFIG, "architectures": ["ConvNet"]}).encode(),
        "model.safetensors": weights(seed),
    }
    return {**there, **{name.replace("__", "."): content for name, content in files.items()}}


@dataclass
class Request:
    """One request, as it was answered."""

    method: str
    path: str
    status: int
    host: str
    authorised: bool
    asked_range: str | None
    sent: int = 0


@dataclass
class Hub:
    """What the hub holds, the faults it has, and what it was asked."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    endpoint: str = ""
    busy: int = 0
    gated: bool = False
    private: bool = False
    ranges: bool = True
    cut_at: int | None = None
    hold_at: int | None = None
    release: threading.Event = field(default_factory=threading.Event)
    spoil: bool = False
    lost: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)

    def push(self, files: dict[str, bytes]) -> str:
        """Add a commit to the main branch; return its name."""
        name = hashlib.sha256(repr((len(self.commits), sorted(files))).encode()).hexdigest()[:40]
        self.commits[name] = files
        return name

    @property
    def head(self) -> str:
        """The newest commit."""
        return list(self.commits)[-1]

    def got(self, part: str) -> list[Request]:
        """Return the transfers of paths that contain `part`."""
        return [r for r in self.requests if r.method == "GET" and part in r.path and r.status in {200, 206}]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        info = re.fullmatch(rf"/api/models/{REPO}(?:/revision/(.+))?", path)
        file = re.fullmatch(rf"/{REPO}/resolve/([0-9a-f]{{40}})/(.+)", path)
        if hub.busy > 0:
            hub.busy -= 1
            self._send(503)
        elif path.startswith("/cdn/"):
            self._contents(path.removeprefix("/cdn/"))
        elif hub.private or not (info or file):
            self._send(401, {"X-Error-Code": "RepoNotFound"})
        elif info and (info[1] or hub.head) in hub.commits:
            self._info(info[1] or hub.head)
        elif info:
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        elif file and hub.gated:
            self._send(403, {"X-Error-Code": "GatedRepo"})
        elif file and (file[2] not in hub.commits[file[1]] or file[2] in hub.lost):
            self._send(404, {"X-Error-Code": "EntryNotFound"})
        elif file:
            self._file(file[1], file[2])

    def _info(self, name: str) -> None:
        siblings = []
        for path, content in self.hub.commits[name].items():
            about: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": _blob(content)}
            if path.endswith(LARGE):
                about["lfs"] = {"sha256": _sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(about)
        body = json.dumps({"id": REPO, "sha": name, "siblings": siblings}).encode()
        self._send(200, {"Content-Type": "application/json"}, body)

    def _file(self, name: str, path: str) -> None:
        content = self.hub.commits[name][path]
        about = {"X-Repo-Commit": name, "ETag": f'"{_blob(content)}"'}
        if not path.endswith(LARGE):
            self._send(200, about, content)
            return
        linked = {"X-Linked-Etag": f'"{_sha256(content)}"', "X-Linked-Size": str(len(content))}
        # Another host, as the real one keeps large files on: a token must not follow.
        elsewhere = self.hub.endpoint.replace("127.0.0.1", "localhost") + f"/cdn/{name}/{path}"
        self._send(302, about | linked | {"Location": elsewhere})

    def _contents(self, path: str) -> None:
        name, _, file = path.partition("/")
        content = self.hub.commits[name][file]
        if self.hub.spoil:
            content = content[:-1] + bytes([content[-1] ^ 1])
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not asked or not self.hub.ranges:
            self._send(200, {}, content)
            return
        start, size = int(asked[1]), len(content)
        self._send(206, {"Content-Range": f"bytes {start}-{size - 1}/{size}"}, content[start:])

    def _send(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        hub = self.hub
        request = Request(
            self.command,
            self.path,
            status,
            self.headers["Host"].partition(":")[0],
            "Authorization" in self.headers,
            self.headers.get("Range"),
        )
        hub.requests.append(request)
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        large = self.path.startswith("/cdn/")
        for start in range(0, len(body), PIECE):
            if large and hub.hold_at is not None and start >= hub.hold_at and not hub.release.wait(60):
                return
            if large and hub.cut_at is not None and start >= hub.cut_at:
                hub.cut_at = None
                self.close_connection = True
                return
            try:
                self.wfile.write(body[start : start + PIECE])
            except ConnectionError:
                self.close_connection = True
                return
            request.sent += len(body[start : start + PIECE])


def serve() -> tuple[Hub, ThreadingHTTPServer]:
    """Return a hub without commits, and the server that answers for it until it is shut down."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return hub, server


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    pull(entry(), into=Path(sys.argv[2]), endpoint=sys.argv[1] or None, first_wait=0.01)
