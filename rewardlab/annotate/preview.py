"""What a dry run says about the requests to come: how many, how long, how dear; and the first one in full."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

from rewardlab.annotate.base import Annotator, GradeRequest, RankingRequest, RationaleRequest, Resources
from rewardlab.annotate.endpoint import Call
from rewardlab.annotate.grading import choose_grader, grader_config
from rewardlab.annotate.hosted import OpenAIAnnotator
from rewardlab.annotate.pairwise import JudgeRequest
from rewardlab.annotate.registry import choose_annotator
from rewardlab.annotate.rubrics import Rubric
from rewardlab.annotate.stage import assignments
from rewardlab.config import RunConfig
from rewardlab.tasks.sources import Splits
from rewardlab.types import Example

UNKNOWN_ANSWERS = ("...", "....")
"""Stand for two answers; they differ, so that both orders are counted."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The requests that a stage is going to make of an annotator that is paid.

    Attributes:
        requests: How many; answers that are in the journal are not asked for again.
        cost_usd: What they cost at most, about; None when the price is not known.
        text: All of it in words, with the first request in full.
    """

    requests: int
    cost_usd: float | None
    text: str


def preview_rationales(config: RunConfig, splits: Mapping[str, Splits], journal_root: Path) -> Preview | None:
    """The requests of the stage ``annotate``; None when its annotator is free."""
    kind = _paid(config, list(splits))
    if kind is None:
        return None
    items = [item for name, split in splits.items() for item in assignments(name, split, config)]
    asked = [RationaleRequest(item.example, item.label) for item in items]
    return _preview(kind, config, journal_root, len(asked), lambda hosted: hosted.rationale_calls(asked))


def preview_rankings(config: RunConfig, rows: Sequence[Example], journal_root: Path) -> Preview | None:
    """The requests for ranked pairs of these rows; None when their annotator is free.

    The answers to be ranked do not exist yet; each is taken for as long as it may become.
    """
    kind = _paid(config, sorted({row.task for row in rows}))
    if kind is None:
        return None
    asked = [RankingRequest(row, ("...",) * config.pairs.samples) for row in rows]
    tokens = config.pairs.samples * config.new_tokens
    return _preview(kind, config, journal_root, len(asked), lambda hosted: hosted.ranking_calls(asked), tokens)


def preview_judgements(
    config: RunConfig,
    requests: Sequence[JudgeRequest],
    tasks: Sequence[str],
    journal_root: Path,
    *,
    both_orders: bool = True,
    more_prompt_tokens: int = 0,
) -> Preview | None:
    """The requests for judgements; None when their annotator is free."""
    kind = _paid(config, tasks)
    if kind is None:
        return None
    calls = partial(OpenAIAnnotator.judge_calls, requests=requests, both_orders=both_orders)
    count = len(requests) * (2 if both_orders else 1)
    return _preview(kind, config, journal_root, count, calls, more_prompt_tokens)


def preview_unknown_judgements(
    config: RunConfig, rows: Sequence[Example], tasks: Sequence[str], journal_root: Path
) -> Preview | None:
    """As :func:`preview_judgements`, of answers to these rows that do not exist yet and are as long as allowed."""
    asked = [JudgeRequest(row, *UNKNOWN_ANSWERS) for row in rows]
    return preview_judgements(config, asked, tasks, journal_root, more_prompt_tokens=2 * config.new_tokens)


def preview_grades(config: RunConfig, rows: Sequence[Example], count: int, journal_root: Path) -> Preview | None:
    """The requests for grades of answers that do not exist yet; None when their grader is free.

    Args:
        config: The run's configuration.
        rows: Rows that are answered, of which a request has the mean length; an answer is as long as it may become.
        count: How many answers are graded, each of them once.
        journal_root: Where answers are kept.
    """
    kind = choose_grader(config, sorted({row.task for row in rows}), may_lack_key=True).kind
    if not kind.is_paid:
        return None
    if not issubclass(kind, OpenAIAnnotator):
        return Preview(count, None, f"{count} requests to {kind.name} at most, cost unknown")
    rubric = Rubric.load(config.rubric)
    grader = kind.to_preview(Resources(grader_config(config), journal_root, {}))
    asked = [
        GradeRequest(row, "...", partial(rubric.request, response="..."), rubric.lowest, rubric.highest) for row in rows
    ]
    calls = grader.grade_calls(asked)
    prompt = round(count * (fmean(call.prompt_tokens for call in calls) + config.new_tokens))
    response = count * calls[0].response_tokens
    cost_usd = _cost_usd(grader, prompt, response)
    head = (
        f"{count} grades of {grader.model}, fewer where answers repeat or are in the journal: at most about {prompt} "
        f"prompt tokens and {response} response tokens, {_cost_text(grader, cost_usd)}"
    )
    first = calls[0].body["messages"][0]["content"]
    return Preview(count, cost_usd, "\n".join([head, *(f"  | {line}" for line in first.splitlines())]))


def preview_answers(
    config: RunConfig, calls_of: Callable[[OpenAIAnnotator], Sequence[Call]], count: int, journal_root: Path
) -> Preview:
    """The requests of a hosted model that answers test rows itself.

    Args:
        config: The run's configuration, with that model in ``[annotate]``.
        calls_of: What would be sent.
        count: How many answers there will be.
        journal_root: Where answers are kept.
    """
    return _preview(OpenAIAnnotator, config, journal_root, count, calls_of)


def total_text(previews: Sequence[Preview], budget_usd: float | None) -> str:
    """What several stages of one command will ask, in a line; the budget is that of all."""
    costs = [preview.cost_usd for preview in previews if preview.cost_usd is not None]
    cost = _dollars(sum(costs), budget_usd) if len(costs) == len(previews) else "cost unknown"
    return f"{sum(preview.requests for preview in previews)} requests, {cost}"


def _paid(config: RunConfig, tasks: Sequence[str]) -> type[Annotator] | None:
    # what was written for these rows decides between free annotators alone
    kind = choose_annotator(config, tasks, written=tasks, may_lack_key=True).kind
    return kind if kind.is_paid else None


def _preview(
    kind: type[Annotator],
    config: RunConfig,
    journal_root: Path,
    count: int,
    calls_of: Callable[[OpenAIAnnotator], Sequence[Call]],
    more_prompt_tokens: int = 0,
) -> Preview:
    """What is missing; of an annotator that does not say what it would send, how many requests there are.

    Args:
        kind: Who is asked.
        config: The run's configuration.
        journal_root: Where answers are kept.
        count: How many requests there are, answered or not.
        calls_of: What would be sent.
        more_prompt_tokens: What each request will hold besides what is known of it.
    """
    if not issubclass(kind, OpenAIAnnotator):
        return Preview(count, None, f"{count} requests to {kind.name} at most, cost unknown")
    annotator = kind.to_preview(Resources(config, journal_root, {}))
    calls = calls_of(annotator)
    missing = list({call.key: call for call in calls if call.key not in annotator.journal}.values())
    prompt = sum(call.prompt_tokens + more_prompt_tokens for call in missing)
    response = sum(call.response_tokens for call in missing)
    cost_usd = _cost_usd(annotator, prompt, response)
    head = (
        f"{len(missing)} requests to {annotator.model} ({len({call.key for call in calls}) - len(missing)} more are in "
        f"the journal): at most about {prompt} prompt tokens and {response} response tokens, "
        f"{_cost_text(annotator, cost_usd)}"
    )
    first = missing[0].body["messages"][0]["content"] if missing else ""
    text = "\n".join([head, *(f"  | {line}" for line in first.splitlines())])
    return Preview(len(missing), cost_usd, text)


def _cost_usd(annotator: OpenAIAnnotator, prompt_tokens: int, response_tokens: int) -> float | None:
    price = annotator.spending.price
    if price is None:
        return None
    return price.cost_usd(prompt_tokens, response_tokens, is_batch=annotator.config.batch is not None)


def _cost_text(annotator: OpenAIAnnotator, cost_usd: float | None) -> str:
    if cost_usd is None:
        return f"cost unknown (no price for {annotator.model}; give --prices FILE)"
    return _dollars(cost_usd, annotator.spending.budget_usd)


def _dollars(cost_usd: float, budget_usd: float | None) -> str:
    return f"${cost_usd:.4f}" + ("" if budget_usd is None else f" of a budget of ${budget_usd:g}")
