"""The encoder as a stage: command, evaluation, what is refused, and its row beside those of language models."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.comparison.evaluations import MethodKey, load_eval
from rewardlab.comparison.method_names import row_names
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.disk import read_json, read_jsonl
from rewardlab.pipeline import Pipeline
from rewardlab.suites.cells import cells
from rewardlab.suites.file import Suite
from rewardlab.tasks.sources import Splits
from tests.support.commands import SMALL, Command

TYPED = ("--set=encoder.batch=4", "--set=encoder.epochs=2", "--set=encoder.lr=1e-4", *SMALL)


def folder_of(kind: str) -> Path:
    (found,) = Path("runs", kind).iterdir()
    return found


def test_the_command_fits_it_and_eval_answers_the_test_rows(rewardlab: Command) -> None:
    done = rewardlab("encoder", "--task", "sandbox-sentiment", "--tracker", "none", *TYPED)
    assert (done.code, "adapter-best (after step" in done.out) == (0, True)
    run = folder_of("encoder")
    assert read_json(run / "result.json")["gold"] == {"labelled/sandbox-sentiment": 8}
    assert rewardlab("eval", "--run", str(run)).code == 0
    evaluation = folder_of("eval")
    result, found = read_json(evaluation / "result.json"), load_eval(evaluation)
    assert (found.key.method, found.key.model) == ("encoder sandbox-tiny", "")
    assert found.cost.gold == {"labelled/sandbox-sentiment": 8}
    columns = result["columns"]["sandbox-sentiment"]
    assert columns["sampled"]["metrics"] == columns["greedy"]["metrics"]
    assert (columns["greedy"]["malformed"], columns["greedy"]["quality"]) == (0.0, None)
    rows = list(read_jsonl(evaluation / "predictions.jsonl"))
    assert {row["response"] for row in rows} <= {"positive", "negative"}
    assert all(row["answer"] == row["response"] and "Classify" not in row["prompt"] for row in rows)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            ("encoder", "--task", "sandbox"),
            "encoder: found 3 tasks (sandbox-sentiment, sandbox-topic, sandbox-similarity), and it has one",
        ),
        (("encoder", "--task", "sandbox-topics"), "encoder: answers of task sandbox-topics are sets of labels"),
        (("encoder", "--task", "agnews", "--model", "sandbox-tiny"), "task agnews: sandbox-tiny, the default model,"),
        (("encoder", "--set=encoder.tuning=some"), "encoder.tuning"),
        (("encoder", "--model", "nobody/nothing"), "model 'nobody/nothing': no such folder"),
    ],
)
def test_what_it_cannot_do_is_told(rewardlab: Command, typed: tuple[str, ...], told: str) -> None:
    assert told in rewardlab(*typed).problem


def test_it_gives_the_labels_it_was_trained_on_and_is_no_policy(rewardlab: Command) -> None:
    assert rewardlab("encoder", "--task", "sandbox-sentiment", "--tracker", "none", *TYPED).code == 0
    rewardlab("--help")
    run = str(folder_of("encoder"))
    other = rewardlab("eval", "--run", run, "--task", "sandbox-topic")
    assert other.problem.startswith("task sandbox-topic: an encoder that was trained on sandbox-sentiment gives its")
    assert "AutoModelForSequenceClassification" in rewardlab("export", run, "--to", "out").problem


def test_its_own_settings_decide_which_run_it_is_and_those_of_the_language_model_do_not(tmp_path: Path) -> None:
    def fingerprint(**settings: object) -> str:
        found = {"task": "sandbox-sentiment", "encoder.model": "sandbox-tiny", "data.labelled": 8, **settings}
        return Pipeline(load_config(found, NO_FILE), tmp_path).train("encoder").fingerprint

    plain = fingerprint()
    same = ({"ppo.lr": 0.5}, {"lora.rank": 2}, {"model.max_new_tokens": 3}, {"encoder.checkpoint_every": 7})
    assert [fingerprint(**each) for each in same] == [plain] * len(same)
    other = ({"encoder.lr": 0.5}, {"seed": 1}, {"data.labelled": 9}, {"encoder.tuning": "lora"}, {"encoder.epochs": 1})
    assert len({plain, *(fingerprint(**each) for each in other)}) == len(other) + 1
    assert fingerprint(**{"encoder.tuning": "lora", "lora.rank": 2}) != fingerprint(**{"encoder.tuning": "lora"})


def suite(**changes: object) -> Suite:
    encoder = {"name": "BERT", "stage": "encoder", "scope": "each", "settings": {"encoder.model": "owner/bert"}}
    ppo = {"name": "PPO", "stage": "ppo", "settings": {"reward.expression": "rule", "init": "base"}}
    return Suite.model_validate({"name": "mine", "method": [encoder, ppo], **changes})


def test_in_a_suite_it_stands_beside_every_base_model_and_is_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rewardlab.pipeline.rows.Rows.splits", lambda *_: Splits.missing("not here"))
    monkeypatch.setattr("rewardlab.pipeline.rows.Rows.sha256", lambda *_: "unread")
    made = suite(
        tasks=["rte,sst2"],
        models=["owner/one", "owner/two"],
        unseen={"rte": "axb,emotion", "sst2": "depression"},
        grid={"ppo.batch": [4, 8]},
        only_grid=False,
        settings={"format": "judgement"},
    )
    found = [cell for cell in cells(made, tmp_path, may_lack_model=True) if cell.method == "BERT"]
    assert [cell.model for cell in found] == ["owner/one", "owner/two"]
    assert all(not cell.tries for cell in found), "the grid is of methods that train a policy"
    goals = [[(goal.config["task"], goal.fingerprint) for goal in cell.goals] for cell in found]
    assert [task for task, _ in goals[0]] == ["rte", "axb", "sst2"], "it answers what has its labels"
    assert goals[0] == goals[1]


def test_names_of_rows_leave_out_a_base_model_that_is_none() -> None:
    bert, one, two = MethodKey("BERT", "base"), *(MethodKey("PPO", "base", model=name) for name in ("one", "two"))
    assert row_names([bert, one]) == {bert: "BERT", one: "PPO"}
    assert row_names([bert, one, two]) == {bert: "BERT", one: "PPO (one)", two: "PPO (two)"}
    assert bert.stands_beside(one)
    assert two.stands_beside(bert)
    assert not one.stands_beside(two)
