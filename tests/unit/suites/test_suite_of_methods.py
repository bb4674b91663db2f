"""A suite with methods that sample while they train, one of them brought by another package: rows, costs, report."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rewardlab.cli import main as cli
from rewardlab.disk import read_json
from rewardlab.training.methods import methods

PACKAGE = '''
from rewardlab.online_config import OnlineConfig
from rewardlab.training.methods import TrainingMethod


class SignConfig(OnlineConfig):
    """Of a method that looks at the sign of a score alone."""

    size: float = 1.0


METHOD = TrainingMethod("sign", "Sign", "the sign of a response's reward", "online", SignConfig, "sign_method:targets")


def targets(rollout, shaping, config):
    from rewardlab.training.advantages import Estimated, Target

    signs = [config.size * rewards.sum(-1, keepdim=True).sign() for rewards in shaping.rewards]
    return Estimated([Target(sign * counts, counts) for sign, counts in zip(signs, shaping.counts, strict=True)])
'''
SUITE = """
name = "estimators"
title = "Estimators"
seeds = [0]
against = ["SFT"]

[settings]
format = "label"
"data.labelled" = 16
"data.prompts" = 8
"data.validation" = 8
"data.test" = 8
"model.max_new_tokens" = 4
"sft.epochs" = 1
"ppo.steps" = 2
"ppo.batch" = 8

[[method]]
name = "SFT"
stage = "sft"
rationales = false

[[method]]
name = "PPO"
stage = "ppo"

[[method]]
name = "GRPO"
stage = "grpo"
settings = { "reward.expression" = "rule + gz(length)" }

[[method]]
name = "Sign"
stage = "sign"
settings = { "methods.sign.size" = 0.5 }
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package that brings a training method, for one test."""
    (tmp_path / "sign_method.py").write_text(PACKAGE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("sign", "sign_method:METHOD", "rewardlab.methods")
    monkeypatch.setattr(
        "rewardlab.registry.entry_points", lambda group: [point] if group == "rewardlab.methods" else []
    )
    monkeypatch.setattr(methods, "_group", "rewardlab.methods")
    monkeypatch.setattr(methods, "_entries", dict(methods._entries))
    monkeypatch.setattr(methods, "_plugins", dict(methods._plugins))
    monkeypatch.delitem(sys.modules, "sign_method", raising=False)


@pytest.mark.slow
@pytest.mark.usefixtures("package")
def test_a_method_of_another_package_is_compared_like_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "estimators.toml").write_text(SUITE, encoding="utf-8")
    assert cli.run(["suite", "run", "estimators.toml", "--out", "report", "--jobs", "1"]) == 0
    (folder,) = (tmp_path / "runs" / "sign").iterdir()
    identity = read_json(folder / "config.json")["identity"]["settings"]
    assert identity["sign"]["size"] == 0.5
    assert identity["sign"]["steps"] == 2  # what [ppo] sets holds for it, too
    assert identity["method_code"]["sign"]
    results = [read_json(path / "result.json") for path in (tmp_path / "runs" / "eval").iterdir()]
    assert {result["method"] for result in results} == {"SFT", "PPO", "GRPO", "Sign"}
    spent = {result["method"]: result["budget"] for result in results if result["budget"]}
    assert {name: budget["responses"] for name, budget in spent.items()} == {"PPO": 16, "GRPO": 16, "Sign": 16}
    assert {name: budget["prompts"] for name, budget in spent.items()} == {"PPO": 8, "GRPO": 4, "Sign": 8}
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "| Sign |" in text
    assert "sequences backward" in text
