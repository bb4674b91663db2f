"""The ``sandbox`` annotator: the sandbox's oracle as one annotator among others.

The oracle's own refusals and mismatches are not passed on; the filter has to find them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Self

from rewardlab.annotate.base import (
    Ability,
    Annotation,
    Annotator,
    GradeRequest,
    Progress,
    Ranking,
    RankingRequest,
    RationaleRequest,
    Resources,
    silent,
)
from rewardlab.config import RunConfig
from rewardlab.errors import InputError

if TYPE_CHECKING:
    from rewardlab.sandbox import OracleAnnotator


class SandboxAnnotator(Annotator):
    """Asks the oracle.

    Args:
        oracle: The sandbox's annotator, with its rates and its weight of correctness.
    """

    name = "sandbox"
    summary = "the sandbox's oracle, which reads the truth; refuses and misreads at set rates"
    needs = "tasks of the sandbox"
    settings = ("oracle_weight",)
    auto_reason = "the sandbox's oracle has the truth of its own tasks"
    is_judge = True

    def __init__(self, oracle: OracleAnnotator) -> None:
        self.oracle = oracle
        self.model = f"oracle(w={oracle.weight:g})"

    @classmethod
    def build(cls, given: Resources) -> Self:
        """The oracle's rates, weight and seed are the run's."""
        from rewardlab.sandbox import OracleAnnotator

        section = given.config.annotate
        return cls(
            OracleAnnotator(
                refusal_rate=section.refusal_rate,
                mismatch_rate=section.mismatch_rate,
                weight=section.oracle_weight,
                seed=given.config.seed,
            )
        )

    @classmethod
    def identity(cls, config: RunConfig, ability: Ability) -> dict[str, Any]:
        """Its rates, and where it ranks or grades its weight; of verdicts, the judge's stage has the weight itself."""
        if ability == "judge":
            return {}
        section = config.annotate
        if ability == "grade":
            return {"refusal_rate": section.refusal_rate, "oracle_weight": section.oracle_weight}
        rates = {"refusal_rate": section.refusal_rate, "mismatch_rate": section.mismatch_rate}
        return rates | ({"oracle_weight": section.oracle_weight} if ability == "rank" else {})

    @classmethod
    def check(cls, config: RunConfig, tasks: Collection[str], written: Collection[str]) -> None:
        """Refuse tasks that are not the sandbox's."""
        from rewardlab.sandbox import ALL_SANDBOX_TASKS

        if not set(tasks) <= set(ALL_SANDBOX_TASKS):
            raise InputError(
                f"--annotator sandbox: the oracle has no truth for {', '.join(tasks)}; "
                "choose openai, local or template, or a sandbox task"
            )

    def rationales(self, requests: Sequence[RationaleRequest], progress: Progress = silent) -> list[Annotation]:
        """One text per request: a rationale, a refusal, or a rationale for another label."""
        texts = [self.oracle.rationale(request.example, request.label).text for request in requests]
        progress("rationales", len(texts), len(texts))
        return [self.answered(text, r.example, r.label) for text, r in zip(texts, requests, strict=True)]

    def rank_many(self, requests: Sequence[RankingRequest], progress: Progress = silent) -> list[Ranking]:
        """One ranking per request, by the oracle's utilities."""
        rankings = [self.ranked(r, self.oracle.utilities(r.example, r.responses)) for r in requests]
        progress("rankings", len(rankings), len(rankings))
        return rankings

    def grade_many(self, requests: Sequence[GradeRequest], progress: Progress = silent) -> list[Annotation]:
        """One grade per request, by the oracle's utility; it does not read the rubric."""
        texts = [self.oracle.grade(r.example, r.response, r.lowest, r.highest) for r in requests]
        progress("grades", len(texts), len(texts))
        return [
            self.answered(text, r.example, ["grade", r.response, r.lowest, r.highest])
            for text, r in zip(texts, requests, strict=True)
        ]
