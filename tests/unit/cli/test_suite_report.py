"""What a suite prints of its comparison, and reports that cannot be written: said in one line, before work is done."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

import rewardlab as rl
from rewardlab.claims.claim import Claim
from rewardlab.cli.suite_report import print_suite
from rewardlab.disk import read_json, write_json
from rewardlab.lab.suite_run import report_suite
from rewardlab.suites.cells import Cell
from rewardlab.suites.file import Method, Suite
from rewardlab.suites.scheduler import Scheduler
from tests.support.commands import Command, written
from tests.support.fake_suite import FakeSuite
from tests.support.runs import both, eval_folder

SUITE = 'name = "s"\n[settings]\n"data.test" = 3\n[[method]]\nstage = "base"\n'


def evaluated(made: FakeSuite, method: str, updates: int, tokens: int) -> Cell:
    """A finished cell whose PPO spent so much."""
    goal = made.stage("eval", f"eval-{method}")
    path = goal.folder(made.root).path
    budget = {"updates": updates, "tokens": tokens, "device_seconds": 1.0, "prompts": 8, "prompts_order": "x"}
    eval_folder(path, method=method, columns={"toy": both(5, 5, 10)}, budget=budget)
    write_json(path / "config.json", {**read_json(path / "config.json"), "fingerprint": goal.fingerprint})
    write_json(path / "result.json", {**read_json(path / "result.json"), "stage_seconds": 1.0})
    return replace(made.cell(method, 0), goals=(goal,))


def test_a_budget_in_tokens_is_judged_in_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = FakeSuite(tmp_path)
    scheduler = Scheduler([evaluated(made, "RLHF", 3, 100), evaluated(made, "RLLR", 4, 101)], tmp_path)
    about = {"budget": "tokens", "settings": {"ppo.max_tokens": 100}, "method": (Method(stage="ppo"),)}
    claim = Claim(id="C1", says="RLLR beats RLHF", not_testable="of no interest here")
    suite = Suite(name="s", claim=(claim,), **about)  # type: ignore[arg-type]  # a dict of several types
    print_suite(suite, report_suite(suite, scheduler, tmp_path, tmp_path / "out", "rewardlab suite run s.toml"))
    said = "Equal budgets: all trained rows have 100 tokens generated, within 2 %."
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "out" / "report.md").read_text()


def test_a_damaged_row_that_all_are_compared_with_costs_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = FakeSuite(tmp_path)
    found = [evaluated(made, method, 3, 100) for method in ("RLHF", "RLLR", "PPO")]
    (found[0].evaluations(tmp_path)[0] / "answers.json").write_text("{")
    methods = tuple(Method(name=cell.method, stage="ppo") for cell in found)
    suite = Suite(name="s", method=methods, against=("RLHF", "PPO"))
    print_suite(
        suite, report_suite(suite, Scheduler(found, tmp_path), tmp_path, tmp_path / "out", "rewardlab suite run s.toml")
    )
    with (tmp_path / "out" / "differences.csv").open(encoding="utf-8") as file:
        assert {line["baseline"] for line in csv.DictReader(file)} == {"PPO"}
    assert "left out" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["taken", "taken/report"])
def test_where_no_report_can_be_nothing_is_built(rewardlab: Command, place: str) -> None:
    Path("s.toml").write_text(SUITE)
    Path("taken").write_text("precious")
    done = rewardlab("suite", "run", "s.toml", "--out", place)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(f"error: {place}: cannot be written (")
    assert done.err.endswith("; choose another place\n")
    assert written() == ["s.toml", "taken"]


def test_a_report_that_cannot_be_written_is_named(tmp_path: Path, rewardlab: Command) -> None:
    for method in ("A", "B"):
        eval_folder(Path(method), method=method, columns={"toy": both(8, 9, 10)})
    Path("taken").write_text("precious")
    for option, place in (("--out", "taken"), ("--out", "taken/x"), ("--html", "taken/x.html"), ("--html", "A")):
        done = rewardlab("compare", "A", "B", option, place)
        assert done.code == 2
        assert done.err.startswith(f"error: {place}: cannot be written (")
        assert done.err.endswith("; choose another place\n")
    assert Path("taken").read_text() == "precious"


def test_python_gives_what_the_command_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = FakeSuite(tmp_path)
    monkeypatch.setattr("rewardlab.suites.cells.cells", lambda *given, **more: found)
    found = [evaluated(made, "RLHF", 3, 100), evaluated(made, "RLLR", 4, 101), made.cell("PPO", 0)]
    Path("s.toml").write_text(SUITE)
    made.tell("ppo-PPO-0", "fail")
    run = rl.run_suite("s.toml", runs=tmp_path, jobs=1, quiet=True)
    assert run.report == tmp_path / "s" / "report.md"
    assert run.report.with_suffix(".html").is_file()
    assert run.compared is not None
    assert set(run.compared.frame()["method"]) == {"RLHF", "RLLR"}
    assert [why for _, why in run.missing] == ["stage ppo-PPO-0: ValueError: ppo-PPO-0 is broken"]
