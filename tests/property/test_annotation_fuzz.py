"""10 000 random texts through the parsers of what annotators write: none raises, and none makes up a value."""

from __future__ import annotations

import random
import string

from rewardlab.annotate.base import Annotation
from rewardlab.annotate.completion import as_annotation, as_ranking
from rewardlab.annotate.filter import checked
from rewardlab.annotate.pairwise import parse_verdict
from rewardlab.annotate.ranking import parse_ranking
from rewardlab.types import Example

TEXTS = 10_000
PIECES = (
    *("Ranking:", "ranking :", "Answer", "answer 1", "[Answer 2]", "is better", "Equal", ">", "=", "\u227b", "\uff1e"),
    *("1", "2", "3", "4", "5", "0", "6", "99999999999", "\u0663", "\u00b2", "The answer is:", "positive", "negative"),
    *(
        "I cannot argue",
        "As an AI",
        "\n\n",
        "\u2028",
        "\x00",
        "\ud800",
        "{",
        "}",
        "{{ 7 }}",
        "\\",
        '"',
        "**",
        "(",
        "]" * 9,
    ),
    *("\U0001f600", "\u202e", "e\u0301", "a" * 500),
)


def text(rng: random.Random) -> str:
    """Pieces that the parsers look for, among anything."""
    parts = []
    for _ in range(rng.randrange(12)):
        anything = "".join(rng.choice(string.printable) for _ in range(rng.randrange(20)))
        parts.append(rng.choice([rng.choice(PIECES), anything, chr(rng.randrange(0x110000))]))
    whole = rng.choice(["", " "]).join([verdict(rng), *parts] if rng.random() < 0.1 else parts)
    return f"{whole} Ranking: {order(rng)}" if rng.random() < 0.3 else whole


def verdict(rng: random.Random) -> str:
    """The beginning of a judge's answer, denied now and then."""
    return rng.choice(["", "**", "I doubt that "]) + rng.choice(["Answer 1 is better", "[Answer 2] is better", "Equal"])


def order(rng: random.Random) -> str:
    """A ranking of some numbers, now and then with one that is missing, repeated or out of range."""
    numbers = rng.sample("12345", rng.randrange(2, 6))
    if rng.random() < 0.5:
        numbers = sorted(numbers)[:1] * (rng.random() < 0.2) + [str(n + 1) for n in range(rng.randrange(2, 6))]
    signs = [rng.choice(">=\u227b") for _ in numbers[1:]]
    answer, gap = rng.choice(["", "Answer "]), rng.choice(["", " "])
    return f"{answer}{numbers[0]}" + "".join(
        f"{gap}{s}{gap}{answer}{n}" for s, n in zip(signs, numbers[1:], strict=True)
    )


def test_no_text_breaks_a_parser_or_becomes_a_value_that_is_not_there() -> None:
    rng = random.Random(0)
    rows = [
        (Example("sst2", "1", {"text": "a film"}, "positive"), "positive"),
        (Example("stsb", "1", {"sentence1": "a", "sentence2": "b"}, 2.0), 2.0),
        (Example("qqp", "1", {"question1": "a", "question2": "b"}, "duplicate"), "duplicate"),
    ]
    read = {"rankings": 0, "verdicts": 0, "rationales": 0}
    written: list[str] = []
    for _ in range(TEXTS):
        words, count = text(rng), rng.randrange(2, 6)
        places = parse_ranking(words, count).places
        assert not places or (len(places) == count and set(places) == set(range(1, max(places) + 1)))
        winner = parse_verdict(words)
        assert winner in (None, "first", "second", "tie")
        raw = as_annotation({"key": "k", "annotator": "a", "model": "m", "text": words, "finish": "stop"})
        assert (raw.outcome == "answered") == bool(words.strip())
        assert as_ranking(raw, count).places == (places if raw.outcome == "answered" else ())
        read["rankings"] += bool(places)
        read["verdicts"] += winner is not None
        written.append(words)
    raws = [Annotation("k", words, "answered", "a", "m") for words in written]
    asked = [rows[number % len(rows)] for number in range(TEXTS)]
    for rationale in checked(raws, asked, threshold=0.5):
        assert rationale.outcome != "answered" or rationale.text
        read["rationales"] += rationale.outcome == "answered"
    assert min(read.values()) > 20, read  # the texts do reach the other side of each parser
