"""A chat-completions server in a thread, with named behaviours: ``http://127.0.0.1:PORT/BEHAVIOUR/v1``.

============== ======================================================================================
``ok``         an answer that names the label asked for, or the ranking 1>2>...
``slow``       the same after 50 ms
``429``        429 with ``Retry-After`` the first time a request is seen, then ``ok``
``500``        500, always
``flaky``      500 the first time a request is seen, then ``ok``
``dropped``    the connection is closed in the middle of the body the first time, then ``ok``
``malformed``  half a JSON object, always
``html``       a web page, always
``empty``      no choices, always
``refusal``    the model declines, in so many words
``declined``   the model declines through the message's ``refusal`` field
``filter``     finish reason ``content_filter``
``blocked``    400 with code ``content_filter``
``truncated``  finish reason ``length``
``denied``     401, the key repeated in the message
``mixed``      one of the above, chosen by the request's content
============== ======================================================================================
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RETRY_AFTER_S = 0.3
SLOW_S = 0.05
MIXED = ("ok", "ok", "ok", "429", "flaky", "dropped", "500", "refusal", "filter", "truncated")


class ChatServer:
    """Serves while it is open; use it as a context manager.

    Attributes:
        seen: How often each request body came, by its text.
        in_flight_peak: Most requests that were being answered at the same moment.
        times: When each request came, seconds.
    """

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.in_flight = 0
        self.in_flight_peak = 0
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def requests(self) -> int:
        """How many requests came."""
        return len(self.times)

    def url(self, behaviour: str) -> str:
        """The base URL that behaves like that."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{behaviour}/v1"

    def note(self, body: dict[str, Any]) -> int:
        """Count a request; how often it was seen before."""
        text = json.dumps(body, sort_keys=True)
        with self.lock:
            self.times.append(time.monotonic())
            self.bodies.append(body)
            self.seen[text] += 1
            return self.seen[text] - 1


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

        def do_POST(self) -> None:
            with server.lock:
                server.in_flight += 1
                server.in_flight_peak = max(server.in_flight_peak, server.in_flight)
            try:
                self._answer()
            finally:
                with server.lock:
                    server.in_flight -= 1

        def _answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            before = server.note(body)
            behaviour = self.path.split("/")[1]
            if behaviour == "mixed":
                behaviour = MIXED[sum(map(ord, body["messages"][-1]["content"])) % len(MIXED)]
            if behaviour in ("429", "flaky", "dropped") and before:
                behaviour = "ok"
            getattr(self, f"_{behaviour}")(body)

        def _ok(self, body: dict[str, Any]) -> None:
            self._send(200, completion(body, answer(body)))

        def _slow(self, body: dict[str, Any]) -> None:
            time.sleep(SLOW_S)
            self._ok(body)

        def _429(self, body: dict[str, Any]) -> None:
            self._send(429, error("slow down", "rate_limit_exceeded"), {"Retry-After": str(RETRY_AFTER_S)})

        def _500(self, body: dict[str, Any]) -> None:
            self._send(500, error("broken", "server_error"))

        _flaky = _500

        def _dropped(self, body: dict[str, Any]) -> None:
            data = json.dumps(completion(body, answer(body))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True

        def _malformed(self, body: dict[str, Any]) -> None:
            self._raw(200, b'{"id": "x", "choices": [{"mess', "application/json")

        def _html(self, body: dict[str, Any]) -> None:
            self._raw(200, b"<html>please log in</html>", "text/html")

        def _empty(self, body: dict[str, Any]) -> None:
            self._send(200, {**completion(body, ""), "choices": []})

        def _refusal(self, body: dict[str, Any]) -> None:
            self._send(200, completion(body, "I'm sorry, but I cannot argue for that answer."))

        def _declined(self, body: dict[str, Any]) -> None:
            self._send(200, completion(body, None, refusal="I can't help with that."))

        def _filter(self, body: dict[str, Any]) -> None:
            self._send(200, completion(body, "", finish="content_filter"))

        def _blocked(self, body: dict[str, Any]) -> None:
            self._send(400, error("the prompt was withheld", "content_filter"))

        def _truncated(self, body: dict[str, Any]) -> None:
            self._send(200, completion(body, "The review is", finish="length"))

        def _denied(self, body: dict[str, Any]) -> None:
            key = self.headers["Authorization"].removeprefix("Bearer ")
            self._send(401, error(f"Incorrect API key provided: {key}", "invalid_api_key"))

        def _send(self, status: int, value: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            self._raw(status, json.dumps(value).encode(), "application/json", headers)

        def _raw(self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    return Handler


def answer(body: dict[str, Any]) -> str:
    """What a willing model says."""
    prompt = body["messages"][-1]["content"]
    if "[Answer 1]" in prompt:
        count = len(re.findall(r"^\[Answer \d+\]", prompt, re.MULTILINE))
        return "All are plausible.\n\nRanking: " + ">".join(str(number) for number in range(1, count + 1))
    label = re.search(r'rationale for the answer "([^"]*)"', prompt)
    return f"Every word of it speaks for {label[1] if label else 'nothing'}."


def completion(
    body: dict[str, Any], text: str | None, finish: str = "stop", refusal: str | None = None
) -> dict[str, Any]:
    """A chat completion as the API sends it; 7 prompt tokens and 5 response tokens."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }


def error(message: str, code: str) -> dict[str, Any]:
    """An error body as the API sends it."""
    return {"error": {"message": message, "type": "error", "code": code}}
