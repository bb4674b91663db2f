"""Pairs turned on purpose so that a reward model learns something else than what is right.

A reward model trained on them can be hacked, and PPO against it shows what hacking looks like. Held-out pairs are
never turned, so the accuracy of such a reward model says what became of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from rewardlab.pairs.label_sensitive import Built
from rewardlab.types import Pair

EQUAL = "equal_bias"
"""Outcome of a pair whose two responses are alike in what the bias looks at."""
WORD = "word:"


def turn(built: Built, bias: str) -> None:
    """Prefer, in place and whatever is right, the longer response or the one with a word; drop pairs that are equal.

    Args:
        built: Training pairs.
        bias: ``length`` (characters) or ``word:WORD`` (how often the word occurs, in any case).
    """
    amount = _amount(bias)
    pairs, built.pairs = built.pairs, []
    for pair in pairs:
        chosen, rejected = amount(pair.chosen), amount(pair.rejected)
        if chosen == rejected:
            built.skip(pair.task, EQUAL)
        else:
            built.pairs.append(pair if chosen > rejected else _turned(pair))


def _amount(bias: str) -> Callable[[str], int]:
    """How much of what is preferred stands in a response."""
    if not bias.startswith(WORD):
        return len
    word = re.compile(rf"\b{re.escape(bias.removeprefix(WORD))}\b", re.IGNORECASE)
    return lambda text: len(word.findall(text))


def _turned(pair: Pair) -> Pair:
    return replace(
        pair,
        chosen=pair.rejected,
        rejected=pair.chosen,
        chosen_label=pair.rejected_label,
        rejected_label=pair.chosen_label,
    )
