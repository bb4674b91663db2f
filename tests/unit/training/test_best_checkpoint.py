"""``eval.checkpoint``: which policy of a run is evaluated or started from, what says so, whose identity it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rewardlab.cli import training as commands
from rewardlab.comparison.evaluations import MethodKey
from rewardlab.comparison.method_names import row_names
from rewardlab.comparison.notes import notes, policies_line
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import build_table
from rewardlab.config_loading import load_config
from rewardlab.disk import read_json, write_json
from rewardlab.evaluation.hacking import Alarm
from rewardlab.pipeline import Pipeline
from rewardlab.pipeline.stage import Work
from rewardlab.pipeline.stages.evaluate import _policy
from rewardlab.pipeline.stages.shared import evaluated_model, policy_of, start_adapter
from rewardlab.runs import BEST_ADAPTER, RunFolder
from rewardlab.training import validation
from rewardlab.training.decline import Fall
from rewardlab.training.progress import Silent
from tests.support.runs import both, eval_folder
from tests.support.training import EXAMPLES, ppo_trainer


def letters(example: Any, response: str) -> float:
    return float(len(response))


def pipeline(tmp_path: Path, **settings: Any) -> Pipeline:
    return Pipeline(load_config({"reward.expression": "rule", **settings}), tmp_path)


def test_only_evaluations_of_trained_runs_depend_on_it(tmp_path: Path) -> None:
    last, best = (pipeline(tmp_path, **{"eval.checkpoint": name}) for name in ("last", "best"))
    assert last.eval(last.train()).fingerprint != best.eval(best.train()).fingerprint
    assert last.train().fingerprint == best.train().fingerprint
    assert last.eval(last.sft(True), "x").fingerprint != best.eval(best.sft(True), "x").fingerprint
    assert last.sft(True).fingerprint == best.sft(True).fingerprint
    assert last.eval(None, "x").fingerprint == best.eval(None, "x").fingerprint
    assert (best.method(best.train()), best.method(best.sft(True))) == ("PPO-rule", "SFT w. rationale")
    assert last.method(last.train()) == "PPO-rule (last policy)"
    assert last.method(last.sft(True)) == "SFT w. rationale (last policy)"


def test_the_best_policy_is_what_is_evaluated_unless_asked_otherwise() -> None:
    assert load_config({}).eval.checkpoint == "best"


def finished(path: Path, **result: Any) -> Path:
    write_json(path / "result.json", {"steps": 30, **result})
    return path


MEASURED = {name: {"step": step, "accuracy": step / 40} for name, step in (("start", 0), ("best", 20), ("last", 30))}


@pytest.mark.parametrize(
    ("result", "asked", "folder", "expected"),
    [
        ({"validation": MEASURED}, "best", "adapter-best", ("best", 20, 30, 0.5)),
        ({"validation": MEASURED}, "last", "adapter", ("last", 30, 30, 0.75)),
        ({"validation": None}, "best", "adapter", ("last", 30, 30, None)),
        ({"validation": None, "candidates": 3}, "best", "adapter", ("last", 30, 30, None)),
        ({"validation": None, "candidates": 1}, "best", "adapter", ("only", 30, 30, None)),
    ],
)
def test_one_rule_says_which_policy_of_a_run_is_used(
    tmp_path: Path, result: dict[str, Any], asked: Any, folder: str, expected: tuple[Any, ...]
) -> None:
    found = policy_of(finished(tmp_path, **result), asked)
    assert found.adapter == tmp_path / folder
    assert tuple(found.to_json().values()) == expected


def test_ppo_and_reward_models_start_from_the_best_epoch_of_sft(tmp_path: Path) -> None:
    run = finished(tmp_path / "sft", validation=MEASURED)
    assert start_adapter({"start": run}) == run / BEST_ADAPTER
    assert start_adapter({}) is None


@pytest.mark.parametrize(("checkpoint", "lines"), [("best", 1), ("last", 0)])
def test_an_evaluation_says_that_there_is_no_best_policy(tmp_path: Path, checkpoint: str, lines: int) -> None:
    said: list[str] = []
    run = finished(tmp_path / "ppo", validation=None)
    job = Work(RunFolder(tmp_path / "eval", "eval", {}), {"model": run}, Silent(), lambda *_: None, say=said.append)
    found = _policy(job, load_config({"eval.checkpoint": checkpoint}))
    assert found is not None
    assert found.checkpoint == "last"
    assert len(said) == lines
    assert all("no best policy: the last one is evaluated" in line for line in said)


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_the_policy_asked_for_is_loaded(tmp_path: Path, checkpoint: str) -> None:
    trainer = ppo_trainer(tmp_path, letters, validation=EXAMPLES[:1], steps=1)
    trainer.train()
    run = finished(tmp_path / "run", validation=MEASURED)
    stored = run / BEST_ADAPTER / "adapter_model.safetensors"
    save_file({name: torch.full_like(weight, 0.25) for name, weight in load_file(stored).items()}, stored)
    config = trainer.run_config.model_copy(
        update={"eval": trainer.run_config.eval.model_copy(update={"checkpoint": checkpoint})}
    )
    trunk, role = evaluated_model(config, {"model": run})
    assert role is not None
    is_marked = all(bool((weight == 0.25).all()) for weight in trunk.roles.state(role).values())
    assert is_marked == (checkpoint == "best")


def test_the_command_says_which_policy_was_best_and_warns(capsys: pytest.CaptureFixture[str]) -> None:
    measures = {name: {"step": step, "accuracy": step / 8} for name, step in (("start", 2), ("best", 6), ("last", 4))}
    alarm = Alarm(12, 8, 5, 0.1, 0.9, 0.8, 0.6, 1e-6, 22)
    commands.print_watched({"validation": measures, "hacking": {"judged": True, "alarm": alarm.to_json()}})
    told = capsys.readouterr()
    assert told.out == "validation accuracy (greedy): start 0.250, best 0.750, last 0.500; best after step 6\n"
    fall = Fall(30, 5, 0.915, 0.83, 20, 3, 200, 0.0002, 0.002)
    best = {**measures, "start": {"step": 0, "accuracy": 0.9}, "best": {"step": 0, "accuracy": 0.9}}
    commands.print_watched({"validation": best, "hacking": {"judged": True, "alarm": None}, "fall": fall.to_json()})
    fallen = capsys.readouterr()
    assert fallen.err.startswith("warning: accuracy has fallen: after step 30 the policy has 83.0")
    assert fallen.out.splitlines()[-1].startswith("the best policy is the start: no measure after a training step")
    assert told.err.startswith("warning: reward hacking at step 12: since step 8 the trained reward has risen")
    commands.print_watched({"validation": None, "hacking": {"judged": False, "alarm": None}})
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({}, "RUN/adapter"),
        (
            {"validation": MEASURED},
            "RUN/adapter-best (after step 20, best on validation rows: 0.500); the last one: RUN/adapter",
        ),
        (
            {"validation": {**MEASURED, "best": MEASURED["last"]}},
            "RUN/adapter-best (after step 30, best on validation rows: 0.750)",
        ),
    ],
)
def test_the_command_names_the_folder_of_the_best_policy(result: dict[str, Any], expected: str) -> None:
    assert commands.chosen_policy(result, Path("RUN")) == expected


def test_training_and_evaluation_mean_the_same_folder() -> None:
    assert validation.BEST_ADAPTER == BEST_ADAPTER


KEYS = {each: MethodKey(f"m-{each}", "sft", checkpoint=each) for each in ("best", "last", "")}


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (["", ""], None),
        (
            ["best", ""],
            "Trained rows are the policies with the best greedy accuracy on validation rows, of equals the earliest; "
            "SFT of one epoch has only one.",
        ),
        (["last", ""], "Trained rows are the policies after their last step."),
        (
            ["best", "last"],
            "After their last step: m-last. The other trained rows are the policies with the best greedy "
            "accuracy on validation rows, of equals the earliest; SFT of one epoch has only one.",
        ),
    ],
)
def test_a_table_says_which_policies_it_shows(shown: list[str], expected: str | None) -> None:
    keys = [KEYS[each] for each in shown]
    assert policies_line(keys, {key: key.method for key in keys}) == expected


def test_rows_of_one_method_that_differ_in_their_policy_are_named_apart() -> None:
    keys = [MethodKey("RLLR", "sft", checkpoint=each) for each in ("best", "last")]
    assert list(row_names(keys).values()) == ["RLLR (best on validation)", "RLLR (last policy)"]


def test_a_table_reads_the_policy_of_each_evaluation_and_says_it(tmp_path: Path) -> None:
    folder = eval_folder(tmp_path / "eval", columns={"mr": both(8, 9, 10)})
    policy = {"checkpoint": "best", "step": 6, "last_step": 30, "accuracy": 0.9}
    write_json(folder / "result.json", {**read_json(folder / "result.json"), "policy": policy})
    table = build_table(collect([folder]).runs)
    assert [row.key.checkpoint for row in table.rows] == ["best"]
    assert any(line.startswith("Trained rows are the policies with the best") for line in notes(table))
    write_json(
        folder / "result.json", {**read_json(folder / "result.json"), "policy": {**policy, "checkpoint": "only"}}
    )
    assert [row.key.checkpoint for row in build_table(collect([folder]).runs).rows] == [""]
