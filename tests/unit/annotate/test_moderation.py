"""Texts that an endpoint refuses to read are ``filtered`` and not asked again, in whichever words it refuses."""

from __future__ import annotations

import re
from datetime import date
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from rewardlab.annotate.batches import _record
from rewardlab.annotate.completion import as_annotation, read_completion
from rewardlab.annotate.hosted import OpenAIAnnotator
from rewardlab.annotate.journal import Journal
from rewardlab.annotate.retry import BadBody, is_content_filter, is_fatal, retry_after_s
from rewardlab.config import AnnotateConfig
from rewardlab.config_loading import load_config
from rewardlab.errors import ConfigError

ERRORS = {400: openai.BadRequestError, 401: openai.AuthenticationError, 403: openai.PermissionDeniedError,
          404: openai.NotFoundError, 422: openai.UnprocessableEntityError, 429: openai.RateLimitError}  # fmt: skip


def refusal(status: int, message: str, code: str | None = None) -> openai.APIStatusError:
    response: Any = SimpleNamespace(request=None, status_code=status, headers={})
    return ERRORS.get(status, openai.APIStatusError)(
        f"Error code: {status}", response=response, body={"message": message, "code": code}
    )


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "The response was filtered", "content_filter"),
        (400, "Content Exists Risk", "invalid_request_error"),
        (400, "Input data may contain inappropriate content.", "data_inspection_failed"),
        (400, "Your request was rejected as a result of our safety system.", "moderation_blocked"),
        (400, "The prompt violates our content policy", None),
        (400, "系统检测到输入或生成内容可能包含不安全或敏感内容", "1301"),
        (403, "openai/gpt-4o requires moderation on OpenAI. Your input was flagged", None),
        (422, "Blocked by a guardrail", None),
        (400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "invalid_prompt"),
        (403, "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_CSAM", None),
        (400, "The request was rejected because it was considered high risk", "content_filter"),
        (400, "Output blocked by content filtering policy", None),
        (400, "The request failed because the input text may contain sensitive information.", None),
        (400, "The request failed.", "OutputTextSensitiveContentDetected"),
        (451, "The content you provided or machine outputted is blocked.", "censorship_blocked"),
        (400, "The model response got blocked: safety", None),
        (400, "Your prompt violates our terms of use and has been rejected", None),
        (400, "Violated guardrail policy", None),
        (400, "Prompt contains hate speech and was rejected", None),
        (400, "Input contains NSFW content.", None),
        (400, "The request was blocked by Model Armor", None),
        (400, "该内容不合规", None),
    ],
)
def test_moderation_is_recognised(status: int, message: str, code: str | None) -> None:
    error = refusal(status, message, code)
    assert is_content_filter(error)
    assert not is_fatal(error)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "max_tokens is too large"),
        (400, "Invalid content type: expected a text"),
        (400, "Unrecognized request argument supplied: moderation"),
        (400, "content_filter is not supported with this model"),
        (401, "Incorrect API key provided"),
        (400, "Unknown parameter: 'moderation'"),
        (400, "Invalid property: content_filter"),
        (400, "messages: text content blocks must be non-empty"),
        (400, "Unexpected content block type 'thinking'"),
        (400, "The model `omni-moderation-latest` does not exist"),
        (400, "model unitary/toxic-bert is not found"),
        (403, "Your account has been flagged for abuse"),
        (403, "Your organization was temporarily blocked: it violated our terms of service"),
        (403, "Sorry, you have been blocked. This website is using a security service"),
        (403, "账号存在风险，请实名认证"),
        (403, "Country, region, or territory not supported"),
        (404, "The model `moderation-x` does not exist"),
        (429, "Rate limit reached; moderation is under load"),
    ],
)
def test_other_refusals_are_not(status: int, message: str) -> None:
    assert not is_content_filter(refusal(status, message))


def test_a_text_that_an_error_quotes_does_not_hide_what_it_says() -> None:
    """As OpenRouter quotes what was flagged."""
    response: Any = SimpleNamespace(request=None, status_code=403, headers={})
    body = {"message": "Your input was flagged", "metadata": {"flagged_input": "An invalid argument, not supported."}}
    assert is_content_filter(openai.PermissionDeniedError("Error code: 403", response=response, body=body))


def test_a_prompt_that_an_error_repeats_says_nothing_about_it() -> None:
    """As servers built on FastAPI name a missing field."""
    response: Any = SimpleNamespace(request=None, status_code=422, headers={})
    asked = {"messages": [{"role": "user", "content": "Is this toxic? A case for content moderation."}]}
    body = {"detail": [{"type": "missing", "loc": ["body", "model"], "msg": "Field required", "input": asked}]}
    assert not is_content_filter(
        openai.UnprocessableEntityError(f"Error code: 422 - {body}", response=response, body=body)
    )


@pytest.mark.parametrize(
    "body",
    [
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}},
        {"choices": [], "prompt_feedback": {"block_reason": "PROHIBITED_CONTENT"}},
        {"choices": None, "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}},
        {"error": {"code": 403, "message": "openai/gpt-4o requires moderation. Your input was flagged"}},
        {"choices": [{"finish_reason": "content_filter: PROHIBITED_CONTENT", "message": None}]},
        {
            "choices": [
                {"finish_reason": "error", "message": {"content": "The"}, "error": {"message": "Content blocked"}}
            ]
        },
        {"choices": [{"finish_reason": "refusal", "message": {"content": "The fi"}}]},
    ],
)
def test_bodies_of_status_200(body: dict[str, Any]) -> None:
    found = as_annotation({"key": "k", "annotator": "openai", "model": "m", **read_completion(body)})
    assert found.outcome == "filtered"
    assert found.reason


@pytest.mark.parametrize(
    "body",
    [
        {"choices": []},
        {"choices": [], "error": "overloaded"},
        {"id": "moderation"},
        {"error": {"code": 404, "message": "No endpoints available matching your guardrail restrictions"}},
        {"error": {"code": "429", "message": "content moderation is under load"}},
        None,
    ],
)
def test_other_bodies_without_an_answer_are_none(body: Any) -> None:
    with pytest.raises(BadBody):
        read_completion(body)


def test_the_models_own_refusal_is_one() -> None:
    message = {"content": None, "refusal": "I would rather not."}
    record = read_completion({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert as_annotation({"key": "k", "annotator": "openai", "model": "m", **record}).outcome == "refused"


@pytest.mark.parametrize(
    ("status", "error", "finish"),
    [
        (400, {"code": "content_filter", "message": "The response was filtered"}, "content_filter"),
        (400, {"code": "invalid_request_error", "message": "Content Exists Risk"}, "content_filter"),
        (429, {"code": "rate_limit", "message": "moderation is under load"}, "failed"),
        (400, {"code": "invalid_request_error", "message": "max_tokens is too large"}, "failed"),
    ],
)
def test_lines_of_a_batch(status: int, error: dict[str, str], finish: str) -> None:
    record = _record({"custom_id": "k", "response": {"status_code": status, "body": {"error": error}}})
    assert (record["finish"], record["error"]) == (finish, error["message"])


@pytest.mark.parametrize(
    "finish",
    [
        *("sensitive", "guardrail_intervened", "content_filter", "content-filter", "blacklist", "guardrails"),
        *("SAFETY", "FinishReason.SAFETY", "FINISH_REASON_SAFETY"),
    ],
)
def test_answers_that_were_withheld(finish: str) -> None:
    body = {"choices": [{"message": {"content": "The fi"}, "finish_reason": finish}]}
    record = {"key": "k", "annotator": "openai", "model": "m", **read_completion(body)}
    assert as_annotation(record).outcome == "filtered"


class TestFurtherFields:
    @pytest.fixture(autouse=True)
    def _key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "none")

    def test_they_are_sent_and_tell_requests_apart(self, tmp_path: Any) -> None:
        plain, more = (
            OpenAIAnnotator(config, Journal(tmp_path / "j.jsonl"))._call("Why?", 10)
            for config in (AnnotateConfig(), load_config({"annotate.extra_body": {"enable_thinking": False}}).annotate)
        )
        assert more.body == {**plain.body, "enable_thinking": False}
        assert more.key != plain.key

    @pytest.mark.parametrize("name", ["model", "messages", "max_tokens", "stream"])
    def test_what_has_settings_of_its_own_is_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match=f"{name} cannot be set here"):
            load_config({"annotate.extra_body": {name: "x"}})

    @pytest.mark.parametrize(
        ("fields", "name"),
        [
            ({"api_key": "a"}, "api_key"),
            ({"headers": {"Authorization": "a"}}, "headers.Authorization"),
            ({"sources": [{"authentication": {"type": "api_key", "key": "a"}}]}, "sources.authentication.key"),
            ({"route": ["fast", "sk-a1b2c3d4e5f6"]}, "route"),
            ({"from": "https://me:a@host/"}, "from"),
        ],
    )
    def test_a_key_would_be_stored_and_is_refused(self, fields: dict[str, Any], name: str) -> None:
        with pytest.raises(ConfigError, match=f"{re.escape(name)} looks like a key") as refused:
            load_config({"annotate.extra_body": fields})
        assert "a1b2c3" not in str(refused.value)
        assert "'a'" not in str(refused.value)
        assert "me:a" not in str(refused.value)

    @pytest.mark.parametrize(
        "fields",
        [
            {"prompt_cache_key": "run 1"},
            {"stop_token_ids": [2], "eos_token": "</s>", "skip_special_tokens": True},
            {"user": "task-force", "safety_identifier": "a#b", "metadata": {"page": "https://x/y?z=1"}},
        ],
    )
    def test_other_fields_are_no_keys(self, fields: dict[str, Any]) -> None:
        assert load_config({"annotate.extra_body": fields}).annotate.extra_body == fields

    @pytest.mark.parametrize("section", ["annotate.extra_body", "annotate.chat_template_arguments"])
    def test_a_date_that_no_request_can_hold_is_refused(self, section: str) -> None:
        with pytest.raises(ConfigError, match=f"{section}: expected a text in place of a date"):
            load_config({section: {"since": [date(2024, 1, 2)]}})

    @pytest.mark.parametrize(
        ("key", "said", "shown"),
        [
            ("e", "the error of e: Bearer e", "the error of [key]: Bearer [key]"),
            ("sk-1234567890abc", "xsk-1234567890abcx and an error", "x[key]x and an error"),
        ],
    )
    def test_a_short_key_leaves_errors_readable(
        self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, key: str, said: str, shown: str
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
        annotator = OpenAIAnnotator(AnnotateConfig(), Journal(tmp_path / "j.jsonl"))
        assert annotator.redacted(said) == shown


@pytest.mark.parametrize("status", [401, 402, 404])
def test_an_empty_account_ends_the_run_as_a_bad_key_does(status: int) -> None:
    assert is_fatal(refusal(status, "Insufficient Balance"))


@pytest.mark.parametrize("asked", ["Mon, 01 Jan 2024 00:00:00 +99999999999999", "9" * 400, "-5", "nan", "soon"])
def test_a_wait_that_is_none_is_not_waited_for(asked: str) -> None:
    response: Any = SimpleNamespace(request=None, status_code=429, headers={"retry-after": asked})
    assert retry_after_s(openai.RateLimitError("Error code: 429", response=response, body=None)) is None
