"""The guards that every other test relies on."""

from __future__ import annotations

import socket

import pytest

from glmstore.config import Settings


def test_a_connection_that_leaves_the_machine_is_refused_before_it_starts() -> None:
    with socket.socket() as sock, pytest.raises(RuntimeError, match=r"tried to reach 192\.0\.2\.1:80"):
        sock.connect(("192.0.2.1", 80))


def test_a_loopback_connection_is_let_through() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


def test_default_store_and_cache_lie_in_temporary_folders(tmp_path, fetch_cache) -> None:
    settings = Settings()
    assert settings.store == str(tmp_path / "default-store")
    assert settings.cache == fetch_cache
