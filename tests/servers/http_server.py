"""A small HTTP server on asyncio, in a thread: fast enough for 64 requests in flight, rude where a test wants that."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    """What came: the path without its query, headers in lower case, the body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """What goes back; ``cut`` closes the connection in the middle of the body."""

    body: bytes
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False

    @classmethod
    def of(cls, value: Any, status: int = 200, **headers: str) -> Reply:
        """A JSON body; underscores in header names stand for dashes."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(json.dumps(value).encode(), status, headers=named)

    def encode(self) -> bytes:
        """As it goes over the wire."""
        lines = {"Content-Type": self.kind, "Content-Length": str(len(self.body)), **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        shown = self.body[: len(self.body) // 2] if self.cut else self.body
        return f"HTTP/1.1 {self.status} Status\r\n{head}\r\n".encode() + shown


PATIENCE_S = 300
"""Longest wait for the server's thread."""
Answer = Callable[[Request], Awaitable[Reply]]


class HttpServer:
    """Serves in a thread of its own while it is open.

    Args:
        answer: Called for each request, in the server's loop.
        port: 0 takes a free one.
    """

    def __init__(self, answer: Answer, port: int = 0) -> None:
        self.answer = answer
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(PATIENCE_S)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    async def _start(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: _Connection(self.answer), "127.0.0.1", self.port)

    async def _stop(self) -> None:
        self._server.close()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


class _Connection(asyncio.Protocol):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._data = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, separator, rest = self._data.partition(b"\r\n\r\n")
        if not separator:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) >= length:
            self._data = rest[length:]
            method, target, _ = first.split(" ")
            request = Request(method, target.partition("?")[0], headers, rest[:length])
            self._task = asyncio.ensure_future(self._reply(request))

    async def _reply(self, request: Request) -> None:
        reply = await self._answer(request)
        self._transport.write(reply.encode())
        if reply.cut:
            self._transport.close()
