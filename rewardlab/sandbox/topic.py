"""``sandbox-topic``: three nouns in a sentence, some of which point to a topic.

The topic with most clear words wins, a tie goes to the topic that is named first, and a word that two topics
share means its home topic unless a clear word of the other topic stands beside it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from rewardlab.sandbox.grammar import Row
from rewardlab.sandbox.words import NEUTRAL_WORDS, OPENERS, PLACES, SHARED_WORDS, TOPIC_VERBS, TOPIC_WORDS, TOPICS
from rewardlab.tasks.sets import joined

STRUCTURES: Mapping[str, float] = {"majority": 0.36, "tie": 0.32, "shared": 0.16, "mixed": 0.16}
"""Share of each kind of text."""

UNEVEN: Mapping[str, float] = {"business": 0.70, "music": 0.16, "science": 0.09, "sports": 0.05}
"""Share of each label in ``sandbox-topic-uneven``."""

MEANING: Mapping[str, tuple[str, ...]] = {
    **{word: (topic,) for topic, words in TOPIC_WORDS.items() for word in words},
    **{word: topics for topics, words in SHARED_WORDS.items() for word in words},
}
"""Word -> the topics it points to, the home topic first."""


def write_row(rng: random.Random) -> Row:
    """Draw one text with its label and evidence."""
    structure = rng.choices(list(STRUCTURES), list(STRUCTURES.values()))[0]
    nouns = _nouns(rng, structure)
    verb, place = rng.choice(TOPIC_VERBS), rng.choice(PLACES)
    text = f"{rng.choice(OPENERS)}the {nouns[0]} {verb} the {nouns[1]} {place} the {nouns[2]}."
    return Row({"text": text}, decide(nouns), evidence_of(structure, nouns))


def write_uneven_row(rng: random.Random) -> Row:
    """A row whose label is drawn first, with the shares of :data:`UNEVEN`."""
    label = rng.choices(list(UNEVEN), list(UNEVEN.values()))[0]
    while (row := write_row(rng)).label != label:
        pass
    return row


def write_set_row(rng: random.Random) -> Row:
    """A row whose label is the set of topics of its text, one or two."""
    row = write_row(rng)
    return Row(row.fields, joined(topics_of(row.evidence["nouns"]), TOPICS), row.evidence)


def topics_of(nouns: Sequence[str]) -> set[str]:
    """The gold topics of three nouns: all that have a clear word, or else the home topic of the first shared one."""
    clear = {MEANING[noun][0] for noun in nouns if len(MEANING.get(noun, ())) == 1}
    return clear or {decide(nouns)}


def decide(nouns: Sequence[str]) -> str:
    """The gold topic of three nouns."""
    clear = [MEANING[noun][0] for noun in nouns if len(MEANING.get(noun, ())) == 1]
    if clear:
        return max(clear, key=clear.count)
    return next(MEANING[noun][0] for noun in nouns if noun in MEANING)


def rationale(evidence: Mapping[str, Any], label: str, detail: int) -> str:
    """Argue for ``label``: detail 0 quotes nothing, 1 one word, more all that matters."""
    if detail == 0:
        return f"It sounds like {label}."
    words = evidence["cite"][label]
    if evidence["structure"] == "tie" and label in evidence["honest"]:
        return _tie_rationale(words, label, detail)
    supporting = [word for word in words if label in MEANING.get(word, ())] or words
    quotes = supporting[:1] if detail == 1 else supporting
    quoted = " and ".join(f'"{word}"' for word in quotes)
    return f"{quoted} {'points' if len(quotes) == 1 else 'point'} to {label}."


def _tie_rationale(words: Sequence[str], label: str, detail: int) -> str:
    is_first = label in MEANING[words[0]]
    word, rival = words if is_first else words[::-1]
    later = f', {"then" if is_first else "after"} "{rival}"' if detail > 1 else ""
    return f'{"First" if is_first else "Last"} comes "{word}"{later}: {label}.'


def _nouns(rng: random.Random, structure: str) -> list[str]:
    first, second = rng.sample(TOPICS, 2)
    if structure == "majority":
        third = rng.choice([*NEUTRAL_WORDS[:8], *TOPIC_WORDS[second]])
        nouns = [*rng.sample(TOPIC_WORDS[first], 2), third]
    elif structure == "tie":
        nouns = [rng.choice(TOPIC_WORDS[first]), rng.choice(TOPIC_WORDS[second]), rng.choice(NEUTRAL_WORDS)]
    elif structure == "shared":
        nouns = [rng.choice(SHARED_WORDS[first, second]), *rng.sample(NEUTRAL_WORDS, 2)]
    else:
        nouns = [rng.choice(SHARED_WORDS[first, second]), rng.choice(TOPIC_WORDS[second]), rng.choice(NEUTRAL_WORDS)]
    rng.shuffle(nouns)
    return nouns


def evidence_of(structure: str, nouns: Sequence[str]) -> Mapping[str, Any]:
    """What is known about three nouns: the topics they point to, and what to quote for each label."""
    topics = sorted({topic for noun in nouns for topic in MEANING.get(noun, ())})
    cite = {label: _citable(structure, nouns, label, label in topics) for label in TOPICS}
    return {"structure": structure, "nouns": list(nouns), "honest": topics, "cite": cite}


def _citable(structure: str, nouns: Sequence[str], label: str, honest: bool) -> list[str]:
    """The words that a complete rationale for ``label`` quotes; without any, the first noun has to serve."""
    if structure == "tie" and honest:
        return [noun for noun in nouns if noun in MEANING]
    return [noun for noun in nouns if label in MEANING.get(noun, ())] or [nouns[0]]
