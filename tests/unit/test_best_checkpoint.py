"""``eval.checkpoint``: which policy of a PPO run is evaluated, and whose identity it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rewardlab.cli import stages as commands
from rewardlab.config_loading import load_config
from rewardlab.errors import ConfigError
from rewardlab.evaluation.hacking import Alarm
from rewardlab.pipeline import Pipeline
from rewardlab.pipeline.work.evaluation import _evaluated
from rewardlab.training.validation import BEST_ADAPTER
from tests.support.training import EXAMPLES, ppo_trainer


def letters(example: Any, response: str) -> float:
    return float(len(response))


def pipeline(tmp_path: Path, **settings: Any) -> Pipeline:
    return Pipeline(load_config({"reward.expression": "rule", **settings}), tmp_path)


def test_only_evaluations_of_ppo_depend_on_it(tmp_path: Path) -> None:
    last, best = (pipeline(tmp_path, **{"eval.checkpoint": name}) for name in ("last", "best"))
    assert last.eval(last.ppo()).fingerprint != best.eval(best.ppo()).fingerprint
    assert last.ppo().fingerprint == best.ppo().fingerprint
    assert last.eval(last.sft(True), "x").fingerprint == best.eval(best.sft(True), "x").fingerprint
    assert last.eval(None, "x").fingerprint == best.eval(None, "x").fingerprint
    assert best.method(best.ppo()) == f"{last.method(last.ppo())} (best on validation)"


def test_a_run_without_validation_has_no_best_policy(tmp_path: Path) -> None:
    built = pipeline(tmp_path, **{"eval.checkpoint": "best", "ppo.validate_every": 0})
    with pytest.raises(ConfigError, match=r"ppo\.validate_every = 0"):
        built.eval(built.ppo())


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_the_policy_asked_for_is_loaded(tmp_path: Path, checkpoint: str) -> None:
    trainer = ppo_trainer(tmp_path, letters, validation=EXAMPLES[:1], steps=1)
    trainer.train()
    run = tmp_path / "run"
    stored = run / BEST_ADAPTER / "adapter_model.safetensors"
    save_file({name: torch.full_like(weight, 0.25) for name, weight in load_file(stored).items()}, stored)
    config = trainer.run_config.model_copy(
        update={"eval": trainer.run_config.eval.model_copy(update={"checkpoint": checkpoint})}
    )
    trunk, role = _evaluated(config, {"model": run})
    assert role is not None
    is_marked = all(bool((weight == 0.25).all()) for weight in trunk.roles.state(role).values())
    assert is_marked == (checkpoint == "best")


def test_the_command_says_which_policy_was_best_and_warns(capsys: pytest.CaptureFixture[str]) -> None:
    measures = {name: {"step": step, "accuracy": step / 8} for name, step in (("start", 2), ("best", 6), ("last", 4))}
    alarm = Alarm(12, 8, 5, 0.1, 0.9, 0.8, 0.6, 1e-6, 22)
    commands._print_watched({"validation": measures, "hacking": {"judged": True, "alarm": alarm.to_json()}})
    told = capsys.readouterr()
    assert told.out == "validation accuracy (greedy): start 0.250, best 0.750, last 0.500; best after step 6\n"
    assert told.err.startswith("warning: reward hacking at step 12: since step 8 the trained reward has risen")
    commands._print_watched({"validation": None, "hacking": {"judged": False, "alarm": None}})
    assert capsys.readouterr() == ("", "")
