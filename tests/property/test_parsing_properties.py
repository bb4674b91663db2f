"""Parsers on any text: they never raise, never hang, and agree with themselves."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardlab.annotate import claims, filter, pairwise, ranking
from rewardlab.tasks import numbers, parsing, resolve_tasks, text, words
from rewardlab.tasks.task import Task
from rewardlab.types import ANSWER_FORMATS, AnswerFormat
from tests.support.steps import patterns, runaways, steps

TASKS = resolve_tasks("mr,agnews,mnli,qqp,stsb,appreviews,cola")
READERS = patterns(parsing, text, words, numbers, ranking, pairwise, filter, claims)
BOUNDED = {
    "tasks.text._FAR": "it looks back LOOK_BACK characters",
    "tasks.text._NEAR": "it looks back LOOK_BACK characters",
    "tasks.numbers._CHUNK": "it starts behind white space alone, and a chunk has none",
}
"""Patterns with a repeat that has no bound of its own, and what bounds it."""
PIECES = [
    "The answer is:", "\n\n The answer is: ", "<Judgement>", "</Judgement>", "not ", "n't ", "non-", "positive",
    "negative", "acceptable", "unacceptable", "entailment", "yes", "no", "4", "4.", "-1", "4/5", " out of 5", "5.",
    "nan", "**", "`", "_", "\"", "’", "\x00", "\u200b", "\ud800", "İ", "ﷺ",
    "（", "¾", "\n", " ", "the ", "is ", ".", ",", "x",
]  # fmt: skip
SHAPES = [
    "The answer is:" * 1000, "The answer is" + "*" * 9980, "the" + " " * 10_000 + "answer", "the answer is" * 800,
    "<Judgement>" * 1000, "<" * 10_000, "< judgement" * 900, "</Judgement" * 900, "*" * 10_000, "(" * 10_000,
    "not " * 2500, "n't " * 2500, "no " * 3333, "not positive " * 800, "positive " * 1100, "unacceptable" * 800,
    "entailment not " * 700, "science and " * 800, "1 " * 5000, "1/" * 5000, "1.2" * 3300, "9" * 10_000,
    "4 out of " * 1100, "4 stars " * 1200, ("4" + " " * 20) * 480, "-" * 10_000, "." * 10_000, " " * 10_000,
    "\n" * 10_000, "no\n" * 3300, "a" * 10_000, "\x00" * 10_000, "\ud800" * 3300, "İ" * 5000,
    "ﷺ" * 3300, "１" * 3300, "é" * 5000,
]  # fmt: skip


def texts() -> st.SearchStrategy[str]:
    joined = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
    return st.text(st.characters(), max_size=300) | joined


@pytest.mark.parametrize("format", ANSWER_FORMATS)
@given(text=texts())
@settings(max_examples=150)
def test_no_text_makes_a_parser_raise(format: AnswerFormat, text: str) -> None:
    for task in TASKS:
        answer = task.parse(text, format)
        assert (answer.value is None) == bool(answer.reason)
        assert answer.strict in (None, answer.value)
        assert answer.value is None or _is_possible(task, answer.value)


@given(text=texts())
@settings(max_examples=100)
def test_without_a_marker_no_rationale_is_an_answer(text: str) -> None:
    if "answer" not in text.lower():
        assert all(task.parse(text, "rationale").value is None for task in TASKS)


@given(rationale=texts(), number=st.integers(0, 5000).map(lambda n: n / 1000))
@settings(max_examples=100)
def test_lenient_reads_what_a_response_ends_in(rationale: str, number: float) -> None:
    for task in TASKS:
        for label in task.labels or (number,):
            answer = task.parse(task.response(label, "rationale", rationale), "rationale")
            assert answer.value == pytest.approx(label, abs=1e-9) if task.is_numeric else answer.value == label


@given(before=st.text(" *_`\"'(\n", max_size=10), after=st.text(" *_`\"').!\n", max_size=10))
@settings(max_examples=100)
def test_decoration_changes_nothing(before: str, after: str) -> None:
    for task in TASKS:
        for label in task.labels:
            word = task.word(label, "label")
            assert task.parse(f"{before}{word.upper()}{after}", "label").value == label


@pytest.mark.parametrize("name", READERS)
def test_no_pattern_can_run_away(name: str) -> None:
    """Matching is then linear in the text, as it is in 10 KB of any shape (``experiments/bench/speed.py`` times it)."""
    assert bool(runaways(READERS[name].pattern)) == (name in BOUNDED), BOUNDED.get(name)


@pytest.mark.parametrize("format", ANSWER_FORMATS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: repr(shape[:12]))
def test_the_steps_grow_no_faster_than_the_text(format: AnswerFormat, shape: str) -> None:
    for task in TASKS:
        task.parser(format)
        for begin in ("", "x\n\n The answer is: "):
            once, twice = (steps(partial(task.parse, begin + shape * n, format)) for n in (1, 2))
            assert twice <= 2 * once + 10


def _is_possible(task: Task, value: object) -> bool:
    return value in task.labels if task.labels else isinstance(value, float) and 0 <= value <= 5
