"""What a suite file says of a published claim: which methods it compares, on what, and where its size must lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from pydantic import Field, model_validator

from rewardlab.section import Section

MeasureName = Literal["accuracy", "quality", "judged", "label shift", "rm accuracy", "seconds", "pair kinds"]
Unit = Literal["points", "times", "per cent"]
UNITS: dict[MeasureName, Unit] = {
    "accuracy": "points",
    "quality": "points",
    "judged": "points",
    "label shift": "points",
    "rm accuracy": "points",
    "seconds": "times",
    "pair kinds": "per cent",
}
"""What a claim's size is counted in; sizes in points are differences, which a claim says to be above 0."""


class Claim(Section):
    """One published claim that a suite says something of."""

    id: str = Field(description="its number, such as C11")
    says: str = Field(description="the claim, one sentence")
    published: str = Field("", description="the published size, such as +1.54")
    better: str | None = Field(None, description="name of the method that should win")
    than: str | None = Field(None, description="name of the method it is compared with")
    column: str = Field("average", description="column of the table that is compared")
    decoding: Literal["sampled", "greedy"] = Field("sampled", description="decoding that is compared")
    measure: MeasureName = Field(
        "accuracy",
        description="what is compared: the table's numbers (accuracy), rationale quality, wins less losses before a "
        "judge, the distance of answered from gold label shares (label shift, less is better), accuracy of reward "
        "models, the ratio of training times (seconds), or the share of rationale-sensitive pairs (pair kinds)",
    )
    test_set: str = Field("held_out_label", description="rm accuracy: the pairs that reward models rank")
    above: float | None = Field(None, description="the claim holds above this; default 0 for differences")
    between: tuple[float, float] | None = Field(None, description="the claim holds between these two")
    across_formats: bool = Field(
        False,
        description="the claim is about two answer formats, such as rationales against bare labels; of any other claim "
        "a difference between rows of different formats tests nothing",
    )
    not_testable: str = Field("", description="why the suite cannot say anything of the claim")

    @model_validator(mode="after")
    def _is_complete(self) -> Claim:
        if self.not_testable:
            return self
        if self.above is not None and self.between is not None:
            raise ValueError("above and between are both given; a claim holds in one range")
        if self.unit != "points" and self.above is None and self.between is None:
            raise ValueError(f"measure {self.measure} needs above or between: where the claim holds")
        wanted = [] if self.measure == "pair kinds" else ["better", "than"]
        if missing := [name for name in wanted if getattr(self, name) is None]:
            raise ValueError(f"measure {self.measure} compares two methods; {' and '.join(missing)} not given")
        return self

    @property
    def unit(self) -> Unit:
        """What its size is counted in."""
        return UNITS[self.measure]

    @property
    def range(self) -> tuple[float, float]:
        """Where its size lies when it holds, in its unit."""
        return self.between or (self.above or 0.0, float("inf"))

    @property
    def methods(self) -> list[str]:
        """The methods it names."""
        return [name for name in (self.better, self.than) if name is not None]


def claims_sha256(claims: Iterable[Claim]) -> str:
    """Hash of what is claimed and within which bounds, whatever the order: equal in a plan and in the report after it.

    >>> one, other = (Claim(id="C1", says=says, not_testable="no rows") for says in ("A wins", "B wins"))
    >>> claims_sha256([one, other]) == claims_sha256([other, one, one]) != claims_sha256([one])
    True
    """
    texts = sorted({claim.model_dump_json() for claim in claims})
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
