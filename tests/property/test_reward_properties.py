"""Laws of reward expressions: eq. 4, weights, permutation, and a parser that only ever raises ExpressionError."""

from __future__ import annotations

import ast
import string
from collections.abc import Sequence

import numpy as np
import pytest
import scipy
from hypothesis import assume, example, given
from hypothesis import strategies as st

from rewardlab.config import RewardConfig
from rewardlab.errors import ExpressionError
from rewardlab.rewards import RewardContext, build_reward
from rewardlab.rewards.expression import parse
from rewardlab.types import Example, Score

NEWS = Example("agnews", "n", {"text": "Rovers won."}, "Sports")
LABELS = ("World politics", "Sports", "Business", "Science and technology")
raw = st.floats(-20, 20)
WORDS = ["rule", "label", "min", "max(", "clip(", "gate(", "q(", "lam", "mixed", "a.b:c", "and", "not", "lambda", "if"]
SIGNS = [
    "+",
    "-",
    "**",
    "/",
    "(",
    ")",
    ",",
    "<",
    "==",
    "!",
    ":",
    ".",
    " ",
    "1e9",
    "3",
    "0x1",
    "_",
    "'",
    "\\",
    "\x00",
    "é",
]


def scores(expression: str, label: float, ranked: float = 0.0, lam: str | None = None) -> Score:
    context = RewardContext({"label": lambda *_: [label], "ranked": lambda *_: [ranked]})
    return build_reward(RewardConfig(expression=expression, lam=lam), context)([NEWS], ["text"])[0]


@given(raw, raw, raw)
@example(5.0, 1.0, 5.0)
def test_mixed_is_the_piecewise_definition(r1: float, r2: float, lam: float) -> None:
    expected = r1 + r2 if r1 < lam else lam + r2  # RLLR eq. 4
    assert scores("mixed", r1, r2, repr(lam)).score == expected


@given(raw, raw)
def test_weights_one_and_zero_equal_the_first_reward_alone(r1: float, r2: float) -> None:
    assert scores("1 * label + 0 * ranked", r1, r2).score == scores("label", r1).score == r1


@given(raw, raw)
def test_terms_sum_to_the_score(r1: float, r2: float) -> None:
    result = scores("0.7 * label - (ranked - 0.1) + max(label, ranked)", r1, r2)
    assert result.score == sum(result.terms.values())
    assert abs(sum(result.terms.values()) - (0.7 * r1 - (r2 - 0.1) + max(r1, r2))) < 1e-9


@given(st.lists(st.sampled_from([*LABELS, "", "nothing at all"]), min_size=1, max_size=8), st.randoms())
def test_a_permuted_batch_permutes_the_scores(answers: list[str], random: object) -> None:
    reward = build_reward(RewardConfig(expression="rule - 0.1 * length"))
    examples = [Example("agnews", str(i), {"text": "x"}, LABELS[i % 4]) for i in range(len(answers))]
    responses = [f"So.\n\n The answer is: {answer}" for answer in answers]
    order = list(range(len(answers)))
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    straight = reward(examples, responses)
    assert reward([examples[i] for i in order], [responses[i] for i in order]) == [straight[i] for i in order]


@given(st.text(max_size=80))
def test_any_text_parses_or_raises_expression_error(text: str) -> None:
    parses_or_complains(text)


@given(st.lists(st.sampled_from(WORDS + SIGNS), max_size=60))
def test_almost_expressions_parse_or_raise_expression_error(pieces: list[str]) -> None:
    parses_or_complains(" ".join(pieces))
    parses_or_complains("".join(pieces))


@given(st.text(string.printable, max_size=1200))
def test_long_texts_parse_or_raise_expression_error(text: str) -> None:
    parses_or_complains(text)


def parses_or_complains(text: str) -> None:
    problem = complaint(text)
    assert problem is None or ": column " in problem
    assert problem is None or "\n" not in problem


def complaint(text: str) -> str | None:
    try:
        parse(text)
    except ExpressionError as error:
        return str(error)
    return None


quarters = st.integers(-80, 80).map(lambda n: n / 4)  # no overflow, which Python answers with inf
operands = st.sampled_from(["label", "ranked", "2", "0.5", "0", "(label - 3)"])


@given(
    st.recursive(operands, lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner)),
    quarters,
    quarters,
)
def test_arithmetic_equals_pythons(expression: str, r1: float, r2: float) -> None:
    assume(len(expression) < 900)
    result = scores(f"0 * label + 1 * {expression}", r1, r2).score
    try:
        expected = eval(expression, {"label": r1, "ranked": r2})
    except ZeroDivisionError:
        assert result is None
    else:
        assert result == expected


conditions = st.recursive(
    st.sampled_from(["label > 0", "2 <= ranked < label", "rule == 1", "(label == 1) != rule"]),
    lambda inner: st.one_of(
        st.builds("not {}".format, inner),
        st.builds("({})".format, inner),
        st.lists(inner, min_size=2, max_size=5).map(" and ".join),
        st.lists(inner, min_size=2, max_size=5).map(" or ".join),
    ),
    max_leaves=8,
)
numbers = st.recursive(
    st.sampled_from(["label", "ranked", "2", "0.50", ".5", "1e3", "7."]),
    lambda inner: st.one_of(
        st.builds("{}{}{}".format, inner, st.sampled_from("+-*/"), inner),
        st.builds("{} {} ({})".format, inner, st.sampled_from("+-*/"), inner),
        st.builds("{}{}".format, st.sampled_from("+-"), inner),
        st.builds("min({},{}, (({})))".format, inner, inner, inner),
        st.builds("gate({}, {},({}))".format, conditions, inner, inner),
        conditions.map("({})".format),
    ),
    max_leaves=12,
)


@given(numbers)
def test_a_tree_is_pythons_and_is_written_as_python_writes_it(expression: str) -> None:
    """Operators bind and chain as in Python; what a tree is written as names the terms of stored runs."""
    assume(len(expression) < 900)
    assert str(parse(expression)) == ast.unparse(ast.parse(expression, mode="eval"))
    assert str(parse(str(parse(expression)))) == str(parse(expression))


def in_groups(expression: str, values: Sequence[float], prompts: Sequence[int], by: Sequence[float]) -> list[float]:
    """What an expression gives to responses with those scores by the label RM, and ``by`` from the ranked RM."""
    context = RewardContext({"label": lambda *_: list(values), "ranked": lambda *_: list(by)})
    examples = [Example("agnews", str(prompt), {}) for prompt in prompts]
    scored = build_reward(RewardConfig(expression=expression), context)(examples, [""] * len(values))
    assert all(each.score is not None for each in scored)
    return [each.score for each in scored if each.score is not None]


EVERY = ["gmean(label)", "gstd(label)", "gz(label)", "grank(label)", "gmin(label)", "gmax(label)"]
EVERY.append("gscale(label, ranked)")
members = st.lists(st.tuples(quarters, st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=12)


@given(members, st.randoms(), st.sampled_from(EVERY))
def test_a_shuffled_batch_shuffles_what_groups_give(
    rows: list[tuple[float, int, int]], random: object, expression: str
) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    straight = in_groups(expression, *zip(*rows, strict=True))
    shuffled = in_groups(expression, *zip(*(rows[place] for place in order), strict=True))
    assert shuffled == [straight[place] for place in order]


@given(members, st.sampled_from(EVERY))
def test_other_prompts_change_nothing(rows: list[tuple[float, int, int]], expression: str) -> None:
    together = in_groups(expression, *zip(*rows, strict=True))
    for prompt in {prompt for _, prompt, _ in rows}:
        own = [place for place, row in enumerate(rows) if row[1] == prompt]
        assert in_groups(expression, *zip(*(rows[i] for i in own), strict=True)) == [together[i] for i in own]


@given(st.lists(quarters, min_size=1, max_size=12), quarters, st.integers(1, 64))
@example([1.0, 3.0, 2.0], -7.25, 3)
def test_gz_and_ranks_and_scales_do_not_change_with_the_unit(x: list[float], shift: float, factor: int) -> None:
    for operator in ("gz(label)", "grank(label)", "gscale(label, 1)"):
        moved = in_groups(operator, [shift + factor * each for each in x], [0] * len(x), x)
        assert moved == pytest.approx(in_groups(operator, x, [0] * len(x), x), abs=1e-9)


@given(st.lists(quarters, min_size=2, max_size=12))
def test_groups_equal_numpys_and_scipys(x: list[float]) -> None:
    def group(expression: str) -> list[float]:
        return in_groups(expression, x, [0] * len(x), x)

    array = np.array(x)
    deviation = array.std(ddof=1)
    even = len(set(x)) == 1
    assert group("gmean(label)") == pytest.approx([array.mean()] * len(x), abs=1e-9)
    assert group("gstd(label)") == pytest.approx([deviation] * len(x), abs=1e-9)
    assert group("gmax(label) - gmin(label)") == pytest.approx([np.ptp(array)] * len(x))
    assert group("grank(label)") == pytest.approx((scipy.stats.rankdata(x) - 1) / (len(x) - 1))
    z = np.zeros(len(x)) if even else (array - array.mean()) / deviation
    assert group("gz(label)") == pytest.approx(z, abs=1e-9)
    scaled = np.zeros(len(x)) if even else np.interp(array, [array.min(), array.max()], [-1, 1])
    assert group("gscale(label, 1)") == pytest.approx(scaled, abs=1e-9)
