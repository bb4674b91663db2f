"""The language of reward expressions: text in, a checked tree of nodes out; Python never evaluates any of it.

Numbers, ``+ - * /``, comparisons, ``and or not``, parentheses, the functions of :data:`FUNCTIONS` and names. A
condition (the first argument of ``gate``, the operands of ``and``, ``or`` and ``not``) is a comparison, or such a
combination of comparisons: a reward as a condition would be true wherever it is not 0, at the -1 of an unreadable
answer too. A comparison may stand for a number: 1 where it holds, 0 elsewhere. Every complaint names a column; length
and depth are bounded, so that no text can exhaust the stack. What a tree needs stands in ``plan``, its values in
``evaluate``.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from rewardlab.errors import ExpressionError
from rewardlab.rewards.moving import TIMES

MAX_CHARACTERS = 1000
MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    Attributes:
        fewest, most: Number of arguments; None is any.
        form: How it is written.
        meaning: What it gives, in a line.
        compares: True for a group operator, whose value depends on the other responses to the same prompt.
    """

    fewest: int
    most: int | None
    form: str
    meaning: str
    compares: bool = False


_GROUP = "the responses to one prompt"
FUNCTIONS: Mapping[str, Function] = {
    "min": Function(2, None, "min(a, b, ...)", "the smallest"),
    "max": Function(2, None, "max(a, b, ...)", "the largest"),
    "clip": Function(3, 3, "clip(x, lowest, highest)", "x, held between the two"),
    "gate": Function(
        *(3, 3, "gate(condition, if_true, if_false)"),
        "one of two values; the condition is a comparison, as in gate(rule > 0, 1, 0)",
    ),
    "q": Function(2, 2, "q(label, 90)", "that percentile of a reward model's scores on SFT samples"),
    "z": Function(2, 2, "z(label, 1.5)", "mean + 1.5 standard deviations of its scores on SFT samples"),
    "gmean": Function(1, 1, "gmean(x)", f"mean of x over {_GROUP}", compares=True),
    "gstd": Function(1, 1, "gstd(x)", f"standard deviation of x over {_GROUP} (n - 1); 0 for one", compares=True),
    "gz": Function(1, 1, "gz(x)", "(x - gmean(x)) / gstd(x); 0 where all are equal", compares=True),
    "grank": Function(1, 1, "grank(x)", f"rank of x among {_GROUP}: 0 lowest, 1 highest, ties averaged", compares=True),
    "gmin": Function(1, 1, "gmin(x)", f"smallest x among {_GROUP}", compares=True),
    "gmax": Function(1, 1, "gmax(x)", f"largest x among {_GROUP}", compares=True),
    "gscale": Function(
        *(2, 2, "gscale(x, by)"),
        f"x from -1 (smallest) to 1 (largest) among {_GROUP} with an equal by; 0 where they have one x",
        compares=True,
    ),
}
"""Function -> what it takes and gives."""

RESERVED = frozenset({*FUNCTIONS, "lam", "r2", "mixed", *TIMES})
"""Words with a meaning of their own, which no reward may take as its name."""

_INFIX = {"or": 0, "and": 1, **dict.fromkeys(["<", "<=", ">", ">=", "==", "!="], 3), "+": 4, "-": 4, "*": 5, "/": 5}
_PREFIX = {"not": 2, "+": 6, "-": 6}
"""Operator -> how strongly it binds, in Python's order."""
_CONDITIONS = 3
"""Operators that bind up to here give a condition, those above a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A part of an expression; ``str`` writes it with single spaces and the parentheses that it needs.

    Attributes:
        column: Where it starts, from 1.
        operands: The parts that it is made of, left to right.
    """

    column: int
    operands: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Node):
    """A number, as it is spelled or as it was computed."""

    value: float

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Name(Node):
    """A reward, ``lam``, ``r2``, ``mixed``, ``step`` or ``progress``."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Node):
    """A function and its arguments."""

    function: str

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(str, self.operands))})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Node):
    """One operand behind a sign or ``not``; two in arithmetic; two or more in comparisons and in ``and``, ``or``.

    Attributes:
        symbols: The operators between the operands, or the one in front of the only operand.
    """

    symbols: tuple[str, ...]

    @property
    def binding(self) -> int:
        """How strongly it binds."""
        first, *_ = self.symbols  # the others bind as it does
        return (_PREFIX if len(self.operands) == 1 else _INFIX)[first]

    def __str__(self) -> str:
        shown = [_enclosed(operand, self._weakest(place)) for place, operand in enumerate(self.operands)]
        if len(shown) == 1:
            return f"{self.symbols[0]}{' ' * (self.symbols[0] == 'not')}{shown[0]}"
        rest = zip(self.symbols, shown[1:], strict=True)
        return shown[0] + "".join(f" {symbol} {operand}" for symbol, operand in rest)

    def _weakest(self, place: int) -> int:
        """How strongly the operand at a place has to bind to stand without parentheses."""
        match self.symbols:
            case ("and" | "or", *_):
                return self.binding + 1 + place  # as in ast.unparse, which named the terms of runs that are stored
        if self.binding == _CONDITIONS:
            return self.binding + 1  # (a < b) < c is not a < b < c
        return self.binding + place  # a - b - c is (a - b) - c


def parse(text: str) -> Node:
    """Read a reward expression.

    Raises:
        ExpressionError: One line with the column, what was found and what was expected.
    Example:
        >>> str(parse("min(label,5)+0.3*rationale"))
        'min(label, 5) + 0.3 * rationale'
    """
    if not text.strip():
        fail(text, 1, f"expected {_OPERAND}, found nothing")
    if len(text) > MAX_CHARACTERS:
        fail(text, MAX_CHARACTERS, f"the expression is longer than {MAX_CHARACTERS} characters")
    try:
        tree = _Parser(text).whole()
    except RecursionError:  # signs and parentheses take several calls each, and the caller has used some of the stack
        fail(text, 1, f"nested more than {MAX_DEPTH} deep")
    _check_depth(text, tree)
    return tree


def fail(text: str, column: int, problem: str) -> NoReturn:
    """Raise the ExpressionError of one place in ``text``."""
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    raise ExpressionError(f"reward expression {shown!r}: column {column}: {problem}")


def _check_depth(text: str, node: Node) -> None:
    level = [node]
    for _ in range(MAX_DEPTH):
        level = [operand for each in level for operand in each.operands]
    if level:
        fail(text, level[0].column, f"nested more than {MAX_DEPTH} deep")


def walk(node: Node) -> Iterator[Node]:
    """A node and all parts of it, left to right."""
    yield node
    for operand in node.operands:
        yield from walk(operand)


def rewrite(node: Node, change: Callable[[Node], Node | None]) -> Node:
    """The tree with the nodes that ``change`` gives; where it gives None, a node stays and its operands are asked."""
    changed = change(node)
    return changed or replace(node, operands=tuple(rewrite(operand, change) for operand in node.operands))


def group_operator(node: Node) -> Call | None:
    """The first call that compares the responses to one prompt; None when a response is judged by itself."""
    calls = (each for each in walk(node) if isinstance(each, Call) and FUNCTIONS[each.function].compares)
    return next(calls, None)


def number(node: Node) -> float | None:
    """The number that a node spells, with a minus or without, or None when it is none."""
    match node:
        case Number(value=value):
            return float(value)
        case Operation(symbols=("-",), operands=(operand,)):
            positive = number(operand)
            return None if positive is None else -positive
    return None


def _enclosed(node: Node, weakest: int) -> str:
    """A node as text, in parentheses when its operator binds less than ``weakest``."""
    return f"({node})" if isinstance(node, Operation) and node.binding < weakest else str(node)


_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*(?:(?:\.\w+)*:[A-Za-z_]\w*)?)"
    r"|(?P<symbol><=|>=|==|!=|[-+*/(),<>])",
    re.ASCII,
)
_OPERAND = "a number, a reward name or '('"


@dataclass(frozen=True, slots=True)
class _Token:
    """One word: a number, name, symbol (``and``, ``or`` and ``not`` are symbols) or the end, and its column from 1."""

    kind: str
    text: str
    column: int


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            fail(text, place + 1, f"unexpected {text[place]!r}; expected numbers, names, + - * / ( ) , and comparisons")
        kind, word = str(match.lastgroup), match.group()
        if word == "lambda":
            fail(text, place + 1, "write lam for lambda")
        if kind == "name" and keyword.iskeyword(word):
            if word not in ("and", "or", "not"):
                fail(text, place + 1, f"{word!r} is not part of the language; for a choice use gate(condition, a, b)")
            kind = "symbol"
        if kind == "number" and not math.isfinite(float(word)):
            fail(text, place + 1, "the number is too large")
        if kind != "space":
            yield _Token(kind, word, place + 1)
        place = match.end()
    yield _Token("end", "", len(text) + 1)


class _Parser:
    """Precedence climbing over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._place = 0
        self._open: list[_Token] = []

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        self._place += 1
        return self._tokens[self._place - 1]

    def _fail(self, place: _Token | Node, problem: str) -> NoReturn:
        fail(self._text, place.column, problem)

    def whole(self) -> Node:
        """The tree of the whole text."""
        tree = self._expression()
        if self._next.text in (")", ","):
            self._fail(self._next, f"{self._next.text!r} stands outside of any parentheses")
        if self._next.kind != "end":
            self._fail(self._next, f"expected an operator or ',' before {self._next.text!r}")
        return tree

    def _expression(self, weakest: int = 0) -> Node:
        """An operand, and what operators that bind ``weakest`` or more add to it."""
        column = self._next.column
        tree = self._operand(weakest)
        while (binding := _INFIX.get(self._next.text)) is not None and binding >= weakest:
            symbols, operands = [self._take().text], [tree, self._expression(binding + 1)]
            while binding <= _CONDITIONS and _INFIX.get(self._next.text) == binding:  # a < b < c is one comparison
                symbols.append(self._take().text)
                operands.append(self._expression(binding + 1))
            tree = self._checked(Operation(column=column, symbols=tuple(symbols), operands=tuple(operands)))
        return tree

    def _operand(self, weakest: int) -> Node:
        token = self._take()
        if token.kind == "number":
            return Number(column=token.column, value=int(token.text) if token.text.isdigit() else float(token.text))
        if token.kind == "name":
            is_call = self._next.text == "(" or token.text in FUNCTIONS
            return self._call(token) if is_call else Name(column=token.column, name=token.text)
        if token.text in _PREFIX:
            return self._prefixed(token, weakest)
        if token.text != "(":
            self._no_operand(token)
        inside = self._inside(token)
        if len(inside) != 1:
            self._fail(token, "a comma belongs between the arguments of a function, such as min(a, b)")
        (only,) = inside
        return only

    def _no_operand(self, token: _Token) -> NoReturn:
        if token.kind == "end":
            before = self._tokens[self._place - 2].text
            self._fail(token, f"expected {_OPERAND} after {before!r}, found the end")
        if token.text in (")", ",") and not self._open:
            self._fail(token, f"{token.text!r} stands outside of any parentheses")
        self._fail(token, f"expected {_OPERAND}, found {token.text!r}")

    def _prefixed(self, token: _Token, weakest: int) -> Node:
        binding = _PREFIX[token.text]
        if binding < weakest:
            self._fail(token, f"cannot be read ({token.text!r} behind an operator); parentheses may help")
        operands = (self._expression(binding),)
        return self._checked(Operation(column=token.column, symbols=(token.text,), operands=operands))

    def _call(self, name: _Token) -> Node:
        function = FUNCTIONS.get(name.text)
        if function is None:
            self._fail(name, f"{name.text} is no function; functions are {', '.join(FUNCTIONS)}")
        if self._next.text != "(":
            self._fail(name, f"{name.text} is a function; write {function.form}")
        given = self._inside(self._take())
        if len(given) < function.fewest or (function.most is not None and len(given) > function.most):
            self._fail(name, f"{name.text} has {len(given)} arguments; expected {function.form}")
        return self._checked(Call(column=name.column, function=name.text, operands=given))

    def _inside(self, opening: _Token) -> tuple[Node, ...]:
        """What stands between an opening parenthesis, which was taken, and its closing one, at commas."""
        self._open.append(opening)
        if len(self._open) > MAX_DEPTH:
            self._fail(opening, f"nested more than {MAX_DEPTH} deep")
        found = []
        if self._next.text != ")":
            found.append(self._expression())
            while self._next.text == ",":
                self._take()
                found.append(self._expression())
        closing = self._take()
        if closing.kind == "end":
            self._fail(opening, "'(' is never closed; expected ')'")
        if closing.text != ")":
            self._fail(closing, f"expected an operator or ',' before {closing.text!r}")
        self._open.pop()
        return tuple(found)

    def _checked(self, node: Call | Operation) -> Node:
        """The node, when those of its operands that must be conditions are."""
        conditions: tuple[Node, ...] = ()
        match node:
            case Call(function="gate"):
                conditions = node.operands[:1]
            case Operation(symbols=("and" | "or" | "not", *_)):
                conditions = node.operands
        for each in conditions:
            if not (isinstance(each, Operation) and each.binding <= _CONDITIONS):
                self._fail(each, f"{each} is a number, and a condition is a comparison; write {each} > 0")
        return node
