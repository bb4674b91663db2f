"""From a chat model's raw answer to an annotation: shared by the hosted and the local annotator.

The journal stores raw answers (text and why they ended); they are classified whenever they are read, so that a
better parser needs no new requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardlab.annotate.base import Annotation, Outcome, Ranking
from rewardlab.annotate.ranking import parse_ranking


def as_annotation(record: Mapping[str, Any], from_journal: bool = False) -> Annotation:
    """Classify a raw record: ``key``, ``annotator``, ``model``, ``text``, ``finish``, and token counts if known."""
    outcome, reason = _classify(record)
    return Annotation(
        key=str(record["key"]),
        text=str(record.get("text") or "").strip(),
        outcome=outcome,
        annotator=str(record["annotator"]),
        model=str(record["model"]),
        reason=reason,
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


def _classify(record: Mapping[str, Any]) -> tuple[Outcome, str]:
    finish = record.get("finish")
    if finish == "failed":
        return "failed", str(record.get("error", ""))
    if finish == "content_filter":
        return "filtered", str(record.get("error") or "withheld by the endpoint's content filter")
    if record.get("refusal"):
        return "refused", str(record["refusal"])
    if finish == "length":
        return "truncated", "cut at the token limit; raise annotate.max_new_tokens"
    if not str(record.get("text") or "").strip():
        return "unparsable", "the answer is empty"
    return "answered", ""
