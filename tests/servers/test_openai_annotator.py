"""The openai annotator against a real server over HTTP, through the real client."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiolimiter import AsyncLimiter

from rewardlab.annotate.base import RankingRequest, RationaleRequest, request_key
from rewardlab.annotate.completion import as_annotation
from rewardlab.annotate.hosted import OpenAIAnnotator
from rewardlab.annotate.journal import Journal, JournalWriter
from rewardlab.annotate.limits import RateLimits
from rewardlab.annotate.money import BudgetError, Purse
from rewardlab.annotate.pairwise import JudgeRequest
from rewardlab.annotate.prompting import rationale_request
from rewardlab.config import AnnotateConfig, RunConfig
from rewardlab.errors import AnnotationError, InputError
from rewardlab.types import Example
from tests.servers.annotating import KEY
from tests.servers.chat_server import RETRY_AFTER_S, ChatServer, mixed

QUICK = {"attempts": 3, "backoff_s": 0.01, "max_failed": 1.0}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def annotator(server: ChatServer, behaviour: str, folder: Path, **settings: object) -> OpenAIAnnotator:
    config = AnnotateConfig(model="m", base_url=server.url(behaviour), **{**QUICK, **settings})
    return OpenAIAnnotator(config, Journal(folder / "openai.jsonl"))


def requests(count: int) -> list[RationaleRequest]:
    rows = [Example("sst2", str(row), {"text": f"film number {row}"}, "positive") for row in range(count)]
    return [RationaleRequest(row, "positive") for row in rows]


def test_an_answer_is_returned_with_its_tokens(server: ChatServer, tmp_path: Path) -> None:
    (only,) = annotator(server, "ok", tmp_path).rationales(requests(1))
    assert only.outcome == "answered"
    assert only.text == "Every word of it speaks for positive."
    assert (only.prompt_tokens, only.response_tokens) == (7, 5)
    assert (only.annotator, only.model, only.from_journal) == ("openai", "m", False)
    assert server.bodies[0]["messages"][0]["content"].startswith("Movie review: film number 0")


def test_requests_do_not_describe_the_machine(server: ChatServer, tmp_path: Path) -> None:
    annotator(server, "ok", tmp_path).rationales(requests(1))
    assert "authorization" in server.headers
    assert not server.headers & {"x-stainless-os", "x-stainless-arch", "x-stainless-runtime-version"}


@pytest.mark.parametrize(
    ("behaviour", "outcome", "asked"),
    [
        ("ok", "answered", 1),
        ("429", "answered", 2),
        ("flaky", "answered", 2),
        ("dropped", "answered", 2),
        ("500", "failed", 3),
        ("malformed", "failed", 3),
        ("html", "failed", 3),
        ("deep", "failed", 3),
        ("later", "failed", 1),
        ("parts", "answered", 1),
        ("broken_off", "failed", 1),
        ("empty", "failed", 3),
        ("declined", "refused", 1),
        ("filter", "filtered", 1),
        ("blocked", "filtered", 1),
        ("truncated", "truncated", 1),
    ],
)
def test_every_behaviour_ends_in_its_class(
    server: ChatServer, tmp_path: Path, behaviour: str, outcome: str, asked: int
) -> None:
    (only,) = annotator(server, behaviour, tmp_path).rationales(requests(1))
    assert only.outcome == outcome
    assert server.requests == asked
    assert bool(only.reason) == (outcome != "answered")


def test_thoughts_are_no_part_of_an_answer(server: ChatServer, tmp_path: Path) -> None:
    thinking = annotator(server, "thinking", tmp_path)
    (only,) = thinking.rationales(requests(1))
    assert only.text == "Every word of it speaks for positive."
    (judged,) = thinking.judge_many(judge_requests()[:1], both_orders=True)
    assert judged.winner == "second"


@pytest.mark.parametrize(
    ("finish", "outcome", "key"),
    [("length", "truncated", "annotate.reasoning_tokens"), ("stop", "unparsable", "empty")],
)
def test_thoughts_without_an_end_are_no_answer(finish: str, outcome: str, key: str) -> None:
    record = {"key": "k", "annotator": "openai", "model": "m", "text": "<think>The film", "finish": finish}
    found = as_annotation(record)
    assert (found.text, found.outcome) == ("", outcome)
    assert key in found.reason


def test_retry_after_is_honoured(server: ChatServer, tmp_path: Path) -> None:
    annotator(server, "429", tmp_path).rationales(requests(1))
    assert server.times[1] - server.times[0] >= RETRY_AFTER_S  # our own back-off would be 0.01 s


def test_a_server_that_asks_to_wait_too_long_is_not_asked_early(server: ChatServer, tmp_path: Path) -> None:
    (only,) = annotator(server, "later", tmp_path).rationales(requests(1))
    assert "it asks to wait 3600 s, longer than the 120 s that are waited" in only.reason


def test_answers_in_parts_are_one_text(server: ChatServer, tmp_path: Path) -> None:
    (only,) = annotator(server, "parts", tmp_path).rationales(requests(1))
    assert only.text == "Every word of it speaks for positive."


def test_what_was_broken_off_is_asked_again(server: ChatServer, tmp_path: Path) -> None:
    annotator(server, "broken_off", tmp_path).rationales(requests(1))
    (again,) = annotator(server, "ok", tmp_path).rationales(requests(1))
    assert again.outcome == "answered"


def test_a_full_disk_stops_the_run_and_loses_no_answer_that_found_room(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fourth answer meets a full disk; those under way find room again and are waited for and kept."""
    written: list[str] = []
    write = JournalWriter.write

    def sometimes(self: JournalWriter, key: str, record: Mapping[str, Any]) -> None:
        written.append(key)
        if len(written) == 4:
            raise AnnotationError("the journal cannot be written (No space left on device)")
        write(self, key, record)

    monkeypatch.setattr(JournalWriter, "write", sometimes)
    with pytest.raises(AnnotationError, match="No space left"):
        annotator(server, "slow", tmp_path, concurrency=8).rationales(requests(40))
    assert 8 <= server.requests < 40
    assert len(Journal(tmp_path / "openai.jsonl")) == server.requests - 1


def test_whatever_goes_wrong_is_one_error_of_ours(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(text: str) -> None:
        raise ValueError("nobody thought of this")

    monkeypatch.setattr("rewardlab.annotate.endpoint._parsed", broken)
    with pytest.raises(AnnotationError, match="asking stopped: ValueError: nobody thought of this") as caught:
        annotator(server, "ok", tmp_path).rationales(requests(3))
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_timeout_counts_as_a_failure(server: ChatServer, tmp_path: Path) -> None:
    (only,) = annotator(server, "hanging", tmp_path, timeout_s=0.01).rationales(requests(1))
    assert only.outcome == "failed"
    assert "Timeout" in only.reason


def test_requests_run_side_by_side_up_to_the_limit(server: ChatServer, tmp_path: Path) -> None:
    answers = annotator(server, "slow", tmp_path, concurrency=5).rationales(requests(20))
    assert [answer.outcome for answer in answers] == ["answered"] * 20
    assert 2 <= server.in_flight_peak <= 5


@pytest.mark.parametrize("limit", ["requests_per_minute", "tokens_per_minute"])
def test_rate_limits_are_kept(server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """Each request waits for its share: of ten requests a second, or of the tokens of ten."""
    waited: list[tuple[float, float, float]] = []

    async def acquire(self: AsyncLimiter, amount: float = 1) -> None:
        waited.append((self.max_rate, self.time_period, amount))

    monkeypatch.setattr(AsyncLimiter, "acquire", acquire)
    calls = annotator(server, "ok", tmp_path).rationale_calls(requests(12))
    sizes = [call.prompt_tokens + call.response_tokens for call in calls]
    per_minute = {"requests_per_minute": 600, "tokens_per_minute": 600 * max(sizes)}[limit]
    annotator(server, "ok", tmp_path, **{limit: per_minute}).rationales(requests(12))
    expected = [1] * 12 if limit == "requests_per_minute" else sizes
    assert sorted(waited) == sorted((per_minute / 60, 1.0, amount) for amount in expected)


def test_a_share_is_as_large_as_the_largest_request() -> None:
    """60 tokens a minute and a request of 30: thirty seconds' worth at once."""
    limiter = RateLimits(None, 60, [5, 30])._tokens
    assert limiter is not None
    assert (limiter.max_rate, limiter.time_period) == (30, 30)


def test_answers_come_in_the_order_of_the_requests(server: ChatServer, tmp_path: Path) -> None:
    rows = requests(6)
    asked = [RationaleRequest(rows[i].example, "negative" if i % 2 else "positive") for i in range(6)]
    answers = annotator(server, "slow", tmp_path, concurrency=6).rationales(asked)
    assert ["negative" in answer.text for answer in answers] == [False, True] * 3


def test_the_same_question_is_asked_once(server: ChatServer, tmp_path: Path) -> None:
    first = annotator(server, "ok", tmp_path).rationales(requests(3) + requests(3))
    assert server.requests == 3
    second = annotator(server, "ok", tmp_path).rationales(requests(5))
    assert server.requests == 5  # only the two new ones
    assert [answer.from_journal for answer in second] == [True, True, True, False, False]
    assert [answer.text for answer in first[:3]] == [answer.text for answer in second[:3]]


def test_other_sampling_settings_are_another_question(server: ChatServer, tmp_path: Path) -> None:
    annotator(server, "ok", tmp_path).rationales(requests(1))
    annotator(server, "ok", tmp_path, temperature=0.1).rationales(requests(1))
    assert server.requests == 2


def test_another_address_is_the_same_question(
    server: ChatServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    annotator(server, "ok", tmp_path).rationales(requests(2))
    with ChatServer() as other:
        (first, _) = annotator(other, "ok", tmp_path).rationales(requests(2))
        assert other.requests == 0
    assert first.from_journal
    assert f"2 answers of m came from {server.url('ok')}, not from {other.url('ok')}" in caplog.text


def former_keys(server: ChatServer, count: int) -> list[str]:
    """As versions up to 0.1.0 made them: with the address."""
    prompts = [rationale_request(each.example, each.label) for each in requests(count)]
    sampling = {"temperature": 0.7, "max_tokens": 160}
    return [
        request_key(
            {
                "annotator": "openai",
                "endpoint": server.url("ok"),
                "model": "m",
                "messages": [{"role": "user", "content": prompt}],
                **sampling,
            }
        )
        for prompt in prompts
    ]


def test_answers_under_former_keys_are_found(server: ChatServer, tmp_path: Path) -> None:
    (key,) = former_keys(server, 1)
    old = {"annotator": "openai", "model": "m", "text": "Paid long ago.", "finish": "stop"}
    Journal(tmp_path / "openai.jsonl").append(key, old)
    first, second = annotator(server, "ok", tmp_path).rationales(requests(2))
    assert (first.text, first.from_journal, second.from_journal) == ("Paid long ago.", True, False)
    assert server.requests == 1


def test_batches_under_former_keys_are_still_open(server: ChatServer, tmp_path: Path) -> None:
    Journal(tmp_path / "batches.jsonl").append("batch_1", {"keys": former_keys(server, 2)})
    with pytest.raises(AnnotationError, match=r"2 of these requests are in batches that were not fetched \(batch_1\)"):
        annotator(server, "ok", tmp_path).rationales(requests(3))


def test_rationales_and_rankings_keep_one_budget(server: ChatServer, tmp_path: Path) -> None:
    """A ranking alone would fit, at its highest cost of 640 tokens; after the rationales it does not."""
    (tmp_path / "prices.toml").write_text('["m"]\nprompt = 0\nresponse = 100\n')
    money = {"budget_usd": 0.066, "prices": tmp_path / "prices.toml", "concurrency": 1}
    purse, journal = Purse(), Journal(tmp_path / "openai.jsonl")
    config = AnnotateConfig(model="m", base_url=server.url("ok"), **{**QUICK, **money})
    OpenAIAnnotator(config, journal, purse).rationales(requests(6))  # 6 x 5 tokens: 0.003 USD
    ranked = [RankingRequest(requests(1)[0].example, ("a", "b"))]
    with pytest.raises(BudgetError, match=r"\$0.0030 are spent .* may cost \$0.0640"):
        OpenAIAnnotator(config, journal, purse).rank_many(ranked)
    assert server.requests == 6
    OpenAIAnnotator(config.model_copy(update={"budget_usd": 0.07}), journal, purse).rank_many(ranked)


def test_failures_are_asked_again_by_the_next_run(server: ChatServer, tmp_path: Path) -> None:
    annotator(server, "500", tmp_path).rationales(requests(1))
    (again,) = annotator(server, "ok", tmp_path).rationales(requests(1))
    assert again.outcome == "answered"


def test_an_interrupted_run_goes_on(server: ChatServer, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if done >= 4:
            signal.raise_signal(signal.SIGINT)  # what Ctrl-C sends; asyncio turns it into a clean cancellation

    with pytest.raises(KeyboardInterrupt):
        annotator(server, "slow", tmp_path, concurrency=2).rationales(requests(10), interrupt)
    kept = len(Journal(tmp_path / "openai.jsonl"))
    assert 4 <= kept < 10
    before = server.requests
    answers = annotator(server, "slow", tmp_path, concurrency=2).rationales(requests(10))
    assert [answer.outcome for answer in answers] == ["answered"] * 10
    assert server.requests - before == 10 - kept


def test_failures_in_a_row_end_the_run(server: ChatServer, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"^6 requests failed in a row \(the last: InternalServerError: .*broken"):
        annotator(server, "500", tmp_path, breaker=6, concurrency=4).rationales(requests(40))
    # six requests of three attempts each; three others were under way
    assert 18 <= server.requests <= 18 + 9


def test_a_success_closes_the_breaker(server: ChatServer, tmp_path: Path) -> None:
    kept = annotator(server, "mixed", tmp_path, breaker=3, concurrency=1).rationales(requests(60))
    assert Counter(answer.outcome for answer in kept)["failed"] > 3


def test_a_refused_key_ends_the_run_and_does_not_leak(server: ChatServer, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="401") as caught:
        annotator(server, "denied", tmp_path, concurrency=1).rationales(requests(5))
    assert server.requests == 1
    assert KEY not in str(caught.value)


def test_the_key_is_not_in_the_journal(server: ChatServer, tmp_path: Path) -> None:
    annotator(server, "mixed", tmp_path).rationales(requests(20))
    assert KEY not in (tmp_path / "openai.jsonl").read_text()


EXPECTED = {
    "ok": "answered",
    "429": "answered",
    "dropped": "answered",
    "500": "failed",
    "malformed": "failed",
    "empty": "failed",
    "filter": "filtered",
    "truncated": "truncated",
    "refusal": "answered",  # in so many words: the filter's affair
    "declined": "refused",
}


def test_a_mixed_run_puts_every_row_in_its_class(server: ChatServer, tmp_path: Path) -> None:
    asked = requests(60)
    answers = annotator(server, "mixed", tmp_path).rationales(asked)
    treated = [mixed(rationale_request(request.example, request.label)) for request in asked]
    assert set(treated) == set(EXPECTED)
    assert [answer.outcome for answer in answers] == [EXPECTED[how] for how in treated]
    assert all(answer.text for answer in answers if answer.outcome == "answered")
    assert all(not answer.text for answer in answers if answer.outcome in ("failed", "filtered", "refused"))


def test_rankings_are_read_and_budgeted(server: ChatServer, tmp_path: Path) -> None:
    row = requests(1)[0].example
    (ranking,) = annotator(server, "ok", tmp_path).rank_many([RankingRequest(row, ("a", "b", "c"))])
    assert ranking.places == (1, 2, 3)
    assert server.bodies[0]["max_tokens"] == 4 * AnnotateConfig().max_new_tokens
    assert "[Answer 3] c" in server.bodies[0]["messages"][0]["content"]


def test_a_ranking_that_cannot_be_read_is_unparsable(server: ChatServer, tmp_path: Path) -> None:
    row = requests(1)[0].example
    (ranking,) = annotator(server, "refusal", tmp_path).rank_many([RankingRequest(row, ("a", "b"))])
    assert (ranking.places, ranking.outcome) == ((), "unparsable")


def test_without_a_key_the_message_names_variable_and_alternatives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="OPENAI_API_KEY is not set") as caught:
        OpenAIAnnotator(RunConfig().annotate, Journal(tmp_path / "j.jsonl"))
    assert caught.value.exit_code == 2
    assert all(name in str(caught.value) for name in ("local", "template", "sandbox"))
    assert "\n" not in str(caught.value)


def test_the_journal_lines_say_who_answered(server: ChatServer, tmp_path: Path) -> None:
    annotator(server, "ok", tmp_path).rationales(requests(1))
    row = json.loads((tmp_path / "openai.jsonl").read_text())
    assert (row["annotator"], row["model"], row["finish"]) == ("openai", "m", "stop")


def judge_requests() -> list[JudgeRequest]:
    return [JudgeRequest(each.example, "short", "a longer one") for each in requests(20)]


def test_judgements_do_not_depend_on_the_order_shown(server: ChatServer, tmp_path: Path) -> None:
    found = annotator(server, "ok", tmp_path).judge_many(judge_requests())
    assert [each.winner for each in found] == ["second"] * 20  # the server prefers the longer one
    shown = [body["messages"][0]["content"] for body in server.bodies]
    assert 4 < sum("[Answer 1] short" in prompt for prompt in shown) < 16


def test_a_judge_of_positions_is_found_out_by_both_orders(server: ChatServer, tmp_path: Path) -> None:
    found = annotator(server, "first", tmp_path).judge_many(judge_requests(), both_orders=True)
    assert [each.winner for each in found] == ["tie"] * 20
    assert server.requests == 40
    assert {body["max_tokens"] for body in server.bodies} == {4 * AnnotateConfig().max_new_tokens}


def test_a_judge_that_does_not_answer_gives_no_verdict(server: ChatServer, tmp_path: Path) -> None:
    found = annotator(server, "declined", tmp_path).judge_many(judge_requests()[:2])
    assert [(each.winner, each.outcome) for each in found] == [(None, "refused")] * 2
