"""The reward ``rubric``: scores from an annotator's answers, and who grades."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

from rewardlab import processes
from rewardlab.annotate.base import Annotation, Annotator, GradeRequest, Outcome, Progress, silent
from rewardlab.annotate.grading import (
    RubricReward,
    choose_grader,
    grader_config,
    part_of_process,
    rubric_identity,
    rubric_reward,
)
from rewardlab.annotate.money import Purse
from rewardlab.annotate.registry import annotators
from rewardlab.annotate.rubrics import Rubric
from rewardlab.config import RewardConfig, RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.errors import ConfigError
from rewardlab.rewards import RewardContext, build_reward, plan_reward, summary
from rewardlab.rewards.ledger import scored_row
from rewardlab.rubric_config import RubricConfig
from rewardlab.sandbox import OracleAnnotator
from rewardlab.tasks import resolve_task
from rewardlab.types import Example

ROW = Example("agnews", "n1", {"text": "Rovers won the cup."}, "Sports")
RUBRIC = Rubric.load(RubricConfig())


class Scripted(Annotator):
    """Answers a response with the words that stand behind its colon, in the outcome that stands before it."""

    name = "scripted"
    model = "script"

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.remembered: list[str] = []

    def grade_many(self, requests: Sequence[GradeRequest], progress: Progress = silent) -> list[Annotation]:
        self.calls.append([request.ask(request.example) for request in requests])
        return [self._answer(request.response) for request in requests]

    def price_usd(self, answer: Annotation) -> float | None:
        return None if answer.outcome == "failed" else 0.25

    def remember(self, keys: Collection[str]) -> None:
        self.remembered += keys

    def spent(self) -> dict[str, Any]:
        return {"cost_usd": 0.25 * len(self.calls), "price": {"prompt": 1.0}}

    def _answer(self, response: str) -> Annotation:
        said, _, text = response.partition(":")
        outcome: Outcome = said or "answered"  # type: ignore[assignment]
        return Annotation(response, text, outcome, self.name, self.model, reason=f"{said} it was")


def graded(*responses: str) -> RubricReward:
    reward = RubricReward(Scripted(), RUBRIC)
    reward([ROW] * len(responses), list(responses))
    return reward


class TestScores:
    def test_a_grade_is_its_share_of_the_scale(self) -> None:
        [score] = RubricReward(Scripted(), RUBRIC)([ROW], [":7"])
        assert (score.score, dict(score.parts), dict(score.terms)) == (0.7, {"rubric": 0.7}, {"rubric": 0.7})
        assert (score.reason, score.cost_usd) == ("grade 7 of 0-10", 0.25)

    @pytest.mark.parametrize(
        ("response", "reason"),
        [
            ("refused:7", "refused: refused it was"),
            ("filtered:", "filtered: filtered it was"),
            ("failed:7", "failed: failed it was"),
            (":nice", "no grade such as '10' in 'nice'"),
            ("truncated:1", "cut at rubric.max_tokens: no grade such as '10' in '1'"),
        ],
    )
    def test_what_is_no_grade_is_no_score(self, response: str, reason: str) -> None:
        [score] = RubricReward(Scripted(), RUBRIC)([ROW], [response])
        assert (score.score, dict(score.parts), score.reason) == (None, {"rubric": None}, reason)

    def test_all_responses_are_asked_at_once_and_none_for_none(self) -> None:
        reward = graded(":1", ":2", "refused:")
        assert isinstance(reward.annotator, Scripted)
        assert [len(call) for call in reward.annotator.calls] == [3]
        assert ":2" in reward.annotator.calls[0][1]
        assert reward([], []) == []
        assert len(reward.annotator.calls) == 1

    def test_in_an_expression_it_is_unscored_where_its_value_counts(self) -> None:
        config = RewardConfig(expression="gate(length > 0, 0.5 * rubric + rule, 0)")
        assert plan_reward(config).needs_rubric
        reward = build_reward(config, RewardContext(rubric=RubricReward(Scripted(), RUBRIC)))
        right = "answered: 8 \n\n The answer is: Sports"
        scores = reward([ROW] * 3, [right, "refused: \n\n The answer is: Sports", ""])
        assert [score.score for score in scores] == [pytest.approx(0.5 * 0.8 + 1), None, 0.0]
        assert scores[1].reason.startswith("rubric: refused")
        assert [score.cost_usd for score in scores] == [0.25, 0.25, 0.25]

    def test_without_a_grader_the_reward_cannot_be_built(self) -> None:
        with pytest.raises(ConfigError, match="needs somebody who grades"):
            build_reward(RewardConfig(expression="rubric + rule"))
        assert not plan_reward(RewardConfig(expression="rule")).needs_rubric


class TestCost:
    def test_requests_are_noted_once_and_an_interrupted_run_goes_on_counting(self) -> None:
        noted: list[list[str]] = []
        annotator = Scripted()
        reward = RubricReward(annotator, RUBRIC, [":1", ":9"], noted.append)
        assert sorted(annotator.remembered) == [":1", ":9"]
        reward([ROW] * 4, [":1", ":2", ":2", "failed:"])
        reward([ROW], [":2"])
        assert noted == [[":2", "failed:"]]
        assert reward.spent() == {"annotator_calls": 4, "spent": {"cost_usd": 0.5, "price": {"prompt": 1.0}}}

    def test_several_processes_share_budget_and_requests_and_add_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORLD_SIZE", "4")
        config = load_config({"annotate.budget_usd": 2.0, "annotate.concurrency": 8, "annotate.tokens_per_minute": 3})
        monkeypatch.setattr(processes, "gather", lambda item: [1.0, item])  # the main process has paid 1 USD
        purse = Purse()
        purse.remember("annotations", {"cost_usd": 0.25})
        asking = part_of_process(config, purse).annotate
        assert (asking.budget_usd, asking.concurrency, asking.tokens_per_minute) == (0.25 + (2.0 - 1.0) / 4, 2, 1)
        assert asking.requests_per_minute is None
        reward = RubricReward(Scripted(), RUBRIC)
        others = iter([[{"a", "b"}, {"b", "c"}], [{"cost_usd": 1.0, "price": None}, {"cost_usd": 2.0, "price": None}]])
        monkeypatch.setattr(processes, "gather", lambda item: next(others))
        assert reward.spent() == {"annotator_calls": 3, "spent": {"cost_usd": 3.0, "price": None}}

    def test_the_ledger_has_the_price_and_curves_its_mean(self) -> None:
        scores = RubricReward(Scripted(), RUBRIC)([ROW] * 2, [":7", "failed:"])
        rows = [scored_row(ROW, "x", score) for score in scores]
        assert [row.get("cost_usd") for row in rows] == [0.25, None]
        assert summary(rows)["reward/cost_usd"] == 0.25
        assert "reward/cost_usd" not in summary(rows[1:])


class TestWhoGrades:
    def test_rubric_settings_stand_in_the_place_of_the_annotators(self) -> None:
        given = {"annotate.model": "writer", "annotate.annotator": "template", "annotate.base_url": "http://a/v1"}
        asking = grader_config(load_config(given, NO_FILE)).annotate
        assert (asking.annotator, asking.model, asking.base_url) == ("auto", "writer", "http://a/v1")
        assert (asking.temperature, asking.max_new_tokens) == (0.0, 16)
        own = {"rubric.model": "judge", "rubric.base_url": "http://b/v1", "rubric.annotator": "openai"}
        asking = grader_config(load_config({**given, **own, "rubric.max_tokens": 300}, NO_FILE)).annotate
        assert (asking.annotator, asking.model, asking.base_url) == ("openai", "judge", "http://b/v1")
        assert asking.max_new_tokens == 300

    def test_auto_takes_the_oracle_for_its_tasks_and_says_who_else_can(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        assert choose_grader(RunConfig(), ["sandbox-sentiment"]).name == "sandbox"
        with pytest.raises(
            ConfigError, match="annotator template cannot grade; expected one of sandbox, openai, local"
        ):
            choose_grader(RunConfig(), ["agnews"])
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        assert choose_grader(RunConfig(), ["agnews"]).name == "openai"

    def test_what_grades_depend_on(self, tmp_path: Path) -> None:
        own = tmp_path / "mine.jinja"
        own.write_text("{{ response }}")
        oracle, hosted = annotators.get("sandbox"), annotators.get("openai")

        def identity(kind: type[Annotator], **settings: Any) -> dict[str, Any]:
            dotted = {key.replace("__", "."): value for key, value in settings.items()}
            return rubric_identity(load_config(dotted, NO_FILE), kind)

        same = identity(hosted, annotate__concurrency=3, annotate__max_new_tokens=999, annotate__temperature=0.9)
        assert same == identity(hosted)
        others = [
            identity(hosted, rubric__scale="1-5"),
            identity(hosted, rubric__template="rationale"),
            identity(hosted, rubric__template=str(own)),
            identity(hosted, rubric__model="m"),
            identity(hosted, rubric__base_url="http://127.0.0.1/v1"),
            identity(hosted, rubric__temperature=1.0),
            identity(hosted, rubric__max_tokens=3),
            identity(oracle),
            identity(oracle, annotate__oracle_weight=0.5),
        ]
        assert all(one != two for place, one in enumerate([same, *others]) for two in others[place:])


class TestOracle:
    def test_it_prefers_the_right_answer_and_repeats_itself(self, tmp_path: Path) -> None:
        generate = resolve_task("sandbox-sentiment", "test").generate
        assert generate is not None
        examples = list(generate("train", 40, 0))
        config = load_config({"annotate.refusal_rate": 0.0}, NO_FILE)
        reward = rubric_reward(config, ["sandbox-sentiment"], tmp_path)
        right, wrong = (
            [f"It sounds fine.\n\n The answer is: {label(example)}" for example in examples]
            for label in (lambda row: row.label, lambda row: "negative" if row.label == "positive" else "positive")
        )
        high, low = reward(examples, right), reward(examples, wrong)
        assert all(
            a.score > b.score for a, b in zip(high, low, strict=True) if a.score is not None and b.score is not None
        )
        assert [score.score for score in reward(examples, right)] == [score.score for score in high]
        assert not list(tmp_path.iterdir())

    def test_it_refuses_at_its_rate(self) -> None:
        example = Example("sandbox-sentiment", "1", {"text": "a dull film"}, "negative")
        said = [OracleAnnotator(refusal_rate=0.5, seed=seed).grade(example, "negative", 1, 5) for seed in range(200)]
        refused = sum(text == "I cannot explain that." for text in said)
        assert 70 < refused < 130  # 100 expected, deviation 7
        assert {text for text in said if text.isdigit()} <= {"1", "2", "3", "4", "5"}
