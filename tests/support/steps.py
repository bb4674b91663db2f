"""How much work a call is, without a clock: the lines of Python it runs, and which patterns could make it run away."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

# the parsed form of a pattern has no public name; the module moved in 3.11
from re import _constants as op  # type: ignore[attr-defined]  # isort: skip
from re import _parser as parser  # type: ignore[attr-defined]  # isort: skip

REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT)


def steps(work: Callable[[], object]) -> int:
    """Lines of Python that ``work`` runs, in every function it calls; the same on every machine."""
    count, before = 0, sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def patterns(*modules: ModuleType) -> dict[str, re.Pattern[str]]:
    """Every pattern that the modules name, as ``module.NAME``."""
    return {
        f"{module.__name__.removeprefix('rewardlab.')}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, re.Pattern)
    }


def runaways(pattern: str) -> list[str]:
    """Repeats without an upper bound that a search may have to try again from each place in a text.

    Harmless are those that end the pattern, because nothing behind them can fail. What is left takes time that grows
    with the square of the text, or faster.

    >>> runaways("a{0,9}b[0-9]+"), runaways("a+b"), runaways("(?:a+){1,3}")
    ([], ['a+'], ['a+'])
    """
    return list(_runaways(parser.parse(pattern), is_last=True))


def _runaways(items: Any, is_last: bool) -> Iterator[str]:
    for number, (code, argument) in enumerate(items):
        ends = is_last and number == len(items) - 1
        if code in REPEATS:
            low, high, body = argument
            if high == op.MAXREPEAT and not ends:
                yield _shown(body, low)
            yield from _runaways(body, is_last=False)
        elif code is op.BRANCH:
            for branch in argument[1]:
                yield from _runaways(branch, ends)
        elif code is op.SUBPATTERN:
            yield from _runaways(argument[-1], ends)
        elif code in (op.ASSERT, op.ASSERT_NOT):
            yield from _runaways(argument[1], is_last=False)


def _shown(body: Any, low: int) -> str:
    """The repeat, roughly as it was written."""
    (code, argument), *more = list(body)
    shown = chr(argument) if code is op.LITERAL and not more else str(code).lower()
    return f"{shown}{'+' if low else '*'}"
