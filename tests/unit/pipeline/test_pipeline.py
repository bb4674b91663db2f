"""The pipeline: which stages a goal needs, and when a fingerprint changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewardlab.config_loading import load_config
from rewardlab.errors import ConfigError, InputError
from rewardlab.pipeline import Pipeline, Runner, Stage, check
from rewardlab.pipeline.runner import plan_rows
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
    return build(**MIXED, **settings).train()


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
        assert kinds(pipeline(reward__expression="rule").train()) == [ANNOTATE, SFT, ("ppo", "rule")]

    def test_a_quantile_needs_the_model_it_is_a_quantile_of(self, pipeline: Callable[..., Pipeline]) -> None:
        goal = pipeline(reward__expression="rule + lam", reward__lam="q90").train()
        assert LABEL_RM in kinds(goal)

    def test_ppo_from_the_base_model_needs_nothing(self, pipeline: Callable[..., Pipeline]) -> None:
        assert kinds(pipeline(init="base").train()) == [("ppo", "rule")]

    def test_bare_labels_need_no_rationales(self, pipeline: Callable[..., Pipeline]) -> None:
        goal = pipeline(format="label", reward__expression="label").train()
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
        trained = built.train()
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
            pipeline(**settings).train()

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
            ("ppo.checkpoint_seconds", 3, set()),
            ("keep_checkpoints", 3, set()),
            ("sft.checkpoint_every", 3, set()),
            ("sft.checkpoint_seconds", 3, set()),
            ("rm.checkpoint_every", 3, set()),
            ("rm.checkpoint_seconds", 3, set()),
            ("eval.batch", 3, set()),
            ("annotate.concurrency", 1, set()),
            ("data.test", 3, set()),
            ("rm.lr", 0.5, {LABEL_RM, RANKED_RM, PPO}),
            ("sft.lr", 0.5, {SFT, SAMPLES, DRAWN, LABEL_RM, RANKED_PAIRS, HELD_OUT, RANKED_RM, PPO}),
            ("lora.rank", 4, {SFT, SAMPLES, DRAWN, LABEL_RM, RANKED_PAIRS, HELD_OUT, RANKED_RM, PPO}),
            ("model.max_new_tokens", 9, {SFT, SAMPLES, DRAWN, LABEL_RM, RANKED_PAIRS, HELD_OUT, RANKED_RM, PPO}),
            ("seed", 1, set(ALL)),
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
        after = pipeline(**{**MIXED, setting: value}).train()
        assert changed(before, after) == expected

    def test_with_a_data_seed_of_their_own_two_seeds_share_annotation_and_label_pairs(
        self, pipeline: Callable[..., Pipeline]
    ) -> None:
        before, after = (pipeline(**MIXED, data__seed=0, seed=seed).train() for seed in (0, 1))
        assert changed(before, after) == {SFT, SAMPLES, DRAWN, LABEL_RM, RANKED_PAIRS, HELD_OUT, RANKED_RM, PPO}

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
