"""What a chat completion says: its text, why it ended, and the class that follows."""

from __future__ import annotations

from typing import Any

import pytest

from rewardlab.annotate.base import Annotation
from rewardlab.annotate.batches import _record, _row
from rewardlab.annotate.completion import as_annotation, read_completion
from rewardlab.annotate.retry import BadBody

AUTHOR = {"key": "k", "annotator": "openai", "model": "m"}


def body(content: object, finish: object = "stop", **message: object) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}


def classified(completion: dict[str, Any]) -> Annotation:
    return as_annotation({**AUTHOR, **read_completion(completion)})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "Good "}, {"type": "text", "text": "film."}], "Good film."),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Fine."}],
            "Fine.",
        ),
        ([{"type": "redacted_thinking", "data": "x"}, {"text": "Fine."}], "Fine."),
        ([{"text": "hm", "thought": True}, {"text": "Fine."}], "Fine."),
        ([], ""),
        (None, ""),
    ],
)
def test_parts_of_text_are_joined(content: object, text: str) -> None:
    found = classified(body(content))
    assert (found.text, found.outcome) == (text, "answered" if text else "unparsable")


@pytest.mark.parametrize("content", [{"a": 1}, 5, ["bare"], [{"type": "image_url"}], [{"type": "text", "text": 1}]])
def test_content_that_is_no_text_is_no_completion(content: object) -> None:
    with pytest.raises(BadBody, match="content is no text"):
        read_completion(body(content))


def test_a_part_that_declines_is_a_refusal() -> None:
    found = classified(body([{"type": "refusal", "refusal": "I would rather not."}]))
    assert (found.outcome, found.reason) == ("refused", "I would rather not.")


@pytest.mark.parametrize("place", ["choice", "body"])
def test_an_error_in_place_of_an_answer_is_a_failure(place: str) -> None:
    """It would be kept as an empty answer, and never asked again."""
    completion = body("", None)
    (completion["choices"][0] if place == "choice" else completion)["error"] = {"code": 502, "message": "no upstream"}
    found = classified(completion)
    assert found.outcome == "failed"
    assert "no upstream" in found.reason


def test_an_answer_beside_an_error_is_one() -> None:
    assert classified({**body("Good film."), "error": {"message": "late"}}).outcome == "answered"


def test_parts_that_were_journalled_as_they_came_are_read_too() -> None:
    record = {**AUTHOR, "text": [{"type": "text", "text": "Good film."}], "finish": "stop"}
    assert as_annotation(record).text == "Good film."


@pytest.mark.parametrize(
    ("finish", "outcome"),
    [
        ("stop", "answered"),
        (None, "answered"),
        ("STOP", "answered"),
        ("end_turn", "answered"),
        ("eos_token", "answered"),
        ("length", "truncated"),
        ("max_tokens", "truncated"),
        ("MAX_TOKENS", "truncated"),
        ("content_filter", "filtered"),
        ("SAFETY", "filtered"),
        ("refusal", "filtered"),
        ("error", "failed"),
        ("abort", "failed"),
        ("insufficient_system_resource", "failed"),
        ("tool_calls", "failed"),
        (7, "failed"),
    ],
)
def test_only_what_came_to_its_end_is_an_answer(finish: object, outcome: str) -> None:
    found = classified(body("Partial wo", finish))
    assert found.outcome == outcome
    assert bool(found.reason) == (outcome != "answered")
    if outcome == "failed":
        assert (found.text, str(finish) in found.reason) == ("", True)


def test_what_was_journalled_before_finish_reasons_were_read_is_classified_now() -> None:
    assert as_annotation({**AUTHOR, "text": "Partial wo", "finish": "abort"}).outcome == "failed"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"custom_id": "k", "error": "boom"}', "boom"),
        ('{"custom_id": "k", "error": {"code": "expired"}}', "expired"),
        ('{"custom_id": "k", "response": {"status_code": 500, "body": "oops"}}', "oops"),
        ('{"custom_id": "k", "response": {"status_code": 500, "body": {"error": "oops"}}}', "oops"),
        ('{"custom_id": "k", "response": {"status_code": 500}}', "no reason given"),
        ('{"custom_id": "k", "response": {"status_code": 200, "body": null}}', "the body holds no choices"),
        ('{"custom_id": "k", "response": {"status_code": 200}}', "the body holds no choices"),
        ('{"custom_id": "k", "response": "gone"}', "no reason given"),
    ],
)
def test_a_line_of_a_batch_that_is_no_answer_is_failed(line: str, said: str) -> None:
    row = _row(line)
    assert row is not None
    record = _record(row)
    assert record["finish"] == "failed"
    assert record["error"].startswith(said)


@pytest.mark.parametrize("line", ["", "not json", "[1]", '{"id": 1}', '{"custom_id": null}', "[" * 200_000])
def test_a_line_of_a_batch_that_names_no_request_is_none(line: str) -> None:
    assert _row(line) is None
