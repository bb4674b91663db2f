"""What a dry run says about the requests to come: how many, how long, how dear; and the first one in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardlab.annotate.base import RankingRequest, RationaleRequest
from rewardlab.annotate.choose import choose_annotator
from rewardlab.annotate.endpoint import Call
from rewardlab.annotate.hosted import OpenAIAnnotator
from rewardlab.annotate.journal import Journal
from rewardlab.annotate.pairwise import JudgeRequest
from rewardlab.annotate.stage import assignments
from rewardlab.config import RunConfig
from rewardlab.tasks.sources import Splits
from rewardlab.types import Example

UNKNOWN_ANSWERS = ("...", "....")
"""Stand for two answers; they differ, so that both orders are counted."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The requests that a stage is going to make of a hosted annotator.

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
    annotator = _hosted(config, list(splits), journal_root)
    if annotator is None:
        return None
    asked = [item for name, split in splits.items() for item in assignments(name, split, config)]
    calls = annotator.rationale_calls([RationaleRequest(item.example, item.label) for item in asked])
    return _preview(annotator, calls, 0)


def preview_rankings(config: RunConfig, rows: Sequence[Example], journal_root: Path) -> Preview | None:
    """The requests for ranked pairs of these rows; None when their annotator is free.

    The answers to be ranked do not exist yet; each is taken for as long as it may become.
    """
    annotator = _hosted(config, sorted({row.task for row in rows}), journal_root)
    if annotator is None:
        return None
    blank = ("...",) * config.pairs.samples
    calls = annotator.ranking_calls([RankingRequest(row, blank) for row in rows])
    return _preview(annotator, calls, config.pairs.samples * config.new_tokens)


def preview_judgements(
    config: RunConfig,
    requests: Sequence[JudgeRequest],
    tasks: Sequence[str],
    journal_root: Path,
    *,
    both_orders: bool = True,
) -> Preview | None:
    """The requests for judgements; None when their annotator is free."""
    annotator = _hosted(config, tasks, journal_root)
    return _preview(annotator, annotator.judge_calls(requests, both_orders=both_orders), 0) if annotator else None


def preview_unknown_judgements(
    config: RunConfig, rows: Sequence[Example], tasks: Sequence[str], journal_root: Path
) -> Preview | None:
    """As :func:`preview_judgements`, of answers to these rows that do not exist yet and are as long as allowed."""
    annotator = _hosted(config, tasks, journal_root)
    if annotator is None:
        return None
    calls = annotator.judge_calls([JudgeRequest(row, *UNKNOWN_ANSWERS) for row in rows], both_orders=True)
    return _preview(annotator, calls, 2 * config.new_tokens)


def total_text(previews: Sequence[Preview], budget_usd: float | None) -> str:
    """What several stages of one command will ask, in a line; the budget is that of all."""
    costs = [preview.cost_usd for preview in previews if preview.cost_usd is not None]
    cost = _dollars(sum(costs), budget_usd) if len(costs) == len(previews) else "cost unknown"
    return f"{sum(preview.requests for preview in previews)} requests, {cost}"


def _hosted(config: RunConfig, tasks: Sequence[str], journal_root: Path) -> OpenAIAnnotator | None:
    # what was written for these rows decides between free annotators alone
    if choose_annotator(config.annotate, config.model, tasks, written=tasks, may_lack_key=True).name != "openai":
        return None
    return OpenAIAnnotator(config.annotate, Journal(journal_root / "openai.jsonl"), needs_key=False)


def _preview(annotator: OpenAIAnnotator, calls: Sequence[Call], more_prompt_tokens: int) -> Preview:
    """What is missing; ``more_prompt_tokens`` is what each request will hold besides what is known of it."""
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
