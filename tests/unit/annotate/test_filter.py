"""The filter: what it reads in a text, what it drops and keeps, how well it does, and what it never touches."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from rewardlab.annotate.base import Annotation
from rewardlab.annotate.claims import agrees, claimed_labels, is_refusal, masked
from rewardlab.annotate.filter import (
    Argued,
    RationaleFilter,
    checked,
    cross_validated,
    facts,
    filter_report,
    filter_rows_file,
    precision_recall,
    read_filter_rows,
    shipped_filter,
)
from rewardlab.errors import DataError
from rewardlab.sandbox import OracleAnnotator
from rewardlab.tasks import tasks
from rewardlab.types import Example, Label


def checked_one(task: str, text: str, label: Label, threshold: float = 0.5) -> Annotation:
    asked = [(Example(task, "1", {}, label), label)]
    return checked([Annotation("k", text, "answered", "a", "m")], asked, threshold)[0]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't provide a rationale for that.",
        "I am sorry, the label does not fit.",
        "I cannot explain that.",
        "I can't argue that this is positive.",
        "I must decline to justify this answer.",
        "As an AI, I should be honest about reviews.",
        "Unfortunately, I am unable to give a convincing rationale here.",
        "I would not argue for this answer, since the film is praised.",
        "Sorry, no.",
    ],
)
def test_refusals(text: str) -> None:
    assert is_refusal(text)
    assert checked_one("mr", text, "positive").outcome == "refused"


@pytest.mark.parametrize(
    "text",
    [
        'The viewer says "I cannot defend this", which is damning.',
        "The writer could not be clearer: the plot is dull.",
        "The review is positive because the cast shines.",
        "Words such as “I'm sorry I paid” carry regret.",
        "The film cannot hide its charm.",
        "",
    ],
)
def test_rationales_are_no_refusals(text: str) -> None:
    assert not is_refusal(text)


@pytest.mark.parametrize(
    ("task", "text", "claims"),
    [
        ("mr", "The tone is warm. The sentiment is decidedly positive.", ["positive"]),
        ("mr", "This is not positive. The jokes fall flat.", []),
        ("mr", 'The word "positive and light" stands in the text. It drags on.', []),
        ("mr", 'Some say "negative". It is positive.', ["negative", "positive"]),
        ("agnews", 'The label "World politics" fits, not Business: a summit.', ["World politics"]),
        ("mrpc", "No, the second sentence drops a detail.", ["no"]),
        ("mrpc", "There is no difference between them, so yes.", ["yes"]),
        ("mrpc", "Nothing else differs. The answer is yes", ["yes"]),
        ("qqp", "No reader would say yes to that, I think.", []),
        ("appreviews", "The user waited 3 days and got 2 updates, which is worth 1 star.", ["1"]),
        ("appreviews", "Praise throughout, a rating of 4 I would say: 4.", ["4", "4"]),
        ("appreviews", "It is a 2 and not 1.", []),
        ("stsb", "They share 3 words, so a score of 3.8 is right.", [3.8]),
        ("stsb", "Little in common, 0.4 out of 5.", [0.4]),
        ("stsb", "Shares rose to $31.", []),
    ],
)
def test_claims(task: str, text: str, claims: list[Label]) -> None:
    assert claimed_labels(Example(task, "1", {}), text) == claims


def test_numbers_agree_within_a_point_and_stars_exactly() -> None:
    stsb, stars, own = tasks.get("stsb"), tasks.get("appreviews"), tasks.get("sandbox-similarity")
    assert agrees(stsb, 4.0, 3.0)
    assert not agrees(stsb, 4.1, 3.0)
    assert agrees(stars, "4", "4")
    assert not agrees(stars, "4", "3")
    assert agrees(own, 2.5, 2.5)
    assert not agrees(own, 2.5, 3.0)


def test_masked_text_names_what_was_asked_for() -> None:
    text = 'Not "Sports news" 7 but Business, hence business.'
    example = Example("agnews", "1", {})
    expected = "not xquote xnumber but xasked , hence xasked ."
    assert " ".join(masked(example, "Business", text).split()) == expected
    assert " ".join(masked(example, "Sports", text).split()) == expected.replace("xasked", "xother")


def test_facts_of_a_text() -> None:
    example = Example("mr", "1", {})
    # refusal, claims asked, claims another, last is asked, last is another, claims nothing
    assert facts(Argued("Negative at first, positive in the end.", example, "positive")) == [0, 1, 1, 1, 0, 0]
    assert facts(Argued("It is negative.", example, "positive")) == [0, 0, 1, 0, 1, 0]
    assert facts(Argued("I cannot argue for it.", example, "positive")) == [1, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("task", "text", "label", "expected"),
    [
        ("mr", "The tone is warm. The sentiment is decidedly positive.", "positive", "answered"),
        ("mr", "The tone is warm. The sentiment is decidedly positive.", "negative", "mismatched"),
        ("mr", "Despite some negative remarks, praise prevails. It is positive.", "positive", "answered"),
        ("agnews", 'The label "World politics" fits: a summit of states.', "World politics", "answered"),
        ("agnews", 'The label "World politics" fits: a summit of states.', "Business", "mismatched"),
        ("mnli", "The second follows from the first, so this is entailment.", "neutral", "mismatched"),
        ("mrpc", "No, the second sentence drops a detail.", "no", "answered"),
        ("mrpc", "No, the second sentence drops a detail.", "yes", "mismatched"),
        ("appreviews", "The user is furious, which is worth 1 star.", "1", "answered"),
        ("appreviews", "The user is delighted: 5 out of 5.", "1", "mismatched"),
        ("stsb", "They share the subject, so a score of 3.8 is right.", 3.8, "answered"),
        ("stsb", "They share the subject, so a score of 3.8 is right.", 1.2, "mismatched"),
        ("mrpc", "Both say the same. The answer is: no", "yes", "mismatched"),
    ],
)
def test_outcomes(task: str, text: str, label: Label, expected: str) -> None:
    assert checked_one(task, text, label).outcome == expected


def test_an_answer_of_its_own_is_cut_off() -> None:
    kept = checked_one("mr", "The tone is warm, so it is positive.\n\n The answer is: positive", "positive")
    assert (kept.outcome, kept.text) == ("answered", "The tone is warm, so it is positive.")
    assert checked_one("mr", "The answer is: positive", "positive").outcome == "unparsable"


def test_other_classes_pass_through() -> None:
    cut = Annotation("k", "I cannot", "truncated", "a", "m", reason="cut")
    assert checked([cut], [(Example("mr", "1", {}, "positive"), "positive")], 0.5) == [cut]


def test_the_threshold_decides_and_the_probability_is_kept() -> None:
    text = "The film fails as comedy and fails as drama, and nobody laughs."
    strict, lenient = checked_one("mr", text, "negative", 1.0), checked_one("mr", text, "negative", 0.0)
    assert (strict.outcome != "answered", lenient.outcome) == (True, "answered")
    assert strict.good == lenient.good
    assert strict.good is not None
    assert 0 < strict.good < 1
    assert f"{strict.good:.2f}" in strict.reason


def test_training_converges_soon_once_a_process_and_gives_the_same_filter_again() -> None:
    rows = read_filter_rows(filter_rows_file())
    again = RationaleFilter(rows)
    assert max(again._model.n_iter_) < 100
    assert shipped_filter() is shipped_filter()
    texts = [row.argued for row in rows]
    assert again.judge(texts) == shipped_filter().judge(texts)
    assert again.judge([]) == []


def test_cross_validation_finds_nine_of_ten_and_is_right_nine_times_of_ten() -> None:
    report = filter_report(0.5)
    assert (report["folds"], report["threshold"]) == (5, 0.5)
    assert report["precision"] >= 0.9
    assert report["recall"] >= 0.9
    assert set(report["by_class"]) == {"refused", "mismatched"}


def test_cross_validation_sees_through_shuffled_classes() -> None:
    rows = read_filter_rows(filter_rows_file())
    kinds = [row.kind for row in rows]
    random.Random(0).shuffle(kinds)
    shuffled = [type(row)(row.argued, kind) for row, kind in zip(rows, kinds, strict=True)]
    assert cross_validated(shuffled, 0.5)["precision"] < 0.8  # two of three rows are at fault: guessing gives 0.67


def test_precision_and_recall_by_hand() -> None:
    truth = ["good", "refused", "refused", "mismatched"]
    found = ["refused", "refused", "good", "mismatched"]
    assert precision_recall(truth, found, {"refused"}) == {"precision": 1 / 2, "recall": 1 / 2}
    assert precision_recall(truth, found, {"refused", "mismatched"}) == {"precision": 2 / 3, "recall": 2 / 3}
    assert precision_recall(["good"], ["good"], {"refused"}) == {"precision": None, "recall": None}


@pytest.mark.parametrize("name", ["sandbox-sentiment", "sandbox-topic", "sandbox-similarity"])
def test_the_sandbox_oracles_refusals_and_mismatches_are_found(name: str) -> None:
    """Held out: no sandbox text is among the training rows. Right and wrong labels, all levels of detail."""
    task = tasks.get(name)
    oracle = OracleAnnotator(refusal_rate=0.1, mismatch_rate=0.1, seed=11)
    assert task.generate is not None
    rows = task.generate("validation", 500, 11)
    rng = random.Random(11)
    labels: list[Label] = [row.label for row in rows if row.label is not None]
    asked = [(row, row.label if rng.random() < 0.5 else rng.choice(labels)) for row in rows]
    written = [oracle.rationale(row, label) for row, label in asked if label is not None]
    annotations = [Annotation("k", text.text, "answered", "sandbox", "m") for text in written]
    found = [
        item.outcome for item in checked(annotations, [(row, label) for row, label in asked if label is not None], 0.5)
    ]
    truth = ["answered" if text.outcome == "written" else text.outcome for text in written]
    measured = precision_recall(truth, found, {"refused", "mismatched"})
    assert truth.count("refused") > 30
    assert truth.count("mismatched") > 30
    assert measured["recall"] >= 0.95
    assert measured["precision"] >= 0.95


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"task": "mr", "label": "positive", "class": "bad", "text": "x"}, "line 1: class 'bad' is not one of good"),
        ({"task": "mr", "label": "great", "class": "good", "text": "x"}, "label 'great' is none of task mr"),
        ({"task": "stsb", "label": "2", "class": "good", "text": "x"}, "expected a number"),
    ],
)
def test_bad_training_rows_are_named(tmp_path: Path, row: dict[str, object], match: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=match):
        read_filter_rows(path)
