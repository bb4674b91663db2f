"""The plan of a suite: order of its lines, seconds where nothing is finished, and what will come before a judge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewardlab.annotate.money import Purse
from rewardlab.annotate.registry import annotators
from rewardlab.claims.claim import Claim
from rewardlab.cli import main as cli
from rewardlab.config import RunConfig
from rewardlab.config_loading import load_config
from rewardlab.errors import AnnotationError
from rewardlab.lab import suite_run
from rewardlab.pipeline.stage import AS_LONG_AS, Stage
from rewardlab.pipeline.stages.judge import _folder
from rewardlab.reports.sections.suite import suite_sections
from rewardlab.suites.cells import Cell, cells
from rewardlab.suites.durations import Durations, measured
from rewardlab.suites.file import Method, Suite
from rewardlab.suites.judged import JudgedCells, judged_cells
from rewardlab.suites.plan import make_plan
from tests.support.fake_suite import FakeSuite

JUDGED = Claim(id="C12", says="PPO wins", better="PPO", than="SFT", measure="judged")
SMALL = {"data.labelled": 4, "data.prompts": 4, "data.validation": 4, "data.test": 3, "ppo.steps": 1}


def suite(**settings: Any) -> Suite:
    methods = (Method(name="PPO", stage="ppo"), Method(name="SFT", stage="sft"))
    return Suite(name="s", seeds=(0, 1), settings={**SMALL, **settings}, method=methods, claim=(JUDGED,))


HOSTED = {"annotate.annotator": "openai", "annotate.model": "gpt-4o-mini"}


def single_tasks(**settings: Any) -> Suite:
    """PPO one task at a time beside SFT on both; the models of one task answer a third one, too."""
    methods = (Method(name="PPO", stage="ppo", scope="each"), Method(name="SFT", stage="sft"))
    more = {"method": methods, "unseen": {"sandbox-topic": "sandbox-similarity"}}
    return suite(task="sandbox-sentiment,sandbox-topic", **settings).model_copy(update=more)


def settings(**given: Any) -> dict[str, Any]:
    """The resolved configuration of the embedded model."""
    return load_config({key.replace("__", "."): value for key, value in given.items()}).model_dump(mode="json")


class TestOrder:
    def test_lines_follow_the_order_in_which_stages_are_needed(self, tmp_path: Path) -> None:
        """A base model's cell wants nothing but its evaluation, and stands first in every table."""
        made = FakeSuite(tmp_path)
        base = replace(made.cell("A", 0), goals=(made.stage("eval", "base"),))
        kinds = [row.kind for row in make_plan([base, made.cell("B", 0)], tmp_path).rows]
        assert kinds == ["sft", "pairs", "ppo", "eval"]


class TestSeconds:
    def test_they_grow_with_the_size_of_the_stage(self) -> None:
        # 30 steps of 64 took 45.5 s: 60 of 32 the same, 15 of 64 half
        for steps, batch, seconds in ((30, 64, 45.5), (60, 32, 45.5), (15, 64, 22.75)):
            found = measured("ppo", settings(ppo__steps=steps, ppo__batch=batch))
            assert found is not None
            assert (found.seconds, found.is_rough) == (pytest.approx(seconds), True)
        two = measured("eval", settings(task="sandbox-sentiment,sandbox-topic", data__test=500))
        one = measured("eval", settings(task="sandbox-sentiment", data__test=500))
        assert two is not None
        assert one is not None
        assert (two.seconds, one.seconds) == (pytest.approx(5.1), pytest.approx(2.55))

    def test_solved_examples_make_an_evaluation_another_one(self) -> None:
        plain, shots = (measured("eval", settings(eval__shots=number, data__test=500)) for number in (0, 5))
        assert plain is not None
        assert shots is not None
        assert shots.seconds > 5 * plain.seconds

    def test_other_models_and_unmeasured_kinds_are_unknown(self) -> None:
        assert measured("ppo", {**settings(), "model": {"name": "large"}}) is None
        assert measured("validate", settings()) is None
        assert measured("ppo", {**settings(), "ppo": {"steps": None, "batch": 64}}) is None

    def test_a_stage_given_the_time_of_others_takes_as_long_as_all_they_need(self, tmp_path: Path) -> None:
        """PPO 20 s on an SFT of 5 s and free rationales; one that was timed itself tells nothing of plain SFT."""
        made = FakeSuite(tmp_path)

        def taken(kind: str, slug: str, seconds: float, inputs: dict[str, Stage] | None = None, **more: Any) -> Stage:
            stage = replace(made.stage(kind, slug, inputs, **more), config={"model": {"name": "tiny"}})
            folder = stage.folder(tmp_path)
            folder.open()
            folder.finish({"stage_seconds": seconds})
            return stage

        rationales = taken("annotate", "rationales", 1000.0)
        start = taken("sft", "start", 5.0, {"rationales": rationales})
        rival = taken("ppo", "rival", 20.0, {"start": start})
        taken("sft", "timed", 777.0, as_long_as={"device_seconds": [rival.fingerprint]})
        asked = replace(made.stage("sft", "asked", {f"{AS_LONG_AS}0": rival}), config={"model": {"name": "tiny"}})
        known = Durations(tmp_path)
        assert (found := known.of(asked)) is not None
        assert found.seconds == 25.0
        plain = known.of(replace(asked, inputs={}))
        assert plain is not None
        assert plain.seconds == 5.0

    def test_a_fresh_clone_has_a_plan_in_seconds(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run(["suite", "run", "demo.toml", "--runs", str(tmp_path / "runs"), "--dry-run"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "unknown" not in said
        assert "~: none like them is finished here; as measured with the embedded model on two CPU cores." in said


class TestJudge:
    @pytest.fixture
    def todo(self, tmp_path: Path) -> list[Cell]:
        return cells(suite(), tmp_path)

    def test_every_seed_is_heard_once_and_seeds_are_not_mixed(self, todo: list[Cell]) -> None:
        found = judged_cells([JUDGED, JUDGED], todo)
        assert [(each.cell.title, each.rival.title) for each in found] == [
            (f"PPO, sandbox-sentiment, sandbox-tiny, seed {seed}", f"SFT, sandbox-sentiment, sandbox-tiny, seed {seed}")
            for seed in (0, 1)
        ]
        quiet = [
            JUDGED.model_copy(update={"not_testable": "no judge"}),
            JUDGED.model_copy(update={"measure": "quality"}),
        ]
        assert judged_cells(quiet, todo) == []

    def test_a_judged_method_meets_every_rival_of_the_suite(self, tmp_path: Path) -> None:
        """One claim judges PPO against SFT; zero-shot is a rival too, and nobody meets itself."""
        methods = (*suite().method, Method(name="zero-shot", stage="base"))
        todo = cells(suite().model_copy(update={"method": methods}), tmp_path)
        found = judged_cells([JUDGED], todo, ["SFT", "zero-shot", "PPO"])
        assert {(each.cell.method, each.rival.method) for each in found} == {("PPO", "SFT"), ("PPO", "zero-shot")}
        assert len(found) == 2 * 2
        assert all(each.cell.seed == each.rival.seed for each in found)
        rows = make_plan(todo, tmp_path, [JUDGED], against=["zero-shot"]).rows
        assert (rows[-1].kind, rows[-1].to_run) == ("judge", 4)

    def test_the_oracle_asks_for_no_money(self, todo: list[Cell], tmp_path: Path) -> None:
        row = make_plan(todo, tmp_path, [JUDGED]).rows[-1]
        assert (row.kind, row.done, row.to_run, row.requests, row.cost_usd) == ("judge", 0, 2, 0, 0)
        assert row.is_rough

    def test_a_hosted_judge_is_counted_in_both_orders_and_priced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Three test rows, two orders, two seeds, which may have other answers."""
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        row = make_plan(cells(suite(**HOSTED), tmp_path), tmp_path, [JUDGED]).rows[-1]
        assert (row.kind, row.requests, row.seconds) == ("judge", 2 * 3 * 2, None)
        assert row.cost_usd is not None
        assert 0 < row.cost_usd < 0.05

    def test_stored_verdicts_are_finished(self, todo: list[Cell], tmp_path: Path) -> None:
        judged(todo[0].goals[0], todo[1].goals[0], tmp_path)
        row = make_plan(todo, tmp_path, [JUDGED]).rows[-1]
        assert (row.done, row.to_run) == (1, 1)

    def test_single_task_runs_are_judged_when_all_their_tasks_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Three tasks of three rows a seed, in two orders; each verdict that is stored takes one task off."""
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        todo = cells(single_tasks(**HOSTED), tmp_path)
        ppo, sft = todo[0].goals, todo[1].goals
        assert (len(ppo), len(sft)) == (3, 2)
        pairs = [(ppo[0], sft[0]), (ppo[1], sft[0]), (ppo[2], sft[1])]
        expected = [(0, 2, 36), (0, 2, 30), (0, 2, 24), (1, 1, 18)]
        for number, wanted in enumerate(expected):
            if number:
                judged(*pairs[number - 1], tmp_path, "openai")
            row = make_plan(todo, tmp_path, [JUDGED]).rows[-1]
            assert (row.done, row.to_run, row.requests) == wanted

    def test_what_shares_no_task_is_never_judged(self, todo: list[Cell], tmp_path: Path) -> None:
        """And asks nothing."""
        other = cells(suite(task="sandbox-topic"), tmp_path)[1]
        both = JudgedCells(todo[0], other, "sampled")
        assert (both.is_done(tmp_path), both.missing(tmp_path)) == (False, [])

    def test_what_cannot_be_judged_is_told_and_returned(
        self, todo: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fails(*given: Any, purse: Purse | None) -> None:
            assert purse is shared
            raise AnnotationError("the endpoint\nis gone")

        monkeypatch.setattr("rewardlab.suites.judged.load_eval", lambda path: path)
        monkeypatch.setattr("rewardlab.suites.judged.judge_runs", fails)
        shared = Purse()
        (first, _) = suite_run.judge_claims([JUDGED], todo, tmp_path, shared)
        title = "PPO, sandbox-sentiment, sandbox-tiny, seed 0 and SFT before a judge"
        assert first == (title, "the endpoint is gone")
        assert f"{title}: the endpoint is gone" in capsys.readouterr().err
        (section,) = suite_sections([], [], [first])
        assert section.title == "Missing verdicts"
        monkeypatch.setattr("rewardlab.suites.judged.judge_runs", lambda *given, **more: None)
        assert suite_run.judge_claims([JUDGED], todo, tmp_path) == []

    def test_a_judge_that_fails_on_one_task_is_reported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Of the six pairs of evaluations of a seed, three share a task; one is judged, the money ends in two."""
        todo = cells(single_tasks(), tmp_path)
        first, second = (goal.folder(tmp_path).path for goal in todo[0].goals[:2])
        asked: list[Path] = []

        def judge(a: Path, *given: Any, **more: Any) -> None:
            asked.append(a)
            if a != second:
                raise AnnotationError(f"the budget ended\nat {'first' if a == first else 'unseen'}")

        monkeypatch.setattr("rewardlab.suites.judged.load_eval", lambda path: path)
        monkeypatch.setattr("rewardlab.suites.judged.judge_runs", judge)
        ((title, why),) = suite_run.judge_claims([JUDGED], todo[:2], tmp_path)
        assert title.endswith("seed 0 and SFT before a judge")
        assert why == "the budget ended at first; the budget ended at unseen"
        assert len(asked) == 3
        assert f"{title}: {why}" in capsys.readouterr().err


def test_a_plan_says_that_the_configuration_of_the_folder_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text('name = "s"\n[settings]\n"data.test" = 3\n[[method]]\nstage = "base"\n')
    for text, is_said in (("", False), ("[ppo]\nlr = 0.5\n", True)):
        if text:
            Path("rewardlab.toml").write_text(text)
        assert cli.run(["suite", "run", "s.toml", "--dry-run"]) == 0
        assert ("rewardlab.toml in this folder is not read" in " ".join(capsys.readouterr().out.split())) is is_said


def judged(a: Stage, b: Stage, root: Path, judge: str = "sandbox") -> None:
    """Leave behind what a finished judgement does."""
    config = RunConfig.model_validate(a.config)
    paths = a.folder(root).path, b.folder(root).path
    folder = _folder(*paths, config, root, "sampled", annotators.get(judge), None)
    folder.open()
    folder.finish({})


def test_a_judge_that_fails_makes_the_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text('name = "s"\n[settings]\n"data.test" = 3\n[[method]]\nstage = "base"\n')
    monkeypatch.setattr("rewardlab.lab.suite_run.build", lambda *given: None)
    for unjudged, code in (([("C1", "the endpoint is gone")], 1), ([], 0)):
        found = suite_run.SuiteRun(None, unjudged=unjudged)
        monkeypatch.setattr("rewardlab.lab.suite_run.report_suite", lambda *given, found=found: found)
        assert cli.run(["suite", "run", "s.toml"]) == code
