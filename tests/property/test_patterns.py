"""Patterns that meet text of others cannot run away: no repeat without a bound, and work that grows with the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from rewardlab.annotate import claims, filter, moderation, pairwise, ranking
from rewardlab.annotate.claims import claimed_labels, is_refusal, masked
from rewardlab.pairs import layouts
from rewardlab.tasks import denials, languages, marks, numbers, options, parsing, tasks, text, thoughts, turns, words
from rewardlab.tasks.marks import at_answer
from rewardlab.tasks.thoughts import spoken
from rewardlab.types import ANSWER_FORMATS, Example
from tests.support.labels import labelled
from tests.support.steps import runaways, steps

MODULES = (
    *(claims, filter, pairwise, moderation, ranking, denials, marks, numbers, options, parsing, text, thoughts, words),
)
BOUNDED = {"rewardlab.tasks.numbers._CHUNK": "it starts behind white space alone, and a chunk has none"}
"""Patterns with a repeat that has no bound of its own, and what bounds it."""
PIECES = [
    "1", "1 ", "1.", "9.9", "yes ", "no ", "no!", " ", "\n", '"', '"a', "so ", "answer ", "the answer is ", "Answer:",
    "\nAnswer", "score is ", "- ", "*", "#", "> ", "<", "</", "<think", "<think>", "</think>", "[THINK]", "positive ",
    "not ", "not positive ", "positive, ", "A ", "A, ", "A) ", "是", "不", "(", "i cannot ", "sorry ", "analysis",
    "\\boxed{", "Ranking: ", "1>", "answer [", "Answer 1 is ", "e\u0301", "n't ", "1/", "4 out of ", "4 stars ", "İ",
    "world politics ", "science and ", "\ue000", "réponse ", "```think\n", "`", "based on, ", "x'", "\n\nHuman: ",
    "[INST]", "<|user|>", "USER: ", "不是正面", "ない", "\u0300",
]  # fmt: skip
LETTERS, CHINESE, SIGNED = labelled("A", "B", "A+"), labelled("正面", "负面"), labelled("-1", "1")


def named(name: str, value: Any) -> Iterator[tuple[str, re.Pattern[str]]]:
    """The patterns in a value, with their places."""
    if isinstance(value, re.Pattern):
        yield name, value
    elif isinstance(value, tuple | list):
        for place, each in enumerate(value):
            yield from named(f"{name}[{place}]", each)


def of_modules(*modules: ModuleType) -> Iterator[tuple[str, re.Pattern[str]]]:
    for module in modules:
        for name, value in vars(module).items():
            yield from named(f"{module.__name__}.{name}", value)


def built() -> Iterator[tuple[str, re.Pattern[str]]]:
    """Patterns that are made from tasks and languages."""
    for name in tasks.names():
        for format in ANSWER_FORMATS:
            yield f"{name} {format}", tasks.get(name).parser(format).vocabulary._pattern
    for code in languages.LANGUAGES:
        every = denials.denials((code,), frozenset())
        yield from [*named(code, every._before), *named(code, every._after), *named(code, every._word)]
        yield code, marks._announced(code)[1]
    yield "scale", claims._scale_pattern(5.0)


@pytest.mark.parametrize(("name", "pattern"), [*of_modules(*MODULES, layouts, turns), *built()])
def test_every_repeat_has_a_bound(name: str, pattern: re.Pattern[str]) -> None:
    assert bool(runaways(pattern.pattern)) == (name in BOUNDED), BOUNDED.get(name)


def readers() -> dict[str, Callable[[str], object]]:
    found: dict[str, Callable[[str], object]] = {
        "spoken": spoken,
        "mark": partial(at_answer, first=True),
        "refusal": is_refusal,
        "ranking": partial(ranking.parse_ranking, count=5),
        "verdict": pairwise.parse_verdict,
        "transcript": turns.transcript,
    }
    for name in ("mr", "mrpc", "appreviews", "stsb"):
        found[f"claims {name}"] = partial(claimed_labels, Example(name, "1", {}))
        found[f"masked {name}"] = partial(masked, Example(name, "1", {}), "positive")
    for task in (LETTERS, CHINESE, SIGNED, tasks.get("mr"), tasks.get("stsb")):
        found[f"answer {task.name}"] = partial(task.parse, format="rationale")
    return found


@pytest.mark.parametrize("piece", PIECES)
def test_the_steps_grow_no_faster_than_the_text(piece: str) -> None:
    """Lines of Python, the same on every machine; what a pattern does inside is bounded by the test above."""
    for name, read in readers().items():
        read(piece)
        once, twice = (steps(partial(read, piece * count)) for count in (400, 800))
        assert twice <= 2 * once + 50, name


@pytest.mark.parametrize("piece", PIECES)
def test_fifty_kilobytes_are_read(piece: str) -> None:
    """Under the time limit of the tests: the claims of 32 KB of "1." once took 20 s."""
    whole = piece * (50_000 // len(piece))
    for read in readers().values():
        read(whole)
