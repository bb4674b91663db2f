"""Texts that an endpoint refuses to read are ``filtered`` and not asked again, in whichever words it refuses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import openai
import pytest

from rewardlab.annotate.completion import as_annotation, read_completion
from rewardlab.annotate.hosted import OpenAIAnnotator
from rewardlab.annotate.journal import Journal
from rewardlab.annotate.retry import is_content_filter, is_fatal
from rewardlab.config import AnnotateConfig
from rewardlab.config_loading import load_config
from rewardlab.errors import ConfigError

ERRORS = {400: openai.BadRequestError, 401: openai.AuthenticationError, 403: openai.PermissionDeniedError,
          404: openai.NotFoundError, 422: openai.UnprocessableEntityError, 429: openai.RateLimitError}  # fmt: skip


def refusal(status: int, message: str, code: str | None = None) -> openai.APIStatusError:
    response: Any = SimpleNamespace(request=None, status_code=status, headers={})
    return ERRORS[status](f"Error code: {status}", response=response, body={"message": message, "code": code})


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
        (401, "Incorrect API key provided"),
        (403, "Country, region, or territory not supported"),
        (404, "The model `moderation-x` does not exist"),
        (429, "Rate limit reached; moderation is under load"),
    ],
)
def test_other_refusals_are_not(status: int, message: str) -> None:
    assert not is_content_filter(refusal(status, message))


@pytest.mark.parametrize("finish", ["sensitive", "guardrail_intervened", "content_filter", "SAFETY"])
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
