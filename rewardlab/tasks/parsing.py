"""How an answer is read in a response: strict and lenient, one parser for each task and format.

Thoughts are cut first (``thoughts.py``), for both readings.

Where the answer stands
    ========== =============================================== =================================================
    format     lenient                                         strict
    ========== =============================================== =================================================
    label      the whole response                              the word alone (white space around it is free)
    rationale  behind the LAST "the answer is:", any case, in  a rationale, ``"\\n\\n The answer is: "`` once, and
               the forms of ``marks.py``; without a mark       the word; nothing behind it
               there is no answer
    judgement  up to the first ``</Judgement>``, or the end;   the word and ``</Judgement>``; nothing behind it;
               opening tags are read over                      the opening tag may be repeated once in front
    confident  as for rationale; the confidence is read as in  ``"The answer is: "`` once, the word and ``(80 %)``;
               ``confidence.py`` and cut out                   nothing behind it
    ========== =============================================== =================================================

Which labels are read (lenient)
    A label's word of the format, the label itself, and its aliases; whole words only, the longest first, whatever
    the case, quotes, Markdown, brackets or full stop around them; hyphens, underscores and slashes are spaces. Accents
    may be composed or not. A label in a script without spaces is read inside a sentence. Labels of one letter, and
    acronyms that are words, are read where they stand as an answer (``options.py``); numbers where they stand alone.
    Refused, which makes the answer malformed: two different labels; a label that is negated within its clause
    ("not positive", "isn't positive", "non-positive", "positive is wrong", "nicht positiv", "不是正面"; the words stand
    in ``languages.py``) unless that text is an alias of its own ("not acceptable"); a text the task lists in
    ``refused``; a text that ends inside a longer label; more than 50 labels.

    Where an answer is a set of labels, two different ones are a set (``sets.py``); one that is negated still makes the
    answer malformed.

Which numbers are read (lenient); strict takes digits, a decimal point, and a minus where the scale has one
    ====================================== ===================================================================
    ``3.75``  ``3.750``  ``+2``  ``.5``    read
    ``4.``  ``"4"``  ``**4**``  ``$4$``    read: punctuation around a number is no part of it
    ``4/5``  ``4 out of 5``  ``4 von 5``   read as 4 where the scale ends at 5; ``8/10`` and ``1/2`` are refused
    ``4 stars``  ``4-star``  ``- 4``       read as 4 (a unit; a bullet)
    ``3.5 (3.5)``                          read: the same number twice
    ``-1``  ``-0.5``  ``6``  ``100``       refused: out of range (``-0`` is 0); ``minus 1`` is ``-1``
    ``- 1`` where the scale has ``-1``     refused: a bullet, or a minus
    ``3-4``  ``3 to 4``  ``3 or 4``        refused: two numbers
    ``3,75``  ``1,000``  ``1e0``  ``0x3``  refused: not how the data print numbers
    ``75%``  ``$3``  ``3rd``  ``v3``       refused: glued to something else
    ``nan``  ``inf``  ``three``            refused: no digits (stars have the aliases ``one`` to ``five``)
    ====================================== ===================================================================
    Where labels are numbers on a scale (stars), ``4``, ``4.0`` and ``4/5`` are the label ``4``; ``3.5`` is none. Where
    they are numbers without a scale (ids, -1 and 1), ``1`` and ``1.0`` are the label; other numbers are passed over.

No text makes a parser raise, and its time grows linearly with the text.
"""

from __future__ import annotations

import re
from typing import ClassVar

from rewardlab.tasks.answers import AnswerSpace
from rewardlab.tasks.confidence import stated
from rewardlab.tasks.marks import at_answer, count_prompted
from rewardlab.tasks.numbers import clean_numbers, find_numbers, format_number, plain_number
from rewardlab.tasks.sets import BETWEEN, joined
from rewardlab.tasks.text import Finding, composed
from rewardlab.tasks.thoughts import without_thoughts
from rewardlab.tasks.words import MAX_LABELS, NUMERAL, Vocabulary
from rewardlab.types import Answer, AnswerFormat, Label

__all__ = ["AnswerParser", "format_number"]

ANSWER_MARK = "\n\n The answer is: "
_OPEN = re.compile(r"<\s{0,3}judge?ment\s{0,3}>", re.IGNORECASE)
_CLOSE = re.compile(r"<\s{0,3}/\s{0,3}judge?ment\s{0,3}>", re.IGNORECASE)
_STRICT_OPEN, _STRICT_CLOSE = "<Judgement>", "</Judgement>"
_STRICT_CONFIDENT = re.compile(r"([0-9]{1,3}) %\)")
_QUOTED = 60
"""Characters of a response that a reason quotes."""


class AnswerParser:
    """Reads the answers of one task in one format."""

    _cache: ClassVar[dict[tuple[str, AnswerFormat], AnswerParser]] = {}

    def __init__(self, task: AnswerSpace, format: AnswerFormat) -> None:
        self.task = task
        self.format = format
        self.vocabulary = Vocabulary.of(task, format)
        self._by_number = _labels_by_number(task)
        self._by_word = {composed(task.word(label, format)): label for label in task.labels}

    @classmethod
    def cached(cls, task: AnswerSpace, format: AnswerFormat) -> AnswerParser:
        """The parser of ``task`` and ``format``, built on first use."""
        key = (task.name, format)
        parser = cls._cache.get(key)
        if parser is None or parser.task is not task:
            parser = cls._cache[key] = cls(task, format)
        return parser

    def parse(self, response: str) -> Answer:
        """Read the answer in a response without its opening; see the module for the rules. Never raises."""
        response = composed(without_thoughts(response))
        part, rationale = self._answer_part(response)
        if self.format == "confident":
            return self._with_confidence(response, part, rationale)
        if part is None:
            return Answer(None, rationale=rationale, reason='no "The answer is:" in the response')
        strict = self._strict(response)
        if strict is not None:
            return Answer(strict, strict=strict, rationale=rationale)
        value, reason = self._lenient(part)
        return Answer(value, rationale=rationale, reason=reason)

    def _with_confidence(self, response: str, part: str | None, rationale: str) -> Answer:
        """The answer in the format ``confident``; one without a confidence is an answer all the same."""
        if part is None:
            return Answer(None, rationale=rationale, reason='no "The answer is:" in the response')
        found = stated(part)
        strict = self._strict(response)
        if strict is not None:
            return Answer(strict, strict=strict, rationale=rationale, confidence=found.confidence)
        value, reason = self._lenient(found.answer)
        return Answer(value, rationale=rationale, reason=reason, confidence=found.confidence)

    def _answer_part(self, response: str) -> tuple[str | None, str]:
        if self.format == "label":
            return response, ""
        if self.format == "judgement":
            return _OPEN.sub(" ", _CLOSE.split(response, maxsplit=1)[0]), ""
        found = at_answer(response, self.task.languages)
        return found.answer, found.rationale

    def _strict(self, response: str) -> Label | None:
        text = _strict_part(response, self.format)
        if text is None:
            return None
        if self.task.numeric_range is not None and self.task.is_numeric:
            return plain_number(text, *self.task.numeric_range)
        if self.task.multi_label:
            found = [self._by_word.get(word) for word in text.split(BETWEEN)]
            labels = [label for label in found if label is not None]
            return joined(labels, self.task.labels) if len(set(labels)) == len(found) else None
        return self._by_word.get(text)

    def _lenient(self, part: str) -> tuple[Label | None, str]:
        found: list[tuple[Finding, str]] = []
        if self.vocabulary:
            text = self.vocabulary.clean(part)
            found += [(finding, text) for finding in self.vocabulary.find(text)]
        if self.task.numeric_range is not None:
            numbers = clean_numbers(part)
            found += [(self._as_label(finding), numbers) for finding in find_numbers(numbers, *self.task.numeric_range)]
        return self._agree(found, part)

    def _as_label(self, number: Finding) -> Finding:
        """A number of an ordinal task as its label; numbers of a numeric task as they are."""
        if number.value is None or self.task.is_numeric:
            return number
        label = self._by_number.get(float(number.value))
        note = "" if label else f"{number.value} is no label"
        return Finding(label, number.start, number.end, note)

    def _agree(self, found: list[tuple[Finding, str]], part: str) -> tuple[Label | None, str]:
        """The one value on which all findings agree, or None and why."""
        if not found:
            return None, f"no {'number' if self.task.is_numeric else 'label'} in {_quote(part)}"
        if len(found) > MAX_LABELS:
            return None, f"more than {MAX_LABELS} answers in one response"
        values = list(dict.fromkeys(finding.value for finding, _ in found))
        if None in values:
            return None, next(finding.note for finding, _ in found if finding.value is None)
        if len(values) > 1 and not self.task.multi_label:
            return None, f"{len(values)} different answers: {', '.join(map(str, values[:3]))}"
        for finding, text in found:
            if words := self.vocabulary.denied(text, finding):
                return None, f"{finding.value!s} is negated by {words!r}"
        return (joined(map(str, values), self.task.labels) if self.task.multi_label else values[0]), ""


def _strict_part(response: str, format: AnswerFormat) -> str | None:
    """The text that has to be exactly the word, or None when the form around it is broken."""
    if format == "label":
        return response.strip()
    if format == "rationale":
        _, mark, text = response.partition(ANSWER_MARK)
        return text.strip() if mark and count_prompted(response) == 1 else None
    if format == "confident":
        _, mark, text = response.partition(ANSWER_MARK.strip())
        word, _, tail = text.strip().rpartition(" (")
        found = _STRICT_CONFIDENT.fullmatch(tail)
        return word if found and int(found[1]) <= 100 and count_prompted(response) == 1 else None
    text = response.strip()
    if not text.endswith(_STRICT_CLOSE):
        return None
    return text.removesuffix(_STRICT_CLOSE).removeprefix(_STRICT_OPEN).strip()


def _labels_by_number(task: AnswerSpace) -> dict[float, str]:
    """Number -> label for tasks whose labels are numbers on a scale; empty otherwise."""
    if task.numeric_range is None:
        return {}
    return {float(label.replace("\u2212", "-")): label for label in task.labels if NUMERAL.fullmatch(label)}


def _quote(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= _QUOTED else text[:_QUOTED] + "…")
