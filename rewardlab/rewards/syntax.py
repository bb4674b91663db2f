"""The grammar of reward expressions: text in, a checked ``ast`` tree out; nothing is ever evaluated by Python.

Numbers, ``+ - * /``, comparisons, ``and or not``, parentheses, the functions of :data:`FUNCTIONS` and names. A
condition (the first argument of ``gate``, the operands of ``and``, ``or`` and ``not``) is a comparison, or such a
combination of comparisons: a reward as a condition would be true wherever it is not 0, at the -1 of an unreadable
answer too. A comparison may stand for a number: 1 where it holds, 0 elsewhere. The characters and their order are
checked first, so that every complaint names a column; length and depth are bounded, so that no text can hang the
parser or exhaust the stack. What the names mean is ``algebra``'s business.
"""

from __future__ import annotations

import ast
import keyword
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from rewardlab.errors import ExpressionError

MAX_CHARACTERS = 1000
MAX_DEPTH = 100

FUNCTIONS: Mapping[str, tuple[int, int | None, str]] = {
    "min": (2, None, "min(a, b, ...)"),
    "max": (2, None, "max(a, b, ...)"),
    "clip": (3, 3, "clip(x, lowest, highest)"),
    "gate": (3, 3, "gate(condition, if_true, if_false)"),
    "q": (2, 2, "q(label, 90)"),
    "z": (2, 2, "z(label, 1.5)"),
}
"""Function -> fewest arguments, most arguments (None: any number), how it is written."""

RESERVED = frozenset({*FUNCTIONS, "lam", "r2", "mixed"})
"""Words with a meaning of their own, which no reward may take as its name."""

_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*(?:(?:\.\w+)*:[A-Za-z_]\w*)?)"
    r"|(?P<symbol><=|>=|==|!=|[-+*/(),<>])",
    re.ASCII,
)
_OPERAND = "a number, a reward name or '('"
_INFIX = frozenset({"+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=", "and", "or"})
_PREFIX = frozenset({"+", "-", "not"})
_NODES = (
    *(ast.Constant, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub, ast.UAdd, ast.Not, ast.And, ast.Or),
    *(ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq),
)


@dataclass(frozen=True, slots=True)
class Token:
    """One word of an expression.

    Attributes:
        kind: ``number``, ``name`` or ``symbol``; ``and``, ``or`` and ``not`` are symbols.
        text: As written.
        column: Where it starts, from 1.
    """

    kind: str
    text: str
    column: int


def parse(text: str) -> ast.expr:
    """Read a reward expression.

    Returns:
        A tree of white-listed nodes; ``col_offset`` is the column from 1, a reference ``package.module:callable``
        is one ``Name``.
    Raises:
        ExpressionError: One line with the column, what was found and what was expected.
    Example:
        >>> ast.unparse(parse("min(label,5)+0.3*rationale"))
        'min(label, 5) + 0.3 * rationale'
    """
    if not text.strip():
        fail(text, 1, f"expected {_OPERAND}, found nothing")
    if len(text) > MAX_CHARACTERS:
        fail(text, MAX_CHARACTERS, f"the expression is longer than {MAX_CHARACTERS} characters")
    tokens = list(_tokens(text))
    _check_order(text, tokens)
    tree = _tree(text, tokens)
    _check_nodes(text, tree)
    return tree


def fail(text: str, column: int, problem: str) -> NoReturn:
    """Raise the ExpressionError of one place in ``text``."""
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    raise ExpressionError(f"reward expression {shown!r}: column {column}: {problem}")


def function_name(call: ast.Call) -> str:
    """Name of the function that a checked call calls."""
    return call.func.id if isinstance(call.func, ast.Name) else ""


def number(node: ast.expr) -> float | None:
    """The number a node spells, or None when it is not one."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = number(node.operand)
        return None if value is None else -value
    return float(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, int | float) else None


def _tokens(text: str) -> Iterator[Token]:
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            fail(text, place + 1, f"unexpected {text[place]!r}; expected numbers, names, + - * / ( ) , and comparisons")
        kind, word = str(match.lastgroup), match.group()
        if kind == "name" and keyword.iskeyword(word):
            kind = _keyword_kind(text, place + 1, word)
        if kind == "number" and not math.isfinite(float(word)):
            fail(text, place + 1, "the number is too large")
        if kind != "space":
            yield Token(kind, word, place + 1)
        place = match.end()


def _keyword_kind(text: str, column: int, word: str) -> str:
    if word == "lambda":
        fail(text, column, "write lam for lambda")
    if word not in ("and", "or", "not"):
        fail(text, column, f"{word!r} is not part of the language; for a choice use gate(condition, a, b)")
    return "symbol"


def _check_order(text: str, tokens: list[Token]) -> None:
    """Operands and operators must alternate, parentheses must match."""
    open_columns: list[int] = []
    previous: Token | None = None
    for token in tokens:
        wants_operand = previous is None or (previous.kind == "symbol" and previous.text != ")")
        _check_token(text, token, previous, wants_operand, len(open_columns))
        if token.text == "(":
            open_columns.append(token.column)
        elif token.text == ")":
            open_columns.pop()
        if len(open_columns) > MAX_DEPTH:
            fail(text, token.column, f"nested more than {MAX_DEPTH} deep")
        previous = token
    if previous is not None and previous.kind == "symbol" and previous.text != ")":
        fail(text, len(text) + 1, f"expected {_OPERAND} after {previous.text!r}, found the end")
    if open_columns:
        fail(text, open_columns[-1], "'(' is never closed; expected ')'")


def _check_token(text: str, token: Token, previous: Token | None, wants_operand: bool, depth: int) -> None:
    empty_call = token.text == ")" and previous is not None and previous.text == "("
    if token.text in (")", ",") and depth == 0:
        fail(text, token.column, f"{token.text!r} stands outside of any parentheses")
    if wants_operand and not empty_call:
        if token.kind == "symbol" and token.text != "(" and token.text not in _PREFIX:
            fail(text, token.column, f"expected {_OPERAND}, found {token.text!r}")
    elif not wants_operand and token.text not in _INFIX and token.text not in (")", ","):
        is_call = token.text == "(" and previous is not None and previous.kind == "name"
        if not is_call:
            fail(text, token.column, f"expected an operator or ',' before {token.text!r}")


def _tree(text: str, tokens: list[Token]) -> ast.expr:
    """Let Python's parser build the tree; references become plain identifiers of the same width meanwhile."""
    source = list(f"({' ' * len(text)})")  # the parentheses make leading blanks harmless, and columns count from 1
    for token in tokens:
        word = "_" * len(token.text) if ":" in token.text else token.text
        source[token.column : token.column + len(word)] = word
    try:
        tree = ast.parse("".join(source), mode="eval").body
    except SyntaxError as error:
        fail(text, (error.offset or 2) - 1, f"cannot be read ({error.msg}); parentheses may help")
    except (ValueError, RecursionError, MemoryError):
        fail(text, 1, f"nested more than {MAX_DEPTH} deep")
    names = {token.column: token.text for token in tokens if token.kind == "name"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = names[node.col_offset]
    return tree


def _check_nodes(text: str, tree: ast.expr) -> None:
    """Hold the tree against the white list, without recursion."""
    waiting: list[tuple[ast.AST, int, int]] = [(tree, 1, tree.col_offset)]
    functions: set[int] = set()
    while waiting:
        node, depth, column = waiting.pop()
        column = getattr(node, "col_offset", column)
        if depth > MAX_DEPTH:
            fail(text, column, f"nested more than {MAX_DEPTH} deep")
        if not isinstance(node, _NODES):
            fail(text, column, "a comma belongs between the arguments of a function, such as min(a, b)")
        if isinstance(node, ast.Call):
            functions.add(id(node.func))
            _check_call(text, node)
        for condition in _conditions(node):
            _check_condition(text, condition)
        if isinstance(node, ast.Name) and node.id in FUNCTIONS and id(node) not in functions:
            fail(text, column, f"{node.id} is a function; write {FUNCTIONS[node.id][2]}")
        waiting.extend((child, depth + 1, column) for child in ast.iter_child_nodes(node))


def _check_call(text: str, call: ast.Call) -> None:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name not in FUNCTIONS:
        fail(text, call.col_offset, f"{name or 'this'} is no function; functions are {', '.join(FUNCTIONS)}")
    fewest, most, form = FUNCTIONS[name]
    if len(call.args) < fewest or (most is not None and len(call.args) > most):
        fail(text, call.col_offset, f"{name} has {len(call.args)} arguments; expected {form}")


def _conditions(node: ast.AST) -> Sequence[ast.expr]:
    """The parts of a node that must be conditions."""
    match node:
        case ast.Call() if function_name(node) == "gate":
            return node.args[:1]
        case ast.BoolOp(values=values):
            return values
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return [operand]
    return []


def _check_condition(text: str, node: ast.expr) -> None:
    is_not = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    if is_not or isinstance(node, ast.Compare | ast.BoolOp):
        return
    shown = ast.unparse(node)
    fail(text, node.col_offset, f"{shown} is a number, and a condition is a comparison; write {shown} > 0")
