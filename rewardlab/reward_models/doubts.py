"""Whether the reward models behind a reward can judge: what is printed before PPO, and the warnings under it.

A reward model was measured, when it was trained, on held-out pairs of its own kind and on the start model's own answers
with different labels, ordered by gold (``training/rm_evaluation.py``). It is doubted where its interval comes down to
what a scorer could reach that does not read the text: the best of label alone, length alone and a coin, plus 1.96
standard errors of that scorer on so many pairs. The order of own answers is doubted only where the whole reward has
nothing else that depends on labels: no gold label, and no other reward model that orders them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.disk import read_json

OWN_ANSWERS = "policy_sampled"
SET_NAMES: Mapping[str, str] = {
    "held_out_label": "held-out label pairs",
    "held_out_ranked": "held-out ranked pairs",
    "held_out_rationale": "held-out rationale pairs",
    OWN_ANSWERS: "own answers that differ in the label",
}
WIDTH = 1.96
"""Standard errors on one side of a 95 % interval."""
EXPECT = (
    "warning: a reward model that is not significantly above guessing does not rank answers by correctness. Training "
    "on {expression} will raise its score and leave accuracy where it is, or lower it. Make more pairs "
    "(data.labelled, pairs.limit), train it longer (rm.epochs), use the rule reward where there are gold labels, or "
    'add it: --reward "{expression} + rule"'
)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Pairs of one set and task that a reward model orders rightly.

    Attributes:
        kind: Of the reward model.
        name: The set, as results call it.
        task: Whose pairs.
        value, low, high: Share with its 95 % interval.
        pairs: How many.
        label_only, length_only: Shares of scorers that see nothing else; None where they could not be fitted.
    """

    kind: str
    name: str
    task: str
    value: float
    low: float
    high: float
    pairs: int
    label_only: float | None
    length_only: float | None

    @property
    def reachable(self) -> float:
        """What a scorer could reach that does not read the text, on so many pairs."""
        best = max(0.5, self.label_only or 0.0, self.length_only or 0.0)
        return min(1.0, best + WIDTH * math.sqrt(best * (1 - best) / self.pairs))

    @property
    def is_doubted(self) -> bool:
        """Whether the two cannot be told apart."""
        return self.low <= self.reachable

    @property
    def text(self) -> str:
        """One line of the output."""
        known = ", ".join(
            f"{words} {'-' if value is None else f'{100 * value:.1f}'}"
            for words, value in (("label alone", self.label_only), ("length alone", self.length_only))
        )
        return (
            f"{self.kind} RM, {self.task}: {100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}] of "
            f"{self.pairs} {SET_NAMES.get(self.name, self.name)} in the right order; {known}"
        )


def accuracies(result: Mapping[str, Any]) -> list[Accuracy]:
    """What a finished reward model measured on pairs of its own kind, and on the start model's own answers."""
    kind, sets = str(result["kind"]), result["accuracy"]
    own = next((name for name in (f"held_out_{kind}", "held_out_ranked", "held_out_label") if sets.get(name)), None)
    return [
        Accuracy(
            kind=kind,
            name=name,
            task=task,
            value=float(cell["value"]),
            low=float(cell["low"]),
            high=float(cell["high"]),
            pairs=int(cell["n"]),
            label_only=cell["label_only"],
            length_only=cell["length_only"],
        )
        for name in (own, OWN_ANSWERS)
        if name is not None
        for task, cell in sets.get(name, {}).items()
    ]


def reward_model_lines(folders: Mapping[str, Path], expression: str, *, needs_gold: bool) -> list[str]:
    """What stands in the output before PPO: a line a reward model, set and task, then the warnings.

    Args:
        folders: Kind -> folder of a finished reward model.
        expression: The reward.
        needs_gold: Whether it also reads gold labels.
    """
    stored = [each for path in folders.values() for each in accuracies(read_json(path / "result.json"))]
    measured = {each.kind for each in stored}
    unknown = [f"{kind} RM: no pair was held out, so its accuracy is not known" for kind in folders
               if kind not in measured]  # fmt: skip
    return [*(each.text for each in stored), *unknown, *warnings(stored, expression, needs_gold=needs_gold)]


def warnings(accuracies: Sequence[Accuracy], expression: str, *, needs_gold: bool) -> list[str]:
    """The doubts, a line each, and what to expect of such reward models; nothing where there is no doubt."""
    sure = {each.task for each in accuracies if each.name == OWN_ANSWERS and not each.is_doubted}
    doubts = [
        f"warning: {each.kind} RM, {each.task}: its interval on {SET_NAMES.get(each.name, each.name)} begins at "
        f"{100 * each.low:.1f} %; a scorer of label or length alone, or guessing, reaches up to "
        f"{100 * each.reachable:.1f} % on {each.pairs} pairs"
        for each in accuracies
        if each.is_doubted and (each.name != OWN_ANSWERS or not (needs_gold or each.task in sure))
    ]
    return [*doubts, EXPECT.format(expression=expression)] if doubts else []
