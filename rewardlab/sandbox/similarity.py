"""``sandbox-similarity``: two sentences with four slots each; the score adds up the slots that mean the same."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from itertools import chain, combinations
from typing import Any

from rewardlab.sandbox.grammar import Row
from rewardlab.sandbox.words import ACTIONS, AGENTS, LOCATIONS, OBJECTS
from rewardlab.tasks.parsing import format_number

SLOTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "agent": AGENTS,
    "action": ACTIONS,
    "object": OBJECTS,
    "location": LOCATIONS,
}
WEIGHTS: Mapping[str, float] = {"agent": 1.0, "action": 1.5, "object": 1.5, "location": 1.0}
"""What a slot adds to the score when both sentences agree in it; together 5."""

_SYNONYM_SHARE = 0.4


def write_row(rng: random.Random) -> Row:
    """Draw two sentences with their score and evidence."""
    same = [slot for slot in SLOTS if rng.random() < 0.5]
    pairs = {slot: _pair(rng, groups, slot in same) for slot, groups in SLOTS.items()}
    fields = {f"sentence{i + 1}": _sentence([pair[i] for pair in pairs.values()]) for i in range(2)}
    structure = "synonyms" if any(pairs[slot][0] != pairs[slot][1] for slot in same) else "exact"
    evidence = {"structure": structure, "slots": {slot: list(pair) for slot, pair in pairs.items()}, "same": same}
    return Row(fields, total(same), evidence)


def total(same: Collection[str]) -> float:
    """The score when the slots in ``same`` agree and the others differ."""
    return sum((WEIGHTS[slot] for slot in same), 0.0)


def argued_slots(evidence: Mapping[str, Any], label: float) -> tuple[str, ...]:
    """The slots a rationale for ``label`` calls the same: a total as near as can be, then nearest to the truth."""
    truth = set(evidence["same"])
    subsets = chain.from_iterable(combinations(SLOTS, size) for size in range(len(SLOTS) + 1))
    return min(subsets, key=lambda subset: (abs(total(subset) - label), len(truth.symmetric_difference(subset))))


def rationale(evidence: Mapping[str, Any], label: float, detail: int) -> str:
    """Argue for ``label``: detail 0 quotes nothing, 1 what is the same, more also what differs."""
    return slots_text(evidence, argued_slots(evidence, label), detail)


def slots_text(evidence: Mapping[str, Any], same: Collection[str], detail: int) -> str:
    """A rationale that calls exactly the slots in ``same`` the same."""
    if detail == 0:
        return f"About {format_number(total(same))} of 5 are alike."
    words = {slot: pair[0] for slot, pair in evidence["slots"].items()}
    text = f"The same: {_quoted([words[slot] for slot in SLOTS if slot in same])}."
    return text if detail == 1 else f"{text} Different: {_quoted([words[slot] for slot in SLOTS if slot not in same])}."


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f'"{word}"' for word in words) or "nothing"


def _pair(rng: random.Random, groups: Sequence[tuple[str, ...]], same: bool) -> tuple[str, str]:
    if not same:
        one, another = rng.sample(groups, 2)
        return rng.choice(one), rng.choice(another)
    group = rng.choice(groups)
    word = rng.choice(group)
    if rng.random() < _SYNONYM_SHARE:
        return word, rng.choice([synonym for synonym in group if synonym != word])
    return word, word


def _sentence(words: Sequence[str]) -> str:
    agent, action, thing, location = words
    return f"the {agent} {action} the {thing} in the {location}."
