"""The best of several answers at test time: what is planned, chosen, counted and refused, and how it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewardlab.config import RunConfig
from rewardlab.config_loading import load_config
from rewardlab.disk import read_json, read_jsonl, write_jsonl
from rewardlab.errors import ConfigError, DataError
from rewardlab.pipeline.pipeline import Pipeline
from rewardlab.pipeline.stages.scored import read_candidates
from rewardlab.training import scored_samples
from tests.support.commands import Command

SMALL = tuple(
    f"--set={key}={value}"
    for key, value in {"data.labelled": 8, "data.prompts": 8, "data.validation": 8, "data.test": 6}.items()
)
ASKED = ("eval", "--best-of", "3", "--reward", "rule", *SMALL)


def planned(**settings: Any) -> Pipeline:
    config: RunConfig = load_config({"eval.best_of": 8, "eval.best_of_reward": "label", **settings})
    return Pipeline(config, Path("runs"))


def only(kind: str) -> Path:
    (path,) = Path("runs", kind).iterdir()
    return path


class TestPlan:
    def test_it_needs_the_policy_its_start_and_the_reward_model(self) -> None:
        pipeline = planned()
        goal = pipeline.eval(pipeline.ppo())
        scored = goal.inputs["scored"]
        assert (scored.kind, set(scored.inputs)) == ("scored", {"model", "start", "rm_label"})
        assert scored.inputs["model"].fingerprint == goal.inputs["model"].fingerprint

    def test_the_base_model_by_the_rule_needs_nothing(self) -> None:
        scored = planned(**{"eval.best_of_reward": "rule"}).eval(None).inputs["scored"]
        assert scored.inputs == {}

    @pytest.mark.parametrize(
        ("settings", "title"),
        [
            ({}, "best of 8, label RM"),
            ({"eval.best_of": 4, "eval.best_of_reward": "rule"}, "best of 4, rule"),
            ({"eval.best_of_reward": "mixed", "eval.best_of_lam": "5"}, "best of 8, mixed (λ=5)"),
            ({"eval.checkpoint": "last"}, "SFT w. rationale (last policy), best of 8, label RM"),
        ],
    )
    def test_what_a_table_calls_it(self, settings: dict[str, Any], title: str) -> None:
        pipeline = planned(**settings)
        assert pipeline.method(pipeline.sft(True)) == title

    def test_other_policies_keep_their_name(self) -> None:
        pipeline = planned()
        assert pipeline.method(pipeline.ppo()) == "PPO-rule, best of 8, label RM"
        assert pipeline.method(pipeline.train("raft")) == "RAFT on rule, best of 8, label RM"
        assert pipeline.method(pipeline.sft(False)) == "SFT, best of 8, label RM"
        assert pipeline.method(None) == "zero-shot, best of 8, label RM"

    def test_the_answers_depend_on_number_policy_and_reward_and_on_no_training_reward(self) -> None:
        def scored(**settings: Any) -> str:
            pipeline = planned(**settings)
            return pipeline.eval(pipeline.sft(True)).inputs["scored"].fingerprint

        usual = scored()
        assert scored(**{"reward.expression": "length"}) == usual
        assert scored(**{"eval.bootstrap": 200}) == usual
        for changed in (
            {"eval.best_of": 4},
            {"eval.best_of_reward": "ranked"},
            {"eval.checkpoint": "last"},
            {"seed": 1},
        ):
            assert scored(**changed) != usual

    def test_without_it_no_evaluation_is_another_than_before(self) -> None:
        bare = Pipeline(load_config({}), Path("runs")).eval(None)
        assert not {"best_of", "best_of_reward", "best_of_lam"} & set(bare.settings["eval"])
        assert bare.inputs == {}

    def test_choosing_settings_reads_no_best_of(self) -> None:
        bare = Pipeline(load_config({}), Path("runs"))
        pipeline = planned()
        assert pipeline.validate(pipeline.sft(True)).fingerprint == bare.validate(bare.sft(True)).fingerprint

    def test_a_reward_to_choose_by_is_asked_for(self) -> None:
        with pytest.raises(ConfigError, match=r"eval\.best_of = 8 needs a reward to choose by: --reward label"):
            planned(**{"eval.best_of_reward": None}).eval(None)
        with pytest.raises(ConfigError, match="chooses among zero-shot answers; leave --shots out"):
            planned(**{"eval.shots": 2}).eval(None)
        with pytest.raises(ConfigError, match="needs lambda"):
            planned(**{"eval.best_of_reward": "mixed"}).eval(None)


def test_a_reward_without_best_of_is_refused(rewardlab: Command) -> None:
    assert rewardlab("eval", "--reward", "label").problem.startswith(
        "--reward chooses among several answers; give --best-of"
    )


def test_the_answer_with_the_best_score_counts(rewardlab: Command) -> None:
    done = rewardlab(*ASKED)
    assert done.code == 0, done.err
    scored, rows = only("scored"), list(read_jsonl(only("scored") / "samples.jsonl"))
    assert [(row["id"], row["sample"]) for row in rows[:4]] == [(rows[0]["id"], n) for n in range(3)] + [
        (rows[3]["id"], 0)
    ]
    assert {len(row["responses"]) for row in read_jsonl(scored / "drawn.jsonl")} == {3}
    expected = {}
    for row in rows:
        rival = expected.get(row["id"])
        if rival is None or row["score"] > rival["score"]:
            expected[row["id"]] = row
    predictions = list(read_jsonl(only("eval") / "predictions.jsonl"))
    assert {row["id"]: row["response"] for row in predictions} == {
        name: row["response"] for name, row in expected.items()
    }
    assert {row["decoding"] for row in predictions} == {"sampled"}
    result = read_json(only("eval") / "result.json")
    assert (result["method"], result["reward"]) == ("zero-shot, best of 3, rule", "best of 3 by rule")
    tokens = sum(sum(row["tokens"]) for row in read_jsonl(scored / "drawn.jsonl"))
    assert result["best_of"] == {"samples": 3, "rows": 6, "unscored": 0, "tokens": tokens}
    # the rule reads a gold label of each test row, which nothing else has read
    assert (result["cost"]["gold_labels"], result["cost"]["annotator_calls"]) == (6, 0)
    assert result["cost"]["seconds"] >= 0
    assert read_json(scored / "result.json")["responses"] == 18


def test_an_interrupted_stage_goes_on_with_what_was_drawn(rewardlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    score, draw, drawn = scored_samples.score, scored_samples.draw, []

    def failing(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(scored_samples, "draw", lambda *arguments: drawn.append(1) or draw(*arguments))
    monkeypatch.setattr(scored_samples, "score", failing)
    assert rewardlab(*ASKED).code == 130
    path = only("scored") / "drawn.jsonl"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    kept = path.read_text().count("\n")
    monkeypatch.setattr(scored_samples, "score", score)
    assert rewardlab(*ASKED).code == 0
    assert 0 < kept < 6
    assert len(drawn) == 2
    assert path.read_text() == whole  # a row's draw does not depend on where the stage began


def test_the_answers_can_be_rescored_without_a_model(rewardlab: Command) -> None:
    assert rewardlab(*ASKED).code == 0
    found = json.loads(rewardlab("reward", "rescore", str(only("scored")), "--json").out)
    assert (found["old"], found["responses"], found["prompts"], found["swaps"]["swapped"]) == ("rule", 18, 6, 0)


def test_files_of_different_answers_are_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "drawn.jsonl", [{"responses": ["a", "b"], "finished": [True, False]}])
    for scores, fits in (([1.0, 2.0], True), ([1.0], False), ([1.0, 2.0, 3.0], False)):
        write_jsonl(tmp_path / "samples.jsonl", [{"score": score} for score in scores])
        if fits:
            assert [each.score for each in read_candidates(tmp_path)[0]] == [1.0, 2.0]
            continue
        with pytest.raises(DataError, match="are not of the same answers"):
            read_candidates(tmp_path)
