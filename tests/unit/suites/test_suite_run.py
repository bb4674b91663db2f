"""Running a suite: each stage once, failures kept apart, processes that end with it, and going on after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rewardlab.errors import ConfigError
from rewardlab.pipeline.runner import Runner
from rewardlab.suites.cells import Cell
from rewardlab.suites.local import ENDED, Crew, Workers
from rewardlab.suites.run import Here, build
from rewardlab.suites.scheduler import Job, Scheduler
from tests.support.fake_suite import FakeSuite
from tests.support.waiting import PATIENCE_S, is_alive, until

ALL = [
    "shared",
    *("sft-0", "ppo-A-0", "eval-A-0", "ppo-B-0", "eval-B-0"),
    *("sft-1", "ppo-A-1", "eval-A-1", "ppo-B-1", "eval-B-1"),
]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSuite:
    monkeypatch.setattr("rewardlab.provenance._git", lambda *arguments: None)
    monkeypatch.chdir(ROOT)  # workers import tests
    (tmp_path / "runs").mkdir()
    return FakeSuite(tmp_path / "runs")


def here(suite: FakeSuite, cells: list[Cell] | None = None) -> Scheduler:
    scheduler = Scheduler(cells or suite.cells(), suite.root)
    build(scheduler, Here(Runner(suite.root, lambda line: None)))
    return scheduler


def in_workers(suite: FakeSuite, jobs: int = 2) -> Scheduler:
    scheduler = Scheduler(suite.cells(), suite.root)
    build(scheduler, Workers(jobs, suite.worker))
    return scheduler


def failures(scheduler: Scheduler) -> dict[str, str]:
    return {cell.title: why for cell, why in scheduler.failures()}


class TestHere:
    def test_every_stage_is_built_once_in_the_order_of_the_cells(self, suite: FakeSuite) -> None:
        scheduler = here(suite)
        assert suite.built() == ALL
        assert scheduler.failures() == []
        assert scheduler.finished() == scheduler.cells

    def test_what_is_finished_is_not_built_again(self, suite: FakeSuite) -> None:
        here(suite, [suite.cell("B", 1)])
        here(suite)
        assert sorted(suite.built()) == sorted(ALL)
        assert Scheduler(suite.cells(), suite.root).take() is None

    def test_a_failed_stage_takes_its_cell_alone(self, suite: FakeSuite) -> None:
        suite.tell("ppo-A-1", "fail")
        scheduler = here(suite)
        assert suite.built() == [slug for slug in ALL if slug != "eval-A-1"]
        assert failures(scheduler) == {"A, toy, tiny, seed 1": "stage ppo-A-1: ValueError: ppo-A-1 is broken"}
        assert [cell.title for cell in scheduler.finished()] == [
            "A, toy, tiny, seed 0",
            "B, toy, tiny, seed 0",
            "B, toy, tiny, seed 1",
        ]

    def test_a_failed_stage_that_cells_share_is_tried_once(self, suite: FakeSuite) -> None:
        suite.tell("sft-1", "fail")
        scheduler = here(suite)
        assert [slug for slug in suite.built() if slug.endswith("-1")] == ["sft-1"]
        said = "stage sft-1: ValueError: sft-1 is broken"
        assert failures(scheduler) == {f"{method}, toy, tiny, seed 1": said for method in "AB"}

    def test_the_next_run_tries_again_what_failed_and_nothing_else(self, suite: FakeSuite) -> None:
        suite.tell("ppo-A-1", "fail")
        here(suite)
        suite.tell("ppo-A-1", "")
        assert here(suite).failures() == []
        assert suite.built()[10:] == ["ppo-A-1", "eval-A-1"]

    def test_failures_are_told_when_they_happen(self, suite: FakeSuite) -> None:
        suite.tell("sft-1", "fail")
        said: list[str] = []
        build(Scheduler([suite.cell("A", 1)], suite.root), Here(Runner(suite.root, lambda line: None)), said.append)
        assert said == ["[2/4] stage sft-1, seed 1: failed, ValueError: sft-1 is broken"]

    def test_heads_count_the_stages_and_name_the_seed(self, suite: FakeSuite) -> None:
        said: list[str] = []
        build(Scheduler([suite.cell("A", 1)], suite.root), Here(Runner(suite.root, said.append)))
        assert said[0] == "[1/4] stage shared ..."
        assert said[2] == "[2/4] stage sft-1, seed 1 ..."
        assert said[6] == "[4/4] stage eval-A-1, seed 1 ..."


class TestCellsThatWait:
    def waiting(self, suite: FakeSuite, then: Callable[[], Cell]) -> list[Cell]:
        """B of seed 1 waits for A of seed 0, whose PPO is its try."""
        final = suite.cell("B", 1)
        first = suite.cell("A", 0)
        return [replace(final, goals=first.goals[0].inputs["model"].chain()[-1:], again=then), first]

    def test_they_are_made_anew_when_their_tries_are_finished(self, suite: FakeSuite) -> None:
        known: list[list[str]] = []

        def then() -> Cell:
            known.append(suite.built())
            return suite.cell("B", 1)

        scheduler = here(suite, self.waiting(suite, then))
        assert known == [["shared", "sft-0", "ppo-A-0"]]
        assert suite.built()[3:] == ["eval-A-0", "sft-1", "ppo-B-1", "eval-B-1"]
        assert [cell.again for cell in scheduler.finished()] == [None, None]

    def test_a_failed_try_fails_them(self, suite: FakeSuite) -> None:
        suite.tell("ppo-A-0", "fail")
        scheduler = here(suite, self.waiting(suite, lambda: pytest.fail("nothing was chosen")))
        assert list(failures(scheduler)) == ["B, toy, tiny, seed 1", "A, toy, tiny, seed 0"]
        assert scheduler.finished() == []

    def test_settings_that_turn_out_to_be_wrong_fail_them(self, suite: FakeSuite) -> None:
        def then() -> Cell:
            raise ConfigError("not\nvalid")

        scheduler = here(suite, self.waiting(suite, then))
        assert failures(scheduler) == {"B, toy, tiny, seed 1": "not valid"}
        assert [cell.title for cell in scheduler.finished()] == ["A, toy, tiny, seed 0"]


class TestWorkers:
    def test_every_stage_is_built_once_side_by_side(self, suite: FakeSuite) -> None:
        """The two SFT models wait for each other to begin, so one process could not have built both."""
        suite.tell("sft-0", "wait-for sft-1")
        suite.tell("sft-1", "wait-for sft-0")
        assert in_workers(suite).failures() == []
        assert sorted(suite.built()) == sorted(ALL)
        assert len(suite.processes()) == 2
        assert str(os.getpid()) not in suite.processes()

    def test_failures_and_crashes_are_kept_apart(self, suite: FakeSuite) -> None:
        """As many crashes as there are workers, so that both are replaced."""
        suite.tell("ppo-A-0", "fail")
        suite.tell("ppo-B-0", "crash")
        suite.tell("ppo-A-1", "crash")
        suite.tell("ppo-B-1", "print")
        assert failures(in_workers(suite)) == {
            "A, toy, tiny, seed 0": "stage ppo-A-0: ValueError: ppo-A-0 is broken",
            "B, toy, tiny, seed 0": "stage ppo-B-0: its process ended with exit code 9",
            "A, toy, tiny, seed 1": "stage ppo-A-1: its process ended with exit code 9",
        }
        assert sorted(suite.built()) == sorted(slug for slug in ALL if slug not in ("eval-A-0", "eval-A-1", "eval-B-0"))

    @pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
    def test_no_process_outlives_the_suite_and_the_next_run_goes_on(
        self, suite: FakeSuite, ending: signal.Signals
    ) -> None:
        """The signal goes to the suite alone, as from a scheduler or ``kill``. polars is loaded, which takes SIGINT."""
        suite.tell("ppo-A-0", "wait")
        suite.tell("ppo-B-0", "wait")
        parent = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fake_suite", str(suite.root), "2"],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            until(lambda: {"ppo-A-0", "ppo-B-0"} <= set(suite.built()))
            workers = [int(process) for process in suite.processes()]
            parent.send_signal(ending)
            parent.communicate(timeout=PATIENCE_S)
            until(lambda: not any(map(is_alive, workers)))
        finally:
            parent.kill()
            parent.wait()
        interrupted = -signal.SIGINT  # by KeyboardInterrupt, which the command line turns into exit code 130
        assert parent.returncode == (-signal.SIGKILL if ending is signal.SIGKILL else interrupted)
        began = len(suite.built())
        (suite.root / "go").touch()
        assert here(suite).failures() == []
        again = suite.built()[began:]
        assert {"ppo-A-0", "ppo-B-0"} <= set(again)
        assert not {"shared", "sft-0"} & set(again)
        assert sorted({*suite.built()}) == sorted(ALL)


class TestCrew:
    def test_nobody_is_hired_after_the_end(self, suite: FakeSuite, tmp_path: Path) -> None:
        began = tmp_path / "began"
        with Crew(1, ["touch", str(began)]) as crew:
            pass
        assert crew.build(Job(suite.stage("sft", "late"), "late")) == ENDED
        assert not began.exists()

    def test_who_is_being_hired_at_the_end_is_ended(self, suite: FakeSuite, monkeypatch: pytest.MonkeyPatch) -> None:
        """A worker takes a while to start, and the end comes meanwhile."""
        begins, ended = threading.Event(), threading.Event()

        class Slow:
            def __init__(self, command: list[str]) -> None:
                begins.set()
                time.sleep(0.5)

            def build(self, job: Job) -> None:
                ended.wait(1)

            def end(self) -> int:
                ended.set()
                return 0

        monkeypatch.setattr("rewardlab.suites.local.Worker", Slow)
        crew = Crew(1, [])
        thread = threading.Thread(target=crew.build, args=(Job(suite.stage("sft", "late"), "late"),))
        thread.start()
        assert begins.wait(PATIENCE_S)
        crew.__exit__()
        assert ended.is_set()
        thread.join(PATIENCE_S)
