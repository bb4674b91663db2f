"""``rewardlab reward rescore`` and ``reward audit`` as typed: pages, JSON, CSV, exit codes, and what they refuse."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import rewardlab as rl
from rewardlab.config import RunConfig
from rewardlab.config_loading import load_config
from rewardlab.disk import write_jsonl
from rewardlab.runs import RunFolder
from tests.support.commands import Command

SPORTS, BUSINESS = "Goals.\n\n The answer is: Sports", "Much more text here.\n\n The answer is: Business"


def ledger(*, steps: int = 2, is_hacked: bool = False) -> Iterator[dict[str, Any]]:
    """Four responses a step to two prompts; gold is Sports, and the label RM likes wrong answers ever more."""
    for step in range(1, steps + 1):
        for place in range(4 if not is_hacked else 32):
            is_late = is_hacked and step > steps // 2
            right = place % 2 == 0 and not (is_late and place % 8)
            label = 1.0 * right + 0.25 * place + (4.0 if is_late else 0.0)
            yield {
                "step": step, "task": "agnews", "id": f"{step}-{place // 2}", "sample": place % 2,
                "answer": "Sports" if right else "Business", "strict": None, "gold": "Sports", "correct": right,
                "error": None, "parts": {"label": label}, "terms": {"min(label, lam)": min(label, 1.25)},
                "score": min(label, 1.25), "reason": "", "response": SPORTS if right else BUSINESS,
                "shaped": None, "total": None,
            }  # fmt: skip


def run_folder(
    *rows: Mapping[str, Any], result: Mapping[str, Any] | None = None, path: str = "runs/ppo/agnews-x", **inputs: str
) -> str:
    config: RunConfig = load_config(
        {"task": "agnews", "reward.expression": "min(label, lam)", "reward.lam": "q50", "format": "rationale"}
    )
    folder = RunFolder(Path(path), "ppo", {"inputs": inputs}, config.model_dump(mode="json"))
    folder.open()
    for row in rows:
        folder.append("samples.jsonl", row)
    if result is not None:
        folder.finish(result)
    return path


def test_the_page_of_a_run(rewardlab: Command) -> None:
    run = run_folder(*ledger(), result={"lambda": 1.25})
    shown = rewardlab("reward", "rescore", run, "--reward", "rule - length", "--rows", "1")
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    # old: 1.0 0.25 1.25 0.75; new: 0.95 -0.08 0.95 -0.08, in each step. Spearman: ranks 3 1 4 2 and 3.5 1.5 3.5 1.5
    assert lines.pop(3).startswith("rank correlation: Spearman 0.894 [")
    assert lines[:4] == [
        "8 responses in 2 steps to 4 prompts",
        "old = min(label, lam); new = rule - length",
        "computed here from texts and gold labels: rule, length",
        "pairs of one step: 12; 0 swap (0.0% of those that neither ties), 4 tied by one, 0 by both",
    ]
    assert (
        lines[4]
        == "pairs of one step and prompt: 4; 0 swap (0.0% of those that neither ties), 0 tied by one, 0 by both"
    )
    assert lines[5] == "groups whose scores are all equal: 0 by old, 0 by new, of 4 groups"
    assert "        8  AUC " in shown.out
    assert lines[-1].endswith("gold Sports: Goals. The answer is: Sports")


def test_the_run_s_own_expression_and_resolved_lambda_are_the_default(rewardlab: Command) -> None:
    run = run_folder(*ledger(), result={"lambda": 1.25})
    found = json.loads(rewardlab("reward", "rescore", run, "--json").out)
    assert (found["old"], found["new"], found["lam"]) == ("min(label, lam)", "min(label, lam)", 1.25)
    assert (found["spearman"]["value"], found["swaps"]["swapped"]) == (1.0, 0)
    assert found["saturated"] == 0.25  # 1.5 of 1.0 0.25 1.5 0.75


def test_python_gives_what_the_command_prints(rewardlab: Command) -> None:
    run = run_folder(*ledger(), result={"lambda": 1.25})
    found = rl.rescore(rl.Run(run), "rule - length")
    assert f"{found}\n" == rewardlab("reward", "rescore", run, "--reward", "rule - length").out
    frame = found.frame()
    assert frame.select("step", "id", "sample", "old").rows()[:2] == [(1, "1-0", 0, 1.0), (1, "1-0", 1, 0.25)]
    assert frame["new"][:2].to_list() == pytest.approx([1 - 0.05, -0.08])  # 1 or 0, minus the words by a hundred
    assert frame.select("gold", "answer", "correct").row(1) == ("Sports", "Business", 0.0)
    assert rl.rescore(run, lam=0.5, against="-label").report.lam == 0.5


def test_python_reads_columns_of_a_log_and_refuses_unknown_ones(rewardlab: Command) -> None:
    rows = [{"step": 1 + n // 2, "text": "x " * n, "score": n, "r1": -n, "key": str(n // 2)} for n in range(8)]
    write_jsonl(Path("log.jsonl"), rows)
    columns = {"response": "text", "reward": "score", "id": "key"}
    found = rl.rescore("log.jsonl", "label", columns=columns, parts={"label": "r1"})
    assert (found.report.swaps.pairs, found.report.swaps.swapped) == (4, 4)
    with pytest.raises(rl.ConfigError, match="'rewards' is unknown; expected one of step, prompt, response, reward"):
        rl.rescore("log.jsonl", "label", columns={"rewards": "score"})


def test_python_audits_a_run(rewardlab: Command) -> None:
    run = run_folder(*ledger(steps=20, is_hacked=True))
    found = rl.audit(run)
    assert found.alarm is not None
    assert f"{found}\n" == rewardlab("reward", "audit", run).out
    assert rl.audit(rl.Run(run_folder(*ledger(steps=20), result={}, path="runs/ppo/agnews-y"))).alarm is None


def test_another_lambda_and_another_old_expression(rewardlab: Command) -> None:
    run = run_folder(*ledger(), result={"lambda": 1.25})
    found = json.loads(rewardlab("reward", "rescore", run, "--lambda", "0.5", "--against", "-label", "--json").out)
    assert (found["old"], found["lam"], found["saturated"]) == ("-label", 0.5, 0.75)
    # one pair of three decided (the rest are tied at the cap) in each response's pairs: all swap
    assert found["swap_share"] == 1.0


def test_quantiles_come_from_the_reward_model_that_is_named(rewardlab: Command) -> None:
    run = run_folder(*ledger())
    Path("rm").mkdir()
    Path("rm/sft_scores.json").write_text(json.dumps({"scores": [0.0, 1.0]}))
    assert json.loads(rewardlab("reward", "rescore", run, "--json", "--rm", "label=rm").out)["lam"] == 0.5
    assert "has no stored scores on SFT samples" in rewardlab("reward", "rescore", run).problem


def test_quantiles_come_from_the_reward_model_beside_the_run(rewardlab: Command) -> None:
    run = run_folder(*ledger(), rm_label="0123456789ab")
    beside = Path("runs/rm/agnews-label-0123456789ab")
    beside.mkdir(parents=True)
    (beside / "sft_scores.json").write_text(json.dumps({"scores": [0.0, 3.0]}))
    assert json.loads(rewardlab("reward", "rescore", run, "--json").out)["lam"] == 1.5


def test_every_response_goes_to_the_csv(rewardlab: Command) -> None:
    rows = list(ledger(steps=1))
    rows[0]["response"] = "=1+1"
    run = run_folder(*rows, result={"lambda": 1.25})
    assert rewardlab("reward", "rescore", run, "--reward", "2 * label", "--csv", "out/rows.csv").code == 0
    with Path("out/rows.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["old"], row["new"], row["sample"]) for row in found] == [
        ("1.0", "2.0", "0"), ("0.25", "0.5", "1"), ("1.25", "3.0", "0"), ("0.75", "1.5", "1"),
    ]  # fmt: skip
    assert (found[0]["response"], found[0]["correct"], found[0]["gold"]) == ("'=1+1", "1.0", "Sports")


def test_what_is_missing_is_named_with_the_command_that_scores_it(rewardlab: Command) -> None:
    run = run_folder(*ledger(), result={"lambda": 1.25})
    assert rewardlab("reward", "rescore", run, "--reward", "mixed").problem == (
        "reward 'mixed' needs the raw scores of ranked; stored are label. Score them: `rewardlab reward score "
        f"--run {run} --reward ranked --rm ranked=DIR --output ranked.jsonl`, then add --parts ranked.jsonl"
    )


def test_parts_that_were_scored_are_read(rewardlab: Command) -> None:
    run = run_folder(*ledger(), result={"lambda": 1.25})
    done = rewardlab("reward", "score", "--run", run, "--reward", "rule + length", "--output", "more.jsonl")
    assert done.err.startswith("8 responses of agnews scored by rule + length: mean score 0.565")  # 1.05 and 0.08
    again = rewardlab("reward", "rescore", run, "--reward", "rule + length", "--parts", "more.jsonl", "--json")
    found = json.loads(again.out)
    assert (found["computed"], found["buckets"][0]["new"]) == ([], pytest.approx(0.565))
    whole = Path("more.jsonl").read_text()
    Path("more.jsonl").write_text(whole.replace("1-0", "1-9"))
    message = "--parts more.jsonl row 1: not the scores of 1-0; score the log again"
    assert rewardlab("reward", "rescore", run, "--reward", "length", "--parts", "more.jsonl").problem == message
    Path("more.jsonl").write_text(whole.splitlines()[0] + "\n")
    problem = rewardlab("reward", "rescore", run, "--reward", "length", "--parts", "more.jsonl").problem
    assert problem.startswith("--parts more.jsonl: 1 rows for 8 responses")


def test_a_log_of_another_library(rewardlab: Command) -> None:
    rows = [{"prompt": "p", "completion": "x " * n, "reward": n, "fluency": -n} for n in range(1, 5)]
    Path("log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = json.loads(
        rewardlab("reward", "rescore", "log.jsonl", "--reward", "100 * length + 2 * fluency", "--json").out
    )
    assert (found["spearman"]["value"], found["agreement"]) == (-1.0, [])
    assert (found["group_swaps"]["swapped"], found["computed"]) == (6, ["length"])
    assert "no run, so that --reward must say" in rewardlab("reward", "rescore", "log.jsonl").problem
    missing = rewardlab("reward", "rescore", "log.jsonl", "--reward", "rule").problem
    assert missing.endswith(
        "Name a column with --part rule=COLUMN; where gold labels are what it lacks, with --gold-column and --task"
    )
    learned = rewardlab("reward", "rescore", "log.jsonl", "--reward", "ranked").problem
    assert "`rewardlab reward score --task TASK --input log.jsonl --reward ranked --rm ranked=DIR" in learned


def test_the_old_reward_of_a_log_without_a_total_is_an_expression(rewardlab: Command) -> None:
    rows = [{"step": 1, "prompt": "p", "completion": "x", "exact": n % 2, "neat": n} for n in range(4)]
    Path("log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert (
        "no column for reward (looked for reward, score)"
        in rewardlab("reward", "rescore", "log.jsonl", "--reward", "exact").problem
    )
    shown = rewardlab("reward", "rescore", "log.jsonl", "--reward", "exact", "--against", "exact + neat", "--json")
    assert json.loads(shown.out)["swaps"]["pairs"] == 6


def test_what_a_run_says_itself_cannot_be_said_again(rewardlab: Command) -> None:
    run = run_folder(*ledger(), result={"lambda": 1.25})
    assert "leave --task and --*-column out" in rewardlab("reward", "rescore", run, "--task", "agnews").problem
    problem = rewardlab("reward", "rescore", run, "--reward", "label", "--lambda", "5").problem
    assert problem == "--lambda 5 is given, but 'label' does not use it; leave it out"
    assert "say its task" in rewardlab("reward", "score", "--run", run, "--task", "agnews").problem.replace(
        "says", "say"
    )


@pytest.mark.parametrize("is_json", [False, True])
def test_an_alarm_is_exit_code_3(rewardlab: Command, is_json: bool) -> None:
    run = run_folder(*ledger(steps=20, is_hacked=True))
    found = rewardlab("reward", "audit", run, *(["--json"] if is_json else []))
    assert found.code == 3, found.err
    if is_json:
        alarm = json.loads(found.out)["alarm"]
        assert (alarm["gold_before"], alarm["gold_after"] < 0.5) == (0.5, True)
        assert 11 <= alarm["step"] <= 20  # from step 11 on an eighth is right, a half before
    else:
        assert found.out.startswith("reward hacking at step ")


def test_silence_is_exit_code_0(rewardlab: Command) -> None:
    found = rewardlab("reward", "audit", run_folder(*ledger(steps=20)))
    assert (found.code, found.out) == (0, "no alarm: 20 steps, 80 responses\n")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"reward": 1, "correct": 1}], "no column for step (looked for step, global_step, global_steps); the columns"),
        ([{"step": 1, "correct": 1}], "no column for reward"),
        ([{"step": n, "reward": n} for n in range(20)], "no gold label at all in 20 steps, so that the alarm cannot"),
        ([{"step": n, "reward": n, "correct": 1} for n in range(9)], "9 steps with scores and gold labels in 9 steps"),
    ],
)  # fmt: skip
def test_a_log_that_cannot_be_judged_is_bad_input(rewardlab: Command, rows: list[dict[str, Any]], message: str) -> None:
    Path("log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert message in rewardlab("reward", "audit", "log.jsonl").problem


@pytest.mark.parametrize(("right", "code"), [(1.0, 3), (0.9, 3), (0.5, 0)])
def test_another_library_s_log_with_partial_credit(rewardlab: Command, right: float, code: int) -> None:
    """Credit falls from ``right`` to a half, or does not, while the reward rises."""
    rows = [
        {"global_step": step, "total": step // 10 + place % 2, "credit": right if step < 10 else 0.5}
        for step in range(20)
        for place in range(16)
    ]
    for place, row in enumerate(rows):
        row["credit"] = min(1.0, row["credit"] + (0.1 if place % 4 == 0 else 0.0))
    Path("log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ("--reward-column", "total", "--correct-column", "credit")
    assert rewardlab("reward", "audit", "log.jsonl", *asked).code == code
