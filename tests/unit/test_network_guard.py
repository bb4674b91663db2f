"""The guard that every test runs under: loopback is open, everything else fails loudly."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.network import NetworkError, is_here

ABROAD = "192.0.2.1"
"""TEST-NET-1 (RFC 5737): an address nobody has."""


def using(kind: int, act: Callable[[socket.socket], object]) -> None:
    with socket.socket(socket.AF_INET, kind) as opened:
        act(opened)


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.create_connection((ABROAD, 80), timeout=0.1),
        lambda: socket.create_connection(("example.org", 80), timeout=0.1),
        lambda: using(socket.SOCK_STREAM, lambda it: it.connect_ex((ABROAD, 80))),
        lambda: using(socket.SOCK_DGRAM, lambda it: it.sendto(b"?", (ABROAD, 53))),
        lambda: socket.gethostbyname("example.org"),
        lambda: urllib.request.urlopen(f"http://{ABROAD}/", timeout=0.1),
        lambda: asyncio.run(asyncio.open_connection(ABROAD, 80)),
    ],
)
def test_what_leaves_this_machine_fails_even_where_errors_are_swallowed(reach: Callable[[], object]) -> None:
    with pytest.raises(NetworkError, match="a test reached for"), suppress(Exception):
        reach()


def test_this_machine_can_be_reached(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].close())
        thread.start()
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=300).close()
        thread.join()
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as asking:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        asking.connect(str(tmp_path / "socket"))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", b"127.8.8.8", "localhost", None])
def test_what_counts_as_this_machine(host: str | bytes | None) -> None:
    assert is_here(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "fe80::1%lo", "localhost.example.org", "127.0.0.1.example.org"])
def test_what_does_not(host: str) -> None:
    assert not is_here(host)
