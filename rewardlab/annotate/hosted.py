"""The ``openai`` annotator: any OpenAI-compatible endpoint, through the openai SDK.

Every answer is in the journal before it is used; failures are not, so the next run asks again. A question is known by
its model, messages and sampling settings, wherever it was asked: another port, or another name of the same server,
does not pay for it again. Two servers that call different models by one name need ``--runs`` folders of their own; a
warning says so when answers of another address are taken. How requests are sent
stands in ``endpoint.py``, the provider's batch endpoints in ``batches.py``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from rewardlab.annotate.access import KEY_VARIABLE, api_key, asked_with, endpoint, sampled_with
from rewardlab.annotate.base import (
    Ability,
    Annotation,
    Annotator,
    GradeRequest,
    Progress,
    Ranking,
    RankingRequest,
    RationaleRequest,
    Resources,
    request_key,
    silent,
)
from rewardlab.annotate.batches import Batches
from rewardlab.annotate.client import make_client
from rewardlab.annotate.completion import as_annotation, as_ranking
from rewardlab.annotate.endpoint import Call, Endpoint
from rewardlab.annotate.journal import Journal
from rewardlab.annotate.lost_requests import LostRequests
from rewardlab.annotate.money import Purse, estimate_tokens, new_spending
from rewardlab.annotate.pairwise import Judgement, JudgeRequest, judge_pairs, judge_prompts
from rewardlab.annotate.prompting import prompt_versions, ranking_request, rationale_request
from rewardlab.annotate.sampling import advice, is_reasoning, longest_response, sampling_settings
from rewardlab.config import AnnotateConfig, RunConfig

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger(__name__)

DEFAULT_ENDPOINT = "https://api.openai.com/v1"
"""The SDK's own."""
DEFAULT_MODEL = "gpt-4o-mini"
SHORT_KEY = 12
"""Keys below this length are placeholders ("none", "x") of servers that ask for none; real ones are far longer."""
LONG_ANSWER = 4
"""A ranking or a judgement argues about several answers: its token budget is this many rationales."""


class OpenAIAnnotator(Annotator):
    """Asks a chat-completions endpoint.

    Args:
        config: Model, base URL, limits, budget, sampling settings.
        journal: Where answers are kept.
        purse: What the command spends, all its annotators together; None is this one alone.
        needs_key: False for one that is asked nothing, only what it would be asked.
    Attributes:
        spending: What this annotator has cost so far.
    Raises:
        InputError: ``OPENAI_API_KEY`` is not set, or a budget is given and the model's price is unknown.
    """

    name = "openai"
    summary = "a hosted model behind any OpenAI-compatible endpoint"
    needs = KEY_VARIABLE
    settings = ("model", "temperature")
    auto_reason = f"{KEY_VARIABLE} is set"
    is_paid = True
    is_judge = True
    has_batches = True

    def __init__(
        self, config: AnnotateConfig, journal: Journal, purse: Purse | None = None, *, needs_key: bool = True
    ) -> None:
        self.config = config
        self.model = config.model or DEFAULT_MODEL
        self.journal = journal
        self.spending = new_spending(self.model, config.budget_usd, config.prices, purse)
        self._secret = api_key() if needs_key else ""

    @classmethod
    def build(cls, given: Resources) -> Self:
        """With the journal of all runs."""
        return cls(given.config.annotate, Journal(given.journal(cls)), given.purse)

    @classmethod
    def to_preview(cls, given: Resources) -> Self:
        """One that is asked nothing, only what it would be asked; it needs no key."""
        return cls(given.config.annotate, Journal(given.journal(cls)), needs_key=False)

    @classmethod
    def identity(cls, config: RunConfig, ability: Ability) -> dict[str, Any]:
        """The model by its name and where it is asked, prompts and sampling."""
        section = config.annotate
        model, where = section.model or DEFAULT_MODEL, endpoint(section)
        if ability == "judge":
            return {"annotator_model": model, "endpoint": where, "prompt": prompt_versions()["judge"]}
        thoughts = {"reasoning_tokens": section.reasoning_tokens} if is_reasoning(section, model) else {}
        if ability == "grade":
            return {**sampled_with(section), "annotator_model": model, "endpoint": where, **thoughts}
        return {**asked_with(section), "annotator_model": section.model, "endpoint": where, **thoughts}

    @classmethod
    def check_access(cls) -> None:
        """The key has to be in the environment."""
        api_key()

    def rationales(self, requests: Sequence[RationaleRequest], progress: Progress = silent) -> list[Annotation]:
        """One rationale per request."""
        return self._answers(self.rationale_calls(requests), "rationales", progress)

    def rank_many(self, requests: Sequence[RankingRequest], progress: Progress = silent) -> list[Ranking]:
        """One ranking per request."""
        answers = self._answers(self.ranking_calls(requests), "rankings", progress)
        return [as_ranking(answer, len(r.responses)) for answer, r in zip(answers, requests, strict=True)]

    def judge_many(
        self, requests: Sequence[JudgeRequest], progress: Progress = silent, *, both_orders: bool = False
    ) -> list[Judgement]:
        """One judgement per request; in a drawn order, or in both."""

        def ask(prompts: list[str]) -> list[Annotation]:
            return self._answers(self._judge_calls(prompts), "judgements", progress)

        return judge_pairs(requests, ask, both_orders=both_orders)

    def grade_many(self, requests: Sequence[GradeRequest], progress: Progress = silent) -> list[Annotation]:
        """One answer per request."""
        return self._answers(self.grade_calls(requests), "grades", progress)

    def rationale_calls(self, requests: Sequence[RationaleRequest]) -> list[Call]:
        """What would be sent for these requests."""
        return [self._call(rationale_request(r.example, r.label), self.config.max_new_tokens) for r in requests]

    def ranking_calls(self, requests: Sequence[RankingRequest]) -> list[Call]:
        """What would be sent for these requests."""
        budget = LONG_ANSWER * self.config.max_new_tokens
        return [self._call(ranking_request(r.example, r.responses), budget) for r in requests]

    def grade_calls(self, requests: Sequence[GradeRequest]) -> list[Call]:
        """What would be sent for these requests."""
        return [self._call(r.ask(r.example), self.config.max_new_tokens) for r in requests]

    def judge_calls(self, requests: Sequence[JudgeRequest], *, both_orders: bool = False) -> list[Call]:
        """What would be sent for these requests."""
        return self._judge_calls(judge_prompts(requests, both_orders=both_orders))

    def answer_calls(self, prompts: Sequence[str], max_tokens: int, temperature: float, draw: int = 0) -> list[Call]:
        """What would be sent to have prompts answered.

        Args:
            prompts: A user's message each.
            max_tokens: Most tokens of an answer.
            temperature: In place of the annotator's.
            draw: Which of several draws of one question this is: another number is asked, and paid, anew.
        """
        calls = [self._call(prompt, max_tokens, temperature) for prompt in prompts]
        return [replace(call, key=request_key([call.key, draw])) for call in calls] if draw else calls

    def answer_many(self, calls: Sequence[Call], what: str, progress: Progress = silent) -> list[Annotation]:
        """One answer a call, of the journal or asked for."""
        return self._answers(calls, what, progress)

    def spent(self) -> dict[str, Any]:
        """What asking cost in this run."""
        return self.spending.to_json()

    def price_usd(self, answer: Annotation) -> float | None:
        """By the tokens that were counted, or estimated, for it."""
        record = self.journal.get(answer.key)
        return None if record is None or self.spending.price is None else self.spending.cost_of(record)

    def remember(self, keys: Collection[str]) -> None:
        """By what the journal has of them, answers that were lost included."""
        self._count_earlier(set(keys))

    def redacted(self, text: str) -> str:
        """The text on one line, without the key; a key as short as a word stays a secret only where it stands alone."""
        border = "" if len(self._secret) >= SHORT_KEY else r"(?<![\w-])"
        behind = "" if len(self._secret) >= SHORT_KEY else r"(?![\w-])"
        text = re.sub(f"{border}{re.escape(self._secret)}{behind}", "[key]", text) if self._secret else text
        return " ".join(text.split())[:300]

    def client(self) -> AsyncOpenAI:
        """A fresh client; retries are ours, so the SDK's are off."""
        return make_client(self._secret, self.config.base_url or None, self.config.timeout_s)

    def _judge_calls(self, prompts: Sequence[str]) -> list[Call]:
        return [self._call(prompt, LONG_ANSWER * self.config.max_new_tokens) for prompt in prompts]

    def _call(self, prompt: str, max_tokens: int, temperature: float | None = None) -> Call:
        messages = [{"role": "user", "content": prompt}]
        own = {} if temperature is None else {"temperature": temperature}
        sampling = sampling_settings(self.config.model_copy(update=own), self.model, max_tokens)
        body = {"model": self.model, "messages": messages, **sampling, **self.config.extra_body}
        return Call(
            self._key(body), body, estimate_tokens(prompt), longest_response(self.config, self.model, max_tokens)
        )

    def _key(self, body: dict[str, Any]) -> str:
        """Content hash of a request; the one that older versions gave it, with the address, where that is known."""
        key = request_key({"annotator": self.name, **body})
        if key in self.journal:
            return key
        former = request_key({"annotator": self.name, "endpoint": self._endpoint, **body})
        return former if former in self.journal or former in self._in_batches else key

    @cached_property
    def _endpoint(self) -> str | None:
        return endpoint(self.config)

    @cached_property
    def _in_batches(self) -> frozenset[str]:
        return self._batches().open_keys()

    def _batches(self) -> Batches:
        return Batches(self.client, self.journal, self.spending, self._author, self.redacted)

    def _answers(self, calls: Sequence[Call], what: str, progress: Progress) -> list[Annotation]:
        known = {call.key for call in calls if call.key in self.journal}
        self._count_earlier({call.key for call in calls})
        missing = list({call.key: call for call in calls if call.key not in known}.values())
        failed = self._ask(missing, len(known), what, progress)
        records = [self.journal.get(call.key) or failed[call.key] for call in calls]
        return [as_annotation(record, str(record["key"]) in known) for record in records]

    def _count_earlier(self, keys: set[str]) -> None:
        """Book what earlier runs paid for these questions, answered or lost."""
        new = keys - self.spending.purse.counted
        self.spending.purse.counted |= new
        answered = [self.journal.get(key) or {} for key in new if key in self.journal]
        self._warn_of_others(answered)
        for record in (*answered, *LostRequests(self.journal.path).of(new)):
            self.spending.add_earlier(record)

    def _ask(self, calls: Sequence[Call], known: int, what: str, progress: Progress) -> dict[str, dict[str, Any]]:
        """Get what is missing into the journal; returns the records of what failed."""

        def report(done: int) -> None:
            progress(f"{what}, {self.spending}", known + done, known + len(calls))

        report(0)
        if not calls:
            return {}
        batches = self._batches()
        if self.config.batch:
            failed = batches.run(self.config.batch, calls)
            return {call.key: _advised(call, failed[call.key]) for call in calls if call.key in failed}
        batches.check_none_open(calls)
        asking = Endpoint(self.config, self.client, self.journal, self.spending, self._author, self.redacted)
        asking.ask(calls, report)
        return asking.failed

    def _warn_of_others(self, answered: Sequence[dict[str, Any]]) -> None:
        here = self._endpoint or DEFAULT_ENDPOINT
        others = [where for record in answered if (where := record.get("endpoint", here)) != here]
        if others:
            logger.warning(
                "%s: %d answers of %s came from %s, not from %s; if that is another model, give other --runs",
                *(self.journal.path, len(others), self.model, others[0], here),
            )

    @property
    def _author(self) -> dict[str, str]:
        return {"annotator": self.name, "model": self.model, "endpoint": self._endpoint or DEFAULT_ENDPOINT}


def _advised(call: Call, failed: dict[str, Any]) -> dict[str, Any]:
    """The record of a failure, with the key to set where one would have helped."""
    what_to_do = advice(failed["error"], call.body)
    return {**failed, "error": f"{failed['error']}; {what_to_do}"} if what_to_do else failed
