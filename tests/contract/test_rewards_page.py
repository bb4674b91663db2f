"""``docs/rewards.md``: every expression in it is one, every word of the language stands in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rewardlab.config import RewardConfig
from rewardlab.rewards import plan_reward
from rewardlab.rewards.expression import FUNCTIONS, RESERVED

ROOT = Path(__file__).resolve().parents[2]
PAGE = re.sub(r"(?ms)^```.*?^```$", "", (ROOT / "docs" / "rewards.md").read_text(encoding="utf-8"))
METHODS = PAGE.split("| method | expression |")[1].split("\n\n")[0]
EXPRESSIONS = re.findall(r"^\| [^|]+ \| `([^`]+)` \|", METHODS, re.MULTILINE)


def test_every_word_of_the_language_is_there() -> None:
    written = " ".join(re.findall(r"`([^`]+)`", PAGE))
    assert not [name for name in RESERVED if not re.search(rf"\b{name}\b", written)]
    forms = {function.form for name, function in FUNCTIONS.items() if name != "gate"}
    assert not [form for form in forms if f"`{form}`" not in PAGE]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_method_is_an_expression(expression: str) -> None:
    written = re.sub(r"\b[ab]\b", "0.1", expression)
    assert plan_reward(RewardConfig(expression=written)).needs_groups


def test_the_methods_are_found() -> None:
    assert len(EXPRESSIONS) == 4
    assert EXPRESSIONS[0] == "gz(rule) + gz(rationale)"


def test_the_readme_names_the_page() -> None:
    assert "(docs/rewards.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
