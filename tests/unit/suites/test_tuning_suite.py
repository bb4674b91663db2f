"""The suite that chooses the sandbox's settings: as many tries for every method, on seeds of its own, no test row."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.cli.suite_plan import _notes
from rewardlab.cli.suite_report import print_suite
from rewardlab.disk import read_json
from rewardlab.lab.suite_run import report_suite
from rewardlab.reports.links import Links
from rewardlab.suites.cells import Cell, cells
from rewardlab.suites.file import Suite, load_suite
from rewardlab.suites.plan import make_plan
from rewardlab.suites.record import write_record
from rewardlab.suites.scheduler import Scheduler

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"
SMALL = {"data.labelled": 4, "data.prompts": 4, "data.validation": 4, "data.test": 4}


def tuning(**settings: object) -> Suite:
    suite = load_suite(EXPERIMENTS / "tuning-sandbox.toml")
    return suite.model_copy(update={"settings": {**suite.settings, **SMALL, **settings}})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    return cells(tuning(), tmp_path_factory.mktemp("runs"))


def test_every_method_has_six_tries_on_two_seeds(found: list[Cell]) -> None:
    assert [(cell.method, len(cell.tries), len(cell.goals)) for cell in found] == [
        ("SFT w. rationale", 6, 12),
        ("PPO, rule reward", 6, 12),
        ("RLHF (ranked RM)", 6, 12),
        ("RLLR (label RM)", 6, 12),
        ("RLLR-mixed, λ = q75", 6, 12),
    ]
    assert {goal.config["seed"] for cell in found for goal in cell.goals} == {100, 101}


def test_its_seeds_are_reported_by_no_suite() -> None:
    reported = {seed for path in EXPERIMENTS.glob("*.toml") if path.stem != "tuning-sandbox" for seed in seeds(path)}
    assert reported >= {0, 1, 2, 3, 4}
    assert not reported & {100, 101}


def seeds(path: Path) -> tuple[int, ...]:
    return load_suite(path).seeds


def test_no_stage_evaluates_and_none_depends_on_test_rows(found: list[Cell], tmp_path: Path) -> None:
    """Other test rows leave every stage as it is; other validation rows change each of them."""
    kinds = {stage.kind for cell in found for stage in cell.chain()}
    assert kinds == {"annotate", "sft", "samples", "pairs", "rm", "ppo", "validate"}
    mine = {goal.fingerprint for cell in found for goal in cell.goals}
    assert mine == {goal.fingerprint for cell in cells(tuning(**{"data.test": 3}), tmp_path) for goal in cell.goals}
    others = {goal.fingerprint for cell in cells(tuning(**{"data.validation": 3}), tmp_path) for goal in cell.goals}
    assert not mine & others


def test_the_plan_says_what_is_tried_for_whom(found: list[Cell], tmp_path: Path) -> None:
    lines = _notes(tuning(), found, make_plan(found, tmp_path))
    assert [line for line in lines if line.startswith("grid: ")] == [
        "grid: 6 tries each (sft.epochs of 1, 2, 4, sft.lr of 0.001, 0.002) for SFT w. rationale, on seeds 100, 101, "
        "chosen on validation rows; nothing is evaluated, no test row is answered.",
        "grid: 6 tries each (ppo.kl_coef of 0.05, 0.1, 0.3, ppo.lr of 0.001, 0.003) for PPO, rule reward; "
        "RLHF (ranked RM); RLLR (label RM); RLLR-mixed, λ = q75, on seeds 100, 101, chosen on validation rows; nothing "
        "is evaluated, no test row is answered.",
    ]


def test_its_report_is_the_table_of_tries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rule reward alone; its second try is the best: (0.6 + 0.9) / 2 of two tasks, equal on both seeds."""
    suite = tuning()
    suite = suite.model_copy(update={"method": suite.method[1:2]})
    (waiting,) = cells(suite, tmp_path)
    for number, goal in enumerate(waiting.goals):
        for stage in goal.chain():
            folder = stage.folder(tmp_path)
            folder.open()
            better = 0.9 if number in (2, 3) else 0.5
            scores = {"sandbox-sentiment": 0.6, "sandbox-topic": better} if stage is goal else {}
            folder.finish({"scores": scores, "stage_seconds": 1.0})
    scheduler = Scheduler(cells(suite, tmp_path), tmp_path)
    out = tmp_path / "report"
    print_suite(suite, report_suite(suite, scheduler, tmp_path, out, "rewardlab suite run tuning-sandbox.toml"))
    told = capsys.readouterr().out
    assert "ppo.kl_coef = 0.05, ppo.lr = 0.003, of 6 tries on seeds 100, 101 (validation 75.0; the others 55.0" in told
    assert "no test row was answered" in told
    text = (out / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# The sandbox's settings, six tries for each method on validation rows\n")
    assert "| ppo.kl_coef = 0.05, ppo.lr = 0.003 | 75.0 | yes |" in text
    assert text.count("| 55.0 |") == 5
    assert "Made by `rewardlab suite run tuning-sandbox.toml`." in text
    (row,) = read_json(write_record(out, suite, scheduler, tmp_path, Links(out, brings=False)))["cells"]
    assert row["chosen"] == {"ppo.kl_coef": 0.05, "ppo.lr": 0.003}
    assert row["tries"][1]["scores"] == {
        "100": {"sandbox-sentiment": 0.6, "sandbox-topic": 0.9},
        "101": {"sandbox-sentiment": 0.6, "sandbox-topic": 0.9},
    }
