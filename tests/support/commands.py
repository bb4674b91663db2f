"""Command lines run as typed: what they leave behind, and settings that keep them small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MIXED = ("ppo", "--reward", "mixed", "--lambda", "5")
SMALL = tuple(f"--set=data.{part}=8" for part in ("labelled", "prompts", "validation", "test"))


@dataclass
class Outcome:
    """What one command line left behind."""

    code: int
    out: str
    err: str

    @property
    def problem(self) -> str:
        """The one line that bad input gets."""
        assert self.code == 2, self.err
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("error: ")
        assert self.err.endswith("\n")
        return self.err.removeprefix("error: ").rstrip("\n")


Command = Callable[..., Outcome]


def written() -> list[str]:
    """Everything below the current folder."""
    return sorted(str(path) for path in Path().rglob("*"))
