"""From a chat model's raw answer to an annotation: shared by the hosted and the local annotator.

The journal stores raw answers (text and why they ended); they are classified whenever they are read, so that a
better parser needs no new requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardlab.annotate.base import Annotation, Outcome, Ranking
from rewardlab.annotate.moderation import is_withheld, says_withheld, withheld_body
from rewardlab.annotate.ranking import parse_ranking
from rewardlab.annotate.retry import BadBody
from rewardlab.errors import AnnotationError
from rewardlab.reading import mended
from rewardlab.tasks.thoughts import spoken

_DONE = frozenset({"stop", "stop_sequence", "end_turn", "eos", "eos_token", "complete", ""})
_CUT_SHORT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
"""Why an answer ended, in the words of OpenAI and of servers and proxies that pass on those of others; small letters.
Those for a withheld answer stand in ``moderation``. An answer that ended for any other reason is none."""
_THOUGHTS = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content", "reasoning.text"})
"""Kinds of parts that hold what a model thought, in the words of Anthropic, Mistral, Bedrock and OpenRouter."""
_COUNTS = ("prompt_tokens", "completion_tokens")
_CUT = "cut at the token limit; raise annotate.max_new_tokens"
_CUT_BEFORE = (
    "cut at the token limit before the answer began; raise annotate.max_new_tokens, or annotate.reasoning_tokens for a "
    "model that reasons first"
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that an endpoint counted; None where it did not."""

    prompt: int | None
    response: int | None


def read_usage(body: Mapping[str, Any]) -> Usage:
    """The token counts of a completion, whatever else is wrong with it."""
    counts = body.get("usage")
    values = [counts.get(name) if isinstance(counts, Mapping) else None for name in _COUNTS]
    return Usage(*(value if isinstance(value, int) and value >= 0 else None for value in values))


def read_completion(body: Any) -> dict[str, Any]:
    """A chat completion as a raw record; raises BadBody when it is none.

    One that ended for an unknown reason ("error", "abort") is failed: its text may be a part of an answer.
    A body that has no answer and says that a text was withheld is a record of that.
    """
    try:
        choice = body["choices"][0]
        finish, used = choice.get("finish_reason"), read_usage(body)
        message = choice.get("message") or {} if is_withheld(finish) else choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        if reason := withheld_body(body):
            used = read_usage(body)
            counts = {"prompt_tokens": used.prompt, "response_tokens": used.response}
            return {"text": "", "finish": "content_filter", "error": reason, **counts}
        raise BadBody(f"the body holds no choices: {str(body)[:80]!r}") from error
    text = content_text(content)
    if text is None:
        raise BadBody(f"the message's content is no text: {str(content)[:80]!r}")
    read = {"text": text, "finish": finish, "refusal": refusal or _declined(content)}
    said = choice.get("error") or body.get("error")
    if reason := _broken_off(finish) or (
        "" if text or not said else f"there is an error in place of an answer: {said}"
    ):
        read = {"text": "", "finish": "content_filter" if says_withheld(said) else "failed", "error": reason}
    return {**read, "prompt_tokens": used.prompt, "response_tokens": used.response}


def content_text(content: object) -> str | None:
    """The text of a message's content: a text, nothing, or a list of parts, of which thoughts are left out.

    Returns:
        None where it is anything else, such as an image.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        return None
    texts = [_part_text(part) for part in content]
    return None if None in texts else "".join(filter(None, texts))


def _part_text(part: object) -> str | None:
    """The text of a part: "" for a thought and a refusal; None for anything else, such as an image."""
    if not isinstance(part, Mapping):
        return None
    kind = part.get("type", "text")
    if kind in _THOUGHTS or kind == "refusal" or part.get("thought") is True:
        return ""
    text = part.get("text") if kind in ("text", "output_text") else None
    return text if isinstance(text, str) else None


def _declined(content: object) -> str | None:
    """What the parts of a content say that decline the request."""
    parts = content if isinstance(content, list) else []
    said = [part.get("refusal") for part in parts if isinstance(part, Mapping) and part.get("type") == "refusal"]
    return " ".join(str(each or "declined") for each in said) or None


def _broken_off(finish: object) -> str:
    """Why an answer with that finish reason is none; "" where it is one."""
    is_known = finish is None or _word(finish) in _DONE | _CUT_SHORT or is_withheld(finish)
    return "" if is_known else f"the answer was broken off: finish reason {finish!r}"


def _word(finish: object) -> str:
    return str(finish).lower()


def check_failed(outcomes: Sequence[tuple[str, str]], max_failed: float) -> None:
    """Raise AnnotationError when too large a share of requests failed.

    Args:
        outcomes: (class, reason) of every request.
        max_failed: Share of ``failed`` ones that is borne.
    """
    reasons = [reason for outcome, reason in outcomes if outcome == "failed"]
    if len(reasons) > max_failed * len(outcomes):
        raise AnnotationError(
            f"{len(reasons)} of {len(outcomes)} requests failed, more than annotate.max_failed = {max_failed:g} "
            f"(the last: {reasons[-1]}). What was answered is kept: the same command asks the failed ones again; "
            "a larger --max-failed goes on without them"
        )


def as_annotation(record: Mapping[str, Any], from_journal: bool = False) -> Annotation:
    """Classify a raw record: ``key``, ``annotator``, ``model``, ``text``, ``finish``, and token counts if known.

    Halves of characters, as servers leave where a limit cut a text, are mended: a run folder could not hold them.
    """
    text = mended(spoken(content_text(record.get("text")) or ""))
    outcome, reason = _classify(record, has_words=bool(text))
    return Annotation(
        key=str(record["key"]),
        text=text,
        outcome=outcome,
        annotator=str(record["annotator"]),
        model=str(record["model"]),
        reason=mended(reason),
        prompt_tokens=record.get("prompt_tokens"),
        response_tokens=record.get("response_tokens"),
        from_journal=from_journal,
    )


def as_ranking(annotation: Annotation, count: int) -> Ranking:
    """Read the order of ``count`` responses in an annotation; what cannot be read is unparsable.

    A truncated answer is not read: a ranking may have lost its end.
    """
    if annotation.outcome != "answered":
        return Ranking((), annotation)
    parsed = parse_ranking(annotation.text, count)
    return Ranking(
        parsed.places, annotation if parsed.places else with_outcome(annotation, "unparsable", parsed.reason)
    )


def with_outcome(annotation: Annotation, outcome: Outcome, reason: str) -> Annotation:
    """The same annotation in another class."""
    from dataclasses import replace

    return replace(annotation, outcome=outcome, reason=reason)


def _classify(record: Mapping[str, Any], *, has_words: bool) -> tuple[Outcome, str]:
    finish = record.get("finish")
    if finish == "failed":
        return "failed", str(record.get("error", ""))
    word = "" if finish is None else _word(finish)
    if is_withheld(word) and not (word == "refusal" and record.get("refusal")):
        return "filtered", str(record.get("error") or "withheld by the endpoint's content filter")
    if record.get("refusal"):
        return "refused", str(record["refusal"])
    if word in _CUT_SHORT:
        return "truncated", _CUT if has_words else _CUT_BEFORE
    if reason := _broken_off(finish):
        return "failed", reason
    if not has_words:
        return "unparsable", "the answer is empty"
    return "answered", ""
