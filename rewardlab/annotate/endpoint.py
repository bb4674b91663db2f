"""Asks a chat-completions endpoint many questions: how many at once, how fast, how stubbornly, and when to stop.

A fixed number of workers keeps ``concurrency`` requests in flight within the rate limits and the budget. Transient
failures are tried again (``retry.py``). When nothing more should be asked (the budget is used up, the breaker is open,
the key is refused), requests under way are still waited for, because they will be charged. Answers go to the journal
the moment they come; one that is reported as done is on disk.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rewardlab.annotate.completion import Usage, read_completion, read_usage
from rewardlab.annotate.event_loop import run_to_end
from rewardlab.annotate.journal import Journal, JournalWriter
from rewardlab.annotate.limits import Breaker, RateLimits
from rewardlab.annotate.lost_requests import LostRequests
from rewardlab.annotate.money import BudgetError, Spending, booked_tokens, estimated
from rewardlab.annotate.retry import (
    BadBody,
    RetryPolicy,
    attempts,
    described,
    is_content_filter,
    is_fatal,
    may_be_charged,
)
from rewardlab.annotate.sampling import advice
from rewardlab.config import AnnotateConfig
from rewardlab.errors import AnnotationError, RewardlabError

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from tenacity import AsyncRetrying

CHAT_PATH = "/chat/completions"
SYNC_S = 0.05
"""Longest time between an answer's arrival and the call that puts it on disk."""
KEPT = "What was answered is kept: the same command asks the rest"


@dataclass(frozen=True, slots=True)
class Call:
    """One chat request.

    Attributes:
        key: Content hash under which its answer is kept.
        body: Model, messages and sampling settings, as they are sent.
        prompt_tokens: Estimate, on the high side.
        response_tokens: The most the answer may have.
    """

    key: str
    body: dict[str, Any]
    prompt_tokens: int
    response_tokens: int


class Stopped(Exception):
    """Nothing more is asked; the reason stands elsewhere."""


class Endpoint:
    """Requests of one call, while they are under way.

    Args:
        config: Concurrency, rate limits, timeout, attempts, the breaker's limit.
        connect: Makes a client; its own retries must be off.
        journal: Where answers are kept.
        spending: The ledger; its budget is checked before each attempt.
        author: What every record says besides the answer; never the key that paid for it.
        redact: Takes secrets out of an error's text.
    """

    def __init__(
        self,
        config: AnnotateConfig,
        connect: Callable[[], AsyncOpenAI],
        journal: Journal,
        spending: Spending,
        author: dict[str, str],
        redact: Callable[[str], str],
    ) -> None:
        self.config = config
        self.connect = connect
        self.journal = journal
        self.spending = spending
        self.author = author
        self.redact = redact
        self.failed: dict[str, dict[str, Any]] = {}
        self._retry = RetryPolicy(config.attempts, config.backoff_s)
        self._breaker = Breaker(config.breaker)
        self._lost = LostRequests(journal.path)
        self._reason: Exception | None = None
        self._done = 0

    def ask(self, calls: Sequence[Call], report: Callable[[int], None]) -> None:
        """Ask them all: each ends in the journal or in ``failed``.

        Args:
            calls: Different requests, none of them in the journal.
            report: Told how many are done.
        Raises:
            AnnotationError: It stopped before all were asked.
        """
        run_to_end(self._run(calls, report))
        if self._reason is not None:
            raise self._reason

    async def _run(self, calls: Sequence[Call], report: Callable[[int], None]) -> None:
        section = self.config
        sizes = [call.prompt_tokens + call.response_tokens for call in calls]
        self._limits = RateLimits(section.requests_per_minute, section.tokens_per_minute, sizes)
        self._stopping, self._settled = asyncio.Event(), asyncio.Event()
        finished = asyncio.Event()
        queue = iter(calls)
        with self.journal.writer() as self._writer:
            syncing = asyncio.create_task(self._sync(self._writer, report, finished))
            try:
                async with self.connect() as client, asyncio.TaskGroup() as workers:
                    for _ in range(min(section.concurrency, len(calls))):
                        workers.create_task(self._work(client, queue))
            finally:
                finished.set()
                await syncing

    async def _sync(self, writer: JournalWriter, report: Callable[[int], None], finished: asyncio.Event) -> None:
        """Put answers on disk, many at a time, and report them."""
        reported = 0
        while not (is_last := finished.is_set()) or reported < self._done:
            if not is_last:
                with suppress(TimeoutError):
                    await asyncio.wait_for(finished.wait(), SYNC_S)
            if reported < self._done:
                reported = self._done
                try:
                    await asyncio.to_thread(writer.sync)
                except RewardlabError as error:
                    self._stop(error)
                    return
                report(reported)

    async def _work(self, client: AsyncOpenAI, queue: Iterator[Call]) -> None:
        retrying = attempts(self._retry, self._pause)
        for call in queue:
            try:
                self._take(call, {**self.author, **await self._ask(client, call, retrying)})
            except Stopped:
                return
            except Exception as error:  # whatever it is, answers under way are still waited for and kept
                self._stop(_as_ours(error))
                return

    def _take(self, call: Call, answer: dict[str, Any]) -> None:
        is_failure = answer["finish"] == "failed"
        if is_failure:
            self.failed[call.key] = {"key": call.key, **answer}
        else:
            self._writer.write(call.key, answer)
        self._done += 1
        self._breaker.note(is_failure=is_failure)
        if self._breaker.is_open:
            self._stop(
                AnnotationError(
                    f"{self._breaker.limit} requests failed in a row (the last: {answer['error']}); look at the "
                    f"endpoint, or raise annotate.breaker. {KEPT}"
                )
            )

    def _stop(self, reason: Exception) -> None:
        self._reason = self._reason or reason
        self._stopping.set()

    async def _ask(self, client: AsyncOpenAI, call: Call, retrying: AsyncRetrying) -> dict[str, Any]:
        """The answer to one request, or the record of its failure; raises Stopped when there will be neither."""
        from openai import OpenAIError

        try:
            async for attempt in retrying:
                with attempt:
                    return await self._attempt(client, call)
        except BudgetError as error:
            self._stop(BudgetError(f"{error}; raise --budget-usd. {KEPT}"))
            raise Stopped from error
        except (OpenAIError, BadBody, TimeoutError) as error:
            return self._failure(call, error)
        raise AssertionError("tenacity ends with an answer or an error")

    async def _attempt(self, client: AsyncOpenAI, call: Call) -> dict[str, Any]:
        await self._limits.wait(call.prompt_tokens + call.response_tokens)
        reserved = await self._reserve(call)
        try:
            async with asyncio.timeout(self.config.timeout_s):
                body = _parsed(await client.post(CHAT_PATH, body=call.body, cast_to=str))
        except BaseException as error:
            self._give_up(call, reserved, may_be_charged=may_be_charged(error))
            raise
        else:
            booked = self._settle(call, reserved, read_usage(body))
        finally:
            self._settled.set()
        return self._read(call, body, booked)

    def _give_up(self, call: Call, reserved_usd: float, *, may_be_charged: bool) -> None:
        self.spending.give_up(reserved_usd, may_be_charged=may_be_charged)
        if may_be_charged:
            highest = {"prompt_tokens": call.prompt_tokens, "response_tokens": call.response_tokens}
            self._lost.note(call.key, {**self.author, **highest}, is_certain=False)

    def _settle(self, call: Call, reserved_usd: float, used: Usage) -> dict[str, Any]:
        """Book an answer; returns the record of its tokens, estimated where the endpoint counted nothing."""
        counted = {"prompt_tokens": used.prompt, "response_tokens": used.response}
        record = estimated(counted, call.prompt_tokens, call.response_tokens)
        self.spending.settle(reserved_usd, *booked_tokens(record))
        return record

    def _read(self, call: Call, body: dict[str, Any], booked: dict[str, Any]) -> dict[str, Any]:
        """The answer in a body; one that is none was charged all the same."""
        is_answer = False
        try:
            record = {**read_completion(body), **booked}
            is_answer = record["finish"] != "failed"
            return record | ({"error": self.redact(record["error"])} if "error" in record else {})
        finally:
            if not is_answer:
                self._lost.note(call.key, {**self.author, **booked}, is_certain=True)

    async def _reserve(self, call: Call) -> float:
        """Set the call's highest cost aside; waits while answers under way may turn out cheaper than feared."""
        price, spending = self.spending.price, self.spending
        worst = price.cost_usd(call.prompt_tokens, call.response_tokens) if price else 0.0
        while spending.under_way and not spending.has_room(worst):
            self._settled.clear()
            await self._settled.wait()
        if self._stopping.is_set():
            raise Stopped
        spending.reserve(worst)
        return worst

    async def _pause(self, seconds: float) -> None:
        """A back-off that ends early when nothing more will be asked."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _failure(self, call: Call, error: Exception) -> dict[str, Any]:
        reason = self.redact(described(error))
        if what_to_do := advice(reason, call.body):
            self._stop(
                AnnotationError(f"the endpoint refused the annotator's requests ({reason}); {what_to_do}. {KEPT}")
            )
        elif is_fatal(error):
            self._stop(
                AnnotationError(
                    f"the endpoint refused the annotator's requests ({reason}); check OPENAI_API_KEY, its account, "
                    f"annotate.model and annotate.base_url. {KEPT}"
                )
            )
        if is_content_filter(error):
            return {"text": "", "finish": "content_filter", "error": reason}
        return {"text": "", "finish": "failed", "error": reason}


def _as_ours(error: Exception) -> RewardlabError:
    """An error that is not a request's own, as one that a user can act on; the cause is kept."""
    if isinstance(error, RewardlabError):
        return error
    ours = AnnotationError(f"asking stopped: {described(error)}. {KEPT}")
    ours.__cause__ = error
    return ours


def _parsed(text: str) -> dict[str, Any]:
    """The body of a response; raises BadBody when it is no JSON object."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadBody(f"the body is no JSON ({error}): {text[:80]!r}") from error
    if not isinstance(body, dict):
        raise BadBody(f"the body is no JSON object: {text[:80]!r}")
    return body
