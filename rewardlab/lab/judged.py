"""Two evaluated runs before a judge: whose answers an annotator likes better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.config import RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.errors import InputError
from rewardlab.lab.asked import known
from rewardlab.lab.stored import stored_config

if TYPE_CHECKING:
    import polars

    from rewardlab.comparison.evaluations import EvalRun
    from rewardlab.pipeline.stages.judge import Judged


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a judge said of the answers of two evaluations to the same items.

    Attributes:
        a, b: The evaluations.
        judged: The verdicts, where they are stored, and what they cost.
    """

    a: EvalRun
    b: EvalRun
    judged: Judged

    @property
    def folder(self) -> Path:
        """Where the verdicts are stored."""
        return self.judged.path

    @property
    def names(self) -> tuple[str, str]:
        """Methods, with the seed where the method is the same."""
        a, b = self.a, self.b
        if a.key.method != b.key.method:
            return a.key.method, b.key.method
        return f"{a.key.method} (seed {a.seed})", f"{b.key.method} (seed {b.seed})"

    def rows(self) -> list[dict[str, Any]]:
        """One row a verdict: column, id, winner (a, tie, b), whether both orders agree, reason, the two responses."""
        return [
            {
                "column": contest.column,
                "id": contest.example.id,
                "winner": verdict.winner,
                "orders_agree": verdict.orders_agree,
                "reason": verdict.reason,
                "a": contest.a,
                "b": contest.b,
            }
            for contest, verdict in zip(self.judged.contests, self.judged.verdicts, strict=True)
        ]

    def frame(self) -> polars.DataFrame:
        """The same as a data frame."""
        import polars

        return polars.DataFrame(self.rows(), infer_schema_length=None)

    def lines(self) -> Sequence[str]:
        """Win, tie and lose with intervals, a line each, as ``rewardlab judge`` prints them."""
        from rewardlab.judge.counts import judged_lines, tallies

        return list(judged_lines(*self.names, tallies(self.judged.contests, self.judged.verdicts)))

    def __str__(self) -> str:
        return "\n".join(self.lines())


def one_evaluation(path: Path) -> EvalRun:
    """The evaluation that ``path`` stands for; raises InputError for none or several."""
    from rewardlab.comparison.runs import collect

    found = collect([path]).runs
    if len(found) > 1:
        listed = ", ".join(run.path.name for run in found[:3])
        raise InputError(f"{path}: stands for {len(found)} evaluations ({listed}, ...); name one of them")
    return found[0]


def judging_config(run: EvalRun, given: Mapping[str, Any]) -> RunConfig:
    """The configuration of an evaluated run under what is ``given`` (dotted keys; None leaves one out)."""
    return load_config(known(given), NO_FILE, stored=stored_config(run.path))
