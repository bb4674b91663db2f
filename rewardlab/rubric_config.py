"""Section of the rubric: a reward that a model gives by written criteria."""

from __future__ import annotations

from pydantic import Field, field_validator

from rewardlab.secret_values import without_secret
from rewardlab.section import Section


class RubricConfig(Section):
    """The reward ``rubric``: who grades, by which text, on which scale; how it is asked stands in ``[annotate]``."""

    template: str = Field(
        "answer", description="the rubric: answer or rationale, which are shipped, or a Jinja file (docs/rewards.md)"
    )
    scale: str = Field(
        "0-10",
        description="lowest and highest grade, such as 0-10 or 1-5; the reward is the share of it, 0 to 1",
    )
    annotator: str = Field("auto", description="who grades: auto, or one of `rewardlab annotators` that can grade")
    model: str | None = Field(None, description="its model; default: annotate.model")
    base_url: str | None = Field(None, description="its endpoint; default: annotate.base_url, then $OPENAI_BASE_URL")
    temperature: float = Field(0.0, ge=0, description="sampling temperature of grades")
    max_tokens: int = Field(16, ge=1, description="longest answer, tokens; a rubric that asks for reasons needs more")

    @property
    def lowest(self) -> int:
        """The lowest grade."""
        return int(self.scale.partition("-")[0])

    @property
    def highest(self) -> int:
        """The highest grade."""
        return int(self.scale.partition("-")[2])

    @field_validator("scale")
    @classmethod
    def _is_a_scale(cls, value: str) -> str:
        low, dash, high = value.partition("-")
        if not (
            dash and low.isascii() and low.isdigit() and high.isascii() and high.isdigit() and int(low) < int(high)
        ):
            raise ValueError("expected two whole numbers, the lowest first, such as 0-10 or 1-5")
        return value

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        return without_secret(value)
