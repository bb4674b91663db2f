"""Folders of reports: other filters, other folders."""

from __future__ import annotations

from itertools import combinations

import pytest

from rewardlab.lab.suite_run import report_name

ALIKE = [
    [["method=PPO, rule"], ["method=ppo-rule"], ["method=PPO rule"], ["method=ppo--rule"], ["method=(ppo rule)"]],
    [["task=a", "seed=0"], ["task=a-seed-0"], ["task=a", "seed= 0"]],
    [["task=a", "method=task-x"], ["task=a-method", "task=x"]],
    [["method=λ=5"], ["method=λ-5"]],
    [["method=(", "method=)"], ["method=", "method="]],
]


@pytest.mark.parametrize("group", ALIKE)
def test_filters_of_one_slug_have_folders_of_their_own(group: list[list[str]]) -> None:
    names = [report_name("demo", filters) for filters in group]
    assert all(one != other for one, other in combinations(names, 2))
    assert all("/" not in name for name in names)


def test_what_the_slug_keeps_is_plain_and_capitals_select_the_same() -> None:
    assert report_name("demo", ["seed=0", "model=smollm2-135m-q4"]) == "demo-seed-0-model-smollm2-135m-q4"
    assert report_name("demo", ["method=PPO"]) == report_name("demo", ["method=ppo"]) == "demo-method-ppo"
    assert report_name("demo", ["method=PPO, rule"]) == report_name("demo", ["method=ppo, RULE"])
