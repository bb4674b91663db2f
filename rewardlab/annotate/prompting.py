"""The requests in words: RLLR's three templates, stored as Jinja files under ``annotations/prompts/``.

The wording is the authors' own, slips included. Repaired is what the scan of appendix C tore (a doubled second
answer); ``\\n`` in the paper is a line break here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from rewardlab.annotate.base import seeded
from rewardlab.annotate.shipped import shipped
from rewardlab.errors import DataError
from rewardlab.tasks.task import prompt_of, tasks
from rewardlab.types import Example, Label

if TYPE_CHECKING:
    from jinja2 import Template

PROMPTS = ("rationale", "ranking", "judge")

VERDICTS = ("Answer 1 is better", "Answer 2 is better")
"""What ``judge.jinja`` asks for when the answers are not equal."""

VERSION = re.compile(r"\{#\s*version\s+(\d+)\s*#\}\n")


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
def prompt_versions() -> dict[str, str]:
    """Prompt -> its version and a digest of its words, such as ``1-5f0c2a9b``; enters fingerprints.

    Raises:
        DataError: A template does not begin with ``{# version N #}``.
    """
    return {name: _version(name) for name in PROMPTS}


def _version(name: str) -> str:
    path = shipped("prompts", f"{name}.jinja")
    text = path.read_text(encoding="utf-8-sig")
    found = VERSION.match(text)
    if found is None:
        raise DataError(f"{path}: begins with {text[:20]!r}, expected {{# version N #}} on its first line")
    return f"{found[1]}-{hashlib.sha256(text[found.end() :].encode()).hexdigest()[:8]}"


@cache
def _template(name: str) -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(shipped("prompts")), undefined=StrictUndefined, autoescape=False, trim_blocks=True
    )
    return environment.get_template(f"{name}.jinja")
