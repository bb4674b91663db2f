"""Who speaks in the pretraining text: people who agree on most sentences and differ on some.

Each speaker reads contrasts, double negations, loaded words, ties, shared words and synonyms one way or the
other; how often the gold way, depends on a habit of the community that goes with a word. So the tiny model starts with
both readings of such a sentence, at odds that differ from sentence to sentence.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rewardlab.sandbox import similarity
from rewardlab.sandbox.rationales import write_rationale
from rewardlab.sandbox.sentiment import other
from rewardlab.sandbox.topic import MEANING
from rewardlab.tasks.task import tasks
from rewardlab.types import AnswerFormat, Example, Label

FORMAT_SHARES: Mapping[AnswerFormat, float] = {"rationale": 0.6, "label": 0.2, "judgement": 0.2}
DETAIL_SHARES = (0.20, 0.35, 0.30, 0.15)
HABIT_RANGES: Mapping[str, tuple[float, float]] = {
    "contrast": (0.03, 0.60),
    "double": (0.03, 0.60),
    "tie": (0.03, 0.60),
    "loaded": (0.25, 0.70),
    "shared": (0.25, 0.70),
    "synonyms": (0.40, 0.80),
}
"""Structure -> least and greatest share of speakers who read a disputed sentence the gold way."""


def speak(example: Example, rng: random.Random) -> tuple[Example, str]:
    """One speaker's answer to one row, in some format: the row asked that way, and the response."""
    format = rng.choices(list(FORMAT_SHARES), list(FORMAT_SHARES.values()))[0]
    label = read(example, rng)
    rationale = ""
    if format == "rationale":
        rationale = write_rationale(example, label, rng.choices(range(len(DETAIL_SHARES)), DETAIL_SHARES)[0])
    return replace(example, format=format), tasks.get(example.task).response(label, format, rationale)


def read(example: Example, rng: random.Random) -> Label:
    """What one speaker takes the row to mean."""
    if example.task == "sandbox-similarity":
        return _read_slots(example.evidence, rng)
    rival = rival_reading(example)
    if rival is None or rng.random() < habit(example.evidence["structure"], _habit_key(example.evidence)):
        return str(example.label)
    return rival


def rival_reading(example: Example) -> str | None:
    """The other label that speakers give a disputed sentence; None where all agree."""
    evidence = example.evidence
    if evidence["structure"] in ("contrast", "double", "loaded"):
        return other(str(example.label))
    if evidence["structure"] == "tie":
        return next(str(topic) for topic in evidence["honest"] if topic != example.label)
    if evidence["structure"] == "shared":
        return next(MEANING[noun][1] for noun in evidence["nouns"] if noun in MEANING)
    return None


def habit(structure: str, key: str) -> float:
    """Share of speakers who take the gold reading where ``key`` is in play; drawn once and for all from the key."""
    low, high = HABIT_RANGES[structure]
    draw = int.from_bytes(hashlib.blake2b(f"{structure} {key}".encode(), digest_size=4).digest()) / 2**32
    return low + (high - low) * draw


def _habit_key(evidence: Mapping[str, Any]) -> str:
    structure = evidence["structure"]
    if structure == "contrast":
        return f"{evidence['connective']} {evidence['clauses'][0]['aspect']}"
    if structure in ("double", "loaded"):
        return str(evidence["clauses"][0]["word"])
    nouns = [noun for noun in evidence["nouns"] if noun in MEANING]
    return str(nouns[0]) if structure == "shared" else " before ".join(MEANING[noun][0] for noun in nouns)


def _read_slots(evidence: Mapping[str, Any], rng: random.Random) -> float:
    """The score by a speaker who may not see that two words are synonyms."""
    seen = []
    for slot in evidence["same"]:
        first, second = evidence["slots"][slot]
        if first == second or rng.random() < habit("synonyms", " ".join(sorted((first, second)))):
            seen.append(slot)
    return similarity.total(seen)
