"""The format ``confident``: how a confidence is written, what is read as one, and what an answer without one is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from rewardlab.annotate.wrong_labels import WrongLabels
from rewardlab.config_loading import load_config
from rewardlab.pairs.label_sensitive import bare_pairs
from rewardlab.pipeline.pipeline import Pipeline
from rewardlab.tasks import tasks
from rewardlab.tasks.confidence import SHOWN_CONFIDENCES, shown_confidence
from rewardlab.tasks.task import HOW_SURE, prompt_of
from rewardlab.tasks.user import load_task
from rewardlab.types import Example

MR, STSB = tasks.get("mr"), tasks.get("stsb")


@pytest.mark.parametrize(
    ("response", "value", "strict", "confidence"),
    [
        ("The answer is: positive (80 %)", "positive", "positive", 0.8),
        ("The answer is: positive (0 %)", "positive", "positive", 0.0),
        ("The answer is: positive (100 %)\n", "positive", "positive", 1.0),
        ("It shines. The answer is: positive (80 %)", "positive", "positive", 0.8),
        ("The answer is: positive (80%)", "positive", None, 0.8),
        ("The answer is: Positive (80 ％)", "positive", None, 0.8),
        ("The answer is: positive (80 percent)", "positive", None, 0.8),
        ("The answer is: positive, 62.5 % sure.", "positive", None, 0.625),
        ("The answer is: positive, with a confidence of 62,5%", "positive", None, 0.625),
        ("**The answer is:** positive [Confidence: 70%]", "positive", None, 0.7),
        ("The answer is: 70% positive", "positive", None, 0.7),
        ("The answer is: positive (80 %) 80 %", "positive", None, 0.8),
        ("90 % of it is fine. The answer is: positive", "positive", None, None),
        ("The answer is: positive", "positive", None, None),
        ("The answer is: positive (80)", "positive", None, None),
        ("The answer is: positive (0.8)", "positive", None, None),
        ("The answer is: positive (101 %)", "positive", None, None),
        ("The answer is: positive (1080 %)", "positive", None, None),
        ("The answer is: positive (80 %) or (60 %)", "positive", None, None),
        ("The answer is: positive (80 %), negative (20 %)", None, None, None),
        ("The answer is: not positive (80 %)", None, None, 0.8),
        ("positive (80 %)", None, None, None),
        ("", None, None, None),
    ],
)
def test_what_is_read(response: str, value: str | None, strict: str | None, confidence: float | None) -> None:
    answer = MR.parse(response, "confident")
    assert (answer.value, answer.strict, answer.confidence) == (value, strict, confidence)


@pytest.mark.parametrize(
    ("response", "value", "strict"),
    [
        ("The answer is: 3.5 (80 %)", 3.5, 3.5),
        ("The answer is: 4 out of 5 (80%)", 4.0, None),
        ("The answer is: 80 %", None, None),
    ],
)
def test_a_percentage_is_not_the_number_that_is_asked_for(
    response: str, value: float | None, strict: float | None
) -> None:
    answer = STSB.parse(response, "confident")
    assert (answer.value, answer.strict, answer.confidence) == (value, strict, 0.8)


def test_other_formats_state_none() -> None:
    assert MR.parse("It shines.\n\n The answer is: positive (80 %)", "rationale").confidence is None


@pytest.mark.parametrize("confidence", SHOWN_CONFIDENCES)
def test_what_is_written_is_read(confidence: float) -> None:
    text = MR.response("positive", "confident", "left out", confidence)
    assert MR.parse(text, "confident").confidence == confidence
    assert "left out" not in text


def test_the_prompt_is_that_of_label_and_a_sentence(tmp_path: Path) -> None:
    row = Example("mr", "1", {"text": "A delight."}, "positive", "confident")
    assert prompt_of(row) == MR.prompt(Example("mr", "1", {"text": "A delight."}, "positive", "label")) + HOW_SURE
    file = tmp_path / "t.toml"
    own = '[templates]\nconfident = "How sure? {text}"\n'
    file.write_text(f'name = "t-sure"\nfields = ["text"]\nlabels = ["a", "b"]\ntemplate = "{{text}}"\n{own}')
    assert load_task(file).templates["confident"] == "How sure? {text}"


def test_only_runs_in_that_format_depend_on_its_prompt() -> None:
    assert "confident" not in MR.to_json()["templates"]
    assert "confident" not in MR.to_json("label")["templates"]
    assert MR.to_json("confident")["templates"]["confident"].endswith(HOW_SURE)


def test_training_texts_state_every_confidence_whatever_the_label() -> None:
    rows = [Example("mr", str(place), {}, ("negative", "positive")[place % 2]) for place in range(3000)]
    for label in ("negative", "positive"):
        counts = Counter(shown_confidence(row) for row in rows if row.label == label)
        assert set(counts) == set(SHOWN_CONFIDENCES)
        assert all(abs(count - 250) < 60 for count in counts.values())  # 1500 / 6, four standard deviations of 14.4


def test_both_responses_of_a_pair_are_as_sure(tmp_path: Path) -> None:
    """Otherwise a reward model would learn the confidence and not the label."""
    given = {"task": "sandbox-sentiment", "format": "confident", "data.labelled": 12, "data.prompts": 4}
    pipeline = Pipeline(load_config(given | {"data.validation": 4, "data.test": 4}), tmp_path)
    rows = pipeline.splits["sandbox-sentiment"].labelled
    task = tasks.get("sandbox-sentiment")
    built = bare_pairs(rows, {task.name: WrongLabels(task, [row.label for row in rows])}, 0)
    for row, pair in zip(rows, built.pairs, strict=True):
        read = [task.parse(text, "confident") for text in (pair.chosen, pair.rejected)]
        assert [answer.strict for answer in read] == [pair.chosen_label, pair.rejected_label]
        assert read[0].confidence == read[1].confidence == shown_confidence(row)
