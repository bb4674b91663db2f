"""The values of an expression's nodes, for a batch of responses at a time.

A value that depends on a part without a score is :class:`Unscored`; the branch that ``gate``, ``and`` or ``or`` leaves
alone does not count. A comparison gives 1 or 0, as a number and as a condition.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from rewardlab.rewards.context import RewardContext
from rewardlab.rewards.expression import FUNCTIONS, Call, Name, Node, Number, Operation, fail, number, rewrite, walk
from rewardlab.rewards.groups import OPERATORS, places_of_each
from rewardlab.types import Score

Compute = Callable[..., float]

_INFIX: Mapping[str, Compute] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_PREFIX: Mapping[str, Compute] = {"+": operator.pos, "-": operator.neg, "not": operator.not_}
_CALLS: Mapping[str, Compute] = {"min": min, "max": max, "clip": lambda x, low, high: max(low, min(x, high))}


@dataclass(frozen=True, slots=True)
class Unscored:
    """Stands for the value of a response that has none: a part without a score, a division by zero."""

    reason: str


Value = float | Unscored


@dataclass(frozen=True, slots=True)
class Batch:
    """Responses and what was said of each. R responses.

    Attributes:
        prompts: Which prompt each one answers; those with an equal one are a group. Length R.
        parts: Reward -> its scores. Length R each.
    """

    prompts: Sequence[Hashable]
    parts: Mapping[str, Sequence[Score]]


def values(node: Node, batch: Batch) -> list[Value]:
    """One value per response, of a node without ``lam``, ``q`` and ``z`` (see :func:`resolve`)."""
    match node:
        case Number(value=value):
            return [float(value)] * len(batch.prompts)
        case Name(name=name):
            scores = batch.parts[name]
            return [
                Unscored(f"{name}: {each.reason or 'no score'}") if each.score is None else each.score
                for each in scores
            ]
    rows = list(zip(*(values(operand, batch) for operand in node.operands), strict=True))
    match node:
        case Call(function="gate"):
            return [row[0] if isinstance(row[0], Unscored) else row[1 if row[0] else 2] for row in rows]
        case Call(function=name) if FUNCTIONS[name].compares:
            return _compared(name, rows, batch.prompts)
        case Operation(symbols=("and" | "or" as word, *_)):
            return [_joined(row, decisive=word == "or") for row in rows]
    compute = _function(node)
    return [_computed(compute, row) for row in rows]


def _function(node: Node) -> Compute:
    """What a node makes of the numbers of its operands."""
    match node:
        case Call(function=name):
            return _CALLS[name]
        case Operation(symbols=(symbol,), operands=operands):
            return (_PREFIX if len(operands) == 1 else _INFIX)[symbol]
        case Operation(symbols=symbols):
            tests = [_INFIX[symbol] for symbol in symbols]
            return lambda *row: all(test(low, high) for test, low, high in zip(tests, row, row[1:], strict=False))
    raise TypeError(f"{type(node).__name__} has no function")


def terms_of(node: Node, sign: int = 1) -> list[tuple[int, Node]]:
    """The additive terms of an expression, split at + and -, each with its sign."""
    match node:
        case Operation(symbols=("+" | "-" as symbol,), operands=(left, right)):
            return terms_of(left, sign) + terms_of(right, sign if symbol == "+" else -sign)
    return [(sign, node)]


def resolve(node: Node, lam: float | None, context: RewardContext | None) -> Node:
    """The tree with numbers in place of ``lam``, ``q`` and ``z``; those that None stands for are left.

    Args:
        lam: Lambda on the raw scale.
        context: Has the stored scores that ``q`` and ``z`` read.
    Raises:
        ConfigError: No scores are stored.
    """

    def change(each: Node) -> Node | None:
        match each:
            case Name(name="lam") if lam is not None:
                return Number(column=each.column, value=lam)
            case Call(function="q" | "z" as function, operands=(Name(name=model), argument)) if context is not None:
                find = context.quantile if function == "q" else context.zscore
                return Number(column=each.column, value=find(model, number(argument) or 0.0))
        return None

    return rewrite(node, change)


def check_bounds(expression: str, tree: Node, lam: float | None, context: RewardContext | None) -> None:
    """Refuse ``clip`` with a lowest value above the highest, where both are known before any response.

    Args:
        lam, context: As for :func:`resolve`.
    Raises:
        ExpressionError: With the column of the lower bound, or of a bound that is no number.
    """
    for call in walk(tree):
        if not isinstance(call, Call) or call.function != "clip":
            continue
        _, lowest, highest = call.operands
        low, high = (_bound(expression, bound, lam, context) for bound in (lowest, highest))
        if low is not None and high is not None and low > high:
            fail(
                expression,
                lowest.column,
                f"the lowest value {low:g} of clip lies above the highest, {high:g}; swap them",
            )


def _bound(expression: str, node: Node, lam: float | None, context: RewardContext | None) -> float | None:
    """A bound of ``clip`` that no response changes, and None of others."""
    resolved = resolve(node, lam, context)
    if any(isinstance(each, Name) for each in walk(resolved)):
        return None
    [value] = values(resolved, Batch([""], {}))
    if isinstance(value, Unscored):
        fail(expression, node.column, f"{str(node)[:40]} bounds nothing: {value.reason}")
    return value


def _computed(compute: Compute, row: Sequence[Value]) -> Value:
    """A function of one response's numbers, unless one of them is missing."""
    numbers = []
    for value in row:
        if isinstance(value, Unscored):
            return value
        numbers.append(value)
    try:
        return finite(float(compute(*numbers)))
    except ZeroDivisionError:
        return Unscored("division by zero")


def _joined(row: Sequence[Value], *, decisive: bool) -> Value:
    """``or`` (``and``) of one response: the first operand that holds (does not hold) decides."""
    for value in row:
        if isinstance(value, Unscored):
            return value
        if bool(value) is decisive:
            return float(decisive)
    return float(not decisive)


def _compared(name: str, rows: Sequence[Sequence[Value]], prompts: Sequence[Hashable]) -> list[Value]:
    """A group operator; a response without one of the operands is left out of its group, and has no value."""
    missing = [next((value for value in row if isinstance(value, Unscored)), None) for row in rows]
    results: dict[int, Value] = {place: value for place, value in enumerate(missing) if value is not None}
    for places in places_of_each(prompts):
        members = [place for place in places if place not in results]
        if not members:
            continue
        try:
            compared = OPERATORS[name](*zip(*(rows[place] for place in members), strict=True))
        except OverflowError:
            compared = [math.inf] * len(members)
        results |= zip(members, map(finite, compared), strict=True)
    return [results[place] for place in range(len(rows))]


def finite(value: float) -> Value:
    """A number, unless it is more than one holds."""
    return value if math.isfinite(value) else Unscored("the number is too large")
