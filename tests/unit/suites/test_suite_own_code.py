"""Code that a suite file brings along is named before any of it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rewardlab.suites.file import Method, Suite
from rewardlab.suites.own_code import own_code
from tests.support.commands import Command

SUITE = """
name = "s"
[settings]
task = "sandbox-sentiment"
[[method]]
name = "PPO, polite"
stage = "ppo"
settings = { "reward.expression" = "rule + 0.5 * polite_rewards:polite" }
"""
MODULE = """
from pathlib import Path
Path("imported").write_text("yes")
def polite(examples, responses):
    '''Counts thanks.'''
    return [0.0] * len(responses)
"""


@pytest.mark.parametrize("more", [("--dry-run",), ()], ids=["dry", "run"])
def test_a_rewards_module_is_named_before_it_runs(
    rewardlab: Command, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    from rewardlab.cli import suite_plan

    Path("suite.toml").write_text(SUITE)
    Path("polite_rewards.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "polite_rewards", raising=False)
    seen, echo = [], suite_plan.echo

    def noted(text: str, **named: bool) -> None:
        seen.append((text, Path("imported").exists()))
        echo(text, **named)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(suite_plan, "echo", noted)
    if not more:
        monkeypatch.setattr("rewardlab.lab.suite_run.build", stop)
    done = rewardlab("suite", "run", "suite.toml", *more)
    line = "runs code of your own: reward polite_rewards:polite (method PPO, polite)"
    assert (line, False) in seen
    assert line in (done.out if more else done.err)


def test_all_places_are_looked_at_and_each_piece_is_named_once() -> None:
    methods = (
        Method(name="A", stage="ppo", settings={"reward.expression": "min(label, mine.a:f)"}),
        Method(name="B", stage="ppo", grid={"reward.expression": ("mine.a:f", "rule - other:g")}),
        Method(name="C", stage="ppo", settings={"reward.expression": "rule +"}),
    )
    found = own_code(
        Suite(
            name="s",
            tasks=("mr,tasks/mine.py",),
            unseen={"mr": "other.py"},
            settings={"start_task": "start.py", "model.trust_remote_code": True},
            method=methods,
        )
    )
    assert found == [
        "task tasks/mine.py (a task of the suite)",
        "task other.py (a task of the suite)",
        "task start.py ([settings])",
        "code that comes with the model ([settings])",
        "reward mine.a:f (method A, grid of method B)",
        "reward other:g (grid of method B)",
    ]


def test_a_suite_without_code_of_its_own_names_none() -> None:
    methods = (Method(stage="ppo", settings={"reward.expression": "mixed"}), Method(stage="sft"))
    assert own_code(Suite(name="s", tasks=("mr", "tickets.toml"), method=methods)) == []
