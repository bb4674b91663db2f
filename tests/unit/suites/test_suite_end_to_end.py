"""A whole suite as typed: two processes, killed in the middle, typed again; a failing method, a grid, a filter."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rewardlab.cli import main as cli
from rewardlab.disk import read_json
from tests.support.waiting import until

pytestmark = pytest.mark.slow

REWARDS = '''
import time
from pathlib import Path

def fails(examples, responses):
    """A reward that cannot judge."""
    raise RuntimeError("no reward today")

def waits(examples, responses):
    """The length of a response, once somebody has said go."""
    Path("began").touch()
    while not Path("go").exists():
        time.sleep(0.05)
    return [float(len(response)) for response in responses]
'''
SUITE = """
name = "tiny"
title = "Smallest"
seeds = [0, 1]
against = ["PPO, rule", "broken"]

[settings]
format = "label"
"data.labelled" = 8
"data.prompts" = 8
"data.validation" = 8
"data.test" = 8
"model.max_new_tokens" = 4
"sft.epochs" = 1
"ppo.steps" = 1
"ppo.batch" = 4

[grid]
"ppo.lr" = [1e-5, 1e-2]

[[method]]
name = "SFT"
stage = "sft"
rationales = false

[[method]]
name = "PPO, rule"
stage = "ppo"

[[method]]
name = "broken"
stage = "ppo"
settings = { "reward.expression" = "own:fails" }

[[method]]
name = "PPO, length"
stage = "ppo"
settings = { "reward.expression" = "own:waits" }
"""
COMMAND = ["suite", "run", "tiny.toml", "--jobs", "2"]


@dataclass
class Folder:
    """The folder in which the suite was typed, and the exit code of the run that was ended in the middle."""

    path: Path
    ended: int

    def runs(self, kind: str) -> list[Path]:
        return sorted((self.path / "runs" / kind).iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """A suite that was ended while PPO waited for its reward."""
    path = tmp_path_factory.mktemp("suite")
    (path / "own.py").write_text(REWARDS)
    (path / "tiny.toml").write_text(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.delenv("REWARDLAB_DATA", raising=False)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("REWARDLAB_CACHE", str(path / "cache"))
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        process = subprocess.Popen([sys.executable, "-m", "rewardlab", *COMMAND], stderr=subprocess.DEVNULL)
        try:
            until(lambda: (path / "began").exists() or process.poll() is not None)
            process.send_signal(signal.SIGTERM)
            ended = process.wait(600)
        finally:
            process.kill()
            process.wait()
        (path / "go").touch()
        yield Folder(path, ended)


@pytest.fixture(scope="module")
def finished(folder: Folder) -> Folder:
    """The same command typed again."""
    assert cli.run(COMMAND) == 1  # a cell fails
    return folder


def test_an_ended_suite_says_that_it_was_interrupted(folder: Folder) -> None:
    assert folder.ended == 130
    assert not any((folder.path / "runs" / "tiny").iterdir())  # made before anything is built, and written at the end


def test_the_same_command_goes_on_and_names_what_is_missing(finished: Folder) -> None:
    record = read_json(finished.path / "runs" / "tiny" / "cells.json")
    states = {(cell["method"], cell["seed"]): cell["state"] for cell in record["cells"]}
    assert states == {
        **{(name, seed): "done" for name in ("SFT", "PPO, rule", "PPO, length") for seed in (0, 1)},
        **{("broken", seed): "failed" for seed in (0, 1)},
    }
    why = {cell["error"] for cell in record["cells"] if cell["state"] == "failed"}
    assert len(why) == 1
    assert "no reward today" in why.pop()
    report = (finished.path / "runs" / "tiny" / "report.md").read_text()
    assert "Missing cells" in report
    assert "broken, sandbox-sentiment, sandbox-tiny, seed 1" in report


def test_rows_are_compared_with_what_the_suite_names_as_far_as_it_is_there(finished: Folder) -> None:
    with (finished.path / "runs" / "tiny" / "differences.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert {line["baseline"] for line in lines} == {"PPO, rule"}
    assert {line["method"] for line in lines} == {"SFT", "PPO, length"}


def test_stages_are_shared_and_a_failed_one_is_the_end_of_its_cells(finished: Folder) -> None:
    """Two SFT models. Two tries for each of three methods on seed 0, of which one is the run itself; then seed 1."""
    assert len(finished.runs("sft")) == 2
    assert len(finished.runs("ppo")) == 2 * 2 + 2 * 1 + 2  # the broken method has nothing but its tries
    assert len(finished.runs("validate")) == 4
    assert len(finished.runs("eval")) == 2 * 3


def test_the_grid_is_chosen_on_validation_rows_and_recorded(finished: Folder) -> None:
    scores = {
        read_json(path / "config.json")["config"]["ppo"]["lr"]: read_json(path / "result.json")["scores"]
        for path in finished.runs("validate")
        if read_json(path / "config.json")["config"]["reward"]["expression"] == "rule"
    }
    best = max(sorted(scores), key=lambda lr: scores[lr]["sandbox-sentiment"])
    cells = read_json(finished.path / "runs" / "tiny" / "cells.json")["cells"]
    assert {cell["chosen"].get("ppo.lr") for cell in cells if cell["method"] == "PPO, rule"} == {best}
    report = (finished.path / "runs" / "tiny" / "report.md").read_text()
    assert "Settings chosen on validation rows" in report
    assert "| validate PPO on rule (sandbox-sentiment) |" in report  # the time of the tries


def test_a_filter_runs_its_part_alone_and_a_plan_writes_nothing(
    finished: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(finished.path.rglob("*"))
    assert cli.run(["suite", "run", "tiny.toml", "--dry-run", "--filter", "method=PPO", "--filter", "seed=1"]) == 0
    said = capsys.readouterr().out
    assert "[done] PPO, rule, sandbox-sentiment, sandbox-tiny, seed 1" in said
    assert "2 tries each (ppo.lr of 1e-05, 0.01) for PPO, rule; broken; PPO, length, on seed 0" in " ".join(
        said.split()
    )
    assert "SFT, sandbox" not in said
    assert sorted(finished.path.rglob("*")) == before
    whole = (finished.path / "runs" / "tiny" / "report.md").read_text()
    assert cli.run(["suite", "run", "tiny.toml", "--filter", "method=sft"]) == 0
    assert (finished.path / "runs" / "tiny" / "report.md").read_text() == whole
    part = (finished.path / "runs" / "tiny-method-sft" / "report.md").read_text()
    assert part.startswith("# Smallest\n")
    assert "Made by `rewardlab suite run tiny.toml --filter method=sft`." in part
