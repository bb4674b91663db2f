"""Rubrics: written criteria as Jinja templates, the request that is made of one, and the grade that is read.

========================================== =====================================================
``Grade: 7``  ``... so the score is 7/10``  behind grade, score or rating; the last of several
``7``  ``**7**``  ``7.5``  ``7/10, because``  else a number that the answer begins with, by itself
``<think>...</think> 7``                   thoughts are cut (``rewardlab.tasks.thoughts``)
``11`` on 0-10, ``7/5``, ``7-8``, ``7 to 8``  no grade, nor is anything else
``1. It is right. 2. ...``                 a numbered list: the number that it begins with is no grade
========================================== =====================================================
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab.annotate.prompting import VERSION
from rewardlab.annotate.shipped import shipped
from rewardlab.errors import ConfigError
from rewardlab.rubric_config import RubricConfig
from rewardlab.tasks.task import prompt_of
from rewardlab.tasks.thoughts import spoken
from rewardlab.types import Example

if TYPE_CHECKING:
    from jinja2 import Template

FIELDS = ("question", "response", "lowest", "highest", "task")
"""What a template can print."""
_RANGE = r"\s{0,3}[\u2013-]\s{0,3}\d|\s{1,3}(?:to|or)\s{1,3}\d"
_NUMBER = (
    rf"(?P<number>\d{{1,9}}(?:\.\d{{1,9}})?)(?![\d%]|[.,]\s?\d|{_RANGE})"
    r"(?:\s{0,3}(?:/|out of)\s{0,3}(?P<of>\d{1,9}))?"
)
_LIST, _SECOND = re.compile(r"1[.)]\s"), re.compile(r"^\s{0,9}2[.)]\s", re.MULTILINE)
"""How a numbered list begins, and its second line."""
_BEGINS = re.compile(
    rf"[\s*_`\"'(\[]{{0,10}}{_NUMBER}[*_`\"')\]]{{0,10}}\s{{0,3}}(?:$|[.,;:!\n\u2013-]|because\b|since\b)"
)
_NAMED = re.compile(
    rf"\b(?:grade|score|rating)\b[\s*_`\"':=(\[]{{0,10}}(?:(?:is|of)\b[\s*_`\"':]{{0,10}})?{_NUMBER}", re.I
)


@dataclass(frozen=True, slots=True)
class Grade:
    """What was read in an answer.

    Attributes:
        share: 0 the lowest grade of the scale, 1 the highest; None when there is no grade.
        reason: Why there is none, else the grade in words.
    """

    share: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Rubric:
    """Criteria and a scale.

    Attributes:
        name: A shipped rubric's, or the path of a file.
        version: Its number and a digest of its words, such as ``1-5f0c2a9b``; enters fingerprints.
        text: The template.
        lowest, highest: The scale.
    """

    name: str
    version: str
    text: str
    lowest: int
    highest: int

    @classmethod
    def load(cls, config: RubricConfig) -> Rubric:
        """Read the template that a configuration names.

        Raises:
            ConfigError: There is none, it is no Jinja template, or it prints what there is not.
        """
        place = _place(config.template)
        try:
            text = place.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"rubric.template = {config.template!r}: cannot be read ({error}); expected "
                f"{' or '.join(shipped_rubrics())}, or a Jinja file in UTF-8"
            ) from error
        _check(config.template, text)
        found = VERSION.match(text)
        words = text[found.end() :] if found else text
        number = found[1] if found else "0"
        return cls(
            config.template,
            f"{number}-{hashlib.sha256(words.encode()).hexdigest()[:8]}",
            words,
            config.lowest,
            config.highest,
        )

    def request(self, example: Example, response: str) -> str:
        """Asks for the grade of one response."""
        return _template(self.text).render(
            question=prompt_of(example),
            response=response.strip(),
            lowest=self.lowest,
            highest=self.highest,
            task=example.task,
        )

    def read(self, text: str, *, is_cut: bool = False) -> Grade:
        """The grade in an answer. Never raises; time is bounded.

        Args:
            text: The answer.
            is_cut: It was cut at the token limit: only a number that it begins with and goes on behind is read then.

        >>> Rubric("mine", "0", "", 1, 5).read("Score: 4/5. It is clear.")
        Grade(share=0.75, reason='grade 4 of 1-5')
        """
        said = spoken(text).strip()
        is_list = _LIST.match(said) is not None and (is_cut or _SECOND.search(said) is not None)
        found = None if is_list else _BEGINS.match(said)
        if is_cut:
            found = found if found and said[found.end() :].strip() else None
        else:
            found = _last(_NAMED.finditer(said)) or found
        if found is None:
            return Grade(None, f"no grade such as '{self.highest}' in {said[:60]!r}")
        value = float(found["number"])
        if not self.lowest <= value <= self.highest or int(found["of"] or self.highest) != self.highest:
            return Grade(None, f"{found[0].strip()!r} is not on the scale {self.lowest}-{self.highest}")
        share = (value - self.lowest) / (self.highest - self.lowest)
        return Grade(share, f"grade {value:g} of {self.lowest}-{self.highest}")


def shipped_rubrics() -> list[str]:
    """Names of the rubrics that come with the package."""
    return sorted(path.stem for path in shipped("rubrics").glob("*.jinja"))


def _place(name: str) -> Path:
    own = shipped("rubrics", f"{name}.jinja")
    return own if name.isidentifier() and own.is_file() else Path(name).expanduser()


def _last(found: Iterator[re.Match[str]]) -> re.Match[str] | None:
    return next(reversed(list(found)), None)


def _check(name: str, text: str) -> None:
    from jinja2 import TemplateSyntaxError, meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        printed = meta.find_undeclared_variables(ImmutableSandboxedEnvironment().parse(text))
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"rubric.template = {name!r}, line {error.lineno}: {error.message}; mend the template"
        ) from error
    if strange := sorted(printed - set(FIELDS)):
        raise ConfigError(
            f"rubric.template = {name!r}: prints {', '.join(strange)}; expected some of {', '.join(FIELDS)}"
        )
    if "response" not in printed:
        raise ConfigError(f"rubric.template = {name!r}: does not print {{{{ response }}}}, which it is to grade")


@cache
def _template(text: str) -> Template:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, trim_blocks=True)
    return environment.from_string(text)
