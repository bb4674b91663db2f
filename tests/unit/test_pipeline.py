"""The pipeline: which stages a goal needs, when a fingerprint changes, what runs again and what an interrupt leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewardlab.config_loading import load_config
from rewardlab.errors import ConfigError, InputError, RewardlabError, RunFolderError
from rewardlab.evaluation.cost import Cost
from rewardlab.pipeline import Pipeline, Runner, Stage, check
from rewardlab.pipeline.runner import plan_rows
from rewardlab.pipeline.stage import Work
from rewardlab.runs import read_json
from rewardlab.tasks import tasks
from rewardlab.tasks.sources import load_splits
from rewardlab.types import Example
from tests.support.models import tiny_llama

SMALL = {"data.labelled": 8, "data.prompts": 8, "data.validation": 4, "data.test": 4}
MIXED = {"reward.expression": "mixed", "reward.lam": 5}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def pipeline(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Pipeline]:
    """Builds a pipeline from dotted settings over a small configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)

    def build(**settings: Any) -> Pipeline:
        dotted = {key.replace("__", "."): value for key, value in settings.items()}
        return Pipeline(
            load_config({"model.name": str(model), "model.dtype": "float32", **SMALL, **dotted}), Path("runs")
        )

    return build


def mixed(build: Callable[..., Pipeline], **settings: Any) -> Stage:
    return build(**MIXED, **settings).ppo()


def kinds(stage: Stage) -> list[tuple[str, str]]:
    """Kind and folder name without fingerprint of each stage of the chain."""
    return [(found.kind, found.slug.removeprefix("sandbox-sentiment-")) for found in stage.chain()]


def prints(stage: Stage) -> dict[tuple[str, str], str]:
    return dict(zip(kinds(stage), (found.fingerprint for found in stage.chain()), strict=True))


def changed(before: Stage, after: Stage) -> set[tuple[str, str]]:
    """The stages whose fingerprints differ."""
    left, right = prints(before), prints(after)
    assert left.keys() == right.keys()
    return {key for key in left if left[key] != right[key]}


ANNOTATE, SFT, PPO = ("annotate", "sandbox"), ("sft", "rationale"), ("ppo", "mixed")
SAMPLES, DRAWN = ("samples", "sandbox-sentiment"), ("samples", "labelled")
LABEL_PAIRS, RANKED_PAIRS = ("pairs", "label"), ("pairs", "ranked")
HELD_OUT = ("pairs", "held-out-ranked")
LABEL_RM, RANKED_RM = ("rm", "label"), ("rm", "ranked")
ALL = [ANNOTATE, SFT, SAMPLES, LABEL_PAIRS, HELD_OUT, LABEL_RM, DRAWN, RANKED_PAIRS, RANKED_RM, PPO]


class TestPlan:
    def test_mixed_needs_both_reward_models_and_all_behind_them_once(self, pipeline: Callable[..., Pipeline]) -> None:
        assert kinds(mixed(pipeline)) == ALL

    def test_inputs_come_before_what_needs_them(self, pipeline: Callable[..., Pipeline]) -> None:
        seen: set[str] = set()
        for stage in mixed(pipeline).chain():
            assert {needed.fingerprint for needed in stage.inputs.values()} <= seen
            seen.add(stage.fingerprint)

    def test_the_rule_needs_no_reward_model(self, pipeline: Callable[..., Pipeline]) -> None:
        assert kinds(pipeline(reward__expression="rule").ppo()) == [ANNOTATE, SFT, ("ppo", "rule")]

    def test_a_quantile_needs_the_model_it_is_a_quantile_of(self, pipeline: Callable[..., Pipeline]) -> None:
        goal = pipeline(reward__expression="rule + lam", reward__lam="q90").ppo()
        assert LABEL_RM in kinds(goal)

    def test_ppo_from_the_base_model_needs_nothing(self, pipeline: Callable[..., Pipeline]) -> None:
        assert kinds(pipeline(init="base").ppo()) == [("ppo", "rule")]

    def test_bare_labels_need_no_rationales(self, pipeline: Callable[..., Pipeline]) -> None:
        goal = pipeline(format="label", reward__expression="label").ppo()
        assert kinds(goal) == [("sft", "label"), SAMPLES, LABEL_PAIRS, LABEL_RM, ("ppo", "label")]

    def test_a_label_reward_model_is_measured_on_ranked_pairs_too(self, pipeline: Callable[..., Pipeline]) -> None:
        """On those made for it, of validation rows alone, or on the held-out part of pairs that are trained on."""
        own, shared = (pipeline(rm__held_out_ranked=flag).reward_model("label") for flag in (False, True))
        assert own.inputs["held_out_ranked"].settings["pairs"]["only_held_out"]
        assert shared.inputs["held_out_ranked"].fingerprint == pipeline().pairs("ranked").fingerprint
        assert pipeline().reward_model("ranked").inputs["held_out_ranked"].slug.endswith("-ranked")

    def test_cards_measure_one_label_reward_model_on_the_rankings_of_every_weight(
        self, pipeline: Callable[..., Pipeline]
    ) -> None:
        cards = [pipeline(annotate__oracle_weight=weight).card("label", "label RM") for weight in (0.8, 0)]
        assert len({card.inputs["model"].fingerprint for card in cards}) == 1
        assert len({card.inputs["held_out_label"].fingerprint for card in cards}) == 1
        assert len({card.inputs["held_out_ranked"].fingerprint for card in cards}) == 2
        assert len({card.fingerprint for card in cards}) == 2

    def test_a_card_is_one_of_its_method(self, pipeline: Callable[..., Pipeline]) -> None:
        first, second = (pipeline().card("ranked", name) for name in ("ranked RM", "RLHF's RM"))
        assert first.inputs["model"].fingerprint == second.inputs["model"].fingerprint
        assert first.fingerprint != second.fingerprint

    def test_pairs_of_samples_share_what_was_sampled(self, pipeline: Callable[..., Pipeline]) -> None:
        built = pipeline()
        for kind in ("ranked", "rationale"):
            found = built.pairs(kind).inputs
            assert found["samples_validation"].fingerprint == built.samples().fingerprint
            assert found["samples_labelled"].fingerprint == built.samples("labelled").fingerprint

    def test_few_shots_need_rationales_to_show(self, pipeline: Callable[..., Pipeline]) -> None:
        assert kinds(pipeline(eval__shots=2).eval(None)) == [ANNOTATE, ("eval", "2-shot")]
        assert kinds(pipeline(eval__shots=2, format="label").eval(None)) == [("eval", "2-shot")]

    def test_evaluation_of_ppo_keeps_its_start(self, pipeline: Callable[..., Pipeline]) -> None:
        built = pipeline()
        trained = built.ppo()
        assert built.eval(trained).inputs == {"model": trained, "start": trained.inputs["start"]}

    def test_several_tasks_share_one_stage(self, pipeline: Callable[..., Pipeline]) -> None:
        stage = pipeline(task="sandbox").sft(rationales=True)
        assert stage.folder(Path("runs")).path.name.startswith("sandbox-sentiment-and-2-rationale-")
        assert set(stage.settings["rows"]) == {"sandbox-sentiment", "sandbox-topic", "sandbox-similarity"}

    def test_a_plan_writes_nothing(self, pipeline: Callable[..., Pipeline]) -> None:
        rows = plan_rows(Runner(Path("runs")).plan(mixed(pipeline)))
        assert [row["state"] for row in rows] == ["to run"] * len(ALL)
        assert list(Path().iterdir()) == []

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"format": "label", "init": "sft-rationale"}, "--init sft-rationale needs --format rationale"),
            ({"annotate.annotator": "local", "model.name": "sandbox-tiny"}, "--annotator local"),
        ],
    )
    def test_settings_that_contradict_each_other(
        self, pipeline: Callable[..., Pipeline], settings: dict[str, str], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            pipeline(**settings).ppo()

    def test_rationales_need_their_format(self, pipeline: Callable[..., Pipeline]) -> None:
        with pytest.raises(ConfigError, match="--rationales needs --format rationale"):
            pipeline(format="label").sft(rationales=True)

    def test_only_trained_stages_are_evaluated(self, pipeline: Callable[..., Pipeline]) -> None:
        with pytest.raises(InputError, match="'rm' cannot be evaluated; expected one of sft, ppo"):
            pipeline().goal("rm")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"task": "sandbox-sentimant"}, "did you mean sandbox-sentiment"),
            ({"reward.expression": "rule +"}, "column 7"),
            ({"reward.lam": "5"}, "uses neither mixed nor lam"),
            ({"model.device": "cuda:99"}, "--device cuda:99"),
        ],
    )
    def test_bad_input_is_found_before_anything_is_planned(self, settings: dict[str, str], message: str) -> None:
        with pytest.raises(InputError, match=message):
            check(load_config(settings))


def test_generated_rows_are_made_once_for_all_plans() -> None:
    """A suite of 40 runs spends its planning time on this."""
    asked: list[tuple[str, int, int]] = []

    def generate(split: str, n: int, seed: int) -> list[Example]:
        asked.append((split, n, seed))
        return [Example("sandbox-topic", f"{split}-{number}", {"text": str(number)}, "music") for number in range(n)]

    task = replace(tasks.get("sandbox-topic"), generate=generate)
    sizes = {"labelled": 3, "prompts": 2, "validation": 1, "test": 1}
    first = load_splits(task, format="label", **sizes)
    first.labelled.clear()
    assert len(load_splits(task, format="rationale", **sizes).labelled) == 3
    assert asked == [("train", 5, 0), ("validation", 1, 0), ("test", 1, 0)]


class TestCacheKeys:
    def test_the_same_configuration_has_the_same_folders(self, pipeline: Callable[..., Pipeline]) -> None:
        paths = [[stage.folder(Path("runs")).path for stage in mixed(pipeline).chain()] for _ in range(2)]
        assert paths[0] == paths[1]
        assert len(set(paths[0])) == len(ALL)

    @pytest.mark.parametrize(
        ("setting", "value", "expected"),
        [
            ("ppo.lr", 0.5, {PPO}),
            ("reward.lam", 4, {PPO}),
            ("data.prompts", 6, {PPO}),
            ("ppo.checkpoint_every", 3, set()),
            ("keep_checkpoints", 3, set()),
            ("sft.checkpoint_every", 3, set()),
            ("rm.checkpoint_every", 3, set()),
            ("eval.batch", 3, set()),
            ("annotate.concurrency", 1, set()),
            ("data.test", 3, set()),
            ("rm.lr", 0.5, {LABEL_RM, RANKED_RM, PPO}),
            ("sft.lr", 0.5, {SFT, SAMPLES, DRAWN, LABEL_RM, RANKED_PAIRS, HELD_OUT, RANKED_RM, PPO}),
            ("lora.rank", 4, {SFT, SAMPLES, DRAWN, LABEL_RM, RANKED_PAIRS, HELD_OUT, RANKED_RM, PPO}),
            ("model.max_new_tokens", 9, {SFT, SAMPLES, DRAWN, LABEL_RM, RANKED_PAIRS, HELD_OUT, RANKED_RM, PPO}),
            ("seed", 1, {SFT, SAMPLES, DRAWN, LABEL_RM, RANKED_PAIRS, HELD_OUT, RANKED_RM, PPO}),
            ("annotate.oracle_weight", 0, {RANKED_PAIRS, RANKED_RM, PPO}),
            ("pairs.limit", 4, {DRAWN, LABEL_PAIRS, RANKED_PAIRS, HELD_OUT, LABEL_RM, RANKED_RM, PPO}),
            ("annotate.refusal_rate", 0.5, set(ALL)),
            ("data.labelled", 6, set(ALL)),
            ("data.seed", 1, set(ALL)),
        ],
    )
    def test_a_setting_changes_what_depends_on_it_and_nothing_else(
        self, pipeline: Callable[..., Pipeline], setting: str, value: float, expected: set[tuple[str, str]]
    ) -> None:
        before = mixed(pipeline)
        after = pipeline(**{**MIXED, setting: value}).ppo()
        assert changed(before, after) == expected

    def test_other_weights_under_the_same_name_are_another_model(
        self, pipeline: Callable[..., Pipeline], model: Path, tmp_path: Path
    ) -> None:
        first = pipeline(model__name=str(tiny_llama(tmp_path / "other"))).sft(rationales=True)
        second = pipeline(model__name=str(tiny_llama(tmp_path / "other", seed=1))).sft(rationales=True)
        assert first.fingerprint != second.fingerprint

    def test_evaluation_depends_on_test_rows_and_on_no_other(self, pipeline: Callable[..., Pipeline]) -> None:
        def evaluation(**settings: Any) -> str:
            return pipeline(**settings).eval(None).fingerprint

        assert evaluation() == evaluation(data__labelled=6, data__prompts=6, data__validation=3)
        assert evaluation() != evaluation(data__test=3)
        assert evaluation(eval__shots=1, format="label") != evaluation(eval__shots=1, format="label", data__labelled=6)

    def test_both_kinds_of_sft_live_apart(self, pipeline: Callable[..., Pipeline]) -> None:
        built = pipeline()
        assert built.sft(rationales=True).fingerprint != built.sft(rationales=False).fingerprint


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
    monkeypatch.setattr("rewardlab.runs._git", lambda *arguments: None)
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

    def test_two_commands_that_need_one_stage_build_it_once(self, counting: Counting) -> None:
        goal, entered, may_end = counting.stage("slow"), threading.Event(), threading.Event()

        def slow(work: Work) -> dict[str, Any]:
            counting.runs.append("slow")
            entered.set()
            assert may_end.wait(30)
            return {}

        goal = replace(goal, run=slow)
        waited = threading.Event()
        second = Runner(counting.runner.root, lambda line: waited.set() if "waiting" in line else None)
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(counting.runner.execute, goal)
            assert entered.wait(30)
            two = pool.submit(second.execute, goal)
            assert waited.wait(30)
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


class TestCost:
    def test_rows_of_one_pool_are_counted_once(self) -> None:
        """SFT read 100 labelled rows, pairs the first 60 of the same; PPO 40 prompts: 100 + 40."""
        cost = Cost.of(
            {
                "annotate": {"annotator_calls": 200, "stage_seconds": 1.5},
                "sft": {"gold": {"labelled/a": 100}, "stage_seconds": 2.0},
                "pairs": {"gold": {"labelled/a": 60}, "annotator_calls": 30, "stage_seconds": 0.25},
                "ppo": {"gold": {"prompts/a": 40}, "stage_seconds": 10.0},
            }
        )
        assert cost.gold == {"labelled/a": 100, "prompts/a": 40}
        assert cost.totals() == {"gold_labels": 140, "annotator_calls": 230, "seconds": 13.8}
        assert Cost.read(cost.to_json(), "anything") == cost

    def test_wrong_label_rationales_are_charged_to_those_who_make_pairs_of_them(self) -> None:
        """SFT alone pays the 100 rationales it reads; with label pairs 100 more; the 40 held-out ones nobody pays."""
        annotated = {"annotator_calls": 100, "wrong_label_calls": 100, "held_out_calls": 40}
        ranked = {"kind": "ranked", "annotator_calls": 7, "held_out_calls": 3}
        assert Cost.of({"annotate": annotated, "sft": {"rows": 100}}).calls == 100
        assert Cost.of({"annotate": annotated, "pairs": {"kind": "label"}}).calls == 200
        assert Cost.of({"annotate": annotated, "pairs": ranked}).calls == 107

    def test_a_stage_that_two_runs_of_a_row_share_is_paid_once(self) -> None:
        """Single-task PPO on a and b from one SFT model: 100 labelled rows once, 40 prompts of each; 2 + 10 + 11 s."""
        sft = {"gold": {"labelled/a": 50, "labelled/b": 50}, "annotator_calls": 100, "stage_seconds": 2.0}
        parts = [
            Cost.of({"s": sft, f"p{task}": {"gold": {f"prompts/{task}": 40}, "stage_seconds": seconds}})
            for task, seconds in (("a", 10.0), ("b", 11.0))
        ]
        assert Cost.together(parts).totals() == {"gold_labels": 180, "annotator_calls": 100, "seconds": 23.0}

    def test_an_evaluation_that_stored_totals_alone_is_read_too(self) -> None:
        totals = {"gold_labels": 7, "annotator_calls": 3, "seconds": 1.5}
        runs = [Cost.read(totals, "first"), Cost.read(totals, "second")]
        assert Cost.together(runs).totals() == {"gold_labels": 14, "annotator_calls": 6, "seconds": 3.0}

    def test_nothing_costs_nothing(self) -> None:
        assert Cost.of({}).to_json() == {"gold_labels": 0, "annotator_calls": 0, "seconds": 0, "stages": {}}
