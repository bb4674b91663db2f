"""``rewardlab reward diff``: two rewards on the same answers, as a page of text and as rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardlab.cli.reward_input import AnswerRows, AnswerSource
from rewardlab.cli.reward_score import writer
from rewardlab.config import RewardConfig
from rewardlab.errors import ConfigError
from rewardlab.evaluation.reward_difference import (
    Disagreement,
    JudgedTwice,
    RewardDifference,
    Winners,
    judge_twice,
    reward_difference,
)
from rewardlab.intervals import Interval
from rewardlab.rewards import ExpressionReward, build_reward, plan_reward
from rewardlab.rewards.learned import reward_context
from rewardlab.types import PairKind, Reading

QUOTED = 70
"""Characters of a response that the page quotes, from its end, where the answer stands."""


@dataclass(frozen=True, slots=True)
class DiffRequest:
    """What ``reward diff`` was asked.

    Attributes:
        source: The answers.
        a, b: The two expressions.
        lam: Lambda of those that use it.
        r2: Second reward model of ``mixed``.
        reading: How the rule reads answers.
        folders: Trained reward models by pair kind.
        output: Where all rows go, the largest disagreement first; None writes none.
        rows: Disagreements on the page.
    """

    source: AnswerSource
    a: str
    b: str
    lam: str | None = None
    r2: PairKind = "ranked"
    reading: Reading = "lenient"
    folders: Mapping[PairKind, Path] = field(default_factory=dict)
    output: Path | None = None
    rows: int = 10


def run(request: DiffRequest) -> str:
    """Score every answer twice and compare; returns the page.

    Raises:
        InputError: An expression, the task, a row (with file and line) or a reward model that is missing.
    """
    configs = [_config(request, expression) for expression in (request.a, request.b)]
    if request.lam is not None and all(config.lam is None for config in configs):
        raise ConfigError(f"--lambda {request.lam} is given, but neither {request.a!r} nor {request.b!r} uses it")
    plans = [plan_reward(config) for config in configs]
    answers = AnswerRows(request.source, plans)
    context = reward_context(plans, request.folders, request.reading, answers.label_shares())
    a, b = (build_reward(config, context) for config in configs)
    with writer(request.output) if request.output is not None else nullcontext() as write:
        judged = _judged(answers, a, b)
        found = reward_difference(judged)
        if write is not None:
            for row in found.disagreements:
                write(json.dumps(_row(row), ensure_ascii=False) + "\n")
    return "\n".join(_page(request, len(judged), found))


def _judged(answers: AnswerRows, a: ExpressionReward, b: ExpressionReward) -> list[JudgedTwice]:
    judged: list[JudgedTwice] = []
    for examples, responses in answers.batches():
        judged += judge_twice(examples, responses, a(examples, responses), b(examples, responses))
    return judged


def _config(request: DiffRequest, expression: str) -> RewardConfig:
    """Lambda goes to the expressions that use it."""
    bare = RewardConfig(expression=expression, r2=request.r2, reading=request.reading)
    if request.lam is None:
        return bare
    with_lam = bare.model_copy(update={"lam": request.lam})
    try:
        plan_reward(bare)
    except ConfigError:
        return with_lam
    return bare


def _row(row: Disagreement) -> dict[str, Any]:
    judged = row.judged
    return {
        "id": judged.example.id,
        "a": judged.a,
        "b": judged.b,
        "place_a": round(row.place_a, 6),
        "place_b": round(row.place_b, 6),
        "closeness": judged.closeness,
        "gold": judged.example.label,
        "response": judged.response,
    }


def _page(request: DiffRequest, count: int, found: RewardDifference) -> Iterator[str]:
    yield f"{count} answers; A = {request.a}, B = {request.b}"
    if found.unscored_a or found.unscored_b:
        yield f"not scored: {found.unscored_a} by A, {found.unscored_b} by B; {found.answers} answers are compared"
    if found.answers < 2:
        yield "rank correlation: undefined, fewer than two answers were scored by both"
    elif found.spearman is None:
        yield "rank correlation: undefined, one of the two gives all answers the same score"
    else:
        yield f"rank correlation: Spearman {_interval(found.spearman)}, Kendall tau-b {found.kendall:.3f}"
    yield from _winner_lines(found.winners)
    yield from _disagreement_lines(found.disagreements, request.rows)


def _winner_lines(winners: Winners) -> Iterator[str]:
    if not winners.prompts:
        yield "which of two answers wins: no prompt has two answers (rows with one id answer one prompt)"
        return
    pairs = winners.same + winners.flipped + winners.one_ties + winners.both_tie
    yield (
        f"which of two answers wins: {pairs} pairs of {winners.prompts} prompts; {winners.same} alike, "
        f"{winners.flipped} flipped, {winners.one_ties} tied by one, {winners.both_tie} by both"
    )
    if winners.flip_share is not None:
        yield f"flipped among pairs that neither ties: {_interval(winners.flip_share)}, interval over prompts"
    if winners.flips_with_gold:
        b_right = winners.flips_with_gold - winners.a_right
        yield (
            f"{winners.flips_with_gold} flips have one answer closer to gold: "
            f"A prefers it in {winners.a_right}, B in {b_right}"
        )
    if winners.left_out:
        yield f"{winners.left_out} answers of prompts with very many were not paired"


def _disagreement_lines(rows: Sequence[Disagreement], most: int) -> Iterator[str]:
    """The largest disagreements; answers with the same place under both are none."""
    if not rows or not most:
        return
    differing = [row for row in rows if row.gap][:most]
    if not differing:
        yield "no disagreement: both put the answers in the same order"
        return
    yield ""
    yield "Where they disagree most (score, and share of the other answers below it)"
    yield f"{'A':>10} {'below':>6} {'B':>10} {'below':>6}  answer"
    for row in differing:
        judged = row.judged
        text = " ".join(judged.response.split())
        quoted = text if len(text) <= QUOTED else f"…{text[-QUOTED:]}"
        gold = "" if judged.example.label is None else f", gold {judged.example.label}"
        scores = f"{judged.a:10.3f} {row.place_a:6.1%} {judged.b:10.3f} {row.place_b:6.1%}"
        yield f"{scores}  {judged.example.id}{gold}: {quoted}"


def _interval(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
