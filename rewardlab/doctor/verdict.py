"""What a check is, and what it says of a model. No torch at import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rewardlab.doctor.probe import ProbeModel

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check measured.

    Attributes:
        outcome: ``skipped`` where the model has nothing that the check could look at.
        text: The measurement with its limit, or what was found; one line.
    """

    outcome: Outcome
    text: str


@dataclass(frozen=True, slots=True)
class Check:
    """One examination.

    Attributes:
        name: Short name, unique.
        claim: What holds when it passes.
        advice: What to do when it fails.
        run: Measures; may leave the trained tensors of the model in any state.
    """

    name: str
    claim: str
    advice: str
    run: Callable[[ProbeModel], Finding]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A check and its finding."""

    check: Check
    finding: Finding
    seconds: float

    @property
    def is_failed(self) -> bool:
        """True when the claim does not hold."""
        return self.finding.outcome == "failed"


def judged(is_fine: bool, text: str) -> Finding:
    """Passed or failed."""
    return Finding("passed" if is_fine else "failed", text)


def within(found: float, limit: float, what: str) -> Finding:
    """Passed when a deviation is at most ``limit``; a deviation that is not a number fails."""
    return judged(found <= limit, f"{what} {found:.2g}, at most {limit:.2g}")
