"""Which rationales may be used: refusals and rationales for another label are sorted out by their text alone.

A refusal is a first-person statement, near the beginning and outside quotes, that the writer cannot or will not
argue. A rationale is for another label when its first and last sentence claim other labels and not the one asked
for; a claim is a label's word that is not negated ("yes" and "no" count only where they open a sentence or follow "the
answer is"; numbers only as "a score of 2", "2 stars", "2 out of 5"). A rationale that claims nothing passes.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rewardlab.annotate.base import Annotation
from rewardlab.annotate.completion import with_outcome
from rewardlab.tasks.task import Task, tasks
from rewardlab.tasks.text import negation
from rewardlab.tasks.words import Vocabulary
from rewardlab.types import AnswerFormat, Example, Label

OPENING = 240
"""Characters in which a refusal stands."""

_QUOTE = re.compile(r"\"([^\"\n]{0,300})\"|\u201c([^\u201d\n]{0,300})\u201d")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_ANSWER_MARK = re.compile(r"\s*\bthe answer is:", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\bi ?(?:cannot|can't|can not|could not|couldn't|won't|will not|would not|wouldn't|do not|don't|must|refuse"
    r"|decline|have to|(?:am|'m) (?:unable|not able|not comfortable|not going|afraid|sorry))\b[^.\n]{0,60}?"
    r"\b(?:argue|explain|rationale|justify|support|defend|agree|provide|give|offer|write|assist|help|comply"
    r"|decline|do that)"
    r"|^\W{0,3}(?:i'm sorry|i am sorry|sorry\b|i apologi[sz]e|apologies)"
    r"|\bas an ai\b|\bas a(?:n ai)? language model\b",
    re.IGNORECASE,
)
_YES_NO = re.compile(
    r"^\W{0,3}(yes|no)\b(?=\s?[,.:;!]|$)|\banswer (?:is|should be|must be)\W{1,4}(yes|no)\b", re.IGNORECASE
)


def checked(annotation: Annotation, example: Example, label: Label) -> Annotation:
    """The annotation as it may be used: cleaned of an answer of its own, or in the class of what is wrong with it.

    Args:
        annotation: A rationale; anything but ``answered`` is passed through.
        example: Its row.
        label: The label it was asked to argue for.
    """
    from dataclasses import replace

    if annotation.outcome != "answered":
        return annotation
    if is_refusal(annotation.text):
        return with_outcome(annotation, "refused", f"reads as a refusal: {annotation.text[:60]!r}")
    claims = claimed_labels(tasks.get(example.task), annotation.text, example.format)
    if claims and label not in claims:
        return with_outcome(annotation, "mismatched", f"argues for {', '.join(map(str, sorted(claims, key=str)))}")
    text = _ANSWER_MARK.split(annotation.text, maxsplit=1)[0].strip()
    if not text:
        return with_outcome(annotation, "unparsable", "an answer without a rationale")
    return replace(annotation, text=text)


def is_refusal(text: str) -> bool:
    """True when the text says that its writer will not argue."""
    return _REFUSAL.search(_QUOTE.sub(" ", text[:OPENING])) is not None


def claimed_labels(task: Task, text: str, format: AnswerFormat = "rationale") -> set[Label]:
    """The labels that the first and the last sentence, or an answer of its own, argue for."""
    stated = task.parse(text, "rationale").value if _ANSWER_MARK.search(text) else None
    if stated is not None:
        return {stated}
    sentences = [sentence for sentence in _SENTENCE_END.split(text) if sentence.strip()]
    ends = sentences[:1] + sentences[1:][-1:]
    return {label for sentence in ends for label in _claims(task, sentence, format)}


def _claims(task: Task, sentence: str, format: AnswerFormat) -> set[Label]:
    vocabulary = _vocabulary(task, format)
    if vocabulary is None:
        return _number_claims(task, sentence)
    if vocabulary.has_no:
        words = {word.lower() for match in _YES_NO.finditer(sentence) for word in match.groups() if word}
        return {label for label in task.labels if task.word(label, format).lower() in words}
    cleaned = vocabulary.clean(_without_quotes(sentence, vocabulary))
    found = vocabulary.find(cleaned)
    return {item.value for item in found if item.value is not None and not negation(cleaned, item)}


def _without_quotes(sentence: str, vocabulary: Vocabulary) -> str:
    """Quoted text is the row's own words, unless it is exactly a label."""

    def keep(match: re.Match[str]) -> str:
        inner = vocabulary.clean(match[1] or match[2] or "").strip(" .,")
        whole = any(item.start == 0 and item.end == len(inner) for item in vocabulary.find(inner))
        return f" {inner} " if whole else " "

    return _QUOTE.sub(keep, sentence)


def _number_claims(task: Task, sentence: str) -> set[Label]:
    assert task.numeric_range is not None  # a task without words has a scale
    found = {
        float(number)
        for match in _scale_pattern(task.numeric_range[1]).finditer(sentence)
        for number in match.groups()
        if number
    }
    if task.is_numeric:
        return set(found)
    return {label for label in task.labels if float(label) in found}


@lru_cache(maxsize=64)
def _scale_pattern(highest: float) -> re.Pattern[str]:
    number = r"(\d{1,3}(?:\.\d{1,3})?)(?![\d.]*\d)"
    return re.compile(
        rf"\b(?:score|rating|similarity|answer|label)\s(?:is|of|should be|must be)[\s:\"'*]{{1,3}}{number}"
        rf"|\b{number}\s?(?:out of|/)\s?{highest:g}\b|\b{number}[\s-]stars?\b",
        re.IGNORECASE,
    )


def _vocabulary(task: Task, format: AnswerFormat) -> Vocabulary | None:
    """The task's words; None where answers are numbers."""
    return None if task.is_ordinal else Vocabulary.of(task, format)
