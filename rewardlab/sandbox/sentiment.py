"""``sandbox-sentiment``: one or two clauses about a film, each with a polarity that a rule decides.

A negator turns a clear word, two negators cancel, and of two clauses joined by "but" or "yet" the second decides.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from rewardlab.sandbox.grammar import Row
from rewardlab.sandbox.words import ASPECTS, CLEAR, CONNECTIVES, DEGREES, LOADED, NEGATORS, OPENERS, SENTIMENTS

STRUCTURES: Mapping[str, float] = {
    "plain": 0.14,
    "agreement": 0.14,
    "negation": 0.24,
    "contrast": 0.28,
    "double": 0.08,
    "loaded": 0.12,
}
"""Share of each kind of text."""

_MEANING = {word: label for table in (CLEAR, LOADED) for label, words in table.items() for word in words}

Clause = Mapping[str, Any]


def write_row(rng: random.Random) -> Row:
    """Draw one text with its label and evidence."""
    structure = rng.choices(list(STRUCTURES), list(STRUCTURES.values()))[0]
    clauses = _clauses(rng, structure)
    connective = {"contrast": rng.choice(CONNECTIVES), "agreement": "and"}.get(structure, "")
    text = rng.choice(OPENERS) + _sentence(clauses, connective)
    label = clauses[-1]["reading"]
    return Row({"text": text}, label, _evidence(structure, clauses, connective))


def reading(clause: Clause) -> str:
    """The polarity of a clause: the word's own, turned once by each negator."""
    turned = len(clause["negators"]) % 2 == 1
    return other(_MEANING[clause["word"]]) if turned else _MEANING[clause["word"]]


def other(label: str) -> str:
    """The opposite sentiment."""
    return SENTIMENTS[1 - SENTIMENTS.index(label)]


def argued_clause(evidence: Mapping[str, Any], label: str) -> int:
    """Which clause a rationale for ``label`` quotes: the last that says so, or the last of all."""
    indices = [i for i, clause in enumerate(evidence["clauses"]) if clause["reading"] == label]
    return indices[-1] if indices else len(evidence["clauses"]) - 1


def rationale(evidence: Mapping[str, Any], label: str, detail: int) -> str:
    """Argue for ``label``.

    Args:
        evidence: Of the row.
        label: Where the rationale shall end.
        detail: 0 quotes nothing, 1 one word, 2 also its negators and degree, 3 also what it is said of.
    """
    if detail == 0:
        return f"It sounds {label}."
    index = argued_clause(evidence, label)
    clause = evidence["clauses"][index]
    quote = (clause["word"], phrase(clause), f"{clause['aspect']} was {phrase(clause)}")[detail - 1]
    lead = _lead(evidence["connective"], index) if evidence["structure"] == "contrast" else ""
    return f'{lead}"{quote}" is {label}.'


def phrase(clause: Clause) -> str:
    """What the clause says of its aspect, such as ``not very good``."""
    return " ".join([*clause["negators"], *([clause["degree"]] if clause["degree"] else []), clause["word"]])


def _lead(connective: str, index: int) -> str:
    return f'After "{connective}", ' if index else f'Before "{connective}", '


def _clauses(rng: random.Random, structure: str) -> list[Clause]:
    aspects = rng.sample(ASPECTS, 2)
    if structure == "loaded":
        return [_clause(rng, aspects[0], rng.choice(LOADED[rng.choice(SENTIMENTS)]), ())]
    if structure in ("plain", "negation", "double"):
        negators = {"plain": (), "negation": (rng.choice(NEGATORS),), "double": ("never", "not")}[structure]
        return [_clause(rng, aspects[0], rng.choice(CLEAR[rng.choice(SENTIMENTS)]), negators)]
    first = rng.choice(SENTIMENTS)
    second = first if structure == "agreement" else other(first)
    return [_clear_clause(rng, aspect, label) for aspect, label in zip(aspects, (first, second), strict=True)]


def _clear_clause(rng: random.Random, aspect: str, label: str) -> Clause:
    """A clause that says ``label``, with a negated word in one of four."""
    if rng.random() < 0.25:
        return _clause(rng, aspect, rng.choice(CLEAR[other(label)]), (rng.choice(NEGATORS),))
    return _clause(rng, aspect, rng.choice(CLEAR[label]), ())


def _clause(rng: random.Random, aspect: str, word: str, negators: Sequence[str]) -> Clause:
    degree = rng.choice(DEGREES) if rng.random() < 0.4 else ""
    clause = {"aspect": aspect, "negators": list(negators), "degree": degree, "word": word}
    return {**clause, "reading": reading(clause)}


def _sentence(clauses: Sequence[Clause], connective: str) -> str:
    parts = [f"the {clause['aspect']} was {phrase(clause)}" for clause in clauses]
    return f" {connective} ".join(parts) + "."


def _evidence(structure: str, clauses: Sequence[Clause], connective: str) -> Mapping[str, Any]:
    evidence: dict[str, Any] = {"structure": structure, "clauses": clauses, "connective": connective}
    evidence["honest"] = sorted({clause["reading"] for clause in clauses})
    evidence["cite"] = {label: _citable(evidence, label) for label in SENTIMENTS}
    return evidence


def _citable(evidence: Mapping[str, Any], label: str) -> list[str]:
    """The words that a complete rationale for ``label`` quotes."""
    clause = evidence["clauses"][argued_clause(evidence, label)]
    lead = [evidence["connective"]] if evidence["structure"] == "contrast" else []
    return [*lead, clause["aspect"], *phrase(clause).split()]
