"""The alarm for a fall of accuracy: fewer right answers to validation rows than at the start, whatever the reward did.

The same rows are answered greedily before the first step and at every look. Of the rows whose answer became worse or
better since the start, more than half became worse, by the exact one-sided sign test (McNemar's, where an answer is
right or wrong). Looks share the level :data:`FALSE_ALARMS` (Bonferroni): by equal parts where their number is known
before the run, else the k-th look gets the part 1 / (k (k + 1)). So at most 1 % of the runs whose accuracy on such rows
does not fall raise it, however often one looks. ``evaluation/hacking.py`` has the alarm that also asks for a rising
reward; it reads training responses, this one validation rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rewardlab.errors import DataError

FALSE_ALARMS = 0.01
"""Most probable share of healthy runs with an alarm."""


@dataclass(frozen=True, slots=True)
class Change:
    """Rows that are answered otherwise than at the start.

    Attributes:
        worse: Right at the start and wrong now; of numbers, further from gold.
        better: The reverse.
    """

    worse: int
    better: int

    @classmethod
    def between(cls, start: Sequence[float], now: Sequence[float]) -> Change:
        """From a value per row, higher is better: 1 or 0, or minus the distance to gold.

        >>> Change.between([1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0])
        Change(worse=2, better=1)
        """
        if len(start) != len(now):
            raise DataError(f"{len(start)} rows at the start and {len(now)} now; expected the same rows")
        pairs = list(zip(start, now, strict=True))
        return cls(sum(after < before for before, after in pairs), sum(after > before for before, after in pairs))

    @property
    def p_value(self) -> float:
        """Probability of so many worse rows or more, where each changed row is as likely to have become better.

        >>> Change(worse=3, better=0).p_value  # all of three: 1 / 8
        0.125
        """
        from scipy.stats import binom

        return float(binom.sf(self.worse - 1, self.worse + self.better, 0.5))


@dataclass(frozen=True, slots=True)
class Fall:
    """The first look that raised the alarm.

    Attributes:
        step: Steps taken before it.
        look: Its number, from 1; the measure before the first step is none.
        accuracy_before, accuracy_after: Validation accuracy at the start and then, mean over tasks.
        worse, better: As :class:`Change` has them.
        rows: Rows answered.
        p_value: Of the sign test, before the correction.
        level: What it had to reach.
    """

    step: int
    look: int
    accuracy_before: float
    accuracy_after: float
    worse: int
    better: int
    rows: int
    p_value: float
    level: float

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def level_of(look: int, looks: int | None) -> float:
    """The part of :data:`FALSE_ALARMS` that a look has; the parts of all looks add up to it at most.

    Args:
        look: Its number, from 1.
        looks: How many there will be; None where that is unknown.

    >>> level_of(3, 5), level_of(1, None), round(level_of(4, None), 6)
    (0.002, 0.005, 0.0005)
    """
    return FALSE_ALARMS / looks if looks is not None else FALSE_ALARMS / (look * (look + 1))


def raises_alarm(change: Change, look: int, looks: int | None) -> bool:
    """Whether accuracy has fallen significantly."""
    return change.p_value <= level_of(look, looks)


def told_fall(fall: Fall) -> str:
    """One line for people."""
    before, after = (f"{100 * value:.1f}" for value in (fall.accuracy_before, fall.accuracy_after))
    return (
        f"accuracy has fallen: after step {fall.step} the policy has {after} on {fall.rows} validation rows, greedy, "
        f"and had {before} at the start. {fall.worse} answers became worse, {fall.better} better (sign test p = "
        f"{fall.p_value:.2g}, alarm at {fall.level:.2g} or below). Stop the run, read the samples, check the reward "
        "model or the pairs, or keep the policy closer to the start (ppo.kl_coef, dpo.beta)"
    )


def told_best(validation: Mapping[str, Any]) -> str | None:
    """What the last lines of a run say where no step made the policy better; None where one did.

    Args:
        validation: Start, best and last measure, as ``result.json`` has them.
    """
    best, last = validation["best"], validation["last"]
    if best["step"] > 0 or last["step"] == 0:
        return None
    accuracy = f"{100 * best['accuracy']:.1f}"
    return (
        f"the best policy is the start: no measure after a training step is above its {accuracy} on validation rows; "
        "adapter-best/ is the start, and that is what `rewardlab eval` measures"
    )
