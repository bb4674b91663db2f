"""The matrix of a suite: its cells, the part that is wanted, what a grid chooses, and the plan that is shown first."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rewardlab.annotate.preview import Preview
from rewardlab.config_loading import load_config
from rewardlab.errors import ConfigError, InputError
from rewardlab.pipeline import rows
from rewardlab.pipeline.stage import Stage, Work
from rewardlab.pipeline.stages import evaluate
from rewardlab.rewards.registry import RewardEntry, find_reward, rewards
from rewardlab.suites.cells import Cell, cells
from rewardlab.suites.file import Method, Suite
from rewardlab.suites.filter import select
from rewardlab.suites.plan import make_plan
from rewardlab.suites.record import choices
from rewardlab.tasks import tasks
from rewardlab.tasks.sources import Splits, load_splits
from rewardlab.tasks.task import Task
from rewardlab.types import Example
from tests.support.fake_suite import FakeSuite
from tests.support.models import tiny_llama

DEMO = Path(__file__).parents[3] / "experiments" / "demo.toml"
RUNS = Path("runs")
RULE = Method(name="PPO", stage="ppo", settings={"init": "base"})
MEASURED = {"first": 0.5, "second": 0.75, "third": 0.75}
"""Validation accuracy of three learning rates."""
RATES = (1e-4, 2e-4, 3e-4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def suite(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Suite]:
    """Builds a suite over a small configuration, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)
    monkeypatch.setattr("rewardlab.provenance._git", lambda *arguments: None)
    sizes = {f"data.{part}": 4 for part in ("labelled", "prompts", "validation", "test")}

    def build(*methods: Method, **more: Any) -> Suite:
        settings = {"model.name": str(model), "model.dtype": "float32", "format": "label", **sizes}
        return Suite(name="small", settings=settings | more.pop("settings", {}), method=methods or (RULE,), **more)

    return build


def finish(stage: Stage, accuracy: float) -> None:
    """Leave behind what a finished validation does."""
    folder = stage.folder(RUNS)
    folder.open()
    folder.finish({"scores": {"sandbox-sentiment": accuracy}})


class TestMatrix:
    def test_every_method_on_every_task_with_every_model_under_every_seed(
        self, suite: Callable[..., Suite], tmp_path: Path
    ) -> None:
        other = str(tiny_llama(tmp_path / "other", seed=1))
        tasks = ("sandbox-sentiment", "sandbox-topic,sandbox-similarity")
        made = suite(Method(stage="base"), Method(stage="sft", rationales=False), tasks=tasks, seeds=(0, 1))
        made = made.model_copy(update={"models": (str(made.settings["model.name"]), other)})
        found = cells(made, RUNS)
        assert len(found) == 2 * 2 * 2 * 2
        assert [(cell.method, cell.seed) for cell in found[:4]] == [
            ("zero-shot", 0),
            ("SFT", 0),
            ("zero-shot", 1),
            ("SFT", 1),
        ]
        assert {(cell.task, cell.model) for cell in found} == {(task, name) for task in tasks for name in made.models}
        assert all((cell.config.task, cell.config.model.name) == (cell.task, cell.model) for cell in found)
        assert len({goal.fingerprint for cell in found for goal in cell.goals}) == len(found)
        assert not RUNS.exists()

    def test_a_configuration_file_of_the_folder_changes_no_cell(self, suite: Callable[..., Suite]) -> None:
        made = suite(RULE, Method(stage="base"))
        before = [goal.fingerprint for cell in cells(made, RUNS) for goal in cell.goals]
        Path("rewardlab.toml").write_text("[ppo]\nlr = 0.5\n[eval]\nshots = 2\n[model]\nmax_new_tokens = 3\n")
        assert [goal.fingerprint for cell in cells(made, RUNS) for goal in cell.goals] == before

    def test_unseen_tasks_are_answered_by_the_model_of_their_own_task(self, suite: Callable[..., Suite]) -> None:
        """Single-task PPO: by the run of that task alone. Prompting: zero-shot only, since no row may be shown."""
        each = Method(name="PPO-ST", stage="ppo", scope="each", settings={"init": "base"})
        together = Method(name="PPO-MT", stage="ppo", settings={"init": "base"})
        methods = (Method(stage="base"), Method(name="few-shot", stage="base", settings={"eval.shots": 2}))
        made = suite(*methods, each, together, settings={"task": "sandbox-sentiment,sandbox-topic"})
        made = made.model_copy(update={"unseen": {"sandbox-topic": "sandbox-similarity"}})
        found = {cell.method: [tuple(goal.settings["tasks"]) for goal in cell.goals] for cell in cells(made, RUNS)}
        both, other = ("sandbox-sentiment", "sandbox-topic"), ("sandbox-similarity",)
        assert found == {
            "zero-shot": [both, other],
            "few-shot": [both],
            "PPO-ST": [both[:1], both[1:], other],
            "PPO-MT": [both, other],
        }
        goals = next(cell.goals for cell in cells(made, RUNS) if cell.method == "PPO-ST")
        assert goals[1].inputs["model"].fingerprint == goals[2].inputs["model"].fingerprint
        assert {goal.settings["method"] for goal in goals} == {"PPO-ST"}

    def test_a_reward_model_is_a_cell_that_ends_with_its_report_card(self, suite: Callable[..., Suite]) -> None:
        (cell,) = cells(suite(Method(stage="rm", kind="ranked")), RUNS)
        (card,) = cell.goals
        assert (card.kind, card.settings["method"]) == ("card", "ranked RM")
        assert (card.inputs["model"].kind, card.inputs["model"].settings["kind"]) == ("rm", "ranked")
        assert (cell.method, cell.evaluations(RUNS)) == ("ranked RM", [])

    def test_methods_that_would_share_a_row_are_refused(self, suite: Callable[..., Suite]) -> None:
        with pytest.raises(ConfigError, match=r"zero-shot, .*: 2 cells; give methods names that differ"):
            cells(suite(Method(stage="base"), Method(stage="base", format="rationale")), RUNS)

    def test_rows_are_loaded_once_for_all_cells_that_read_them(
        self, suite: Callable[..., Suite], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Bare labels and rationales ask differently, and each seed draws its own rows: four loads for eight cells."""
        loaded: list[tuple[str, int]] = []

        def load(task: Task, **options: Any) -> Splits:
            loaded.append((options["format"], options["seed"]))
            return load_splits(task, **options)

        monkeypatch.setattr(rows, "load_splits", load)
        asking = Method(name="with rationales", stage="sft", format="rationale")
        found = cells(
            suite(RULE, Method(stage="base"), Method(stage="sft", rationales=False), asking, seeds=(0, 1)), RUNS
        )
        assert len(found) == 8
        assert sorted(loaded) == [("label", 0), ("label", 1), ("rationale", 0), ("rationale", 1)]


class TestCodeWithoutAHash:
    """Every plan would give its runs other names."""

    def test_a_reward(self, suite: Callable[..., Suite], monkeypatch: pytest.MonkeyPatch) -> None:
        space: dict[str, Any] = {"LOCK": threading.Lock()}
        exec("def mine(examples, responses):\n    return LOCK", space)
        entry = RewardEntry("mine", lambda context: find_reward("rule").build(context), "A reward.", code=space["mine"])
        monkeypatch.setitem(rewards._entries, "mine", entry)
        method = Method(name="PPO", stage="ppo", settings={"init": "base", "reward.expression": "mine"})
        with pytest.raises(
            ConfigError, match=r"reward mine: LOCK in it is a _thread.lock, which has no hash, so that a"
        ):
            cells(suite(method), RUNS)

    def test_a_task(self, suite: Callable[..., Suite], monkeypatch: pytest.MonkeyPatch) -> None:
        space: dict[str, Any] = {"LOCK": threading.Lock()}
        exec("def quality(example, text):\n    return LOCK", space)
        task = replace(tasks.get("sandbox-sentiment"), quality=space["quality"])
        monkeypatch.setitem(tasks._entries, "sandbox-sentiment", task)
        with pytest.raises(ConfigError, match=r"quality of task sandbox-sentiment: LOCK in it is a _thread.lock"):
            cells(suite(), RUNS)


def test_a_plan_imports_no_torch(tmp_path: Path) -> None:
    """In a process of its own, as typed; the plan of every method that there is."""
    code = f"""
import sys
from rewardlab.cli.main import run
assert run(["suite", "run", {str(DEMO)!r}, "--dry-run"]) == 0
print(sorted({{"torch", "transformers", "trl", "peft", "sklearn"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert list(tmp_path.iterdir()) == []


class TestFilter:
    @pytest.fixture
    def found(self, tmp_path: Path) -> list[Cell]:
        made = FakeSuite(tmp_path)
        named = {"A": "RLLR (label RM)", "B": "PPO, rule reward"}
        return [replace(made.cell(method, seed), method=named[method]) for seed in (1, 10) for method in "AB"]

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            ([], ["RLLR 1", "PPO, 1", "RLLR 10", "PPO, 10"]),
            (["method=rllr"], ["RLLR 1", "RLLR 10"]),
            (["seed=1"], ["RLLR 1", "PPO, 1"]),
            (["seed=1", "seed=10", "method=PPO"], ["PPO, 1", "PPO, 10"]),
            (["method=rule", "method=label", "seed=10"], ["RLLR 10", "PPO, 10"]),
            ([" task = TOY ", "model=tin"], ["RLLR 1", "PPO, 1", "RLLR 10", "PPO, 10"]),
        ],
    )
    def test_the_cells_that_fit(self, found: list[Cell], wanted: list[str], expected: list[str]) -> None:
        assert [f"{cell.method.split()[0]} {cell.seed}" for cell in select(found, wanted)] == expected

    def test_nothing_that_fits_lists_what_there_is(self, found: list[Cell]) -> None:
        with pytest.raises(InputError) as caught:
            select(found, ["method=rlhf", "seed=1"])
        assert str(caught.value) == (
            "--filter method=rlhf --filter seed=1: no cell fits; there are method RLLR (label RM), PPO, rule reward; "
            "task toy; model tiny; seed 1, 10"
        )

    @pytest.mark.parametrize("wanted", ["rllr", "reward=rule", "method=", "=rllr"])
    def test_what_is_no_filter_is_refused(self, found: list[Cell], wanted: str) -> None:
        with pytest.raises(InputError, match="expected KEY=TEXT with a key of method, task, model, seed"):
            select(found, [wanted])


class TestGrid:
    @pytest.fixture
    def tuned(self, suite: Callable[..., Suite]) -> Suite:
        return suite(RULE, Method(stage="base"), seeds=(3, 4), grid={"ppo.lr": RATES})

    def test_until_all_is_tried_a_cell_wants_the_tries_of_the_first_seed(self, tuned: Suite) -> None:
        waiting = [cell for cell in cells(tuned, RUNS) if cell.again]
        assert [(cell.method, cell.seed) for cell in waiting] == [("PPO", 3), ("PPO", 4)]
        goals = waiting[1].goals
        assert [goal.kind for goal in goals] == ["validate"] * 3
        assert [goal.config["ppo"]["lr"] for goal in goals] == list(RATES)
        assert {goal.config["seed"] for goal in goals} == {3}
        assert [goal.fingerprint for goal in goals] == [goal.fingerprint for goal in waiting[0].goals]
        for goal in goals[:2]:
            finish(goal, 0.5)
        assert waiting[0].again is not None
        assert waiting[0].again().again is not None

    def test_the_best_on_validation_rows_is_used_by_all_seeds(self, tuned: Suite) -> None:
        first = cells(tuned, RUNS)[0]
        for goal, accuracy in zip(first.goals, MEASURED.values(), strict=True):
            finish(goal, accuracy)
        chosen = [cell for cell in cells(tuned, RUNS) if cell.method == "PPO"]
        assert [cell.again for cell in chosen] == [None, None]
        assert [cell.chosen for cell in chosen] == [{"ppo.lr": RATES[1]}] * 2  # the first of two that are equal
        assert [cell.config.ppo.lr for cell in chosen] == [RATES[1]] * 2
        assert [cell.goals[0].kind for cell in chosen] == ["eval", "eval"]
        assert chosen[0].goals[0].inputs["model"].fingerprint == first.goals[1].inputs["model"].fingerprint
        (told,) = choices(chosen, RUNS)
        assert str(told).endswith(
            "ppo.lr = 0.0002, of 3 tries on seed 3 (validation 75.0; the others 50.0, 75.0)",
        )

    def test_every_ppo_method_is_tried_as_often_and_no_other(self, suite: Callable[..., Suite]) -> None:
        penalised = Method(name="with a penalty", stage="ppo", settings={"init": "base", "ppo.kl_coef": 0.5})
        grid = {"ppo.lr": RATES, "ppo.batch": (2, 4)}
        found = cells(suite(RULE, penalised, Method(stage="base"), grid=grid), RUNS)
        assert [len(cell.tries) for cell in found] == [6, 6, 0]
        assert len({goal.fingerprint for cell in found for goal in cell.goals}) == 13

    def test_sft_has_a_grid_of_its_own_and_is_tried_as_often(self, suite: Callable[..., Suite]) -> None:
        sft = Method(name="SFT", stage="sft", rationales=False, grid={"sft.epochs": (1, 2, 3)})
        found = cells(suite(sft, RULE, Method(stage="base"), seeds=(3, 4), grid={"ppo.lr": RATES}), RUNS)
        assert [len(cell.tries) for cell in found[:3]] == [3, 3, 0]
        assert [goal.config["sft"]["epochs"] for goal in found[0].goals] == [1.0, 2.0, 3.0]
        assert [goal.inputs["model"].kind for goal in found[0].goals] == ["sft"] * 3
        for goal, accuracy in zip(found[0].goals, (0.5, 0.75, 0.6), strict=True):
            finish(goal, accuracy)
        chosen = [cell for cell in cells(suite(sft, seeds=(3, 4)), RUNS) if cell.method == "SFT"]
        assert [cell.config.sft.epochs for cell in chosen] == [2.0, 2.0]
        assert chosen[0].goals[0].inputs["model"].fingerprint == found[0].goals[1].inputs["model"].fingerprint

    def test_tries_run_on_each_of_their_seeds_and_the_mean_decides(self, suite: Callable[..., Suite]) -> None:
        """Accuracies by (rate, seed): 0.9 and 0.5 (mean 0.7), 0.8 and 0.7 (0.75), 0.6 and 0.6."""
        tuned = suite(RULE, seeds=(3, 4), grid_seeds=(100, 101), grid={"ppo.lr": RATES})
        first = cells(tuned, RUNS)[0]
        assert [(goal.config["ppo"]["lr"], goal.config["seed"]) for goal in first.goals] == [
            (rate, seed) for rate in RATES for seed in (100, 101)
        ]
        for goal, accuracy in zip(first.goals, (0.9, 0.5, 0.8, 0.7, 0.6, 0.6), strict=True):
            finish(goal, accuracy)
        chosen = cells(tuned, RUNS)
        assert [(cell.seed, cell.chosen) for cell in chosen] == [(3, {"ppo.lr": RATES[1]}), (4, {"ppo.lr": RATES[1]})]
        (told,) = choices(chosen, RUNS)
        assert str(told).endswith("of 3 tries on seeds 100, 101 (validation 75.0; the others 70.0, 60.0)")

    def test_a_suite_of_tries_alone_evaluates_nothing(self, suite: Callable[..., Suite]) -> None:
        tuned = suite(RULE, grid_seeds=(100, 101), only_grid=True, grid={"ppo.lr": RATES})
        (waiting,) = cells(tuned, RUNS)
        assert (waiting.method, waiting.seed, waiting.again is None) == ("PPO", 100, False)
        for goal in waiting.goals:
            finish(goal, 0.5)
        (done,) = cells(tuned, RUNS)
        assert (done.again, done.chosen) == (None, {"ppo.lr": RATES[0]})
        for cell in (waiting, done):
            assert {goal.kind for goal in cell.goals} == {"validate"}
            assert "eval" not in {stage.kind for stage in cell.chain()}

    def test_a_value_that_is_not_valid_is_found_before_anything_runs(self, suite: Callable[..., Suite]) -> None:
        with pytest.raises(ConfigError, match=r"ppo\.lr"):
            cells(suite(grid={"ppo.lr": (1e-4, -1.0)}), RUNS)

    def test_a_choice_depends_on_validation_rows_and_on_no_test_row(self, suite: Callable[..., Suite]) -> None:
        def tried(**settings: Any) -> list[str]:
            return [goal.fingerprint for goal in cells(suite(grid={"ppo.lr": RATES}, settings=settings), RUNS)[0].goals]

        assert tried() == tried(**{"data.test": 3})
        assert not set(tried()) & set(tried(**{"data.validation": 3}))

    def test_only_validation_rows_are_asked_greedily(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Rows are handed over without a test split; three of four answers are right."""
        asked: list[tuple[str, str]] = []
        generate = tasks.get("sandbox-sentiment").generate
        assert generate is not None
        validation = [replace(example, format="label") for example in generate("validation", 4, 0)]

        def answer(examples: list[Example], decoding: str) -> list[SimpleNamespace]:
            asked.extend((example.id, decoding) for example in examples)
            labels = [str(example.label) for example in examples[:3]] + ["what?"]
            return [SimpleNamespace(text=label, finished=True) for label in labels]

        monkeypatch.setattr(evaluate, "generator_of", lambda *arguments: answer)
        trunk = SimpleNamespace(codec=None, context=None)
        monkeypatch.setattr(evaluate, "evaluated_model", lambda *arguments: (trunk, None))
        splits = {"sandbox-sentiment": cast(Splits, SimpleNamespace(validation=validation))}
        result = evaluate.validate(cast(Work, SimpleNamespace(inputs={})), load_config({"format": "label"}), splits)
        assert asked == [(example.id, "greedy") for example in validation]
        assert result["scores"] == {"sandbox-sentiment": 0.75}


class TestPlan:
    def test_stages_are_counted_once_and_timed_by_finished_ones_like_them(self, tmp_path: Path) -> None:
        """Two seeds of two methods; three PPO runs took 10, 20 and 60 s, one with another model does not count."""
        made = FakeSuite(tmp_path)
        found = [self.at(made, method, seed) for seed in (0, 1) for method in "AB"]
        for number, seconds in enumerate((10, 60, 20)):
            self.finished(made, f"earlier-{number}", seconds, "tiny")
        self.finished(made, "large", 5000, "large")
        (sft, _, ppo, evaluations) = make_plan(found, tmp_path).rows
        assert (sft.kind, sft.done, sft.to_run, sft.seconds) == ("sft", 0, 2, None)
        assert (ppo.kind, ppo.done, ppo.to_run, ppo.seconds) == ("ppo", 0, 4, 80.0)
        assert (evaluations.to_run, make_plan(found, tmp_path).total.seconds) == (4, None)

    def test_finished_stages_take_no_more_time_and_ask_nobody(self, tmp_path: Path) -> None:
        made = FakeSuite(tmp_path)
        cell = self.at(made, "A", 0)
        pairs = replace(cell.chain()[0], preview=lambda: Preview(5, 0.25, ""))
        cell = replace(cell, goals=(pairs,))
        (row,) = make_plan([cell], tmp_path).rows
        assert (row.requests, row.cost_usd) == (5, 0.25)
        folder = pairs.folder(tmp_path)
        folder.open()
        folder.finish({"stage_seconds": 3.0})
        (row,) = make_plan([cell], tmp_path).rows
        assert (row.done, row.to_run, row.seconds, row.requests, row.cost_usd) == (1, 0, 0, 0, 0)

    def test_requests_to_a_hosted_annotator_are_counted_and_priced(
        self, suite: Callable[..., Suite], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rationales for a right and a wrong label of 4 labelled and 4 validation rows, which both seeds share."""
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        hosted = {"annotate.annotator": "openai", "annotate.model": "gpt-4o-mini", "format": "rationale"}
        hosted |= {"data.seed": 0}
        plan = make_plan(cells(suite(Method(stage="sft"), seeds=(0, 1), settings=hosted), RUNS), RUNS)
        (row,) = (row for row in plan.rows if row.kind == "annotate")
        assert (row.to_run, row.requests, plan.total.requests) == (1, 2 * (4 + 4), 16)
        assert row.cost_usd is not None
        assert 0 < row.cost_usd == plan.total.cost_usd < 0.01
        assert not RUNS.exists()

    def test_a_price_that_is_not_known_makes_the_sum_unknown(self, tmp_path: Path) -> None:
        asking = [
            replace(FakeSuite(tmp_path).stage("pairs", f"pairs-{cost}"), preview=lambda cost=cost: Preview(2, cost, ""))
            for cost in (0.5, None)
        ]
        cell = replace(FakeSuite(tmp_path).cell("A", 0), goals=tuple(asking))
        assert (make_plan([cell], tmp_path).total.requests, make_plan([cell], tmp_path).total.cost_usd) == (4, None)

    @staticmethod
    def at(made: FakeSuite, method: str, seed: int) -> Cell:
        """A cell whose stages say which model they are for."""
        config = {"model": {"name": "tiny"}}

        def named(stage: Stage) -> Stage:
            return replace(stage, config=config, inputs={name: named(each) for name, each in stage.inputs.items()})

        cell = made.cell(method, seed)
        return replace(cell, goals=tuple(named(goal) for goal in cell.goals))

    @staticmethod
    def finished(made: FakeSuite, slug: str, seconds: float, model: str) -> None:
        stage = replace(made.stage("ppo", slug), config={"model": {"name": model}})
        folder = stage.folder(made.root)
        folder.open()
        folder.finish({"stage_seconds": seconds})
