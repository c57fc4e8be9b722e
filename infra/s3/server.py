"""`localbucket` with what a store needs beside: several objects deleted in one request, as Lance does it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from contextlib import suppress
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from localbucket import S3Error, S3Handler

_ROOT = Path(__file__).parents[2]
_HOST = "127.0.0.1"


def aws(endpoint: str) -> dict[str, str]:
    """Return the environment that leads the AWS chain to a server which checks no credentials."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "unchecked",
        "AWS_SECRET_ACCESS_KEY": "unchecked-too",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


class Service(ThreadingHTTPServer):
    """Serves the buckets in a folder on loopback, for whoever can reach it.

    Parameters
    ----------
    folder
        Each folder in it is a bucket, each file in that an object; made if need be.
    port
        To listen on; 0 for any that is free.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)

        class Handler(_Handler):
            data_root = folder.resolve()

        super().__init__((_HOST, port), Handler)
        self.endpoint = f"http://{_HOST}:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show what went wrong, unless it is that a client's connection ended."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(S3Handler):  # type: ignore[misc]  # localbucket has no types
    wbufsize = -1  # head and body in one packet: else each answer waits for the client's delayed ACK
    disable_nagle_algorithm = True

    def handle_expect_100(self) -> bool:
        """Ask for the body at once: boto3 waits a second for this line."""
        told: bool = super().handle_expect_100()
        self.wfile.flush()
        return told

    def do_POST(self) -> None:  # noqa: N802 - named by the library
        """Delete objects by name; everything else is localbucket's."""
        if urlsplit(self.path).query.removesuffix("=") == "delete":
            self._dispatch(self._delete_objects)
        else:
            super().do_POST()

    def log_message(self, *_: Any) -> None:
        """Say nothing of requests."""

    def _dispatch(self, action: Any) -> None:
        try:
            super()._dispatch(action)
        except FileNotFoundError:  # one request removed a file, or its empty folder, in the middle of another
            said = "An object was removed meanwhile. Please try again."
            self._send_error(S3Error(HTTPStatus.SERVICE_UNAVAILABLE, "SlowDown", said))

    def _delete_objects(self, bucket: str, _: str) -> None:
        root = self._bucket_dir(bucket).resolve()
        try:
            asked = ET.fromstring(self._read_body())  # noqa: S314 - expat refuses entities that grow
        except ET.ParseError:
            raise self._malformed_xml_error() from None
        told = ET.Element("DeleteResult")
        for key in asked.findall("{*}Object/{*}Key"):
            try:
                _remove(self._object_path(bucket, key.text or ""), root)
            except S3Error as error:
                failed = ET.SubElement(told, "Error")
                said = {"Key": key.text or "", "Code": error.code, "Message": error.message}
                for tag, text in said.items():
                    ET.SubElement(failed, tag).text = text
            else:
                ET.SubElement(ET.SubElement(told, "Deleted"), "Key").text = key.text
        self._send_xml(told)


def _remove(file: Path, bucket: Path) -> None:
    """Delete a file, if it is there, and the folders that it leaves empty."""
    with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
        file.unlink()
    with suppress(OSError):  # the first that is not empty
        for folder in file.parents:
            if folder == bucket:
                return
            folder.rmdir()


class ObjectStorage:
    """A :class:`Service` in a process of its own, on one port for its whole life, that can be made to fail.

    Parameters
    ----------
    folder
        Where it keeps its objects; they outlive it.

    Attributes
    ----------
    endpoint
        Its URL, once it was started.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.endpoint = folder, ""
        self._port = 0
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def port(self) -> int:
        """Where it listens, once it was started."""
        return self._port

    def bucket(self, name: str) -> str:
        """Return the URI of a bucket, made if need be."""
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        return f"s3://{name}"

    def start(self) -> None:
        """Start the server, again after :meth:`kill`; RuntimeError if it does not start."""
        command = [sys.executable, "-m", "infra.s3", "--port", str(self._port), str(self.folder)]
        self._server = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None  # noqa: S101 - it is a pipe
        with self._server.stdout as said:
            self.endpoint = said.readline().strip().removeprefix("export AWS_ENDPOINT_URL=")
        if not self.endpoint:
            raise RuntimeError(f"no object storage on port {self._port}: it ended with {self._server.wait()}")
        self._port = urlsplit(self.endpoint).port or 0

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
