"""The ``openai`` annotator: any OpenAI-compatible endpoint, through the openai SDK.

A fixed number of workers keeps ``concurrency`` requests in flight. Transient failures (408, 409, 429, 5xx, lost
connections, bodies that are no completion) are tried again with jittered back-off, honouring ``Retry-After``. Every
answer is in the journal before it is used; failures are not, so the next run asks again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rewardlab.annotate.base import (
    Annotation,
    Progress,
    Ranking,
    RankingRequest,
    RationaleRequest,
    request_key,
    silent,
)
from rewardlab.annotate.completion import as_annotation, as_ranking
from rewardlab.annotate.journal import Journal
from rewardlab.annotate.prompting import ranking_request, rationale_request
from rewardlab.annotate.retry import BadBody, RetryPolicy, attempts, is_content_filter, is_fatal
from rewardlab.config import AnnotateConfig
from rewardlab.errors import AnnotationError, InputError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

KEY_VARIABLE = "OPENAI_API_KEY"
DEFAULT_MODEL = "gpt-4o-mini"
RANKING_BUDGET = 4
"""A ranking argues about up to five answers: its token budget is this many rationales."""


@dataclass(frozen=True, slots=True)
class Call:
    """One chat request.

    Attributes:
        key: Content hash under which its answer is kept.
        body: Model, messages and sampling settings, as they are sent.
    """

    key: str
    body: dict[str, Any]


class OpenAIAnnotator:
    """Asks a chat-completions endpoint.

    Args:
        config: Model, base URL, concurrency, timeout, temperature, share of failures that is borne.
        journal: Where answers are kept.
        retry: How often a request is tried, and the waits between.
    Raises:
        InputError: ``OPENAI_API_KEY`` is not set.
    """

    name = "openai"

    def __init__(self, config: AnnotateConfig, journal: Journal, retry: RetryPolicy | None = None) -> None:
        self.config = config
        self.model = config.model or DEFAULT_MODEL
        self.journal = journal
        self.retry = retry or RetryPolicy()
        self._secret = api_key()

    def rationales(self, requests: Sequence[RationaleRequest], progress: Progress = silent) -> list[Annotation]:
        """One rationale per request; raises AnnotationError when too many fail."""
        calls = [self._call(rationale_request(r.example, r.label), self.config.max_new_tokens) for r in requests]
        return self._answers(calls, "rationales", progress)

    def rank_many(self, requests: Sequence[RankingRequest], progress: Progress = silent) -> list[Ranking]:
        """One ranking per request; raises AnnotationError when too many fail."""
        budget = RANKING_BUDGET * self.config.max_new_tokens
        calls = [self._call(ranking_request(r.example, r.responses), budget) for r in requests]
        answers = self._answers(calls, "rankings", progress)
        return [as_ranking(answer, len(r.responses)) for answer, r in zip(answers, requests, strict=True)]

    def redacted(self, text: str) -> str:
        """The text on one line, without the key."""
        return " ".join(text.replace(self._secret, "[key]").split())[:300]

    def client(self) -> AsyncOpenAI:
        """A fresh client; retries are ours, so the SDK's are off."""
        from openai import AsyncOpenAI

        return AsyncOpenAI(
            api_key=self._secret, base_url=self.config.base_url, timeout=self.config.timeout_s, max_retries=0
        )

    def record(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        """What is kept of one answer; never the key that paid for it."""
        return {"key": call.key, "annotator": self.name, "model": self.model, **answer}

    def _call(self, prompt: str, max_tokens: int) -> Call:
        messages = [{"role": "user", "content": prompt}]
        sampling = {"temperature": self.config.temperature, "max_tokens": max_tokens}
        body = {"model": self.model, "messages": messages, **sampling}
        return Call(request_key({"annotator": self.name, **body}), body)

    def _answers(self, calls: Sequence[Call], what: str, progress: Progress) -> list[Annotation]:
        known = {call.key for call in calls if call.key in self.journal}
        missing = {call.key: call for call in calls if call.key not in known}
        batch = _Batch(self, len(known) + len(missing), lambda done: progress(what, len(known) + done, batch.total))
        batch.report(0)
        if missing:
            batch.ask(list(missing.values()))
        records = [self.journal.get(call.key) or batch.failed[call.key] for call in calls]
        return [as_annotation(record, str(record["key"]) in known) for record in records]


@dataclass(slots=True)
class _Batch:
    """The requests of one call, while they are under way."""

    annotator: OpenAIAnnotator
    total: int
    report: Callable[[int], None]
    done: int = 0
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)

    def ask(self, calls: Sequence[Call]) -> None:
        """Ask them all; a failure that would repeat itself ends the batch at once."""
        try:
            asyncio.run(self._run(calls))
        except* AnnotationError as group:
            raise _first(group) from None
        self._check(0)

    async def _run(self, calls: Sequence[Call]) -> None:
        queue = iter(calls)
        async with self.annotator.client() as client, asyncio.TaskGroup() as workers:
            for _ in range(min(self.annotator.config.concurrency, len(calls))):
                workers.create_task(self._work(client, queue))

    async def _work(self, client: AsyncOpenAI, queue: Iterator[Call]) -> None:
        for call in queue:
            answer = self.annotator.record(call, await self._ask(client, call))
            if answer["finish"] == "failed":
                self.failed[call.key] = answer
                self._check(self.annotator.config.concurrency)
            else:
                self.annotator.journal.append(call.key, answer)
            self.done += 1
            self.report(self.done)

    async def _ask(self, client: AsyncOpenAI, call: Call) -> dict[str, Any]:
        from openai import OpenAIError

        try:
            async for attempt in attempts(self.annotator.retry):
                with attempt:
                    return _read(await client.chat.completions.create(**call.body))
        except (OpenAIError, BadBody, ValueError) as error:
            return self._failure(error)
        raise AssertionError("tenacity ends with an answer or an error")

    def _failure(self, error: Exception) -> dict[str, Any]:
        reason = self.annotator.redacted(f"{type(error).__name__}: {error}")
        if is_fatal(error):
            raise AnnotationError(
                f"the endpoint refused the annotator's requests ({reason}); check {KEY_VARIABLE}, annotate.model "
                "and annotate.base_url. What was answered is kept: the same command goes on"
            )
        if is_content_filter(error):
            return {"text": "", "finish": "content_filter", "error": reason}
        return {"text": "", "finish": "failed", "error": reason}

    def _check(self, at_least: int) -> None:
        """Raise once too many requests failed; ``at_least`` keeps the first few from ending a run."""
        allowed = self.annotator.config.max_failed
        if len(self.failed) <= max(allowed * self.total, at_least - 1):
            return
        last = next(reversed(self.failed.values()))["error"]
        raise AnnotationError(
            f"{len(self.failed)} of {self.total} requests failed, more than annotate.max_failed = {allowed:g} "
            f"(last: {last}); what was answered is kept, so the same command asks only the rest"
        )


def api_key() -> str:
    """The key from the environment; raises InputError with the alternatives when there is none."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise InputError(
            f"--annotator openai: {KEY_VARIABLE} is not set; export it (any text will do for a local endpoint), "
            "or choose --annotator local, template or sandbox"
        )
    return key


def _read(completion: Any) -> dict[str, Any]:
    """A chat completion as a raw record; raises BadBody when it is none."""
    choices = getattr(completion, "choices", None)
    if not choices:
        raise BadBody(f"the body holds no choices: {str(completion)[:80]!r}")
    message, usage = choices[0].message, completion.usage
    return {
        "text": message.content or "",
        "finish": choices[0].finish_reason,
        "refusal": getattr(message, "refusal", None),
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "response_tokens": usage.completion_tokens if usage else None,
    }


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
