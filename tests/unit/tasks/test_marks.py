"""Where the answer begins: the mark in Markdown, headings, quotes and languages, and what leads in to it."""

from __future__ import annotations

import pytest

from rewardlab.annotate.base import Annotation
from rewardlab.annotate.filter import checked
from rewardlab.tasks import tasks
from rewardlab.tasks.marks import at_answer
from rewardlab.types import Example

TAILS = [
    "\n\n The answer is: positive",
    "\n\n**The answer is: positive**",
    "\n\n**The answer is:** positive",
    "\n\n**The answer is**: positive",
    "\n\n### The answer is: positive",
    "\n\n> The answer is: positive",
    "\n\n- **The answer is**: positive",
    "\n\n1. The answer is: positive",
    '\n\n"The answer is: positive"',
    "\n\nThe *answer* is: `positive`",
    "\n\nThe final answer is: positive.",
    "\n\nMy answer is：positive",
    "\n\nSo, the answer is: positive",
    " Therefore, the answer is: positive",
    "\n\nBased on all of this, the answer is: positive",
    "\n\nSo, given the praise, **the answer is:** positive",
    "\n---\n\n The answer is: positive",
    "\n\n### Answer\npositive",
    "\n\n## Final Answer\n\n**positive**",
    "\n\n**Answer:** positive",
    "\n\n**Answer**: positive",
    "\n\nAnswer: positive",
    "\n\nAnswer - positive",
    "\n\n2. **Final answer:** positive",
    "\n\nAnswer\n------\npositive",
    "\n\n<answer>positive</answer>",
    "\n\n\\boxed{positive}",
    "\n\nThe answer is $\\boxed{\\text{positive}}$.",
    "\n\nSo the final answer is **positive**.",
    ' The answer is "positive"',
    "\n\nDie Antwort lautet: positive",
    "\n\nLa réponse est : positive",
    "\n\nLa re\u0301ponse est : positive",
    "\n\nRespuesta: positive",
    "\n\nОтвет: positive",
    "\n\n答案是：positive",
    "\n\n答え：positive",
    "\n\n정답은: positive",
    "\n\nThe most likely answer is: positive",
    "\n\nOur answer is: positive",
    "\n\nThe answer to the question is: positive",
    "\n\n### Antwort\npositive",
    "\n\n**Réponse finale**\n\npositive",
    "\n\nRespuesta - positive",
    "\n\n## 答案\npositive",
    "\n\n<|begin_of_box|>positive<|end_of_box|>",
]
GOOD = (
    "The reviewer calls the film warm and funny and adds that it never drags, which are all words of praise, so the "
    "overall opinion of the film is favourable and the sentiment is positive."
)


@pytest.mark.parametrize("tail", TAILS)
def test_one_cut_for_tasks_and_the_filter(tail: str) -> None:
    answer = tasks.get("mr").parse(GOOD + tail, "rationale")
    assert (answer.value, answer.rationale) == ("positive", GOOD)
    asked = [(Example("mr", "1", {}, "positive"), "positive")]
    kept = checked([Annotation("k", GOOD + tail, "answered", "a", "m")], asked, 0.5)[0]
    assert (kept.outcome, kept.text) == ("answered", GOOD)


@pytest.mark.parametrize("tail", TAILS)
def test_another_answer_is_a_mismatch_however_it_is_marked(tail: str) -> None:
    asked = [(Example("mr", "1", {}, "positive"), "positive")]
    text = GOOD + tail.replace("positive", "negative")
    assert checked([Annotation("k", text, "answered", "a", "m")], asked, 0.5)[0].outcome == "mismatched"


@pytest.mark.parametrize(
    "text",
    [
        "It is positive. The answer is clear.",
        "My answers: positive ones",
        "He had no answer: a positive trait.",
        "The answering machine is: positive",
        "The answer is **positive** at first and dull later.",
    ],
)
def test_other_words_are_no_mark(text: str) -> None:
    assert at_answer(text).answer is None
    assert at_answer(text).rationale == text


def test_an_answer_in_json() -> None:
    text = '{"rationale": "It is not negative, it shines.", "answer": "positive"}'
    assert tasks.get("mr").parse(text, "rationale").value == "positive"


def test_the_mark_that_is_asked_for_goes_before_headings() -> None:
    text = "Fine.\n\n The answer is: positive\n\nReview: bad\nAnswer: negative"
    assert at_answer(text).rationale == "Fine."
    assert tasks.get("mr").parse(text, "rationale").value is None  # two answers behind the mark, as before


def test_first_and_last_mark() -> None:
    text = "A. The answer is: negative. B. The answer is: positive"
    assert at_answer(text, first=True).rationale == "A."
    assert at_answer(text).answer == " positive"
    assert at_answer(text).rationale == "A. The answer is: negative. B."


@pytest.mark.parametrize(
    "title", ["Answer: ", "### Answer\n", "**Rationale:** ", "## Explanation\n\n", "Reasoning:\n", "<answer>"]
)
def test_titles_above_a_rationale_are_left_out(title: str) -> None:
    asked = [(Example("mr", "1", {}, "positive"), "positive")]
    for text in (title + GOOD, f"{title}{GOOD}\n\nThe answer is: positive"):
        kept = checked([Annotation("k", text, "answered", "a", "m")], asked, 0.5)[0]
        assert (kept.outcome, kept.text) == ("answered", GOOD)


def test_a_task_names_the_languages_of_its_marks() -> None:
    assert at_answer("Gut. Antwort: positive", ("de",)).answer == " positive"
    assert at_answer("Gut. Antwort: positive", ("fr",)).answer is None


@pytest.mark.parametrize("rationale", ["It is good, and so", 'He said: "so"', "So", "### A heading", "Therefore,"])
def test_the_exact_form_keeps_every_word_of_its_rationale(rationale: str) -> None:
    answer = tasks.get("mr").parse(f"{rationale}\n\n The answer is: positive", "rationale")
    assert (answer.strict, answer.rationale) == ("positive", rationale)
