"""Labels that are also words or letters of ordinary text: read only where they stand as an answer.

``A`` is an option in ``A)``, ``(A)``, ``**A**``, ``A, since ...``, ``option A``, ``I choose A.`` and an article in "a
tie". The rules, for a label of one letter, at a place where no letter, apostrophe, hyphen or dot joins it to a word:

* the whole answer, or a line of its own;
* in brackets, quotes or Markdown of its own;
* at the beginning of a line, with ``.``, ``)``, ``:``, ``,`` or a dash behind it, or a word such as "because";
* behind a word such as "option", "answer", "label";
* in its own case at the end of a sentence, or in front of a word such as "because", "is", "and";
* elsewhere in capitals inside a sentence, and in small letters where the letter is no word of common languages.

``IT``, ``US`` and other labels in capitals that are common words in small letters are read in capitals, or alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rewardlab.tasks.text import NO_SPACES, SIGNS, marks

WINDOW = 40
"""Characters on each side that decide."""

_COMMON_WORD = re.compile(
    r"a[mnst]?|and|are|b[ey]|can|do|for|go|he|her|him|his|how|i|i[fnst]|its|m[ey]|no|not|o[fnr]|one|our|out|she|so|some"
    r"|than|that|the|them|then|they|this|to|too|two|u[ps]|use|was|we|what|who|why|will|with|you"
)
"""English words that are also acronyms and codes; a label in capitals that is one of them is read in capitals."""
_WORDS_OF_ONE_LETTER = frozenset("aeiouyswzkvàèéêòóùýîаиоувксяїє")
"""Letters that are a word of their own in a language with that script ("a", "I", "y", "в")."""
_ALWAYS_WORDS = frozenset("ai")

_CUE = re.compile(
    r"(?:option|choice|choose|chose|answer|label|letter|category|class|item|alternative|candidate|statement|grade"
    r"|select|pick|pick(?:ed|s)|selected|chosen|antwort|réponse|respuesta|risposta|resposta|opción|opção|opzione|svar|"
    r"antwoord|вариант|ответ|选项|選項|答案|选择|選擇|選択肢|答え|정답|답)"
    r"(?:\s{1,3}(?:is|was|would be|should be|must be|ist|lautet|est|es|è|é)|是|为|為|は|은|는|이|가)?[^\w]{0,9}$",
    re.IGNORECASE,
)
_OPENED, _CLOSED = re.compile(r"[(\[{\"'“‘«<>*_`$（【「『]$"), re.compile(r"[)\]}\"'”’»<>*_`$）】」』]")
_LINE_START = re.compile(r"(?:^|\n)[^\w\n]{0,20}$")
_SENTENCE_START = re.compile(r"(?:^|[.!?:\n])[^\w\n]{0,20}$")
_PUNCTUATED = re.compile(
    r"[*_`\"'”’]{0,3}\s?(?:[.):,;\]](?!\w)|[。：，、）」])|\s{1,3}[-–—:=\ue000-\ue0ff]\s|[^\w\n]{0,20}(?:\n|$)"
)
_ENDS = re.compile(r"[^\w\n]{0,9}(?:\n|$)|[.!?。！？;][^\w\n]{0,5}\s")
_GOES_ON = re.compile(
    r",?\s{1,3}(?:because|since|as|is|was|seems|and|or|but|would|best|fits|due|given|for|not|with|over|rather|than)\b"
)
_JOINED = re.compile(r"\w['’.&@/\\-]$")
_JOINS = re.compile(r"['’.&@/\\-]\w")


def is_letter(label: str) -> bool:
    """True for a label of one letter of a script with capitals."""
    return len(label) == 1 and label.lower() != label.upper()


def is_common_word(label: str) -> bool:
    """True for a label in capitals that is a common word in small letters."""
    return len(label) > 1 and label.isupper() and _COMMON_WORD.fullmatch(label.lower()) is not None


def marked_options(text: str, marks_of: Iterable[tuple[str, str]]) -> str:
    """The text with each label that stands as an answer replaced by its mark; no other character changes.

    Args:
        text: As the model wrote it.
        marks_of: (label, mark) of labels for which :func:`is_letter` or :func:`is_common_word` holds.
    """
    by_label = dict(marks_of)
    if not by_label:
        return text
    folded = {label.lower(): label for label in by_label}
    names = "|".join(sorted(map(re.escape, folded), key=len, reverse=True))
    mark = marks(of_spaced_scripts=True)
    border = rf"(?<![^\W_{NO_SPACES}])(?<![{mark}{SIGNS}])(?:{names})(?![^\W_{NO_SPACES}])(?![{mark}{SIGNS}])"

    def replaced(found: re.Match[str]) -> str:
        label = folded.get(found[0].lower(), "")
        return by_label[label] if label and _stands(found, label) else found[0]

    return re.sub(border, replaced, text, flags=re.IGNORECASE)


def _stands(found: re.Match[str], label: str) -> bool:
    text, start, end = found.string, found.start(), found.end()
    before, after = text[max(0, start - WINDOW) : start], text[end : end + WINDOW]
    if after.startswith(("+", "#")):
        return False  # another grade, or a name such as C++
    if _LINE_START.search(before) and _alone(after):
        return True
    if is_common_word(label):
        return found[0] == label
    return _is_option(found[0], label, before, after)


def _alone(after: str) -> bool:
    return bool(re.match(r"[^\w\n]{0,20}(?:\n|$)", after))


def _is_option(letter: str, label: str, before: str, after: str) -> bool:
    own_case = letter == label
    is_pronoun = letter == "I"
    if letter.islower() and before.endswith(("<", "</")) and after.startswith(">"):
        return False  # a tag of HTML
    if _CUE.search(before) and not _JOINS.match(after):
        return bool(_PUNCTUATED.match(after)) or (own_case and letter.isupper() and _goes_on(after, letter))
    if _JOINED.search(before) or _JOINS.match(after):
        return False
    if _OPENED.search(before) and _CLOSED.match(after):
        return True
    if _LINE_START.search(before) and _PUNCTUATED.match(after):
        return not (is_pronoun and after.startswith(","))
    if not own_case or letter.islower():
        return letter.lower() not in _WORDS_OF_ONE_LETTER
    if _GOES_ON.match(after) or _ENDS.match(after) or after.startswith((")", "]")):
        return not is_pronoun
    if letter.lower() in _ALWAYS_WORDS or letter.lower() in _WORDS_OF_ONE_LETTER:
        return not is_pronoun and not _SENTENCE_START.search(before) and bool(re.match(r"\s[^\W\dA-Z]|,", after))
    return True


def _goes_on(after: str, letter: str) -> bool:
    is_touched = re.match(f"[{NO_SPACES}]", after) is not None  # 정답은 A입니다
    return is_touched or bool(_GOES_ON.match(after)) or letter.lower() not in _ALWAYS_WORDS
