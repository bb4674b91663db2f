"""How good a rationale is, as a number: the sandbox has the evidence, so no annotator is needed.

quality = consistent x grounded x (0.2 + 0.8 x cited)

* consistent: 1 when the rationale argues for the answer that follows it, else 0;
* grounded: share of the quoted words that stand in the text (1 when nothing is quoted);
* cited: share of the evidence for that answer that is quoted; halved when nothing in the text speaks for the answer.
  For similarity: share of the four slots that are called the same or different, rightly.

Whether the answer is right is no part of it, except that a wrong answer often has less evidence.
"""

from __future__ import annotations

import re

from rewardlab.sandbox.similarity import SLOTS, total
from rewardlab.tasks.parsing import format_number
from rewardlab.tasks.task import parse_response
from rewardlab.types import Example, Label

_BASE = 0.2
_DISHONEST = 0.5
_QUOTE = re.compile(r'"([^"]{0,200})"')
_WORD = re.compile(r"[a-z]+")


def rationale_quality(example: Example, response: str) -> float:
    """Quality of the rationale in ``response``, from 0 to 1.

    Args:
        example: Row of a sandbox task.
        response: The whole response, answer included.
    Returns:
        1.0 when all evidence is quoted, nothing else, and the answer follows; 0.2 for a bare "it sounds positive";
        0.0 when there is no rationale or no answer, or when the two disagree.
    """
    answer = parse_response(example, response)
    if answer.value is None or not answer.rationale or not example.evidence:
        return 0.0
    if not _is_consistent(example, answer.rationale, answer.value):
        return 0.0
    return _grounded(example, answer.rationale) * (
        _BASE + (1 - _BASE) * _cited(example, answer.rationale, answer.value)
    )


def claimed_score(example: Example, rationale: str) -> float | None:
    """The similarity a rationale adds up to, or names when it lists nothing; None when it does neither."""
    if "The same:" in rationale and example.evidence:
        listed = _quoted_words(rationale.partition("Different:")[0])
        return total([slot for slot in SLOTS if example.evidence["slots"][slot][0] in listed])
    named = re.search(r"[0-9]\.[0-9]", rationale)
    return float(named[0]) if named else None


def _is_consistent(example: Example, rationale: str, label: Label) -> bool:
    if isinstance(label, float):
        claimed = claimed_score(example, rationale)
        return claimed is not None and format_number(claimed) == format_number(label)
    plain = _WORD.findall(_QUOTE.sub(" ", rationale).lower())
    return {name for name in example.evidence["cite"] if name in plain} == {label}


def _grounded(example: Example, rationale: str) -> float:
    quoted = _quoted_words(rationale)
    present = _WORD.findall(" ".join(example.fields.values()).lower())
    return sum(word in present for word in quoted) / len(quoted) if quoted else 1.0


def _cited(example: Example, rationale: str, label: Label) -> float:
    if isinstance(label, float):
        return _placed(example, rationale)
    quoted = _quoted_words(rationale)
    complete = example.evidence["cite"][label]
    share = sum(word in quoted for word in complete) / len(complete)
    return share if label in example.evidence["honest"] else _DISHONEST * share


def _placed(example: Example, rationale: str) -> float:
    same, _, different = rationale.partition("Different:")
    lists = {True: _quoted_words(same), False: _quoted_words(different)}
    truth = {slot: slot in example.evidence["same"] for slot in SLOTS}
    return sum(example.evidence["slots"][slot][0] in lists[truth[slot]] for slot in SLOTS) / len(SLOTS)


def _quoted_words(rationale: str) -> list[str]:
    return [word for quote in _QUOTE.findall(rationale) for word in _WORD.findall(quote.lower())]
