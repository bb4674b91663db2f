"""A chat-completions server with named behaviours: ``http://127.0.0.1:PORT/BEHAVIOUR/v1``.

============== ======================================================================================
``ok``         an answer that names the label asked for, or the ranking 1>2>...
``slow``       the same after 50 ms
``hanging``    no answer while the server is open
``together``   the same once 64 requests are waiting for it
``half``       the same for the first 300 requests; later ones wait until :meth:`ChatServer.go_on` is called
``429``        429 with ``Retry-After`` the first time a request is seen, then ``ok``
``500``        500, always
``flaky``      500 the first time a request is seen, then ``ok``
``dropped``    the connection is closed in the middle of the body the first time, then ``ok``
``malformed``  half a JSON object, always
``html``       a web page, always
``deep``       200 000 opening brackets, always
``later``      429 that asks to wait an hour, always
``parts``      the content is a list of parts
``broken_off`` finish reason ``error`` in the middle of an answer
``uncounted``  an answer without token counts
``empty``      no choices, always
``refusal``    the model declines, in so many words
``declined``   the model declines through the message's ``refusal`` field
``filter``     finish reason ``content_filter``
``blocked``    400 with code ``content_filter``
``truncated``  finish reason ``length``
``invalid``    400, the request itself is at fault
``denied``     401, the key repeated in the message
``reasoner``   as OpenAI's reasoning models: takes max_completion_tokens, no max_tokens, no temperature
``strict``     422 for max_completion_tokens and whatever else it does not know, as an older server
``silent``     as ``reasoner``, but all its tokens go into reasoning
``thinking``   the thoughts stand in front of the answer, in their tags
``first``      always prefers the answer that is shown first
``says-NAME``  answers a question with NAME, in the form that it asks for
``mixed``      one of :data:`MIXED`, chosen by the request's content: 30 % do not end as they should
============== ======================================================================================

Under the same base URL are files and batches (``batch_api.py``). ``python -m tests.servers.chat_server`` serves until
its standard input is closed, and prints its port first.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
import time
from collections import Counter
from typing import Any

from tests.servers.batch_api import BatchApi
from tests.servers.http_server import HttpServer, Reply, Request

RETRY_AFTER_S = 0.3
SLOW_S = 0.05
TOGETHER, HALF = 64, 300
PATIENCE_S = 300
"""Longest wait for requests that never come; ``together`` then answers 500."""
FAULTS = ("429", "500", "dropped", "malformed", "empty", "filter", "truncated", "refusal", "declined")
MIXED = ("ok",) * 21 + FAULTS
ONCE = ("429", "flaky", "dropped")


class ChatServer(HttpServer):
    """Serves while it is open; use it as a context manager.

    Attributes:
        seen: How often each request body came, by its text.
        bodies: Every request body, in the order they came.
        headers: Every header name that came, in lower case.
        times: When each came, seconds.
        in_flight_peak: Most requests that were being answered at the same moment.
        batches: The files and batches.
    """

    def __init__(self, port: int = 0) -> None:
        super().__init__(self._respond, port)
        self.seen: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: set[str] = set()
        self.times: list[float] = []
        self.in_flight = 0
        self.in_flight_peak = 0
        self._busy_s = 0.0
        self._waiting: list[asyncio.Future[None]] = []
        self._may_go_on = asyncio.Event()
        self.batches = BatchApi(lambda behaviour, body: self._behave(behaviour, body, {}))

    @property
    def requests(self) -> int:
        """How many chat requests came."""
        return len(self.times)

    @property
    def latency_s(self) -> float:
        """Mean time between a request and its reply, seconds."""
        return self._busy_s / max(self.requests, 1)

    def go_on(self) -> None:
        """Answer the requests that ``half`` holds back, and those that follow."""
        self._loop.call_soon_threadsafe(self._may_go_on.set)

    def url(self, behaviour: str) -> str:
        """The base URL that behaves like that."""
        return f"http://127.0.0.1:{self.port}/{behaviour}/v1"

    async def _respond(self, request: Request) -> Reply:
        behaviour, _, rest = request.path.strip("/").partition("/v1/")
        if rest != "chat/completions":
            if behaviour == "denied":
                return self._behave(behaviour, {}, request.headers)
            return self.batches.respond(behaviour, rest, request)
        begin = time.monotonic()
        self.in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
        try:
            body = request.json()
            self.headers.update(request.headers)
            behaviour = self._note(behaviour, body)
            return self._behave(await self._waited(behaviour), body, request.headers)
        finally:
            self.in_flight -= 1
            self._busy_s += time.monotonic() - begin

    async def _waited(self, behaviour: str) -> str:
        """Let the time pass that a behaviour takes; returns how the request is treated then."""
        match behaviour:
            case "slow":
                await asyncio.sleep(SLOW_S)
            case "hanging":
                await asyncio.Event().wait()
            case "half" if self.requests > HALF:
                await self._may_go_on.wait()
            case "together":
                return "ok" if await self._are_together() else "500"
        return behaviour

    async def _are_together(self) -> bool:
        """Wait for the other requests; False when they do not come."""
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        if len(self._waiting) == TOGETHER:
            for each in self._waiting:
                each.set_result(None)
            self._waiting.clear()
        done, _ = await asyncio.wait([mine], timeout=PATIENCE_S)
        return bool(done)

    def _note(self, behaviour: str, body: dict[str, Any]) -> str:
        """Count a request, and say how it is treated."""
        text = json.dumps(body, sort_keys=True)
        self.times.append(time.monotonic())
        self.bodies.append(body)
        self.seen[text] += 1
        if behaviour == "mixed":
            behaviour = mixed(body["messages"][-1]["content"])
        return "ok" if behaviour in ONCE and self.seen[text] > 1 else behaviour

    def _behave(self, behaviour: str, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        key = headers.get("authorization", "").removeprefix("Bearer ")
        match behaviour:
            case "429":
                return Reply.of(error("slow down", "rate_limit_exceeded"), 429, Retry_After=str(RETRY_AFTER_S))
            case "500" | "flaky":
                return Reply.of(error("broken", "server_error"), 500)
            case "dropped":
                return Reply(json.dumps(completion(body, answer(body))).encode(), cut=True)
            case "malformed":
                return Reply(b'{"id": "x", "choices": [{"mess')
            case "html":
                return Reply(b"<html>please log in</html>", kind="text/html")
            case "deep":
                return Reply(b"[" * 200_000)
            case "later":
                return Reply.of(error("come back later", "rate_limit_exceeded"), 429, Retry_After="3600")
            case "empty":
                return Reply.of({**completion(body, ""), "choices": []})
            case "blocked":
                return Reply.of(error("the prompt was withheld", "content_filter"), 400)
            case "invalid":
                return Reply.of(error("max_tokens is too large", "invalid_request"), 400)
            case "reasoner" | "silent" | "strict":
                return _picky(behaviour, body)
            case "denied":
                return Reply.of(error(f"Incorrect API key provided: {key}", "invalid_api_key"), 401)
        return Reply.of(_completed(behaviour, body))


def _picky(behaviour: str, body: dict[str, Any]) -> Reply:
    """Refusals of sampling settings in their servers' own words."""
    if behaviour == "strict" and "max_completion_tokens" in body:
        found = {
            "type": "extra_forbidden",
            "loc": ["body", "max_completion_tokens"],
            "msg": "Extra inputs are not permitted",
        }
        return Reply.of({"detail": [found]}, 422)
    if behaviour != "strict" and "max_tokens" in body:
        text = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return Reply.of(error(text, "unsupported_parameter"), 400)
    if behaviour != "strict" and body.get("temperature", 1) != 1:
        text = "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) is."
        return Reply.of(error(text, "unsupported_value"), 400)
    return Reply.of(completion(body, "", finish="length") if behaviour == "silent" else _completed("ok", body))


def mixed(prompt: str) -> str:
    """How ``mixed`` treats a prompt."""
    return MIXED[hashlib.sha256(prompt.encode()).digest()[0] % len(MIXED)]


def _completed(behaviour: str, body: dict[str, Any]) -> dict[str, Any]:
    match behaviour:
        case "refusal":
            return completion(body, "I'm sorry, but I cannot argue for that answer.")
        case "declined":
            return completion(body, None, refusal="I can't help with that.")
        case "filter":
            return completion(body, "", finish="content_filter")
        case "parts":
            parts = [{"type": "text", "text": part} for part in re.findall(r"\S+\s*", answer(body))]
            return completion(body, parts)
        case "broken_off":
            return completion(body, "The review is", finish="error")
        case "uncounted":
            return {name: part for name, part in completion(body, answer(body)).items() if name != "usage"}
        case "truncated":
            return completion(body, "The review is", finish="length")
        case "thinking":
            return completion(body, f"<think>\nRanking: 2>1? Answer 1 is better?\n</think>\n\n{answer(body)}")
        case "first":
            return completion(body, "Answer 1 is better. It comes first.")
    if behaviour.startswith("says-"):
        return completion(body, _labelled(behaviour.removeprefix("says-"), body["messages"][-1]["content"]))
    return completion(body, answer(body))


def _labelled(label: str, prompt: str) -> str:
    if "<Judgement>" in prompt:
        return f"Of course.\n<Judgement> {label} </Judgement>\nAnything else?"
    return f"It is plain to see.\n\nThe answer is: {label}" if "step by step" in prompt else label


def answer(body: dict[str, Any]) -> str:
    """What a willing model says; of two answers it prefers the longer one, and a word is worth a point in grades."""
    prompt = body["messages"][-1]["content"]
    if "[Grade]" in prompt:
        graded = prompt.partition("[Response]\n")[2].partition("[Grade]")[0]
        return f"Grade: {min(10, len(graded.split()))}/10"
    if "please choose which one is better" in prompt:
        first, second = re.findall(r"\[Answer \d\] (.*?)\n\n", prompt, re.DOTALL)
        return "Equal" if len(first) == len(second) else f"Answer {1 + (len(second) > len(first))} is better"
    if "[Answer 1]" in prompt:
        count = len(re.findall(r"^\[Answer \d+\]", prompt, re.MULTILINE))
        return "All are plausible.\n\nRanking: " + ">".join(str(number) for number in range(1, count + 1))
    label = re.search(r'rationale for the answer "([^"]*)"', prompt)
    return f"Every word of it speaks for {label[1] if label else 'nothing'}."


def completion(
    body: dict[str, Any], text: str | list[dict[str, str]] | None, finish: str = "stop", refusal: str | None = None
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


if __name__ == "__main__":
    with ChatServer() as server:
        print(server.port, flush=True)
        sys.stdin.read()
        print(json.dumps({"requests": server.requests, "latency_s": server.latency_s}), flush=True)
