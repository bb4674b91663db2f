"""Refusals and rationales for another label are found by their text; honest rationales pass."""

from __future__ import annotations

import pytest

from rewardlab.annotate.base import Annotation
from rewardlab.annotate.filter import checked, claimed_labels, is_refusal
from rewardlab.tasks import tasks
from rewardlab.types import Example, Label


def outcome(task: str, text: str, label: Label) -> str:
    return checked(Annotation("k", text, "answered", "a", "m"), Example(task, "1", {}, label), label).outcome


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
    ("task", "text", "label", "expected"),
    [
        ("mr", "The tone is warm. The sentiment is decidedly positive.", "positive", "answered"),
        ("mr", "The tone is warm. The sentiment is decidedly positive.", "negative", "mismatched"),
        ("mr", "Despite some negative remarks, praise prevails. It is positive.", "positive", "answered"),
        ("mr", "This is not positive. The jokes fall flat.", "negative", "answered"),
        ("mr", 'The word "positive" stands in the text. It drags on.', "positive", "answered"),
        ("mr", "The jokes fall flat and the plot drags.", "positive", "answered"),  # claims nothing
        ("agnews", 'The label "World politics" fits: a summit of states.', "World politics", "answered"),
        ("agnews", 'The label "World politics" fits: a summit of states.', "Business", "mismatched"),
        ("agnews", 'It quotes "sports fans were business class" at length. Markets decide.', "Business", "answered"),
        ("mnli", "The second follows from the first, so this is entailment.", "neutral", "mismatched"),
        ("mrpc", "No, the second sentence drops a detail.", "no", "answered"),
        ("mrpc", "No, the second sentence drops a detail.", "yes", "mismatched"),
        ("mrpc", "There is no difference between them, so yes.", "yes", "answered"),
        ("mrpc", "Both say the same. The answer is: no", "yes", "mismatched"),
        ("appreviews", "The user is furious, which is worth 1 star.", "1", "answered"),
        ("appreviews", "The user is delighted: 5 out of 5.", "1", "mismatched"),
        ("appreviews", "The user waited 3 days and got 2 updates.", "1", "answered"),
        ("stsb", "They share the subject, so a score of 3.8 is right.", 3.8, "answered"),
        ("stsb", "They share the subject, so a score of 3.8 is right.", 1.2, "mismatched"),
        ("stsb", "They share 3 words.", 1.2, "answered"),
    ],
)
def test_mismatches(task: str, text: str, label: Label, expected: str) -> None:
    assert outcome(task, text, label) == expected


def test_an_answer_of_its_own_is_cut_off() -> None:
    annotation = Annotation("k", "A warm tone.\n\n The answer is: positive", "answered", "a", "m")
    kept = checked(annotation, Example("mr", "1", {}, "positive"), "positive")
    assert (kept.outcome, kept.text) == ("answered", "A warm tone.")
    bare = Annotation("k", "The answer is: positive", "answered", "a", "m")
    assert checked(bare, Example("mr", "1", {}, "positive"), "positive").outcome == "unparsable"


def test_other_classes_pass_through() -> None:
    cut = Annotation("k", "I cannot", "truncated", "a", "m", reason="cut")
    assert checked(cut, Example("mr", "1", {}, "positive"), "positive") is cut


def test_claims_come_from_the_first_and_last_sentence() -> None:
    text = "It is positive. Though someone said it is negative. It is a joy."
    assert claimed_labels(tasks.get("mr"), text) == {"positive"}
