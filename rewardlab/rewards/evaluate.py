"""From a checked expression tree to functions of one response's scores; no Python evaluation of text anywhere.

A value that depends on a part without a score raises :class:`Unscored`; the branch that ``gate``, ``and`` or ``or``
leaves alone is never looked at. A comparison gives 1 or 0, as a number and as a condition.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rewardlab.rewards.context import RewardContext
from rewardlab.rewards.syntax import fail, function_name, number
from rewardlab.types import Score

Parts = Mapping[str, Score]
Evaluate = Callable[[Parts], float]

_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True, slots=True)
class Term:
    """One additive term of an expression: its text with sign, and how its value is found."""

    text: str
    evaluate: Evaluate


class Unscored(Exception):
    """A part that the value depends on has no score; the message says which and why."""


def terms_of(
    node: ast.expr, lam: float | None, context: RewardContext, *, is_taken_away: bool = False
) -> Iterator[Term]:
    """Split the top level at + and -."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield from terms_of(node.left, lam, context, is_taken_away=is_taken_away)
        turns = isinstance(node.op, ast.Sub)
        yield from terms_of(node.right, lam, context, is_taken_away=is_taken_away != turns)
        return
    evaluate = _compile(node, lam, context)
    text = ast.unparse(node)
    yield Term(f"-({text})", lambda parts: -evaluate(parts)) if is_taken_away else Term(text, evaluate)


def check_bounds(expression: str, tree: ast.expr, lam: float | None, context: RewardContext | None) -> None:
    """Refuse ``clip`` with a lowest value above the highest, where both are known before any response.

    Args:
        lam: Lambda on the raw scale; None when it is not known yet.
        context: Has the stored scores that ``q`` and ``z`` read; None when they are not known yet.
    Raises:
        ExpressionError: With the column of the lower bound.
    """
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or function_name(call) != "clip":
            continue
        low, high = (_bound(expression, bound, lam, context) for bound in call.args[1:])
        if low is not None and high is not None and low > high:
            column = call.args[1].col_offset
            fail(expression, column, f"the lowest value {low:g} of clip lies above the highest, {high:g}; swap them")


def _bound(expression: str, node: ast.expr, lam: float | None, context: RewardContext | None) -> float | None:
    """A bound of ``clip`` as far as it is known; refused where no response could make a number of it."""
    try:
        return _known(node, lam, context)
    except Unscored as error:
        fail(expression, node.col_offset, f"{ast.unparse(node)[:40]} bounds nothing: {error}")


def _known(node: ast.expr, lam: float | None, context: RewardContext | None) -> float | None:
    """The value of a part that no response changes, and None of others.

    Raises:
        Unscored: It has none: a division by zero, or more than a number holds.
    """
    calls = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
    stored = [call for call in calls if function_name(call) in ("q", "z")]
    inert = {id(call.func) for call in calls} | {id(call.args[0]) for call in stored}
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and id(each) not in inert}
    if names - ({"lam"} if lam is not None else set()) or (stored and context is None):
        return None
    return _compile(node, lam, context or RewardContext())({})


def _compile(node: ast.expr, lam: float | None, context: RewardContext) -> Evaluate:
    """Turn a checked node into a function of one response's parts."""

    def inner(child: ast.expr) -> Evaluate:
        return _compile(child, lam, context)

    match node:
        case ast.Name(id="lam"):
            return _constant(lam if lam is not None else math.nan)
        case ast.Name(id=name):
            return lambda parts: _read(parts, name)
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(_BINARY[type(op)], inner(left), inner(right))
        case ast.UnaryOp(op=op, operand=operand):
            return _unary(op, inner(operand))
        case ast.BoolOp(op=op, values=values):
            holds = all if isinstance(op, ast.And) else any
            operands = [inner(value) for value in values]
            return lambda parts: float(holds(operand(parts) != 0 for operand in operands))
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _comparison([inner(value) for value in (left, *others)], [_COMPARE[type(op)] for op in ops])
        case ast.Call(args=arguments) if function_name(node) in ("q", "z"):
            return _constant(_stored(node, context))
        case ast.Call(args=arguments):
            return _call(function_name(node), [inner(argument) for argument in arguments])
    value = number(node)
    return _constant(math.nan if value is None else value)


def _constant(value: float) -> Evaluate:
    return lambda parts: value


def _read(parts: Parts, name: str) -> float:
    part = parts[name]
    if part.score is None:
        raise Unscored(f"{name}: {part.reason or 'no score'}")
    return part.score


def _binary(compute: Callable[[float, float], float], left: Evaluate, right: Evaluate) -> Evaluate:
    def evaluate(parts: Parts) -> float:
        try:
            return finite(compute(left(parts), right(parts)))
        except ZeroDivisionError:
            raise Unscored("division by zero") from None

    return evaluate


def _unary(op: ast.unaryop, operand: Evaluate) -> Evaluate:
    if isinstance(op, ast.Not):
        return lambda parts: float(operand(parts) == 0)
    return operand if isinstance(op, ast.UAdd) else lambda parts: -operand(parts)


def _comparison(values: Sequence[Evaluate], tests: Sequence[Callable[[float, float], bool]]) -> Evaluate:
    def evaluate(parts: Parts) -> float:
        numbers = [value(parts) for value in values]
        return float(all(test(low, high) for test, low, high in zip(tests, numbers, numbers[1:], strict=False)))

    return evaluate


def _call(name: str, arguments: Sequence[Evaluate]) -> Evaluate:
    if name == "gate":
        condition, if_true, if_false = arguments
        return lambda parts: if_true(parts) if condition(parts) != 0 else if_false(parts)
    if name == "clip":
        value, low, high = arguments
        return lambda parts: max(low(parts), min(value(parts), high(parts)))
    pick = min if name == "min" else max
    return lambda parts: pick([argument(parts) for argument in arguments])


def _stored(call: ast.Call, context: RewardContext) -> float:
    model, argument = call.args
    kind, value = getattr(model, "id", ""), number(argument) or 0.0
    return context.quantile(kind, value) if function_name(call) == "q" else context.zscore(kind, value)


def finite(value: float) -> float:
    if not math.isfinite(value):
        raise Unscored("the number is too large")
    return value
