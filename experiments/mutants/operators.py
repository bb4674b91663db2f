"""One-token mutants of a Python file: which changes a sample is drawn from.

Changed are comparisons, arithmetic, ``and``/``or``/``not``, numbers and truth values, minimum and maximum and their
kin, conditions, branches of ``a if c else b``, items of dictionaries, lists and sets, and calls whose result nobody
takes. Left alone is what no test should notice: texts, messages of errors and of the log, annotations, decorators,
descriptions of settings, and ``strict=`` of ``zip``.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "sum": "max",
    "mean": "sum",
    "fmean": "sum",
    "exp": "expm1",
    "expm1": "exp",
    "log": "log1p",
    "log1p": "log",
    "minimum": "maximum",
    "maximum": "minimum",
    "floor": "ceil",
    "ceil": "floor",
    "sqrt": "abs",
}
SILENT = {"logger", "warnings", "typer"}
SETTINGS = {"Field", "NewType", "TypeVar", "cast", "fail", "error"}
NO_NUMBERS = {"strict", "encoding", "errors", "exc_info", "stacklevel", "slots", "frozen", "ensure_ascii", "indent"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file.

    Attributes:
        module: The file, relative to the root of the tree.
        line: Where it begins, from 1.
        before, after: The whole file's text.
        what: The changed expression, before and after.
    """

    module: str
    line: int
    before: str
    after: str
    what: str


def mutants(module: str, source: str) -> list[Mutant]:
    """Every mutant of a file, in the order of its lines."""
    made = []
    for node, changed in _changes(ast.parse(source)):
        text = _replaced(source, node, changed)
        if text is not None:
            old = ast.get_source_segment(source, node) or ""
            made.append(Mutant(module, node.lineno, source, text, f"{_short(old)}  ->  {_short(changed)}"))
    return made


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 110 else line[:107] + "..."


def _replaced(source: str, node: Any, changed: str) -> str | None:
    """The file with a node's text replaced; None where that is the same program."""
    lines = source.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    text = (source.encode()[:start] + changed.encode() + source.encode()[end:]).decode()
    try:
        return None if ast.dump(ast.parse(text)) == _dumped(source) else text
    except SyntaxError:
        return None


@lru_cache(maxsize=1)
def _dumped(source: str) -> str:
    return ast.dump(ast.parse(source))


def _changes(tree: ast.AST) -> Iterator[tuple[Any, str]]:
    """(node, text in its place) of every change."""
    for node in _places(tree):
        if isinstance(node, ast.If | ast.While) and isinstance(node.test, ast.Name | ast.Attribute | ast.Call):
            if getattr(node.test, "id", "") == "TYPE_CHECKING":
                continue
            yield node.test, f"not ({ast.unparse(node.test)})"
        for changed in _of(node):
            yield node, changed if isinstance(changed, str) else ast.unparse(changed)


def _places(node: ast.AST) -> Iterator[Any]:
    """Nodes that may change, from the outside in."""
    yield node
    for child in _children(node):
        yield from _places(child)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return
        case ast.Call(func=func) if _is_silent(func):
            return
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from (default for default in (*node.args.defaults, *node.args.kw_defaults) if default is not None)
            yield from node.body
        case ast.ClassDef():
            yield from node.body
        case ast.AnnAssign():
            yield from [node.value] if node.value is not None else []
        case ast.ExceptHandler():
            yield from node.body
        case ast.keyword() if node.arg in NO_NUMBERS:
            return
        case ast.Subscript() if _is_type(node.value):
            return
        case _:
            yield from ast.iter_child_nodes(node)


def _is_silent(func: ast.expr) -> bool:
    """True for the log and for what describes settings."""
    if isinstance(func, ast.Attribute):
        return isinstance(func.value, ast.Name) and func.value.id in SILENT
    return isinstance(func, ast.Name) and func.id in SETTINGS


def _is_type(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else ""
    return name in ("Literal", "Callable", "Mapping", "Sequence", "dict", "list", "tuple", "type", "Iterator")


def _of(node: Any) -> Iterator[ast.AST | str]:
    """What may stand in a node's place."""
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                for other in COMPARE[type(operator)]:
                    yield _with(node, ops=[*node.ops[:place], other(), *node.ops[place + 1 :]])
        case ast.BinOp(op=ast.BitOr()) if _is_class(node.left) or _is_class(node.right):
            return
        case ast.BinOp() if type(node.op) in ARITHMETIC and not _is_text(node.left, node.right):
            yield _with(node, op=ARITHMETIC[type(node.op)]())
        case ast.AugAssign() if type(node.op) in ARITHMETIC and not _is_text(node.value):
            yield _with(node, op=ARITHMETIC[type(node.op)]())
        case ast.BoolOp():
            yield ast.unparse(_with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And()))
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield f"({ast.unparse(node.operand)})"
        case ast.Constant(value=bool() as value):
            yield str(not value)
        case ast.Constant(value=int() | float() as value):
            yield from (repr(other) for other in {value + 1, 0 if value else -1})
        case ast.Call(func=ast.Name(id=name)) if name in NAMES:
            yield _with(node, func=ast.Name(NAMES[name]))
        case ast.Call(func=ast.Attribute(attr=name) as func) if name in NAMES:
            yield _with(node, func=_with(func, attr=NAMES[name]))
        case ast.IfExp():
            yield f"({ast.unparse(_with(node, body=node.orelse, orelse=node.body))})"
        case ast.Dict() if len(node.keys) > 1:
            for place in range(len(node.keys)):
                yield _with(node, keys=_without(node.keys, place), values=_without(node.values, place))
        case ast.List(ctx=ast.Load()) | ast.Set() if len(node.elts) > 1:
            yield from (_with(node, elts=_without(node.elts, place)) for place in range(len(node.elts)))
        case ast.Expr(value=ast.Call(func=func)) if not _is_silent(func):
            yield "pass"
        case ast.Delete():
            yield "pass"


def _is_class(node: ast.expr) -> bool:
    """True for a part of ``Score | float | None``."""
    name = getattr(node, "attr", getattr(node, "id", ""))
    return name[:1].isupper() or (isinstance(node, ast.Constant) and node.value is None)


def _with(node: Any, **fields: Any) -> Any:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _without(items: Sequence[Any], place: int) -> list[Any]:
    return [item for number, item in enumerate(items) if number != place]


def _is_text(*nodes: ast.expr) -> bool:
    """Texts are joined, not added."""
    return any(isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str) for node in nodes)
