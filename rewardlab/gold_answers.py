"""Gold answers of which any one counts, as one text with `` | `` between them, and how near an answer comes to them.

An answer is right when it equals a gold answer up to case, punctuation, articles and white space.
"""

from __future__ import annotations

import re
import string
from collections import Counter

from rewardlab.types import Label

BETWEEN = " | "
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def alternatives(text: Label) -> tuple[str, ...]:
    """The texts of which any one counts.

    >>> alternatives("Rome | the Eternal City")
    ('Rome', 'the Eternal City')
    """
    return tuple(each for each in str(text).split(BETWEEN) if each)


def normalised(text: str) -> str:
    """A text in small letters, without punctuation, articles and superfluous white space.

    Source:
        The evaluation of SQuAD (Rajpurkar et al. 2016), which ReCoRD's (Zhang et al. 2018) repeats.
    >>> normalised("The  U.S. Senate!")
    'us senate'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def is_one_of(answer: Label | None, gold: Label) -> bool:
    """Whether an answer equals a gold answer once both are normalised; False for a malformed one."""
    return answer is not None and normalised(str(answer)) in map(normalised, alternatives(gold))


def token_f1(answer: Label | None, gold: Label) -> float:
    """Common words over the mean number of words, with the gold answer that fits best; 0 for a malformed answer.

    >>> round(token_f1("Barack Obama", "President Obama | Mr Smith"), 3)
    0.5
    """
    return 0.0 if answer is None else max(_word_f1(str(answer), each) for each in alternatives(gold))


def _word_f1(answer: str, gold: str) -> float:
    words = normalised(answer).split(), normalised(gold).split()
    common = (Counter(words[0]) & Counter(words[1])).total()
    return 2 * common / (len(words[0]) + len(words[1])) if common else 0.0
