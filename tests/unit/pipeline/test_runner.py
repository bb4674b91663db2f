"""The runner: what runs again, what an interrupt leaves, and where folders lie."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewardlab import processes
from rewardlab.disk import read_json
from rewardlab.errors import RewardlabError, RunFolderError
from rewardlab.pipeline import Runner, Stage
from rewardlab.pipeline.alone import alone
from rewardlab.pipeline.runner import plan_rows
from rewardlab.pipeline.stage import Work
from rewardlab.runs import input_folder


class Counting:
    """Stages that count their runs: ``goal`` needs ``left`` and ``right``, both need ``base``."""

    def __init__(self, root: Path) -> None:
        self.runs: list[str] = []
        self.failing: dict[str, BaseException] = {}
        self.said: list[str] = []
        self.runner = Runner(root, self.said.append)

    def stage(self, slug: str, inputs: Mapping[str, Stage] | None = None, at: Path | None = None, **more: Any) -> Stage:
        def run(work: Work) -> dict[str, Any]:
            self.runs.append(slug)
            work.folder.append("made.jsonl", {"by": slug})
            if slug in self.failing:
                raise self.failing[slug]
            return {"inputs": {name: str(path) for name, path in work.inputs.items()}}

        return Stage("sft", f"stage {slug}", slug, {"slug": slug, **more}, inputs or {}, run, at=at)

    def goal(self, **more: Any) -> Stage:
        base = self.stage("base")
        left, right = self.stage("left", {"base": base}), self.stage("right", {"base": base})
        return self.stage("goal", {"left": left, "right": right}, **more)


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    monkeypatch.setattr("rewardlab.provenance._git", lambda *arguments: None)
    return Counting(tmp_path / "runs")


class TestRunner:
    def test_each_stage_runs_once_and_gets_its_inputs(self, counting: Counting) -> None:
        goal = counting.goal()
        folder = counting.runner.execute(goal)
        assert counting.runs == ["base", "left", "right", "goal"]
        paths = {name: str(stage.folder(counting.runner.root).path) for name, stage in goal.inputs.items()}
        assert folder.result()["inputs"] == paths
        assert folder.result()["stage_seconds"] >= 0

    def test_a_second_call_runs_nothing_and_says_so(self, counting: Counting) -> None:
        first = counting.runner.execute(counting.goal()).path
        counting.runs.clear()
        counting.said.clear()
        assert counting.runner.execute(counting.goal()).path == first
        assert counting.runs == []
        assert len(counting.said) == 4
        assert all(": done before, " in line for line in counting.said)

    def test_a_changed_goal_reuses_what_it_needs(self, counting: Counting) -> None:
        counting.runner.execute(counting.goal())
        counting.runs.clear()
        counting.runner.execute(counting.goal(lr=1))
        assert counting.runs == ["goal"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), RewardlabError("broken"), ValueError("broken")])
    def test_an_interrupted_stage_has_no_result_and_the_next_call_goes_on(
        self, counting: Counting, error: BaseException
    ) -> None:
        goal = counting.goal()
        counting.failing["right"] = error
        with pytest.raises(type(error)):
            counting.runner.execute(goal)
        folder = goal.inputs["right"].folder(counting.runner.root)
        assert (folder.path / "config.json").exists()
        assert not folder.is_done
        assert not goal.folder(counting.runner.root).path.exists()
        counting.failing.clear()
        counting.runs.clear()
        counting.runner.execute(goal)
        assert counting.runs == ["right", "goal"]

    def test_of_several_processes_the_main_one_works_alone_where_the_others_wait(
        self, counting: Counting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A stage that is not shared deals nothing out and asks nobody: nobody would answer."""
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setattr(processes, "gather", lambda item: [item, item])
        seen: dict[str, int] = {}

        def run(work: Work) -> dict[str, Any]:
            seen[work.folder.stage] = processes.count()
            return {}

        for kind in ("scored", "sft"):
            counting.runner.execute(Stage(kind, kind, kind, {}, {}, run))
        assert seen == {"scored": 1, "sft": 2}
        assert processes.count() == 2

    def test_every_stage_that_is_to_run_is_checked_before_the_first_one_runs(self, counting: Counting) -> None:
        asked: list[str] = []

        def refuse() -> None:
            asked.append("goal")
            raise RewardlabError("no server")

        goal = replace(counting.goal(), check=refuse)
        with pytest.raises(RewardlabError, match="no server"):
            counting.runner.execute(goal)
        assert (asked, counting.runs, counting.said) == (["goal"], [], [])
        assert not counting.runner.root.exists()
        base = goal.inputs["left"].inputs["base"]
        other = counting.stage("other", {"base": replace(base, check=refuse)})
        with pytest.raises(RewardlabError, match="no server"):
            counting.runner.execute(other)
        assert counting.runs == []

    def test_a_finished_stage_is_checked_only_before_it_runs_anew(self, counting: Counting) -> None:
        def refuse() -> None:
            raise RewardlabError("no server")

        folder = counting.runner.execute(counting.goal()).path
        finished = replace(counting.goal(), check=refuse)
        assert counting.runner.execute(finished).path == folder
        with pytest.raises(RewardlabError, match="no server"):
            counting.runner.execute(finished, fresh=True)
        assert [path.name for path in folder.parent.glob(f"{folder.name}*")] == [folder.name], "it was not set aside"

    def test_two_commands_that_need_one_stage_build_it_once(self, counting: Counting) -> None:
        goal, entered, may_end = counting.stage("slow"), threading.Event(), threading.Event()

        def slow(work: Work) -> dict[str, Any]:
            counting.runs.append("slow")
            entered.set()
            assert may_end.wait(300)
            return {}

        goal = replace(goal, run=slow)
        waited = threading.Event()
        second = Runner(counting.runner.root, lambda line: waited.set() if "waiting" in line else None)
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(counting.runner.execute, goal)
            assert entered.wait(300)
            two = pool.submit(second.execute, goal)
            assert waited.wait(300)
            may_end.set()
            assert one.result(30).path == two.result(30).path
        assert counting.runs == ["slow"]

    def test_fresh_sets_the_goal_aside_and_keeps_what_it_needs(self, counting: Counting) -> None:
        folder = counting.runner.execute(counting.goal())
        (folder.path / "mine.txt").write_text("precious")
        counting.runs.clear()
        for _ in range(2):
            counting.runner.execute(counting.goal(), fresh=True)
        assert counting.runs == ["goal", "goal"]
        aside = sorted(folder.path.parent.glob(f"{folder.path.name}.before-*"))
        assert len(aside) == 2
        assert (aside[0] / "mine.txt").read_text() == "precious"
        assert read_json(aside[0] / "config.json")["fingerprint"] == folder.fingerprint
        assert not (folder.path / "mine.txt").exists()

    def test_fresh_with_nothing_there_is_a_plain_run(self, counting: Counting) -> None:
        assert counting.runner.execute(counting.goal(), fresh=True).is_done

    def test_fresh_does_not_move_what_another_command_is_building(self, counting: Counting) -> None:
        entered, may_end = threading.Event(), threading.Event()

        def slow(work: Work) -> dict[str, Any]:
            counting.runs.append("slow")
            entered.set()
            assert may_end.wait(30)
            return {}

        goal = replace(counting.stage("slow"), run=slow)
        with ThreadPoolExecutor(1) as pool:
            one = pool.submit(counting.runner.execute, goal)
            assert entered.wait(30)
            with pytest.raises(RunFolderError, match=r"another command is building it; .* before --fresh"):
                Runner(counting.runner.root, counting.said.append).execute(goal, fresh=True)
            may_end.set()
            assert one.result(30).is_done
        assert counting.runs == ["slow"]

    def test_a_command_that_waited_while_the_folder_was_moved_holds_the_new_one(self, counting: Counting) -> None:
        from filelock import FileLock, Timeout

        folder = counting.stage("slow").folder(counting.runner.root)
        folder.open()
        first, other = (FileLock(folder.path / ".lock") for _ in range(2))

        def move() -> None:
            folder.path.rename(folder.path.with_name("aside"))
            first.release()

        with ThreadPoolExecutor(1) as other_command:
            other_command.submit(first.acquire).result(30)
            with alone(folder, lambda line: other_command.submit(move).result(30)):
                assert read_json(folder.path / "config.json")["fingerprint"] == folder.fingerprint
                with pytest.raises(Timeout):
                    other_command.submit(other.acquire, timeout=0).result(30)

    @pytest.mark.parametrize("text", ["", "[]", None])
    def test_a_damaged_config_is_no_dead_end(self, counting: Counting, tmp_path: Path, text: str | None) -> None:
        for at, fresh in ((None, False), (None, True), (tmp_path / "mine", True)):
            goal = counting.stage("goal", at=at)
            config = counting.runner.execute(goal).path / "config.json"
            config.unlink()
            if text is not None:
                config.write_text(text)
            assert counting.runner.execute(goal, fresh=fresh).is_done
            assert read_json(config)["fingerprint"] == goal.fingerprint

    @pytest.mark.parametrize("name", ["base", "left"])
    def test_a_damaged_output_stops_what_is_built_on_it(self, counting: Counting, name: str) -> None:
        goal = counting.goal()
        left = goal.inputs["left"]
        damaged = {"left": left, "base": left.inputs["base"]}[name].folder(counting.runner.root)
        counting.runner.execute(damaged_stage := left if name == "left" else left.inputs["base"])
        (damaged.path / "made.jsonl").write_text("")
        counting.runs.clear()
        with pytest.raises(
            RunFolderError, match=r"stage sft was finished: made\.jsonl has 0 rows and had 1; .* --fresh"
        ):
            counting.runner.execute(goal)
        assert "goal" not in counting.runs
        with pytest.raises(RunFolderError, match=r"made\.jsonl"):
            counting.runner.execute(damaged_stage)
        assert counting.runner.execute(damaged_stage, fresh=True).is_done
        assert counting.runner.execute(goal).is_done

    def test_out_is_where_the_goal_lives_and_nothing_else(self, counting: Counting, tmp_path: Path) -> None:
        folder = counting.runner.execute(counting.goal(at=tmp_path / "mine"))
        assert folder.path == tmp_path / "mine"
        assert len(list((tmp_path / "runs" / "sft").iterdir())) == 3
        assert folder.fingerprint == counting.goal().fingerprint

    @pytest.mark.parametrize("fresh", [False, True])
    def test_files_of_others_stop_everything(self, counting: Counting, tmp_path: Path, fresh: bool) -> None:
        mine = tmp_path / "mine"
        mine.mkdir()
        (mine / "config.json").write_text('{"model_type": "llama"}')
        with pytest.raises(RunFolderError, match="no rewardlab run"):
            counting.runner.execute(counting.goal(at=mine), fresh=fresh)
        assert counting.runs == []
        assert [path.name for path in mine.iterdir()] == ["config.json"]

    def test_another_run_stops_everything_until_fresh_is_asked_for(self, counting: Counting, tmp_path: Path) -> None:
        mine = tmp_path / "mine"
        counting.runner.execute(counting.goal(at=mine))
        counting.runs.clear()
        with pytest.raises(RunFolderError, match=r"differs in settings\.lr"):
            counting.runner.execute(counting.goal(at=mine, lr=1))
        assert counting.runs == []
        counting.runner.execute(counting.goal(at=mine, lr=1), fresh=True)
        assert counting.runs == ["goal"]

    def test_a_plan_knows_what_is_done(self, counting: Counting) -> None:
        counting.runner.execute(counting.goal().inputs["left"])
        states = [row["state"] for row in plan_rows(counting.runner.plan(counting.goal()))]
        assert states == ["done", "done", "to run", "to run"]

    def test_the_plan_of_a_fresh_run_runs_the_goal(self, counting: Counting) -> None:
        counting.runner.execute(counting.goal())
        plan = counting.runner.plan(counting.goal())
        assert [row["state"] for row in plan_rows(plan)] == ["done"] * 4
        assert [row["state"] for row in plan_rows(plan, fresh=True)] == [*["done"] * 3, "to run"]

    def test_a_plan_that_could_not_run_is_refused(self, counting: Counting, tmp_path: Path) -> None:
        counting.runner.execute(counting.goal(at=tmp_path / "mine"))
        with pytest.raises(RunFolderError, match="another run"):
            plan_rows(counting.runner.plan(counting.goal(at=tmp_path / "mine", lr=1)))


def test_a_run_outside_of_the_runs_says_where_lies_what_it_was_made_of(counting: Counting, tmp_path: Path) -> None:
    """Runs and --out folder are moved together; a command of another folder of runs builds nothing a second time."""
    far = tmp_path / "project" / "far"
    there = Runner(tmp_path / "project" / "runs", counting.said.append)
    there.execute(replace(counting.goal(), at=far))
    assert len(counting.runs) == 4
    (tmp_path / "project").rename(tmp_path / "moved")
    made = counting.goal().made_at(tmp_path / "moved" / "far")
    folders = {stage.slug: folder.path for stage, folder in counting.runner.plan(counting.stage("eval", {"m": made}))}
    runs = tmp_path / "moved" / "runs" / "sft"
    assert {folders[name].parent for name in ("base", "left", "right")} == {runs}
    counting.runner.execute(counting.stage("eval", {"m": made}))
    assert counting.runs[4:] == ["eval"]
    assert input_folder(tmp_path / "moved" / "far", "0" * 12) is None
