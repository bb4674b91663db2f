"""``docs/dpo.md`` names functions, tests and settings that exist, every loss, and exactly the metrics of a step."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import get_args

from rewardlab.functional.preference import PreferenceLoss
from rewardlab.preference_config import DPOConfig
from rewardlab.training.preference import GLOSSARY
from tests.contract.test_ppo_page import exists, quoted

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "dpo.md").read_text(encoding="utf-8")


def first_cells(section: str) -> list[str]:
    """What stands in backticks in the first column of the table under a heading."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [name for line in lines for name in quoted(line.split("|")[1])]


def test_the_metrics_are_those_of_a_step() -> None:
    assert first_cells("Metrics") == list(GLOSSARY)


def test_every_loss_has_a_line() -> None:
    assert first_cells("Losses") == ["sigmoid", "robust", "hinge", "ipo"]
    assert set(get_args(PreferenceLoss)) == set(get_args(DPOConfig.model_fields["loss"].annotation))
    assert set(first_cells("Losses")) == set(get_args(PreferenceLoss))


def test_functions_and_tests_exist() -> None:
    named = re.findall(r"`(rewardlab\.[\w.]+)`", PAGE)
    assert len(named) >= 3
    for name in named:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute), name
    tests = re.findall(r"`(tests/[^`]+::[^`]+)`", PAGE)
    assert len(tests) >= 2
    assert all(map(exists, tests)), tests


def test_settings_exist() -> None:
    settings = set(re.findall(r"`dpo\.(\w+)`", PAGE))
    assert {"beta", "flip_rate"} <= settings <= set(DPOConfig.model_fields)
