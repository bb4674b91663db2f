"""The oracle annotator and the quality of rationales, on rows whose numbers were worked by hand."""

from __future__ import annotations

import pytest

from rewardlab.errors import ConfigError
from rewardlab.sandbox import OracleAnnotator, rationale_quality
from rewardlab.sandbox.oracle import REFUSAL
from rewardlab.tasks.task import tasks
from rewardlab.types import Example

CONTRAST = Example(
    "sandbox-sentiment",
    "c1",
    {"text": "the plot was very good but the cast was not funny."},
    "negative",
    evidence={
        "structure": "contrast",
        "connective": "but",
        "clauses": [
            {"aspect": "plot", "negators": [], "degree": "very", "word": "good", "reading": "positive"},
            {"aspect": "cast", "negators": ["not"], "degree": "", "word": "funny", "reading": "negative"},
        ],
        "honest": ["negative", "positive"],
        "cite": {"positive": ["but", "plot", "very", "good"], "negative": ["but", "cast", "not", "funny"]},
    },
)
PLAIN = Example(
    "sandbox-sentiment",
    "p1",
    {"text": "the plot was good."},
    "positive",
    evidence={
        "structure": "plain",
        "connective": "",
        "clauses": [{"aspect": "plot", "negators": [], "degree": "", "word": "good", "reading": "positive"}],
        "honest": ["positive"],
        "cite": {"positive": ["plot", "good"], "negative": ["plot", "good"]},
    },
)
TWO_NOUNS = {
    "structure": "majority",
    "nouns": ["guitar", "choir", "lawn"],
    "honest": ["music"],
    "cite": {"music": ["guitar", "choir"], "sports": ["guitar"], "science": ["guitar"], "business": ["guitar"]},
}
SLOTS = Example(
    "sandbox-similarity",
    "s1",
    {"sentence1": "the cook buys the car in the park.", "sentence2": "the kid buys the auto in the barn."},
    3.0,
    evidence={
        "structure": "slots",
        "slots": {
            "agent": ["cook", "kid"],
            "action": ["buys", "buys"],
            "object": ["car", "auto"],
            "location": ["park", "barn"],
        },
        "same": ["action", "object"],
    },
)


@pytest.mark.parametrize(
    ("rationale", "label", "expected"),
    [
        ('After "but", "cast was not funny" is negative.', "negative", 1.0),
        ('After "but", "not funny" is negative.', "negative", 0.2 + 0.8 * 3 / 4),
        ('"funny" is negative.', "negative", 0.2 + 0.8 * 1 / 4),
        ("It sounds negative.", "negative", 0.2),
        ('Before "but", "plot was very good" is positive.', "positive", 1.0),  # arguable, though wrong
        ('"not awful" is negative.', "negative", 0.5 * (0.2 + 0.8 * 1 / 4)),  # one of two quoted words is not there
        ('"funny" is positive.', "negative", 0.0),  # argues for the other label
        ('"funny" is negative or positive.', "negative", 0.0),
        (REFUSAL, "negative", 0.0),
        ("", "negative", 0.0),
    ],
)
def test_quality_of_a_contrast(rationale: str, label: str, expected: float) -> None:
    assert rationale_quality(CONTRAST, _response(CONTRAST, rationale, label)) == pytest.approx(expected, abs=1e-9)


def test_evidence_that_says_the_opposite_counts_half() -> None:
    response = _response(PLAIN, '"plot was good" is negative.', "negative")
    assert rationale_quality(PLAIN, response) == pytest.approx(0.2 + 0.8 * 0.5)


@pytest.mark.parametrize(
    ("rationale", "label", "expected"),
    [
        ('The same: "buys", "car". Different: "cook", "park".', 3.0, 1.0),
        ('The same: "buys", "car".', 3.0, 0.2 + 0.8 * 2 / 4),
        ('The same: "cook", "buys", "car". Different: "park".', 4.0, 0.2 + 0.8 * 3 / 4),  # 1 + 1.5 + 1.5 = 4
        ('The same: "cook", "buys", "car". Different: "park".', 3.0, 0.0),  # adds up to 4, not 3
        ("About 3.0 of 5 are alike.", 3.0, 0.2),
        ("About 3.0 of 5 are alike.", 2.0, 0.0),
        ('The same: "buys", "boat". Different: "cook", "park".', 1.5, 0.75 * (0.2 + 0.8 * 3 / 4)),
    ],
)
def test_quality_of_a_similarity(rationale: str, label: float, expected: float) -> None:
    assert rationale_quality(SLOTS, _response(SLOTS, rationale, label)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("response", ["", "negative", '"funny" is negative.', "\n\n The answer is: purple", '"' * 5000])
def test_no_answer_or_no_rationale_is_worth_nothing(response: str) -> None:
    assert rationale_quality(CONTRAST, response) == 0.0


def test_real_rows_have_no_known_quality() -> None:
    row = Example("sandbox-sentiment", "r", {"text": "fine"}, "positive")
    assert rationale_quality(row, _response(row, "It sounds positive.", "positive")) == 0.0


def test_utilities_are_the_weighted_sum() -> None:
    oracle = OracleAnnotator(weight=0.8, noise=0.0)
    responses = [
        _response(CONTRAST, 'After "but", "cast was not funny" is negative.', "negative"),
        _response(CONTRAST, "It sounds negative.", "negative"),
        _response(CONTRAST, 'Before "but", "plot was very good" is positive.', "positive"),
        "no answer at all",
    ]
    # 0.8 * 1 + 0.2 * 1; 0.8 * 1 + 0.2 * 0.2; 0.8 * 0 + 0.2 * 1; 0
    assert oracle.utilities(CONTRAST, responses) == pytest.approx([1.0, 0.84, 0.2, 0.0])


def test_utilities_of_numbers_fall_with_the_distance() -> None:
    oracle = OracleAnnotator(weight=1.0, noise=0.0)
    responses = [_response(SLOTS, "About 3.0 of 5 are alike.", label) for label in (3.0, 4.0, 0.5)]
    assert oracle.utilities(SLOTS, responses) == pytest.approx([1.0, 1 - 1 / 5, 1 - 2.5 / 5])


def test_noise_is_seeded() -> None:
    responses = [_response(CONTRAST, "It sounds negative.", "negative")] * 5
    first = OracleAnnotator(noise=0.1, seed=3).utilities(CONTRAST, responses)
    assert first == OracleAnnotator(noise=0.1, seed=3).utilities(CONTRAST, responses)
    assert first != OracleAnnotator(noise=0.1, seed=4).utilities(CONTRAST, responses)
    assert len(set(first)) == 5


def test_certain_refusal_and_certain_mismatch() -> None:
    refused = OracleAnnotator(refusal_rate=1.0, mismatch_rate=0.0).rationale(CONTRAST, "negative")
    assert refused == (REFUSAL, "refused")
    mismatched = OracleAnnotator(refusal_rate=0.0, mismatch_rate=1.0).rationale(CONTRAST, "negative")
    assert mismatched.outcome == "mismatched"
    assert "positive" in mismatched.text
    assert "negative" not in mismatched.text


@pytest.mark.parametrize(
    "options", [{"refusal_rate": -0.1}, {"refusal_rate": 0.6, "mismatch_rate": 0.6}, {"weight": 1.5}, {"noise": -1.0}]
)
def test_impossible_rates_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="rates must add up to at most 1"):
        OracleAnnotator(**options)  # type: ignore[arg-type]


def _response(example: Example, rationale: str, label: str | float) -> str:
    return tasks.get(example.task).response(label, "rationale", rationale)


def test_a_wrong_label_misreads_the_right_evidence_half_of_the_time() -> None:
    oracles = [OracleAnnotator(refusal_rate=0.0, mismatch_rate=0.0, seed=seed) for seed in range(400)]
    texts = [oracle.rationale(CONTRAST, "positive").text for oracle in oracles]
    quoting = [text for text in texts if '"' in text]
    misread = sum(text.startswith("After") for text in quoting)  # "After" quotes what speaks for negative, the truth
    assert {'After "but", "funny" is positive.', 'Before "but", "good" is positive.'} <= set(texts)
    assert 0.4 < misread / len(quoting) < 0.6
    assert all(text.endswith("positive.") for text in texts)


def test_without_words_for_a_wrong_label_the_form_is_that_of_a_right_one() -> None:
    row = Example("sandbox-topic", "t", {"text": "the guitar met the choir by the lawn."}, "music", evidence=TWO_NOUNS)
    oracles = [OracleAnnotator(refusal_rate=0.0, mismatch_rate=0.0, seed=seed) for seed in range(40)]
    texts = {oracle.rationale(row, "sports").text for oracle in oracles}
    assert texts == {'"guitar" and "choir" point to sports.', '"guitar" points to sports.', "It sounds like sports."}


def test_a_right_label_is_never_misread() -> None:
    texts = {OracleAnnotator(0.0, 0.0, seed=seed).rationale(CONTRAST, "negative").text for seed in range(200)}
    assert not [text for text in texts if "plot" in text or "good" in text or not text.endswith("negative.")]
