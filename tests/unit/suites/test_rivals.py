"""Fair rivals: single-task PPO, PPO on SFT's rows, SFT on all labels, SFT for as long as PPO took.

First what each is made of, then one small suite of all of them, run to the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewardlab.cli.options import Request
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import build_table
from rewardlab.config_loading import load_config
from rewardlab.disk import read_json
from rewardlab.errors import ConfigError
from rewardlab.lab.stored import evaluation_goal
from rewardlab.pipeline import Pipeline, Runner, Stage
from rewardlab.pipeline.scope import each_task
from rewardlab.pipeline.stages.sft import _timed
from rewardlab.pipeline.stages.train import gold_of_prompts
from rewardlab.suites.cells import Cell, cells
from rewardlab.suites.file import Suite
from rewardlab.suites.run import Here, build
from rewardlab.suites.scheduler import Scheduler

BOTH = "sandbox-sentiment,sandbox-topic"
SMALL = {
    "task": BOTH,
    "data.labelled": 16,
    "data.prompts": 24,
    "data.validation": 4,
    "data.test": 6,
    "ppo.steps": 4,
    "ppo.batch": 8,
    "ppo.micro_batch": 8,
    "sft.batch": 8,
    "sft.micro_batch": 8,
    "eval.bootstrap": 100,
}
METHODS: list[dict[str, Any]] = [
    {"name": "MT", "stage": "ppo"},
    {"name": "ST", "stage": "ppo", "scope": "each"},
    {"name": "own rows", "stage": "ppo", "settings": {"ppo.rows": "labelled"}},
    {"name": "all labels", "stage": "sft", "settings": {"sft.rows": "all"}},
    {"name": "as long", "stage": "sft", "match_seconds_of": "MT"},
    {"name": "SFT", "stage": "sft"},
]


def pipeline(root: Path, **settings: Any) -> Pipeline:
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    return Pipeline(load_config({**SMALL, **dotted}), root)


def suite(*names: str, task: str = BOTH) -> Suite:
    chosen = [method for method in METHODS if not names or method["name"] in names]
    return Suite(name="rivals", settings={**SMALL, "task": task}, method=chosen)


def of_kind(cell: Cell, kind: str) -> list[Stage]:
    return [stage for stage in cell.chain() if stage.kind == kind]


class TestScope:
    def test_single_task_runs_start_from_the_model_of_all_tasks(self, tmp_path: Path) -> None:
        together, each = cells(suite("MT", "ST"), tmp_path)
        assert [stage.fingerprint for stage in of_kind(together, "sft")] == [
            stage.fingerprint for stage in of_kind(each, "sft")
        ]
        assert [list(stage.settings["tasks"]) for stage in of_kind(each, "ppo")] == [
            ["sandbox-sentiment"],
            ["sandbox-topic"],
        ]
        assert (each.task, len(each.goals), len(together.goals)) == (BOTH, 2, 1)

    def test_each_task_gets_its_share_of_steps_and_budget(self, tmp_path: Path) -> None:
        """Rows one to one: 2 of 4 steps each, half the tokens, half the seconds."""
        parts = each_task(pipeline(tmp_path, ppo__max_tokens=101, ppo__max_seconds=8.0), "ppo")
        found = [(part.config.ppo.steps, part.config.ppo.max_tokens, part.config.ppo.max_seconds) for part in parts]
        assert found == [(2, 50, 4.0)] * 2

    def test_one_task_alone_is_the_same_run_under_both_scopes(self, tmp_path: Path) -> None:
        together, each = cells(suite("MT", "ST", task="sandbox-topic"), tmp_path)
        assert of_kind(together, "ppo")[0].fingerprint == of_kind(each, "ppo")[0].fingerprint

    def test_learned_rewards_are_those_of_all_tasks_too(self, tmp_path: Path) -> None:
        one = each_task(pipeline(tmp_path, reward__expression="label"), "ppo")[0].train()
        both = pipeline(tmp_path, reward__expression="label").train()
        assert one.inputs["rm_label"].fingerprint == both.inputs["rm_label"].fingerprint


class TestRows:
    def test_ppo_on_the_labelled_rows_depends_on_them_and_not_on_the_prompts(self, tmp_path: Path) -> None:
        def print_of(**settings: Any) -> str:
            return pipeline(tmp_path, init="base", ppo__rows="labelled", **settings).train().fingerprint

        assert print_of(data__prompts=9) == print_of()
        assert print_of(data__labelled=9) != print_of()

    def test_sft_on_all_labels_has_rationales_for_all_of_them(self, tmp_path: Path) -> None:
        trained = pipeline(tmp_path, sft__rows="all").sft(rationales=True)
        more = pipeline(tmp_path, sft__rows="all", data__prompts=9).sft(rationales=True)
        assert trained.fingerprint != more.fingerprint
        assert trained.inputs["annotate"].fingerprint != more.inputs["annotate"].fingerprint

    def test_ppo_on_all_rows_reads_gold_of_both_parts(self, tmp_path: Path) -> None:
        """Ten steps of eight are one pass over 2 x (16 + 24) rows; one step reads eight of them."""
        built = pipeline(tmp_path, ppo__rows="all")
        pools = {"labelled/sandbox-sentiment": 16, "labelled/sandbox-topic": 16}
        pools |= {"prompts/sandbox-sentiment": 24, "prompts/sandbox-topic": 24}
        assert gold_of_prompts(built.splits, built.config.ppo, 0, 10, built.config.ppo.prompts) == pools
        assert sum(gold_of_prompts(built.splits, built.config.ppo, 0, 1, built.config.ppo.prompts).values()) == 8

    def test_sft_can_be_trained_a_task_at_a_time(self, tmp_path: Path) -> None:
        alone = Suite(name="a", settings=SMALL, method=[{"name": "SFT-ST", "stage": "sft", "scope": "each"}])
        (cell,) = cells(alone, tmp_path)
        assert [list(stage.settings["tasks"]) for stage in of_kind(cell, "sft")] == [
            ["sandbox-sentiment"],
            ["sandbox-topic"],
        ]


class TestTime:
    def test_whose_time_it_is_given_is_part_of_what_it_is(self, tmp_path: Path) -> None:
        built = pipeline(tmp_path)
        plain, long = built.sft(True), built.sft(True, [built.train()])
        other = built.sft(True, [pipeline(tmp_path, ppo__lr=0.5).train()])
        assert len({plain.fingerprint, long.fingerprint, other.fingerprint}) == 3

    def test_ppo_runs_before_and_is_not_paid_for(self, tmp_path: Path) -> None:
        built = pipeline(tmp_path)
        long = built.sft(True, [built.train()])
        assert [stage.kind for stage in long.chain()] == ["annotate", "sft", "ppo", "sft"]
        assert [stage.kind for stage in long.chain(measuring=False)] == ["annotate", "sft"]

    def test_settings_chosen_for_ppo_are_waited_for(self, tmp_path: Path) -> None:
        """SFT timed by PPO with a grid wants the tries first, and has no tries of its own."""
        grid = Suite(
            name="rivals",
            settings=SMALL,
            grid={"ppo.lr": (0.1, 0.2)},
            method=[m for m in METHODS if m["name"] in ("MT", "as long")],
        )
        found = {cell.method: cell for cell in cells(grid, tmp_path)}
        wanted = [stage.fingerprint for stage in found["as long"].goals]
        assert wanted == [stage.fingerprint for stage in found["MT"].goals]
        assert (len(wanted), len(found["MT"].tries), found["as long"].tries) == (2, 2, ())

    def test_a_rival_that_took_no_time_is_refused(self, tmp_path: Path) -> None:
        built = pipeline(tmp_path)
        with pytest.raises(ConfigError, match="SFT cannot take as long as PPO on rule"):
            _timed(built.context, [built.train()], [])


LIMITS: list[float] = []
"""What the suite gave SFT that is limited by time, seconds."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Cell]]:
    """The suite, run; and its cells by method."""
    from rewardlab.training.time_limit import TimeLimit

    root = tmp_path_factory.mktemp("rivals")
    scheduler = Scheduler(cells(suite(), root), root)
    original = TimeLimit.__init__

    def noting(self: TimeLimit, seconds: float, *rest: Any) -> None:
        LIMITS.append(seconds)
        original(self, seconds, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TimeLimit, "__init__", noting)
        build(scheduler, Here(Runner(root)))
    assert scheduler.failures() == []
    return root, {cell.method: cell for cell in scheduler.cells}


def result(ran: tuple[Path, dict[str, Cell]], method: str, kind: str) -> dict[str, Any]:
    """Of the last stage of that kind behind a method."""
    root, by_method = ran
    return read_json(of_kind(by_method[method], kind)[-1].folder(root).path / "result.json")


class TestRun:
    def test_a_row_of_single_task_runs_is_whole_and_pays_shared_stages_once(
        self, ran: tuple[Path, dict[str, Cell]]
    ) -> None:
        """32 labelled rows and 16 + 16 of the 48 prompts: both scopes read the same number."""
        root, by_method = ran
        table = build_table(collect(path for cell in by_method.values() for path in cell.evaluations(root)).runs)
        rows = {row.key.method: row for row in table.rows}
        assert set(rows["ST"].scores) == set(rows["MT"].scores)
        costs = {name: (row.cost["gold_labels"], row.cost["annotator_calls"]) for name, row in rows.items()}
        assert costs == {
            "MT": (64, 32),
            "ST": (64, 32),
            "own rows": (32, 32),
            "all labels": (80, 80),
            "as long": (32, 32),
            "SFT": (32, 32),
        }
        alone = rows["ST"].cost["seconds"] - rows["SFT"].cost["seconds"]
        parts = [stage.folder(root).result()["stage_device_seconds"] for stage in of_kind(by_method["ST"], "ppo")]
        assert alone == pytest.approx(sum(parts), abs=0.11)

    def test_both_scopes_take_as_many_updates(self, ran: tuple[Path, dict[str, Cell]]) -> None:
        root, by_method = ran
        spent = [read_json(path / "result.json")["budget"] for path in by_method["ST"].evaluations(root)]
        assert [one["steps"] for one in spent] == [2, 2]
        together = result(ran, "MT", "eval")["budget"]
        assert sum(one["updates"] for one in spent) == together["updates"] == 4 * 1
        assert together["prompts_order"] != spent[0]["prompts_order"]

    def test_ppo_on_sfts_rows_reads_no_prompt(self, ran: tuple[Path, dict[str, Cell]]) -> None:
        ppo = result(ran, "own rows", "ppo")
        assert ppo["prompts"] == sum(ppo["gold"].values()) == 32
        assert {pool.split("/")[0] for pool in ppo["gold"]} == {"labelled"}

    def test_sft_on_all_labels_learns_from_all(self, ran: tuple[Path, dict[str, Cell]]) -> None:
        annotated, trained = (result(ran, "all labels", kind) for kind in ("annotate", "sft"))
        assert (annotated["annotator_calls"], annotated["wrong_label_calls"]) == (80, 32)  # no pairs of prompts
        assert trained["rows"] + sum(trained["dropped"].values()) == 2 * (16 + 24)

    def test_sft_takes_as_long_as_ppo_and_what_ppo_needs(self, ran: tuple[Path, dict[str, Cell]]) -> None:
        """The time of annotation is in both, so that SFT has the seconds of SFT and PPO to train in.

        Seconds of stages are rounded to 0.01. That it ends with the step in which they are over: ``test_budget.py``.
        """
        theirs = sum(result(ran, "MT", kind)["stage_device_seconds"] for kind in ("sft", "ppo"))
        assert [pytest.approx(theirs)] == LIMITS
        assert result(ran, "as long", "sft")["device_seconds"] >= round(theirs, 2)

    @pytest.mark.parametrize(("method", "kind"), [("ST", "ppo"), ("as long", "sft")])
    def test_each_can_be_evaluated_from_its_folder(
        self, ran: tuple[Path, dict[str, Cell]], method: str, kind: str
    ) -> None:
        root, by_method = ran
        stage = of_kind(by_method[method], kind)[-1]
        folder = stage.folder(root).path
        request = Request({}, None, (), root, None, is_dry=False, is_fresh=False)
        config, choose, _ = evaluation_goal(request.asked, folder, {})
        again = choose(Pipeline(config, root))
        assert again.inputs["model"].fingerprint == stage.fingerprint
