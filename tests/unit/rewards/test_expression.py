"""Reward expressions: values, None, terms, errors with their column, lambda, and what a plan says."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping, Sequence

import pytest

from rewardlab.config import RewardConfig
from rewardlab.errors import ConfigError, ExpressionError, TrainingError
from rewardlab.rewards import (
    ExpressionReward,
    Lambda,
    RewardContext,
    build_reward,
    parse_lambda,
    plan_reward,
    resolve_lambda,
)
from rewardlab.rewards.expression import MAX_CHARACTERS, parse
from rewardlab.types import Example, PairKind, Score, Scorer

EXAMPLE = Example("agnews", "n1", {"text": "Rovers won."}, "Sports")
RIGHT = "A match.\n\n The answer is: Sports"  # rule 1; six words: length 0.06
SFT = {"label": [0.0, 1.0, 2.0, 3.0, 4.0], "ranked": [-1.0, 1.0]}


def reward(expression: str, raw: Mapping[str, float] | None = None, **config: str) -> ExpressionReward:
    """The expression over constant reward models."""
    scorers = {name: constant(value) for name, value in (raw or {}).items()}
    settings = RewardConfig.model_validate({"expression": expression, **config})
    return build_reward(settings, RewardContext(scorers, SFT))


def constant(value: float) -> Scorer:
    return lambda examples, responses: [value] * len(responses)


def score(expression: str, raw: Mapping[str, float] | None = None, **config: str) -> Score:
    return reward(expression, raw, **config)([EXAMPLE], [RIGHT])[0]


RAW = {"label": 3.0, "ranked": 0.5, "rationale": -2.0}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rule", 1.0),
        ("1 + 2 * 3 - 4 / 8 * rule", 6.5),
        ("-(label - 1) * 2", -4.0),
        ("+label", 3.0),
        ("--label", 3.0),
        ("label - ranked - rationale", 4.5),
        ("label - (ranked - rationale)", 0.5),
        ("min(label, 5) + 0.3 * rationale + rule", 3.4),  # 3 - 0.6 + 1
        ("min(label, 2, ranked)", 0.5),
        ("max(rationale, ranked)", 0.5),
        ("clip(label, -1, 1)", 1.0),
        ("clip(rationale, -1, 1)", -1.0),
        ("clip(ranked, -1, 1)", 0.5),
        ("gate(rule > 0, label, rationale)", 3.0),
        ("gate(rule < 0, label, rationale)", -2.0),
        ("(0 < label < 4) + (label >= 3) + (label != 3) + (label == 3) + (label <= 2)", 3.0),
        ("label > 2 and ranked > 2 or rule == 1", 1.0),
        ("not rule > 0", 0.0),
        ("not (rule < 0 or label > 5)", 1.0),
        ("(rule > 0) * 2 - (label > 5)", 2.0),  # a comparison is the number 1 or 0
        ("gate(not rule < 0 and label > 2, 4, ranked)", 4.0),
        ("clip(label, 2, 2)", 2.0),
        ("q(label, 75) + 0 * rule", 3.0),  # 0 1 2 3 4: place 3
        ("z(ranked, 1.5) * rule", 1.5),  # mean 0, deviation 1
        ("rule * z(ranked, -1)", -1.0),
        ("rule - 0.1 * length", 0.994),
        ("  rule\n  + 1 ", 2.0),
        ("rule + (0 < label < 2) + (4 < label < 5)", 1.0),  # a chain holds where each link does
        ("rule + q(label, 0)", 1.0),
        ("rule + z(label, 0)", 3.0),  # the mean of 0 to 4
        (".5e1 * rule", 5.0),
    ],
)
def test_values(expression: str, expected: float) -> None:
    assert score(expression, RAW).score == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("r1", "expected"), [(3.0, 3.5), (5.0, 5.5), (7.0, 5.5)])
def test_mixed_is_equation_4(r1: float, expected: float) -> None:
    mixed = score("mixed", {"label": r1, "ranked": 0.5}, lam="5")
    assert mixed.score == expected
    assert mixed.parts == {"label": r1, "ranked": 0.5}
    assert mixed.terms == {"min(label, lam)": min(r1, 5.0), "ranked": 0.5}


def test_r2_chooses_the_second_reward_model() -> None:
    assert score("mixed", RAW, lam="1", r2="rationale").score == -1.0
    assert score("lam * r2", RAW, lam="2", r2="rationale").score == -4.0
    assert plan_reward(RewardConfig(expression="mixed", lam="5", r2="rationale")).pair_kinds == {"label", "rationale"}


def test_terms_carry_sign_and_weight_and_sum_to_the_score() -> None:
    result = score("0.5 * label - (rule + 2 * ranked) + label - label", RAW)
    assert result.terms == {"0.5 * label": 1.5, "-(rule)": -1.0, "-(2 * ranked)": -1.0, "label": 3.0, "-(label)": -3.0}
    assert result.score == sum(result.terms.values()) == -0.5


def test_equal_terms_are_added_up() -> None:
    assert score("rule + rule").terms == {"rule": 2.0}


def test_none_in_a_used_part_makes_the_total_none() -> None:
    result = score("rule + label", {"label": math.nan})
    assert result.score is None
    assert result.terms == {}
    assert result.parts == {"rule": 1.0, "label": None}
    assert result.reason.startswith("label: ")


@pytest.mark.parametrize(
    "expression",
    [
        "gate(rule > 0, rule, label)",
        "gate(rule < 0, label, rule)",
        "rule > 0 or label > 0",
        "1 - (rule < 0 and label > 0)",
    ],
)
def test_none_in_an_unused_branch_does_not_count(expression: str) -> None:
    assert score(expression, {"label": math.nan}).score == 1.0


def test_none_in_the_used_branch_counts() -> None:
    assert score("gate(rule > 0, label, rule)", {"label": math.nan}).score is None


@pytest.mark.parametrize(
    ("expression", "reason"),
    [("rule / 0", "division by zero"), ("1e300 * 1e300 * rule", "too large"), ("1e308 * rule + 1e308", "too large")],
)
def test_arithmetic_without_a_result_is_no_score(expression: str, reason: str) -> None:
    result = score(expression)
    assert result.score is None
    assert reason in result.reason


def test_each_reward_is_asked_once_per_batch() -> None:
    calls: list[int] = []

    def scorer(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
        calls.append(len(responses))
        return [1.0] * len(responses)

    built = build_reward(RewardConfig(expression="label + min(label, 2) * label"), RewardContext({"label": scorer}))
    assert [item.score for item in built([EXAMPLE] * 3, [RIGHT] * 3)] == [2.0] * 3
    assert calls == [3]


def test_the_answer_and_the_reason_of_a_part_are_kept() -> None:
    result = reward("rule + 0 * length")([EXAMPLE], ["no answer"])[0]
    assert result.answer is not None
    assert result.answer.is_malformed
    assert result.reason.startswith("rule: malformed")


def test_an_exception_names_reward_and_example() -> None:
    def scorer(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
        return [1 / len(response) for response in responses]

    built = build_reward(RewardConfig(expression="label"), RewardContext({"label": scorer}))
    second = Example("agnews", "n2", {"text": "x"})
    with pytest.raises(TrainingError, match="reward 'label' raised ZeroDivisionError on task agnews example n2: divis"):
        built([EXAMPLE, second], ["a", ""])


def test_a_wrong_number_of_scores_is_an_error() -> None:
    built = build_reward(RewardConfig(expression="label"), RewardContext({"label": lambda *_: [1.0]}))
    with pytest.raises(TrainingError, match="returned 1 scores for 2 responses"):
        built([EXAMPLE] * 2, [RIGHT] * 2)


@pytest.mark.parametrize(
    ("expression", "column", "message"),
    [
        ("min(label,", 11, "found the end"),
        ("rule +", 7, "after '+', found the end"),
        (")", 1, "outside of any parentheses"),
        ("min(rule rule, 1)", 10, "expected an operator or ','"),
        ("rule + ()", 8, "comma"),
        ("rule rule", 6, "expected an operator"),
        ("2rule", 2, "expected an operator"),
        ("rule ** 2", 7, "found '*'"),
        ("(rule", 1, "never closed"),
        ("rule)", 5, "outside of any parentheses"),
        ("rule, label", 5, "outside of any parentheses"),
        ("(rule, label)", 1, "comma"),
        ("rule[0]", 5, "unexpected '['"),
        ("rule.real", 5, "unexpected '.'"),
        ("'rule'", 1, 'unexpected "\'"'),
        ("rule; label", 5, "unexpected ';'"),
        ("__import__(1)", 1, "is no function"),
        ("1 + rule(2)", 5, "is no function"),
        ("min(rule)", 1, "expected min(a, b, ...)"),
        ("min()", 1, "expected min(a, b, ...)"),
        ("min(rule,)", 10, "found ')'"),
        ("min(rule +)", 11, "found ')'"),
        ("1 + clip(rule, 1)", 5, "expected clip(x, lowest, highest)"),
        ("1 + max", 5, "max is a function"),
        ("rule + lambda", 8, "write lam"),
        ("rule if label else 1", 6, "gate(condition, a, b)"),
        ("rule + lable", 8, "did you mean label"),
        ("q(rule, 90)", 1, "q reads a reward model"),
        ("q(label, rule)", 10, "a number from 0 to 100"),
        ("q(label, 101)", 10, "a number from 0 to 100"),
        ("rule + not rule", 8, "parentheses may help"),
        ("1e999", 1, "too large"),
        ("gate(rule, 2, 5)", 6, "rule is a number, and a condition is a comparison; write rule > 0"),
        ("1 + gate(rule - 1, 2, 5)", 10, "write rule - 1 > 0"),
        ("gate((rule > 0) + 1, 2, 5)", 6, "a condition is a comparison"),
        ("gate(gate(rule > 0, 1, 0), 2, 5)", 6, "write gate(rule > 0, 1, 0) > 0"),
        ("gate(1, rule, 5)", 6, "write 1 > 0"),
        ("gate(mixed, 2, 5)", 6, "write mixed > 0"),
        ("gate(rule > 0 and label, 2, 5)", 19, "write label > 0"),
        ("rule + (label or rule > 0)", 9, "write label > 0"),
        ("not rule", 5, "write rule > 0"),
        ("rule > 0 and not length", 18, "write length > 0"),
        ("not -rule", 5, "write -rule > 0"),
        ("clip(rule, 5, 1)", 12, "the lowest value 5 of clip lies above the highest, 1; swap them"),
        ("1 + clip(rule, -1, 1 - 3)", 16, "the lowest value -1 of clip lies above the highest, -2"),
        ("clip(rule, 1, 2, 3)", 1, "clip has 4 arguments; expected clip(x, lowest, highest)"),
        ("gate(rule > 0, 1)", 1, "gate has 2 arguments; expected gate(condition, if_true, if_false)"),
        ("gate(rule > 0, 1, 2, 3)", 1, "gate has 4 arguments"),
        ("max(rule)", 1, "max has 1 arguments; expected max(a, b, ...)"),
        ("rule + q(label)", 8, "q has 1 arguments; expected q(label, 90)"),
        ("rule + q(label, 90, 1)", 8, "q has 3 arguments"),
        ("rule + z(label)", 8, "z has 1 arguments; expected z(label, 1.5)"),
        ("rule + z(label, 1, 1)", 8, "z has 3 arguments"),
        ("rule + z(label, +1)", 17, "the second argument of z is a number"),
        ("rule + q(label, -1)", 17, "a number from 0 to 100"),
        ("3 + 2", 1, "names no reward"),
        ("gate(3 > 2, 1, 0)", 1, "names no reward"),
        ("q(label, 90)", 1, "names no reward"),
        ("", 1, "found nothing"),
        (" " * 9, 1, "found nothing"),
    ],
)
def test_errors_give_the_column(expression: str, column: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        plan_reward(RewardConfig(expression=expression))
    text = str(caught.value)
    assert f"column {column}: " in text
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 400 + "1" + ")" * 400,
        "-" * 900 + "1",
        "not " * 240 + "1",
        "1" + "+1" * 450,
        "not 1" + "+1" * 450,
        "1<1+1*-(" * 125,
        "1" * (MAX_CHARACTERS + 1),
    ],
    ids=["parentheses", "signs", "nots", "sum", "condition", "all", "length"],
)
def test_monstrous_expressions_are_refused(expression: str) -> None:
    with pytest.raises(ExpressionError, match=r"deep|longer than|is a number"):
        plan_reward(RewardConfig(expression=expression))


def test_how_long_an_expression_may_be() -> None:
    assert plan_reward(RewardConfig(expression="rule" + " " * 996)).names == ("rule",)
    with pytest.raises(ExpressionError, match=r"column 1000: .* longer than 1000 characters"):
        plan_reward(RewardConfig(expression="rule" + " " * 997))


@pytest.mark.parametrize(("before", "after", "most"), [("(", ")", 100), ("-", "", 99)])
def test_how_deep_an_expression_may_be(before: str, after: str, most: int) -> None:
    """100 parentheses, or 100 nodes of the tree: 99 signs and the name."""
    assert abs(score(before * most + "rule" + after * most).score or 0.0) == 1.0
    deeper = most + 1
    with pytest.raises(ExpressionError, match="nested more than 100 deep"):
        plan_reward(RewardConfig(expression=before * deeper + "rule" + after * deeper))


def test_long_expressions_are_cut_in_messages() -> None:
    whole, longer = "rule + " + "x" * 53, "rule + " + "x" * 54
    with pytest.raises(ExpressionError) as caught:
        plan_reward(RewardConfig(expression=whole))
    assert str(caught.value).startswith(f"reward expression '{whole}': column 8: ")
    with pytest.raises(ExpressionError) as caught:
        plan_reward(RewardConfig(expression=longer))
    assert str(caught.value).startswith(f"reward expression '{whole[:57]}...': column 8: ")


def test_a_sum_of_ninety_terms_is_fine() -> None:
    assert score("+".join(["rule"] * 90)).score == 90.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", Lambda("raw", 5.0)),
        ("-0.5", Lambda("raw", -0.5)),
        ("1e1", Lambda("raw", 10.0)),
        ("q90", Lambda("quantile", 90.0)),
        ("Q99.5", Lambda("quantile", 99.5)),
        ("q0", Lambda("quantile", 0.0)),
        ("q100", Lambda("quantile", 100.0)),
        ("1.5z", Lambda("zscore", 1.5)),
        ("-1Z", Lambda("zscore", -1.0)),
    ],
)
def test_parse_lambda(text: str, expected: Lambda) -> None:
    assert parse_lambda(text) == expected


@pytest.mark.parametrize(
    "text", ["five", "", "q", "q101", "q100.5", "q-1", "q-0.5", "z", "q5z", "nan", "inf", "1e999", "5 6", "1_000"]
)
def test_lambda_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--lambda .*expected a "):
        parse_lambda(text)


def test_lambda_by_quantile_and_zscore_is_resolved_on_the_label_rm() -> None:
    context = RewardContext(sft_scores=SFT)
    assert resolve_lambda(Lambda("quantile", 75), context) == 3.0
    assert resolve_lambda(Lambda("zscore", 1.0), context) == pytest.approx(2 + math.sqrt(2))
    assert reward("mixed", RAW, lam="q50").lam == 2.0


def test_lambda_that_never_binds_draws_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="rewardlab"):
        resolve_lambda(Lambda("raw", 3.9), RewardContext(sft_scores=SFT))  # q99 of 0..4 is 3.96
        assert not caplog.records
        resolve_lambda(Lambda("raw", 4.0), RewardContext(sft_scores=SFT))
    assert "it will never bind" in caplog.text


def test_lambda_without_mixed_and_mixed_without_lambda() -> None:
    with pytest.raises(ConfigError, match="uses neither mixed nor lam"):
        plan_reward(RewardConfig(expression="rule", lam="5"))
    with pytest.raises(ConfigError, match="add --lambda 5"):
        plan_reward(RewardConfig(expression="rule + mixed"))
    with pytest.raises(ConfigError, match="expected a number"):
        plan_reward(RewardConfig(expression="mixed", lam="five"))


def test_a_lambda_just_at_the_highest_scores_may_bind(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="rewardlab"):
        resolve_lambda(Lambda("raw", 4.0), RewardContext(sft_scores={"label": [4.0, 4.0]}))
    assert not caplog.records


@pytest.mark.parametrize(("expression", "needs_prompt"), [("rule + length", False), ("rule + label", True)])
def test_a_plan_needs_the_prompt_where_a_part_does(expression: str, needs_prompt: bool) -> None:
    assert plan_reward(RewardConfig(expression=expression)).needs_prompt is needs_prompt


@pytest.mark.parametrize(
    ("expression", "lam", "kinds", "needs_gold"),
    [
        ("rule", None, set(), True),
        ("length", None, set(), False),
        ("mixed", "5", {"label", "ranked"}, False),
        ("mixed + rule", "q90", {"label", "ranked"}, True),
        ("min(ranked, lam)", "q90", {"ranked", "label"}, False),
        ("min(ranked, lam)", "5", {"ranked"}, False),
        ("gate(ranked > q(label, 90), 1, 0)", None, {"ranked", "label"}, False),
    ],
)
def test_plans(expression: str, lam: str | None, kinds: set[PairKind], needs_gold: bool) -> None:
    plan = plan_reward(RewardConfig(expression=expression, lam=lam))
    assert plan.pair_kinds == kinds
    assert plan.needs_gold is needs_gold
    assert plan.needs_lambda is (lam is not None)


def test_a_quantile_alone_asks_no_reward_model_for_scores() -> None:
    assert plan_reward(RewardConfig(expression="rule + q(label, 90)")).names == ("rule",)


@pytest.mark.parametrize("lam", ["5", "q75"])
def test_bounds_of_clip_that_cross_once_lambda_is_known(lam: str) -> None:
    """Lambda is 5, or the 75 % quantile of 0 1 2 3 4, which is 3."""
    with pytest.raises(ExpressionError, match=r"column 13: the lowest value [53] of clip .* highest, 2"):
        reward("clip(label, lam, 2)", RAW, lam=lam)
    assert score("clip(label, lam, 6)", {"label": 0.0}, lam=lam).score == (5.0 if lam == "5" else 3.0)


def test_bounds_of_clip_that_cross_once_quantiles_are_known() -> None:
    with pytest.raises(ExpressionError, match=r"column 13: the lowest value 4 of clip .* highest, 2"):
        reward("clip(label, q(label, 100), q(label, 50))", RAW)


def test_lambda_alone_is_no_reward() -> None:
    with pytest.raises(ExpressionError, match="column 1: names no reward"):
        plan_reward(RewardConfig(expression="lam + 1", lam="5"))


@pytest.mark.parametrize(("response", "expected"), [(RIGHT, 2.0), ("So.\n\n The answer is: Business", 5.0), ("?", 5.0)])
def test_an_unreadable_answer_does_not_meet_a_condition(response: str, expected: float) -> None:
    """The rule gives 1 to the right label, 0 to a wrong one and -1 to a response without an answer."""
    assert reward("gate(rule > 0, 2, 5)")([EXAMPLE], [response])[0].score == expected


def test_references_can_stand_in_expressions() -> None:
    assert score(f"2 * {__name__}:ones + rule").score == 3.0
    assert score(f"2 * {__name__}:ones + rule").terms == {f"2 * {__name__}:ones": 2.0, "rule": 1.0}


def ones(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    return [1.0] * len(responses)


def test_plans_need_no_torch() -> None:
    import subprocess

    code = (
        "import sys; from rewardlab.config import RewardConfig;"
        "from rewardlab.rewards import build_reward, plan_reward;"
        "plan_reward(RewardConfig(expression='mixed', lam='q90')); build_reward(RewardConfig());"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'numpy', 'polars')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_sum_may_be_as_deep_as_the_message_says() -> None:
    """A sum of n parts is a tree of n levels."""
    build_reward(RewardConfig(expression=" + ".join(["rule"] * 100)))
    with pytest.raises(ExpressionError, match="column 1: nested more than 100 deep"):
        build_reward(RewardConfig(expression=" + ".join(["rule"] * 101)))


def test_depth_is_what_is_nested_not_what_stands_side_by_side() -> None:
    assert str(parse("(" * 100 + "rule" + ")" * 100)) == "rule"
    with pytest.raises(ExpressionError, match="column 101: nested more than 100 deep"):
        parse("(" * 101 + "rule" + ")" * 101)
    assert len(parse(f"min({', '.join(['-rule'] * 140)})").operands) == 140
    assert len(parse(f"min({', '.join(['(rule)'] * 110)})").operands) == 110


@pytest.mark.parametrize(
    ("function", "numbers"),
    [
        *((name, [2, 3, 4]) for name in ("min", "max")),
        *((name, [3]) for name in ("clip", "gate")),
        *((name, [2]) for name in ("q", "z", "gscale")),
        *((name, [1]) for name in ("gmean", "gstd", "gz", "grank", "gmin", "gmax")),
    ],
)
def test_how_many_arguments_a_function_takes(function: str, numbers: list[int]) -> None:
    def is_taken(number: int) -> bool:
        try:
            return bool(parse(f"{function}({', '.join(['rule > 0'] * number)})"))
        except ExpressionError:
            return False

    assert [number for number in range(5) if is_taken(number)] == numbers


def test_lambda_may_be_zero() -> None:
    assert score("min(label, lam)", RAW, lam="0").score == 0.0
