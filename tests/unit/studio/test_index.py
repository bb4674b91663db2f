"""What the studio knows of runs: status, what was measured, where each came from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rewardlab.disk import write_json
from rewardlab.errors import InputError
from rewardlab.studio import index as index_module
from rewardlab.studio.index import Cost, RunIndex, children, evaluations, parents
from tests.support.studio import eval_run, ppo_run, prediction, stage_folder


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        RunIndex(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("has_result", "sign_age_s", "status"),
    [(True, None, "finished"), (False, 0, "running"), (False, 3600, "stopped"), (False, None, "stopped")],
)
def test_status(tmp_path: Path, has_result: bool, sign_age_s: int | None, status: str) -> None:
    folder = stage_folder(tmp_path, "ppo", "toy-aaaa", result={"steps": 1} if has_result else None)
    if sign_age_s is not None:
        write_json(folder / "heartbeat.json", {"seconds": 1})
        written = (folder / "heartbeat.json").stat().st_mtime
        os.utime(folder / "heartbeat.json", (written, written - sign_age_s))
    assert RunIndex(tmp_path).runs()["ppo/toy-aaaa"].status == status


def test_a_damaged_run_is_named_and_stops_no_other(tmp_path: Path) -> None:
    stage_folder(tmp_path, "ppo", "good-aaaa", result={})
    damaged = stage_folder(tmp_path, "ppo", "bad-bbbb", result={})
    (damaged / "config.json").write_text("{")
    runs = RunIndex(tmp_path).runs()
    assert runs["ppo/good-aaaa"].problem == ""
    assert runs["ppo/bad-bbbb"].status == "damaged"
    assert "config.json" in runs["ppo/bad-bbbb"].problem


def test_the_latest_run_comes_first(tmp_path: Path) -> None:
    for name, day in (("a-1", 2), ("b-2", 3), ("c-3", 1)):
        stage_folder(tmp_path, "sft", name, started=f"2026-01-0{day}T00:00:00+00:00")
    assert list(RunIndex(tmp_path).runs()) == ["sft/b-2", "sft/a-1", "sft/c-3"]


def test_an_unchanged_run_is_read_once_and_a_changed_one_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = index_module.read_run

    def counting(folder: Path, key: str) -> index_module.StudioRun:
        read.append(key)
        return original(folder, key)

    monkeypatch.setattr(index_module, "read_run", counting)
    first, second = (stage_folder(tmp_path, "sft", name) for name in ("a-1", "b-2"))
    index = RunIndex(tmp_path)
    index.runs()
    index.runs()
    assert sorted(read) == ["sft/a-1", "sft/b-2"]
    write_json(second / "result.json", {"validation": {"best": {"step": 3, "accuracy": 0.25}}})
    assert index.runs()["sft/b-2"].accuracy == 0.25
    assert sorted(read) == ["sft/a-1", "sft/b-2", "sft/b-2"]
    assert first.exists()


def test_runs_are_found_in_copies_that_a_report_brings(tmp_path: Path) -> None:
    stage_folder(tmp_path / "suite" / "run-files", "eval", "x-1", result={})
    assert list(RunIndex(tmp_path / "suite").runs()) == ["run-files/eval/x-1"]


def test_parents_and_children_by_fingerprint(tmp_path: Path) -> None:
    stage_folder(tmp_path, "sft", "start-s1")
    ppo_run(tmp_path, [], "toy-p1", inputs={"start": "s1", "rm_label": "gone"})
    eval_run(tmp_path, "toy-e1", [prediction("a", "positive")], 1.0, inputs={"model": "p1", "start": "s1"})
    runs = RunIndex(tmp_path).runs()
    trained = runs["ppo/toy-p1"]
    named = [(name, mark, None if run is None else run.key) for name, mark, run in parents(trained, runs)]
    assert named == [("start", "s1", "sft/start-s1"), ("rm_label", "gone", None)]
    assert [(name, run.key) for name, run in children(trained, runs)] == [("model", "eval/toy-e1")]
    assert [run.key for run in evaluations(trained, runs)] == ["eval/toy-e1"]
    assert evaluations(runs["sft/start-s1"], runs) == []  # it was the start of what was evaluated, not evaluated itself


def test_of_two_copies_of_a_run_the_latest_is_the_parent(tmp_path: Path) -> None:
    for name, day in (("a-s1", 1), ("b-s1", 2), ("c-s1", 1)):
        stage_folder(tmp_path, "sft", name, started=f"2026-01-0{day}T00:00:00+00:00")
    ppo_run(tmp_path, [], "toy-p1", inputs={"start": "s1"})
    runs = RunIndex(tmp_path).runs()
    ((_, _, parent),) = parents(runs["ppo/toy-p1"], runs)
    assert parent is runs["sft/b-s1"]


def test_a_trained_run_is_called_as_its_evaluation_calls_it(tmp_path: Path) -> None:
    ppo_run(tmp_path, [], "toy-p1")
    ppo_run(tmp_path, [], "toy-p2")
    eval_run(tmp_path, "RLLR-e1", [], 1.0, inputs={"model": "p1"})
    runs = RunIndex(tmp_path).runs()
    assert runs["ppo/toy-p1"].method == "RLLR-e1"
    assert runs["ppo/toy-p2"].method == "PPO on rule"


def test_accuracy_of_an_evaluation_is_the_mean_of_its_greedy_columns(tmp_path: Path) -> None:
    def cell(value: float) -> dict[str, object]:
        return {"metrics": {"accuracy": {"value": value}}}

    columns = {"a": {"greedy": cell(0.5), "sampled": cell(0.0)}, "b": {"greedy": cell(1.0), "sampled": cell(0.0)}}
    stage_folder(tmp_path, "eval", "x-1", result={"method": "m", "columns": columns})
    run = RunIndex(tmp_path).runs()["eval/x-1"]
    assert (run.accuracy, run.measured_on) == (0.75, "test rows, greedy: a, b")


def test_accuracy_of_a_run_that_is_not_finished_is_its_latest_measure(tmp_path: Path) -> None:
    measures = [{"step": 0, "accuracy": 0.5}, {"step": 6, "accuracy": 0.25}]
    folder = stage_folder(tmp_path, "ppo", "x-1", files={"validation.jsonl": measures})
    with (folder / "validation.jsonl").open("a") as file:
        file.write('{"step": 12, "acc')  # the line that is being written
    run = RunIndex(tmp_path).runs()["ppo/x-1"]
    assert (run.accuracy, run.measured_on) == (0.25, "validation rows, greedy, step 6")


def test_cost_of_a_stage_and_of_a_whole_method(tmp_path: Path) -> None:
    spent = {"cost_usd": 1.0, "earlier_usd": 0.5, "at_risk_usd": 0.25, "budget_usd": 20.0}
    own = {"stage_seconds": 9.0, "stage_device_seconds": 7.0, "gold": {"labelled/a": 10, "labelled/b": 5}}
    stage_folder(tmp_path, "annotate", "x-1", result={**own, "annotator_calls": 4, "spent": spent})
    whole = {"gold_labels": 30, "annotator_calls": 6, "seconds": 12.5, "stages": {}}
    stage_folder(tmp_path, "eval", "y-2", result={"method": "m", "columns": {}, "cost": whole, "gold": {"t": 1}})
    runs = RunIndex(tmp_path).runs()
    assert runs["annotate/x-1"].cost == Cost(7.0, 15, 4, 1.75)
    assert runs["eval/y-2"].cost == Cost(12.5, 30, 6, None)
