"""Mutants that do the same as the code for every input, as ``equivalent.toml`` lists them."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from operators import Mutant  # beside this file

Key = tuple[str, str, str]
"""Module, source line without its indent, and change."""
LIST = Path(__file__).with_suffix(".toml")


@cache
def listed(path: Path = LIST) -> dict[Key, str]:
    """The reason of each listed mutant."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["entries"]
    return {(module, line, what): reason for module, line, what, reason in entries}


def key(mutant: Mutant) -> Key:
    """How a mutant is listed; two of the same line and change are one entry."""
    return mutant.module, mutant.before.splitlines()[mutant.line - 1].strip(), mutant.what


def told_apart(every: Sequence[Mutant]) -> list[Mutant]:
    """The mutants that some test could kill."""
    return [mutant for mutant in every if key(mutant) not in listed()]
