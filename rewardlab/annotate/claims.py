"""What a rationale's text says of itself: whether it is a refusal, and which labels it claims.

A refusal is a first-person statement, near the beginning and outside quotes, that the writer cannot or will not
argue. A claim is a label's word outside quotes that is not negated; "yes" and "no" count only where they open or close
a sentence or follow a word such as "so" or "answer"; numbers only after "score" and the like, as "2 stars" or "2 out of
5", or where they close a sentence. These are facts for the filter (``filter.py``), which weighs them with the words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache

from rewardlab.tasks.languages import LANGUAGES, split_words
from rewardlab.tasks.task import Task, parser_of, tasks
from rewardlab.tasks.text import after_word, fold
from rewardlab.tasks.words import Vocabulary
from rewardlab.types import Example, Label

OPENING = 240
"""Characters in which a refusal stands."""
EXACT_SHARE, READ_SHARE = 0.05, 0.2
"""How far a claimed number may lie from the one asked for, as a share of the scale: where the task itself reads claims
(its own language), and where a pattern does (guidelines: one point of five)."""

QUOTE = re.compile(r"\"([^\"\n]{0,300})\"|\u201c([^\u201d\n]{0,300})\u201d")
_LEADING = " \n\t*_`#>-\"'“„«("
_DIGITS = re.compile(r"\d{1,400}(?:\.\d{1,400})?")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
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
    r"^\W{0,3}(yes|no)\b(?=\s?[,.:;!]|$)"
    r"|\b(?:so|hence|therefore|thus|say|answer(?: (?:is|should be|must be|has to be))?)"
    r"\W{1,3}(yes|no)\b(?=\s{0,9}(?:$|[.,;:!]))"
    r"|\b(yes|no)\W{0,40}$",
    re.IGNORECASE,
)


def is_refusal(text: str) -> bool:
    """True when the text says, near its beginning and in its own words, that its writer will not argue."""
    opening = QUOTE.sub(" ", text[:OPENING])
    return _REFUSAL.search(opening) is not None or _begins(fold(opening).lstrip(_LEADING), _refusals())


def _begins(text: str, phrases: tuple[str, ...]) -> bool:
    """True when a text begins with one of the phrases, whole words where the script has words."""
    ends = [len(phrase) for phrase in phrases if text.startswith(phrase)]
    return any(re.compile(after_word(text[end - 1])).match(text, end) for end in ends)


@cache
def _refusals() -> tuple[str, ...]:
    """How a refusal begins in other languages than English, folded."""
    return tuple(fold(phrase) for row in LANGUAGES.values() for phrase in split_words(row.refusal))


def claimed_labels(example: Example, text: str) -> list[Label]:
    """The labels that a text claims, in its order, repeats included; empty when it names none.

    Args:
        example: Its task and format say how labels are printed; a task may read claims in its own language.
        text: A rationale, without an answer of its own.
    """
    task = tasks.get(example.task)
    if task.claim is not None:
        found = task.claim(example, text)
        return [] if found is None else [found]
    if task.is_ordinal:
        return list(_claimed_numbers(task, text))
    vocabulary = parser_of(example).vocabulary
    if vocabulary.has_no and not task.candidates:
        return list(_claimed_yes_no(task, example, text))
    cleaned = vocabulary.clean(_without_quotes(text, vocabulary))
    found_all = vocabulary.find(cleaned)
    return [item.value for item in found_all if item.value is not None and not vocabulary.denied(cleaned, item)]


def agrees(task: Task, claimed: Label, asked: Label) -> bool:
    """True when a claimed label is the one asked for; numbers may lie a little beside it, stars may not."""
    if not task.is_numeric:
        return task.is_right(claimed, asked)
    lowest, highest = task.numeric_range or (0.0, 0.0)
    share = EXACT_SHARE if task.claim is not None else READ_SHARE
    return abs(float(claimed) - float(asked)) <= share * (highest - lowest) + 1e-9


def masked(example: Example, asked: Label, text: str) -> str:
    """The text in lower case, with quotes, numbers and label words replaced by what they are to the label asked for."""
    unquoted = QUOTE.sub(" xquote ", text)
    task = tasks.get(example.task)
    if not task.is_ordinal:
        vocabulary = parser_of(example).vocabulary
        if not vocabulary.has_no:
            unquoted = _mask_words(vocabulary, unquoted, lambda said: _is_asked(task, said, asked))
    return _DIGITS.sub(" xnumber ", unquoted.lower())


def _is_asked(task: Task, said: Label | None, asked: Label) -> bool:
    return task.is_right(said, asked) if task.candidates else said == asked


def _mask_words(vocabulary: Vocabulary, text: str, is_asked: Callable[[Label | None], bool]) -> str:
    cleaned = vocabulary.clean(text)
    parts, end = [], 0
    for item in vocabulary.find(cleaned):
        parts += [cleaned[end : item.start], " xasked " if is_asked(item.value) else " xother "]
        end = item.end
    return "".join(parts) + cleaned[end:]


def _claimed_yes_no(task: Task, example: Example, text: str) -> Iterator[Label]:
    by_word = {task.word(label, example.format).lower(): label for label in task.labels}
    for sentence in _SENTENCE_END.split(QUOTE.sub(" ", text)):
        for match in _YES_NO.finditer(sentence):
            word = next(group.lower() for group in match.groups() if group)
            if word in by_word:
                yield by_word[word]


def _without_quotes(text: str, vocabulary: Vocabulary) -> str:
    """Quoted text is the row's own words, unless it is exactly a label."""

    def keep(match: re.Match[str]) -> str:
        inner = vocabulary.clean(match[1] or match[2] or "").strip(" .,")
        whole = any(item.start == 0 and item.end == len(inner) for item in vocabulary.find(inner))
        return f" {inner} " if whole else " "

    return QUOTE.sub(keep, text)


def _claimed_numbers(task: Task, text: str) -> Iterator[Label]:
    assert task.numeric_range is not None  # a task without words has a scale
    lowest, highest = task.numeric_range
    for match in _scale_pattern(highest).finditer(QUOTE.sub(" ", text)):
        number = float(next(group for group in match.groups() if group))
        if lowest <= number <= highest:
            yield number if task.is_numeric else f"{number:g}"


@lru_cache(maxsize=64)
def _scale_pattern(highest: float) -> re.Pattern[str]:
    number = r"(\d{1,3}(?:\.\d{1,3})?)(?!\.?\d)"
    return re.compile(
        rf"(?<!not )\b{number}\s?(?:out of|/)\s?{highest:g}\b"
        rf"|\b(?:score|rating|similarity|answer|label)\s(?:is|of|should be|must be)[\s:\"'*]{{1,3}}{number}"
        rf"|(?<!not )\b{number}[\s-]stars?\b"
        rf"|(?<!not )(?<![\w.])(?<!\$){number}(?=\s{{0,9}}[.!?]?\s{{0,9}}$|[.!?]\s)",
        re.IGNORECASE | re.MULTILINE,
    )
