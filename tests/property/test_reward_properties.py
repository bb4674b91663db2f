"""Laws of reward expressions: eq. 4, weights, permutation, and a parser that only ever raises ExpressionError."""

from __future__ import annotations

import string

from hypothesis import assume, example, given
from hypothesis import strategies as st

from rewardlab.config import RewardConfig
from rewardlab.errors import ExpressionError
from rewardlab.rewards import RewardContext, build_reward
from rewardlab.rewards.syntax import parse
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
