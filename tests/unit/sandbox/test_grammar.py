"""The three sandbox grammars: gold labels by hand, splits, seeds, errors."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from rewardlab.errors import DataError
from rewardlab.sandbox import ALL_SANDBOX_TASKS, sentiment, similarity, topic
from rewardlab.sandbox.grammar import split_of
from rewardlab.sandbox.rationales import write_rationale
from rewardlab.tasks.task import parse_response, tasks, with_format
from rewardlab.types import ANSWER_FORMATS, Example


@pytest.mark.parametrize(
    ("negators", "word", "expected"),
    [
        ((), "good", "positive"),
        (("hardly",), "good", "negative"),
        (("never", "not"), "good", "positive"),
        (("not",), "dull", "positive"),
        ((), "wicked", "positive"),
        ((), "sweet", "negative"),
    ],
)
def test_each_negator_turns_a_clause_once(negators: tuple[str, ...], word: str, expected: str) -> None:
    assert sentiment.reading({"negators": negators, "word": word}) == expected


@pytest.mark.parametrize(
    ("nouns", "expected"),
    [
        (("team", "market", "bank"), "business"),  # two clear words against one
        (("river", "team", "market"), "sports"),  # one each: the first named wins
        (("market", "river", "team"), "business"),
        (("man", "record", "woman"), "business"),  # a shared word alone means its home topic
        (("man", "note", "woman"), "music"),
        (("record", "singer", "woman"), "music"),  # ... unless a clear word of the other topic is there
    ],
)
def test_topic_rule(nouns: tuple[str, ...], expected: str) -> None:
    assert topic.decide(nouns) == expected


@pytest.mark.parametrize(
    ("same", "expected"),
    [
        ((), 0.0),
        (("agent", "location"), 2.0),
        (("action", "object"), 3.0),
        (("agent", "action", "object", "location"), 5.0),
    ],
)
def test_similarity_adds_up_the_slots(same: tuple[str, ...], expected: float) -> None:
    assert similarity.total(same) == expected


def test_the_clause_after_but_decides() -> None:
    rows = tasks.get("sandbox-sentiment").generate("train", 400, 0)  # type: ignore[misc]
    contrasts = [row for row in rows if row.evidence["structure"] == "contrast"]
    assert len(contrasts) > 80
    for row in contrasts:
        first, second = (clause["reading"] for clause in row.evidence["clauses"])
        assert first != second
        assert row.label == second


def test_synonyms_count_as_the_same() -> None:
    rows = tasks.get("sandbox-similarity").generate("train", 300, 0)  # type: ignore[misc]
    pairs = [row.evidence["slots"][slot] for row in rows for slot in row.evidence["same"]]
    assert sum(first != second for first, second in pairs) > 50
    for first, second in pairs:
        assert any({first, second} <= set(group) for groups in similarity.SLOTS.values() for group in groups)


def test_rationales_by_detail() -> None:
    clauses = [_clause("plot", [], "very", "good"), _clause("cast", ["not"], "", "funny")]
    evidence = {"structure": "contrast", "connective": "but", "clauses": clauses}
    assert sentiment.rationale(evidence, "negative", 0) == "It sounds negative."
    assert sentiment.rationale(evidence, "negative", 1) == 'After "but", "funny" is negative.'
    assert sentiment.rationale(evidence, "negative", 2) == 'After "but", "not funny" is negative.'
    assert sentiment.rationale(evidence, "positive", 3) == 'Before "but", "plot was very good" is positive.'


@pytest.mark.parametrize(
    ("nouns", "label", "detail", "expected"),
    [
        (("river", "team", "market"), "sports", 1, 'First comes "team": sports.'),
        (("river", "team", "market"), "sports", 2, 'First comes "team", then "market": sports.'),
        (("river", "team", "market"), "business", 2, 'Last comes "market", after "team": business.'),
        (("river", "team", "market"), "music", 2, '"river" points to music.'),  # nothing speaks for it
        (("team", "market", "goal"), "sports", 1, '"team" points to sports.'),
        (("team", "market", "goal"), "sports", 2, '"team" and "goal" point to sports.'),
    ],
)
def test_topic_rationales(nouns: tuple[str, ...], label: str, detail: int, expected: str) -> None:
    structure = "tie" if "river" in nouns else "majority"
    assert topic.rationale(topic.evidence_of(structure, nouns), label, detail) == expected


def test_similarity_argues_for_the_nearest_total() -> None:
    slots = {
        "agent": ["cook", "kid"],
        "action": ["buys", "buys"],
        "object": ["car", "auto"],
        "location": ["park", "barn"],
    }
    evidence = {"slots": slots, "same": ["action", "object"]}
    assert similarity.rationale(evidence, 3.0, 2) == 'The same: "buys", "car". Different: "cook", "park".'
    assert similarity.rationale(evidence, 4.1, 1) == 'The same: "cook", "buys", "car".'  # 1 + 1.5 + 1.5 = 4, nearest
    assert similarity.rationale(evidence, 0.2, 1) == "The same: nothing."


@pytest.mark.parametrize("name", ALL_SANDBOX_TASKS)
def test_other_seeds_other_rows_same_seed_same_rows(name: str) -> None:
    generate = tasks.get(name).generate
    assert generate is not None
    assert generate("train", 20, 1) == generate("train", 20, 1)
    assert generate("train", 20, 1) != generate("train", 20, 2)
    assert generate("train", 40, 1)[:20] == generate("train", 20, 1)


@pytest.mark.parametrize("name", ALL_SANDBOX_TASKS)
@pytest.mark.parametrize("format", ANSWER_FORMATS)
def test_gold_responses_are_read_strictly(name: str, format: str) -> None:
    rows = with_format(tasks.get(name).generate("validation", 50, 0), format)  # type: ignore[misc,arg-type]
    for row in rows:
        response = tasks.get(name).response(row.label, row.format, write_rationale(row, row.label, 3))  # type: ignore[arg-type]
        assert parse_response(row, response).strict == row.label


def test_unknown_split_and_too_many_rows_are_refused() -> None:
    generate = tasks.get("sandbox-topic").generate
    assert generate is not None
    with pytest.raises(DataError, match="splits are train, validation, test"):
        generate("dev", 5, 0)
    with pytest.raises(DataError, match="sandbox-topic: cannot generate -1 rows"):
        generate("train", -1, 0)


def test_a_language_that_runs_out_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "OPENERS", ("",))
    monkeypatch.setattr(topic, "NEUTRAL_WORDS", ("man", "woman"))
    monkeypatch.setattr(topic, "TOPIC_VERBS", ("found",))
    monkeypatch.setattr(topic, "PLACES", ("near",))
    monkeypatch.setattr(topic, "STRUCTURES", {"shared": 1.0})
    with pytest.raises(DataError, match="different rows, 500 were asked for"):
        # 24 shared words x 3! orders = 144 rows in all three splits together
        tasks.get("sandbox-topic").generate("test", 500, 0)  # type: ignore[misc]


def test_rationale_needs_a_sandbox_row() -> None:
    with pytest.raises(DataError, match="cannot argue for 'positive'"):
        write_rationale(Example("sandbox-topic", "x", {"text": "a"}, "music"), "positive", 1)
    row = tasks.get("sandbox-sentiment").generate("train", 1, 0)[0]  # type: ignore[misc]
    with pytest.raises(DataError, match="cannot argue for 'sports'"):
        write_rationale(row, "sports", 1)


def test_split_depends_on_the_text_alone() -> None:
    assert split_of({"a": "x", "b": "y"}) == split_of({"b": "y", "a": "x"})
    shares = [split_of({"text": str(random.Random(i).random())}) for i in range(2000)]
    # expected shares 0.70, 0.15, 0.15; 2000 draws have a standard error of 0.010 and 0.008
    assert shares.count("train") / 2000 == pytest.approx(0.70, abs=0.05)
    assert shares.count("test") / 2000 == pytest.approx(0.15, abs=0.04)


def test_importing_the_sandbox_loads_no_torch() -> None:
    code = "import sys, rewardlab.sandbox; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _clause(aspect: str, negators: list[str], degree: str, word: str) -> dict[str, object]:
    clause = {"aspect": aspect, "negators": negators, "degree": degree, "word": word}
    return {**clause, "reading": sentiment.reading(clause)}
