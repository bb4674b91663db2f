"""The oracle annotator: it reads the truth; rates set how often it refuses and misreads, and a weight what it prefers.

It stands in for the large model of RLLR appendices B and C: it writes a confident rationale for any label it is
asked for, ranks answers, and grades one. All it does is a function of (seed, row, label or responses).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rewardlab.errors import ConfigError
from rewardlab.sandbox.quality import rationale_quality
from rewardlab.sandbox.rationales import twisted_rationale, write_rationale
from rewardlab.sandbox.similarity import SLOTS, WEIGHTS
from rewardlab.tasks.sets import labels_in
from rewardlab.tasks.task import parse_response, tasks
from rewardlab.types import Example, Label

REFUSAL = "I cannot explain that."
DETAIL_SHARES = (0.05, 0.25, 0.35, 0.35)
"""How often a rationale comes at detail 0, 1, 2, 3."""
TWISTED_SHARE = 0.5
"""How often a rationale for a wrong label misreads what speaks for the right one, where it could quote other words.

Without misreadings the form of a rationale gives away whether its label is right, and a reward model learns the form:
trained so, one ordered 0.88 of the held-out pairs of sandbox-sentiment rightly, and 0.65 of a policy's own answers,
whose errors are misreadings; with them, 0.95 and 0.84."""

Outcome = Literal["written", "refused", "mismatched"]


class OracleText(NamedTuple):
    """A rationale, and what the oracle did: wrote as asked, refused, or argued for another label."""

    text: str
    outcome: Outcome


class OracleAnnotator:
    """Writes rationales and ranks answers.

    Args:
        refusal_rate: Share of requests that it refuses.
        mismatch_rate: Share of requests in which it argues for another label than the one asked for.
        weight: w of ``w * correct + (1 - w) * quality + noise``, the utility by which it ranks.
        noise: Standard deviation of that noise.
        seed: Other seeds give other texts.
    Raises:
        ConfigError: A rate or the weight is no probability, or the noise is negative.
    """

    def __init__(
        self,
        refusal_rate: float = 0.03,
        mismatch_rate: float = 0.03,
        weight: float = 0.8,
        noise: float = 0.1,
        seed: int = 0,
    ) -> None:
        if min(refusal_rate, mismatch_rate, weight, noise) < 0 or refusal_rate + mismatch_rate > 1 or weight > 1:
            raise ConfigError(
                f"oracle: refusal_rate {refusal_rate}, mismatch_rate {mismatch_rate}, weight {weight}, noise {noise}; "
                "rates must add up to at most 1, the weight lie between 0 and 1, and none be negative"
            )
        self.refusal_rate = refusal_rate
        self.mismatch_rate = mismatch_rate
        self.weight = weight
        self.noise = noise
        self.seed = seed

    def rationale(self, example: Example, label: Label) -> OracleText:
        """A rationale for ``label``, right or wrong, without the answer itself; the same request gets the same text."""
        rng = random.Random(f"{self.seed}/{example.task}/{example.id}/{label}")
        draw = rng.random()
        if draw < self.refusal_rate:
            return OracleText(REFUSAL, "refused")
        detail = rng.choices(range(len(DETAIL_SHARES)), DETAIL_SHARES)[0]
        if draw < self.refusal_rate + self.mismatch_rate:
            return OracleText(write_rationale(example, _another(example, label, rng), detail), "mismatched")
        write = twisted_rationale if _misreads(example, label, rng) else write_rationale
        return OracleText(write(example, label, detail), "written")

    def utilities(self, example: Example, responses: Sequence[str]) -> list[float]:
        """How much it likes each response: higher is better; 1 + noise for a right answer with perfect rationale."""
        rng = random.Random(f"{self.seed}/{example.task}/{example.id}/utilities")
        return [self._utility(example, response) + rng.gauss(0.0, self.noise) for response in responses]

    def grade(self, example: Example, response: str, lowest: int, highest: int) -> str:
        """Its utility of one response, with noise, as a whole number of a scale; or a refusal, at its rate."""
        rng = random.Random(f"{self.seed}/{example.task}/{example.id}/grade/{response}")
        if rng.random() < self.refusal_rate:
            return REFUSAL
        share = min(1.0, max(0.0, self._utility(example, response) + rng.gauss(0.0, self.noise)))
        return str(round(lowest + share * (highest - lowest)))

    def _utility(self, example: Example, response: str) -> float:
        quality = rationale_quality(example, response)
        return self.weight * _correctness(example, response) + (1 - self.weight) * quality


def _correctness(example: Example, response: str) -> float:
    """1 for the gold answer, 0 for a wrong or malformed one; numbers lose in proportion to their distance."""
    value = parse_response(example, response).value
    if value is None or example.label is None:
        return 0.0
    scale = tasks.get(example.task).numeric_range
    if scale is None:
        return float(value == example.label)
    return 1.0 - abs(float(value) - float(example.label)) / (scale[1] - scale[0])


def _misreads(example: Example, label: Label, rng: random.Random) -> bool:
    """Whether a rationale for this label quotes the right label's words: always when nothing speaks for the label."""
    if label == example.label or tasks.get(example.task).is_numeric:
        return False
    return label not in example.evidence["honest"] or rng.random() < TWISTED_SHARE


def _another(example: Example, label: Label, rng: random.Random) -> Label:
    task = tasks.get(example.task)
    if task.is_numeric:
        totals = {sum(WEIGHTS[slot] for slot in list(SLOTS)[:size]) for size in range(len(SLOTS) + 1)}
        return rng.choice(sorted(totals - {float(label)}))
    return rng.choice([name for name in task.labels if name not in labels_in(label)] or list(task.labels))
