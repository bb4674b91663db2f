"""Group operators: values by hand, who is in a group, what has no score, and refusal where there are no groups."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

import rewardlab
from rewardlab.cli.reward import app
from rewardlab.config import RewardConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.errors import DataError, ExpressionError
from rewardlab.pipeline import Pipeline
from rewardlab.rewards import (
    ExpressionReward,
    Ledger,
    RewardContext,
    Shaped,
    build_reward,
    plan_reward,
    refuse_groups,
)
from rewardlab.rewards.expression import FUNCTIONS
from rewardlab.rewards.groups import OPERATORS
from rewardlab.types import Example, Score
from tests.support.trl_trainers import TRAINERS, calculated_rewards

RIGHT, WRONG = "A match.\n\n The answer is: Sports", "Money.\n\n The answer is: Business"


def reward(expression: str, **config: str) -> ExpressionReward:
    """The expression over reward models that read their score in the response: ``label;ranked``, or ``label``."""

    def reading(column: int) -> RewardContext:
        def score(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
            return [float(response.split(";")[column]) for response in responses]

        return score  # type: ignore[return-value]

    context = RewardContext({"label": reading(0), "ranked": reading(-1)}, {"label": [0.0, 10.0]})  # type: ignore[dict-item]
    return build_reward(RewardConfig.model_validate({"expression": expression, **config}), context)


def score(expression: str, responses: str, prompts: str | None = None) -> list[float | None]:
    """Scores of responses, one a word, to prompts, one a letter; all to one prompt by default."""
    texts = responses.split()
    examples = [Example("agnews", prompt, {"text": "x"}) for prompt in (prompts or "a" * len(texts))]
    return [each.score for each in reward(expression)(examples, texts)]


@pytest.mark.parametrize(
    ("expression", "responses", "expected"),
    [
        ("gmean(label)", "1 2 6", [3.0, 3.0, 3.0]),
        ("gmin(label)", "4 -2 6", [-2.0, -2.0, -2.0]),
        ("gmax(label)", "4 -2 6", [6.0, 6.0, 6.0]),
        ("gstd(label)", "1 2 6", [math.sqrt(7)] * 3),  # squares 4 1 9, over 2
        ("gz(label)", "1 2 6", [-2 / math.sqrt(7), -1 / math.sqrt(7), 3 / math.sqrt(7)]),
        ("gz(label)", "1 3", [-1 / math.sqrt(2), 1 / math.sqrt(2)]),  # deviation sqrt(1 + 1)
        ("grank(label)", "5 7 6 1 9", [0.25, 0.75, 0.5, 0.0, 1.0]),
        ("grank(label)", "5 7 5 5", [1 / 3, 1.0, 1 / 3, 1 / 3]),  # places 0 1 2 give 1, of 3
        ("gscale(label, ranked)", "1;0 2;0 5;0", [-1.0, -0.5, 1.0]),
        ("gscale(label, ranked)", "1;0 7;1 5;0 9;1 8;1", [-1.0, -1.0, 1.0, 1.0, 0.0]),
        ("gscale(label, ranked)", "1;0 7;1 5;2", [0.0, 0.0, 0.0]),  # alone each
        ("gscale(label, ranked)", "3;1 3;1 4;0 5;0", [0.0, 0.0, -1.0, 1.0]),
        ("gscale(label, ranked)", "1;0 5;0.25", [0.0, 0.0]),
        ("gscale(label, ranked > 0)", "1;1 5;2 3;4 9;-1 7;0", [-1.0, 1.0, 0.0, 1.0, -1.0]),
    ],
)
def test_values(expression: str, responses: str, expected: list[float]) -> None:
    assert score(expression, responses) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("expression", "alone"),
    [
        ("gmean(label)", 0.1),
        ("gmin(label)", 0.1),
        ("gmax(label)", 0.1),
        ("gstd(label)", 0.0),
        ("gz(label)", 0.0),
        ("grank(label)", 0.5),
        ("gscale(label, ranked)", 0.0),
    ],
)
def test_one_response_and_equal_ones(expression: str, alone: float) -> None:
    """Exactly: the rounded mean of three 0.1 is not 0.1."""
    assert sum([0.1] * 3) / 3 != 0.1
    assert score(expression, "0.1") == [alone]
    assert score(expression, "0.1 0.1 0.1") == [alone] * 3


def test_a_difference_of_one_rounding_counts() -> None:
    """0.1 + 0.2 is 0.30000000000000004; equal is exactly equal, not nearly."""
    low, high = score("gz(label)", "0.3 0.30000000000000004")
    assert low is not None
    assert high is not None
    assert low < high
    assert score("gscale(label, 1)", "0.3 0.30000000000000004") == [-1.0, 1.0]


def test_groups_are_prompts_in_any_order() -> None:
    assert score("gmean(label)", "1 10 3 20 8", "ababc") == [2.0, 15.0, 2.0, 15.0, 8.0]


def test_one_id_in_two_tasks_is_two_prompts() -> None:
    examples = [Example(task, "n1", {}) for task in ("agnews", "nli", "agnews")]
    assert [each.score for each in reward("gmax(label)")(examples, ["1", "9", "2"])] == [2.0, 9.0, 2.0]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("gmean(label)", [1.0, None, 1.0, 5.0]),
        ("gz(label)", [0.0, None, 0.0, 0.0]),
        ("grank(label)", [0.5, None, 0.5, 0.5]),
        ("gscale(label, label)", [0.0, None, 0.0, 0.0]),
        ("gmax(1 / (label - 1))", [None, None, None, 0.25]),  # no division by zero is in the group
        ("gmean(gate(label == 5, ranked, 2))", [2.0, None, 2.0, 5.0]),
    ],
)
def test_what_has_no_score_is_left_out_and_stays_without(expression: str, expected: list[float | None]) -> None:
    assert score(expression, "1 nan 1 5", "aaab") == expected


def test_the_reason_of_what_is_left_out_is_told() -> None:
    example = Example("agnews", "n1", {})
    missing = reward("1 + gmean(label)")([example] * 2, ["nan", "4"])[0]
    assert missing.score is None
    assert missing.terms == {}
    assert missing.reason.startswith("label: ")


def test_either_argument_of_gscale_may_lack_a_score() -> None:
    """nan;0 and 9;nan are in no sub-group: 1 and 3 are the extremes."""
    assert score("gscale(label, ranked)", "1;0 3;0 nan;0 9;nan 2;0") == [-1.0, 1.0, None, None, 0.0]


@pytest.mark.parametrize("expression", ["gmean(label)", "gz(label)", "gscale(label, 1)"])
def test_what_no_number_holds_is_no_score(expression: str) -> None:
    example = Example("agnews", "n1", {})
    scores = reward(expression)([example] * 4, ["1.7e308", "1.7e308", "1.7e308", "-1.7e308"])
    assert all(each.score is None or math.isfinite(each.score) for each in scores)
    assert any("too large" in each.reason for each in scores)


def test_a_comparison_with_what_no_number_holds_is_no_score() -> None:
    assert score("gate(gmean(label) > 0, 1, 2)", "1.7e308 1.6e308") == [None, None]


def test_a_gate_takes_values_of_the_whole_group() -> None:
    """The mean is over all three, not over those whose branch it is."""
    assert score("gate(label > 1, gmean(label), 0)", "1 2 6") == [0.0, 3.0, 3.0]


def test_operators_nest_and_follow_lambda_and_quantiles() -> None:
    assert score("gmax(gmean(label) - label)", "1 2 6") == [2.0, 2.0, 2.0]
    built = reward("gmax(min(label, lam)) + gmin(q(label, 50) * label)", lam="q80")  # lambda 8, the median 5
    example = Example("agnews", "n1", {})
    assert [each.score for each in built([example] * 2, ["2", "9"])] == [18.0, 18.0]


def test_a_centred_reward_of_an_even_group_is_exactly_zero() -> None:
    assert score("label - gmean(label)", "0.1 0.1 0.1") == [0.0, 0.0, 0.0]


def test_gdpo_is_a_sum_of_two() -> None:
    """Each reward is scaled by itself: 0 0 4 deviates by 4 / sqrt(3), and 1 2 3 by 1."""
    examples = [Example("agnews", "n1", {})] * 3
    scores = reward("gz(label) + gz(ranked)")(examples, ["0;1", "0;2", "4;3"])
    low, high = -1 / math.sqrt(3), 2 / math.sqrt(3)
    assert [each.terms["gz(label)"] for each in scores] == pytest.approx([low, low, high])
    assert [each.terms["gz(ranked)"] for each in scores] == pytest.approx([-1.0, 0.0, 1.0])
    assert [each.score for each in scores] == pytest.approx([low - 1, low, high + 1])


def test_hero_orders_by_the_rule_first() -> None:
    """Right ones lie in [0.9, 1.1] and wrong ones in [-1.1, -0.9], whatever the reward model says of them."""
    hero = "gate(ranked > 0, 1 + 0.1 * gscale(label, ranked), 0.1 * gscale(label, ranked) - 1)"
    assert score(hero, "5;1 7;1 900;0 -3;0 400;0") == pytest.approx([0.9, 1.1, -0.9, -1.1, -1.1 + 0.2 * 403 / 903])


def test_the_ledger_adds_up() -> None:
    examples = [Example("agnews", "n1", {"text": "x"}, "Sports")] * 3
    scores = reward("0.5 * gz(label) - (gmean(ranked) - ranked)")(examples, ["1;4", "3;6", "nan;5"])
    half = 0.5 / math.sqrt(2)
    assert scores[0].parts == {"label": 1.0, "ranked": 4.0}
    assert scores[0].terms == pytest.approx({"0.5 * gz(label)": -half, "-(gmean(ranked))": -5.0, "ranked": 4.0})
    shaped = [None if each.score is None else Shaped(sum(each.terms.values()), each.score, 0.0, 0.0) for each in scores]
    rows = Ledger(lambda file, row: None).record(1, examples, ["a", "b", "c"], scores, shaped)
    assert [row["score"] for row in rows] == pytest.approx([-half - 1, half + 1, None])
    assert rows[2]["parts"] == {"label": None, "ranked": 5.0}


@pytest.mark.parametrize(
    ("expression", "column", "operator"),
    [
        ("gz(rule)", 1, "gz"),
        ("rule + 0.1 * gscale(label, rule)", 14, "gscale"),
        ("gate(rule > 0, gmean(label), gstd(label))", 16, "gmean"),
        ("gmin(gmax(rule))", 1, "gmin"),
        ("min(rule, 2) - (gstd(rule) + gz(rule))", 17, "gstd"),
    ],
)
def test_refusal_names_the_column(expression: str, column: int, operator: str) -> None:
    plan = plan_reward(RewardConfig(expression=expression))
    assert plan.needs_groups
    assert build_reward(RewardConfig(expression="gz(rule)")).needs_groups
    with pytest.raises(ExpressionError) as caught:
        refuse_groups(plan, "ppo")
    assert str(caught.value) == (
        f"reward expression {expression!r}: column {column}: {operator} compares the responses to one prompt, and ppo "
        f"samples one; use grpo, rloo or reinforce with samples >= 2, or leave {operator} out"
    )
    with pytest.raises(ExpressionError, match=r"and raft samples one; use grpo with samples >= 2"):
        refuse_groups(plan, "raft", ["grpo"])


@pytest.mark.parametrize("expression", ["rule", "mixed", "min(rule, 1) + clip(label, q(label, 5), z(label, 2))"])
def test_nothing_is_refused_without_group_operators(expression: str) -> None:
    plan = plan_reward(RewardConfig(expression=expression, lam="5" if expression == "mixed" else None))
    refuse_groups(plan, "ppo")
    assert not plan.needs_groups
    assert not build_reward(RewardConfig(expression="rule")).needs_groups


def test_a_mixture_inside_an_operator_needs_groups() -> None:
    plan = plan_reward(RewardConfig(expression="gz(mixed)", lam="5"))
    assert plan.needs_groups
    assert plan.names == ("label", "ranked")


def test_ppo_refuses_before_anything_runs(tmp_path: Path) -> None:
    config = load_config({"task": "sandbox-topic", "reward.expression": "rule + gz(rule)"}, NO_FILE)
    with pytest.raises(
        ExpressionError, match=r"column 8: gz compares the responses to one prompt, and ppo samples one"
    ):
        Pipeline(config, tmp_path).ppo()


@pytest.mark.parametrize(
    ("expression", "column", "message"),
    [
        ("gz()", 1, "gz has 0 arguments; expected gz(x)"),
        ("1 + gmean(rule, label)", 5, "gmean has 2 arguments; expected gmean(x)"),
        ("gscale(rule)", 1, "gscale has 1 arguments; expected gscale(x, by)"),
        ("gscale(rule, rule, 1)", 1, "gscale has 3 arguments; expected gscale(x, by)"),
        ("gz(rule, 1)", 1, "gz has 2 arguments; expected gz(x)"),
        ("rule + grank", 8, "grank is a function; write grank(x)"),
        ("gate(gz(rule), 1, 0)", 6, "gz(rule) is a number, and a condition is a comparison; write gz(rule) > 0"),
        ("gz(3)", 1, "names no reward"),
        ("clip(rule, gmax(3), 1)", 12, "the lowest value 3 of clip lies above the highest, 1"),
    ],
)
def test_errors_give_the_column(expression: str, column: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        plan_reward(RewardConfig(expression=expression))
    assert f"column {column}: {message}" in str(caught.value)


def test_every_group_operator_is_in_the_language_and_in_the_list() -> None:
    named = {name for name, function in FUNCTIONS.items() if function.compares}
    assert named == set(OPERATORS) == {"gmean", "gstd", "gz", "grank", "gmin", "gmax", "gscale"}
    shown = CliRunner().invoke(app, ["list"]).stdout
    rewards, _, compared = shown.partition("Comparing the responses to one prompt")
    assert all(f"  {name} " in compared and f"  {name} " not in rewards for name in named)
    assert "  clip " in rewards


# How the group reaches them: rows of a file, and TRL's trainers.


def run(*arguments: str) -> str:
    return CliRunner().invoke(app, arguments, catch_exceptions=False).stdout


def write(path: Path, rows: Sequence[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_score_takes_groups_from_ids(tmp_path: Path) -> None:
    """1 and 0 deviate from their mean by 1 / sqrt(2) of their deviation; two right answers do not."""
    ids, texts = ["a", "b", "a", "b"], [RIGHT, RIGHT, WRONG, RIGHT]
    rows = [{"id": id, "response": text, "label": "Sports"} for id, text in zip(ids, texts, strict=True)]
    out = run("score", "--task", "agnews", "--reward", "gz(rule)", "--input", write(tmp_path / "rows.jsonl", rows))
    scores = [json.loads(line)["score"] for line in out.splitlines()]
    assert scores == pytest.approx([1 / math.sqrt(2), 0.0, -1 / math.sqrt(2), 0.0])


@pytest.mark.parametrize(
    "command", [["score", "--reward", "gmax(length)"], ["diff", "--a", "gmax(length)", "--b", "rule"]]
)
def test_a_group_is_whole_however_far_apart_its_rows_are(tmp_path: Path, command: list[str]) -> None:
    """Rows are scored 512 at a time otherwise, which would part the first from the last."""
    rows = [{"id": f"p{i % 600}", "response": f"{RIGHT}", "label": "Sports"} for i in range(601)]
    rows[600]["response"] = f"one two three four {RIGHT}"  # ten words, where the others have six
    output = tmp_path / "out.jsonl"
    run(*command, "--task", "agnews", "--input", write(tmp_path / "rows.jsonl", rows), "--output", str(output))
    key = "score" if command[0] == "score" else "a"
    scores = {row["id"]: row[key] for row in map(json.loads, output.read_text(encoding="utf-8").splitlines())}
    assert scores["p0"] == pytest.approx(0.10)
    assert scores["p1"] == pytest.approx(0.06)


def test_rows_without_an_id_have_no_group(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": "a", "response": RIGHT}, {"response": RIGHT}]
    path = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match=r"rows.jsonl line 2: has no 'id', and reward 'gz\(length\)' compares the resp"):
        run("score", "--task", "agnews", "--reward", "gz(length)", "--input", path)
    assert len(run("score", "--task", "agnews", "--reward", "length", "--input", path).splitlines()) == 2


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("columns", [{}, {"id": 7}], ids=["prompts", "ids"])
def test_trl_hands_whole_groups(trainer: str, columns: dict[str, int]) -> None:
    """Two conversations, two completions each; with ids, those of the second are one group with the first."""
    turns = [[{"role": "user", "content": text}] for text in "ppqq"]
    rows = [{"prompt": prompt, "label": "Sports", **columns} for prompt in turns]
    completions = [[{"role": "assistant", "content": text}] for text in (RIGHT, WRONG, RIGHT, RIGHT)]
    function = rewardlab.as_trl_reward("gmean(rule)", "agnews")
    _, table = calculated_rewards(trainer, [function], rows, completions)
    assert [row[0] for row in table] == ([0.75] * 4 if columns else [0.5, 0.5, 1.0, 1.0])


def test_trl_with_parted_groups_draws_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    function = rewardlab.as_trl_reward("gz(length)", "agnews")
    with caplog.at_level(logging.WARNING, logger="rewardlab"):
        assert function(prompts=["p", "p"], completions=["a", "b c"]) == pytest.approx([-(0.5**0.5), 0.5**0.5])
        rewardlab.as_trl_reward("length", "agnews")(prompts=["p", "q"], completions=["a", "b c"])
        assert not caplog.records
        assert function(prompts=["p", "q"], completions=["a", "b c"]) == [0.0, 0.0]
    assert "let num_generations divide per_device_train_batch_size * steps_per_generation" in caplog.text


def test_a_function_may_be_called_on_nothing() -> None:
    assert reward("gz(label) + gscale(label, ranked)")([], []) == []


def test_a_score_is_none_only_where_it_must_be() -> None:
    example = Example("agnews", "n1", {})
    scores: list[Score] = reward("gate(ranked > 0, label, gmean(ranked))")([example] * 2, ["nan;1", "nan;-3"])
    assert [each.score for each in scores] == [None, -1.0]


@pytest.mark.parametrize("name", ["grpo", "rloo"])
def test_methods_that_sample_several_responses_take_them(tmp_path: Path, name: str) -> None:
    config = load_config({"task": "sandbox-topic", "init": "base", "reward.expression": "rule + gz(rule)"}, NO_FILE)
    assert Pipeline(config, tmp_path).train(name).settings["reward"]["expression"] == "rule + gz(rule)"
