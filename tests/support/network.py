"""Only this machine may be talked to in tests: anything else fails the test, whatever the code does with the error."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

NAMES = frozenset({None, "", "localhost", "localhost.localdomain", "ip6-localhost"})


class NetworkError(BaseException):
    """A test tried to leave this machine. Not an ``Exception``: code that catches those would hide it."""


def is_here(host: object) -> bool:
    """True for loopback addresses, their names, and the address that means every interface of this machine."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in NAMES:
        return True
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def close_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sockets of this process connect to loopback and to local files alone, and names be looked up nowhere else."""
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, _guarded_connect(getattr(socket.socket, name)))
    monkeypatch.setattr(socket.socket, "sendto", _guarded_sendto(socket.socket.sendto))
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        monkeypatch.setattr(socket, name, _guarded_lookup(getattr(socket, name)))


def _refuse(what: object) -> None:
    raise NetworkError(f"a test reached for {what!r}; tests talk to this machine alone, so give it a server of its own")


def _check(family: int, address: Any) -> None:
    if family in (socket.AF_INET, socket.AF_INET6) and not is_here(address[0]):
        _refuse(address)


def _guarded_connect(original: Any) -> Any:
    def connect(self: socket.socket, address: Any) -> Any:
        _check(self.family, address)
        return original(self, address)

    return connect


def _guarded_sendto(original: Any) -> Any:
    def sendto(self: socket.socket, data: Any, *rest: Any) -> Any:
        _check(self.family, rest[-1])
        return original(self, data, *rest)

    return sendto


def _guarded_lookup(original: Any) -> Any:
    def look_up(host: Any, *rest: Any, **named: Any) -> Any:
        if not is_here(host) and host != socket.gethostname():
            _refuse(host)
        return original(host, *rest, **named)

    return look_up
