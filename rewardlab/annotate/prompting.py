"""The requests in words: RLLR's three templates, stored as Jinja files beside this module.

The wording is the authors' own, slips included. Repaired is what the scan of appendix C tore (a doubled second
answer); ``\\n`` in the paper is a line break here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab.annotate.base import seeded
from rewardlab.tasks.task import prompt_of, tasks
from rewardlab.types import Example, Label

if TYPE_CHECKING:
    from jinja2 import Template

PROMPT_VERSION = 1
"""Enters fingerprints; raise it whenever a template's words change."""

VERDICTS = ("Answer 1 is better", "Answer 2 is better")
"""What ``judge.jinja`` asks for when the answers are not equal."""


def rationale_request(example: Example, label: Label) -> str:
    """Asks for a rationale (RLLR appendix B); ``label`` is printed as the task's responses print it."""
    word = tasks.get(example.task).word(label, example.format)
    return _template("rationale").render(question=prompt_of(example), label=word)


def ranking_request(example: Example, responses: Sequence[str]) -> str:
    """Asks for a ranking (RLLR appendix C), with an example order drawn anew for every request."""
    order = ranking_example(len(responses), example.task, example.id, *responses)
    return _template("ranking").render(
        question=prompt_of(example), answers=[text.strip() for text in responses], ranking_example=order
    )


def judge_request(example: Example, first: str, second: str) -> str:
    """Asks which of two answers is better (RLLR appendix G); the caller chooses their order."""
    return _template("judge").render(question=prompt_of(example), answers=[first.strip(), second.strip()])


def ranking_example(count: int, *seed: str) -> str:
    """A random order of 1 to ``count`` joined by ``>`` and ``=``, such as ``2>1=5>3=4``; decided by ``seed``."""
    rng = seeded("ranking example", *seed)
    numbers = rng.sample(range(1, count + 1), count)
    return str(numbers[0]) + "".join(f"{rng.choice('>=')}{number}" for number in numbers[1:])


@cache
def _template(name: str) -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "prompts"
    environment = Environment(
        loader=FileSystemLoader(folder), undefined=StrictUndefined, autoescape=False, trim_blocks=True
    )
    return environment.get_template(f"{name}.jinja")
