"""Where the answer begins in a response: ``The answer is:`` and its kin, in Markdown, headings, quotes, languages.

========================================================== ===================================================
``The answer is: X``  ``**The answer is:** X``             the form that prompts ask for, in any case, with
``> The final answer is: X``  ``"The answer is: X"``       Markdown, quotes and line breaks between its words
``Die Antwort ist: X``  ``答案是：X``                       the same in the task's languages
``### Answer`` and X below  ``**Final answer:** X``        at the beginning of a line, read where the forms above
``2. Answer - X``  ``<answer>X``  ``\\boxed{X}``            stand nowhere; without a colon only if ``X`` is marked
``The answer is **X**``                                    and ends the text
``### Antwort`` and X below  ``Respuesta - X``             the same headings in the task's languages
``{"answer": "X"}``  ``<|begin_of_box|>X``                 where none of the above stands
========================================================== ===================================================

What leads in to the mark on its line ("So,", "- ", "### ", "Based on this,") belongs to neither side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from rewardlab.tasks.languages import LANGUAGES, split_words
from rewardlab.tasks.text import NO_SPACES, composed

LEAD_IN = 200
"""Characters of its line in front of a mark that may lead in to it."""

_DECORATION = r"\s*_`\"'“”‘’„«»~#$>"
_GAP = rf"[{_DECORATION}]{{1,9}}"
_COLON = rf"[{_DECORATION}]{{0,9}}[:\uff1a]"
_FRONT = 60
"""Characters in front of "answer" in which "the final" stands."""
_THE = re.compile(
    rf"(?<!\w)(?:the|my|our){_GAP}(?:(?:final|correct|right|best|only|most{_GAP}likely|most{_GAP}appropriate){_GAP})?$"
)
_ANSWER = re.compile(
    rf"answer{_GAP}(?:(?:to|for){_GAP}(?:the|this){_GAP}\w{{1,20}}{_GAP})?(?:is|was|must{_GAP}be|should{_GAP}be|would{_GAP}be){_COLON}"
)
_HEADING = re.compile(
    r"^[^\w\n]{0,20}(?:\d{1,2}[.)][^\w\n]{0,9})?(?:(?:the|my) )?(?:(?:final|correct|right|best|short)[ *_]{1,3})?"
    r"answer(?:[*_`\"' \t]{0,9}(?:[:\uff1a=\u2192]|->|[-\u2013\u2014](?=\s))|[*_`\"'# \t]{0,9}$)"
    r"|<\s{0,3}(?:final_?)?answer\s{0,3}>|\\boxed(?=\{)|<\|begin_of_box\|>"
    r"|(?<=[{,\s])[\"'](?:final[ _])?answer[\"']\s{0,3}:"
    r"|(?<!\w)answer is(?=\s{1,3}[*_`\"'“«]{1,3}[^\n]{1,80}[*_`\"'”»]{1,3}[.!]?\s{0,9}\Z)",
    re.MULTILINE,
)
_TRAILING = " \t\r\n*_`"
_RULED = re.compile(r"\n[ \t]{0,9}[#>*_=~\-]{1,20}[ \t]{0,9}$")
_LEADING_DECORATION = re.compile(r"[\s*_`#>\"'“”‘’«»\-–—•:,;(\[$\\]{1,200}$")
_CONNECTIVE = re.compile(
    r"^\W{0,9}\d{1,2}[.)]$|(?:^|(?<=\s))(?:the|my)(?: final| correct| right)?(?: answer is)?$"
    r"|(?:^|(?<=[\s*_`#>\"'“”‘’«»\-–—•:,;.!?]))(?:so|thus|hence|therefore|then|and|overall|finally|consequently"
    r"|accordingly|ultimately|altogether|in (?:summary|short|conclusion|sum|the end|other words)"
    r"|to (?:sum up|conclude|summari[sz]e)|as a result|for (?:this|that|these|those|all these) reasons?"
    r"|because of (?:this|that)|with (?:this|that|all of this) in mind|that is why|this means(?: that)?"
    r"|which (?:means|implies|suggests)(?: that)?|it follows that|(?:i|we)(?: would| can| must)? (?:conclude|say|think"
    r"|believe|answer|choose)(?: that)?|also|daher|deshalb|folglich|donc|ainsi|por (?:lo )?tanto|quindi|pertanto"
    r"|portanto|dus|因此|所以|综上(?:所述)?|したがって|よって|따라서)$",
    re.IGNORECASE,
)
_OPENER = re.compile(
    r"(?:^|(?<=[.!?]\s))[^\w\n]{0,9}(?:(?:so|thus|hence|therefore)[,\s]{1,3})?(?:given|based on|considering|taking"
    r"|judging (?:by|from)|in (?:light|view) of|from|after|weighing)\b[^.!?\n]{0,150},[\s*_`#>\"'“‘«]{0,9}$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Answered:
    """A response cut at its answer mark.

    Attributes:
        rationale: What stands in front of the mark and of what leads in to it.
        answer: What stands behind it; None where the response has no mark.
    """

    rationale: str
    answer: str | None


def at_answer(response: str, languages: tuple[str, ...] | None = None, *, first: bool = False) -> Answered:
    """Cut a response at its answer mark.

    Args:
        response: Without thoughts.
        languages: Whose marks are read beside the English one; None: all.
        first: Cut at the first mark, for texts that should have none; a heading above everything is then a title.
            Otherwise at the last.

    >>> at_answer("It shines. So, **the answer is:** positive").rationale
    'It shines.'
    """
    response = composed(response)
    small = _small(response)
    marks = sorted([*_english(small), *_of_languages(small, languages)]) or sorted(
        [*_headings(small), *_headings_of_languages(small, languages)]
    )
    if first and marks and not _english(small) and not _in_front(response, marks[0][0]).strip():
        response, marks = response[marks[0][1] :], []  # "Answer:" above everything is a title
    if not marks:
        return Answered(response.strip(), None)
    start, end = marks[0] if first else marks[-1]
    answer = response[end:]
    if response[end - 1] == ">":
        answer = re.split(r"<\s{0,3}/", answer, maxsplit=1)[0]
    return Answered(_in_front(response, start).strip(), answer)


def count_prompted(response: str) -> int:
    """How often a response has the mark that prompts ask for, however it is decorated."""
    return len(_english(_small(response)))


Span = tuple[int, int]


def _small(text: str) -> str:
    """The text in small letters, as long as it was."""
    small = text.replace("\u0130", "i").lower()
    return small if len(small) == len(text) else text


def _english(small: str) -> list[Span]:
    found: list[Span] = []
    for answer in _ANSWER.finditer(small):
        the = _THE.search(small, max(0, answer.start() - _FRONT), answer.start())
        if the is not None:
            found.append((the.start(), answer.end()))
    return found


def _of_languages(small: str, languages: tuple[str, ...] | None) -> list[Span]:
    if not any(word in small for word in _announcing(languages, plain=small.isascii())):
        return []  # most texts are through here
    found: list[Span] = []
    for code in LANGUAGES if languages is None else languages:
        words, pattern = _announced(code)
        if any(word in small for word in words):
            found += [match.span() for match in pattern.finditer(small)]
    return found


def _headings(small: str) -> list[Span]:
    if not any(word in small for word in ("answer", "boxed", "begin_of_box")):
        return []
    return [match.span() for match in _HEADING.finditer(small)]


def _headings_of_languages(small: str, languages: tuple[str, ...] | None) -> list[Span]:
    if not any(word in small for word in _announcing(languages, plain=small.isascii())):
        return []
    found: list[Span] = []
    for code in LANGUAGES if languages is None else languages:
        words, pattern = _headed(code)
        if any(word in small for word in words):
            found += [match.span() for match in pattern.finditer(small)]
    return found


def _in_front(response: str, end: int) -> str:
    """The text in front of a mark, without what leads in to it on its line."""
    line = response.rfind("\n", max(0, end - LEAD_IN), end) + 1
    lead = response[max(line, end - LEAD_IN) : end]
    kept = response[: end - len(lead)]
    if lead.strip():
        lead = _without_lead_in(lead)
    return _RULED.sub("", (kept + lead).rstrip(_TRAILING)).rstrip(_TRAILING)


def _without_lead_in(lead: str) -> str:
    while True:
        shorter = _OPENER.sub("", lead)
        shorter = _LEADING_DECORATION.sub("", shorter[-LEAD_IN:]) if shorter else shorter
        shorter = _CONNECTIVE.sub("", shorter)
        if shorter == lead:
            return lead
        lead = shorter


@cache
def _announcing(languages: tuple[str, ...] | None, *, plain: bool) -> tuple[str, ...]:
    """The words of :func:`_announced` of all these languages; the ASCII ones alone for a plain text."""
    words = {word for code in (LANGUAGES if languages is None else languages) for word in _announced(code)[0]}
    return tuple(word for word in words if word.isascii() or not plain)


@cache
def _announced(code: str) -> tuple[tuple[str, ...], re.Pattern[str]]:
    """What announces an answer in a language: words of which a text must have one, and the pattern."""
    phrases = sorted(map(_small, split_words(LANGUAGES[code].answer)), key=len, reverse=True) if code != "en" else []
    if not phrases:
        return (), re.compile("(?!)")
    others = "|".join(_GAP.join(map(re.escape, phrase.split())) for phrase in phrases)
    words = tuple({max(phrase.split(), key=len) for phrase in phrases})
    return words, re.compile(rf"(?<![^\W{NO_SPACES}])(?:{others}){_COLON}")


@cache
def _headed(code: str) -> tuple[tuple[str, ...], re.Pattern[str]]:
    """The headings of an answer in a language, as those in English: a line of its own, or with a dash behind."""
    phrases = sorted(map(_small, split_words(LANGUAGES[code].answer)), key=len, reverse=True) if code != "en" else []
    if not phrases:
        return (), re.compile("(?!)")
    words = tuple({max(phrase.split(), key=len) for phrase in phrases})
    others = "|".join(map(re.escape, phrases))
    return words, re.compile(
        rf"^[^\w\n]{{0,20}}(?:\d{{1,2}}[.)][^\w\n]{{0,9}})?(?:{others})"
        rf"(?:[*_`\"' \t]{{0,9}}(?:[=\u2192]|->|[-\u2013\u2014](?=\s))|[*_`\"'# \t]{{0,9}}$)",
        re.MULTILINE,
    )
