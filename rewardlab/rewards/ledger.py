"""The ledger: one JSON line per response, from the raw parts of its score to the total that the policy was trained on.

The trainer hands over what it trained on together with its components; a record whose components do not sum to its
total is refused, so the logged total is the trained total. Gold labels are read here for monitoring only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from rewardlab.errors import TrainingError
from rewardlab.rewards.calibration import CAPPED
from rewardlab.tasks.task import parse_response, tasks
from rewardlab.types import Answer, Example, Score

LEDGER_FILE = "samples.jsonl"
TOLERANCE = 1e-3
"""How far components may miss their total, relative to the largest of them (at least 1): fp32 sums over tokens."""

MOST_LABELS = 20
"""Gold labels, over all tasks, up to which each has a curve of its own."""

GLOSSARY: Mapping[str, str] = {
    "reward/score": "mean score of the reward before shaping, over scored responses; the reward's own unit",
    "reward/total": "mean total that training used: normalised score, KL penalty and missing-end penalty, summed",
    "reward/deviation": "standard deviation of the scores in the step; 0: all scores are equal, no gradient",
    "reward/unscored": "share of responses that could not be judged; left out of loss and averages",
    "reward/malformed": "share of responses in which no answer could be read (lenient)",
    "reward/gold_accuracy": "share of right answers among responses with a gold label; monitoring only",
    "reward/balanced_accuracy": "mean over gold labels, and over tasks, of reward/recall; monitoring only",
    "reward/recall/*": "share of right answers among responses with one gold label (TASK/LABEL); monitoring only",
    "reward/confidence": "mean confidence that answers state, format confident; 0 to 1",
    "reward/overconfidence": "mean stated confidence less the share of these answers that are right; 0 is calibrated",
    "reward/gold_error": "mean distance to the gold number, numeric tasks, readable answers; monitoring only",
    "reward/lambda_saturation": "share of label RM scores at or above lambda, where the label RM makes no difference",
    "reward/cost_usd": "mean price of judging a response, USD, whoever paid it; of judges with a known price",
    "reward/part/*": "mean raw score of one named reward; its own unit",
    "reward/term/*": "mean contribution of one additive term of the expression, after clipping and weighting",
}
"""Keys of :func:`summary` and what they measure."""


@dataclass(frozen=True, slots=True)
class Shaped:
    """What became of one response's score on its way into PPO.

    Attributes:
        total: Sum over the response's tokens of the rewards that advantage estimation received.
        score: Its share from the score, after normalisation and clipping.
        kl: Its share from the KL penalty, -beta times the summed log-ratio.
        penalty: Its share from penalties, such as the missing end; 0 or negative.
        is_clipped: The score lay further from the running mean than ``ppo.score_clip`` allows.
    """

    total: float
    score: float
    kl: float
    penalty: float
    is_clipped: bool = False

    def check(self, place: str) -> None:
        """Raise TrainingError unless the components are finite and sum to the total."""
        parts = (self.score, self.kl, self.penalty)
        gap = abs(sum(parts) - self.total)
        if not gap <= TOLERANCE * max(1.0, *map(abs, parts)):
            raise TrainingError(
                f"{place}: score {self.score} + KL {self.kl} + penalty {self.penalty} is not the trained total "
                f"{self.total}; the ledger would lie"
            )


class Ledger:
    """Writes every scored response of a run.

    Args:
        append: ``(file name, row)`` adds one JSON line, such as ``RunFolder.append``.
        file: The file's name.
    """

    def __init__(self, append: Callable[[str, Mapping[str, Any]], None], file: str = LEDGER_FILE) -> None:
        self._append = append
        self._file = file

    def record(
        self,
        step: int,
        examples: Sequence[Example],
        responses: Sequence[str],
        scores: Sequence[Score],
        shaped: Sequence[Shaped | None],
        samples: Sequence[int] | None = None,
    ) -> list[dict[str, Any]]:
        """Write one step, all of it or nothing.

        Args:
            step: Training step.
            examples, responses, scores: One each per response.
            shaped: What PPO trained on; None exactly where a response has no score.
            samples: Which sample of its prompt each response is; default 0.
        Returns:
            The rows, for :func:`summary`.
        Raises:
            TrainingError: Totals that are not the trained ones: components that do not add up, a total for a
                response without a score, or none for one with a score.
        """
        indices = samples if samples is not None else [0] * len(responses)
        columns = zip(examples, responses, scores, shaped, indices, strict=True)
        rows = [{"step": step, **_row(*column)} for column in columns]
        for row in rows:
            self._append(self._file, row)
        return rows


def scored_row(example: Example, response: str, score: Score) -> dict[str, Any]:
    """What is known of one scored response, JSON-ready: answer, gold, parts, terms, score, reason."""
    answer = score.answer or parse_response(example, response)
    return {
        "task": example.task,
        "id": example.id,
        "answer": answer.value,
        "strict": answer.strict,
        "gold": example.label,
        **_against_gold(answer, example),
        "parts": dict(score.parts),
        "terms": dict(score.terms),
        "score": score.score,
        "reason": score.reason,
        **({} if answer.confidence is None else {"confidence": answer.confidence}),
        **({} if score.cost_usd is None else {"cost_usd": score.cost_usd}),
    }


def summary(rows: Iterable[Mapping[str, Any]], lam: float | None = None) -> dict[str, float]:
    """Means over ledger rows; keys as in :data:`GLOSSARY`, those without any data left out.

    Args:
        rows: From :meth:`Ledger.record` or :func:`scored_row`.
        lam: Lambda on the raw scale, for its saturation.
    """
    means, recalls, scores = _Means(), _Means(), []
    for row in rows:
        scored = row["score"] is not None
        scores += [row["score"]] if scored else []
        means.add("reward/score", row["score"])
        means.add("reward/total", row.get("total"))
        means.add("reward/unscored", float(not scored))
        means.add("reward/malformed", float(row["answer"] is None))
        means.add("reward/gold_accuracy", row["correct"])
        recalls.add(f"{row['task']}/{row['gold']}", row["correct"])
        if (confidence := row.get("confidence")) is not None and row["answer"] is not None:
            means.add("reward/confidence", confidence)
            means.add("reward/overconfidence", None if row["correct"] is None else confidence - row["correct"])
        means.add("reward/gold_error", row["error"])
        means.add("reward/cost_usd", row.get("cost_usd"))
        capped = row["parts"].get(CAPPED)
        means.add("reward/lambda_saturation", None if lam is None or capped is None else float(capped >= lam))
        for kind, values in (("part", row["parts"]), ("term", row["terms"])):
            for name, value in values.items():
                means.add(f"reward/{kind}/{name}", value)
    means.add("reward/deviation", pstdev(scores) if len(scores) > 1 else None)
    return {**means.result(), **_by_label(recalls.result())}


def _by_label(recalls: Mapping[str, float]) -> dict[str, float]:
    """Accuracy by gold label, where there are few, and its mean."""
    if not recalls:
        return {}
    named = {f"reward/recall/{name}": value for name, value in recalls.items() if len(recalls) <= MOST_LABELS}
    by_task: dict[str, list[float]] = {}
    for name, value in recalls.items():
        by_task.setdefault(name.split("/")[0], []).append(value)
    return {"reward/balanced_accuracy": fmean(fmean(own) for own in by_task.values()), **named}


class _Means:
    """Running means by key; None is no observation."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, key: str, value: float | None) -> None:
        if value is not None:
            entry = self._sums.setdefault(key, [0.0, 0.0])
            entry[0] += value
            entry[1] += 1

    def result(self) -> dict[str, float]:
        return {key: total / count for key, (total, count) in self._sums.items()}


def _row(example: Example, response: str, score: Score, shaped: Shaped | None, sample: int) -> dict[str, Any]:
    place = f"task {example.task} example {example.id} sample {sample}"
    if (shaped is None) != (score.score is None):
        said = "no score but a total" if shaped else "a score but no total"
        raise TrainingError(f"{place}: has {said}; only unscored responses are left out of training")
    if shaped is not None:
        shaped.check(place)
    return {
        **scored_row(example, response, score),
        "sample": sample,
        "response": response,
        "shaped": None if shaped is None else {"score": shaped.score, "kl": shaped.kl, "penalty": shaped.penalty},
        "total": None if shaped is None else shaped.total,
    }


def _against_gold(answer: Answer, example: Example) -> dict[str, float | bool | None]:
    """``correct`` for labels, ``error`` for numbers; None where gold or (for numbers) the answer is missing."""
    gold, value = example.label, answer.value
    if gold is None:
        return {"correct": None, "error": None}
    if isinstance(gold, str):
        return {"correct": tasks.get(example.task).is_right(value, gold), "error": None}
    distance = abs(float(value) - gold) if value is not None and math.isfinite(gold) else None
    return {"correct": None, "error": distance}
