"""How often the alarm for a fall of accuracy is raised: in healthy runs, and for falls of 5, 10 and 15 points.

    python experiments/simulations/accuracy_alarm.py

A run is N validation rows answered at the start and at L looks. Each row has a probability of being answered rightly,
drawn from a Beta distribution around the run's accuracy (its two parameters add up to 2: most rows are nearly always
right or nearly always wrong, as greedy answers are). From one look to the next a share of the answers is drawn anew,
the others stay; so the accuracy expected is the same at every look and single rows change. A fall is added on top: of
the rows that are right, so many become wrong that accuracy is lower by so many points, at once before the first look
or in equal parts up to the last. A drift is the reverse: accuracy rises by some points up to the middle and is back at
the start by the end. The table goes into experiments/LOG.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from rewardlab.training.decline import level_of

Floats = NDArray[np.float64]
RUNS = 10_000
SPREAD = 2.0
"""Sum of the Beta distribution's parameters."""


def alarm_share(
    shifts: Sequence[float],
    *,
    rows: int = 200,
    accuracy: float = 0.85,
    churn: float = 0.5,
    runs: int = RUNS,
    seed: int = 0,
    knows_looks: bool = True,
) -> float:
    """Share of simulated runs in which some look raises the alarm.

    Args:
        shifts: Expected accuracy at each look less that at the start.
        rows: Validation rows.
        accuracy: At the start.
        churn: Share of the answers that are drawn anew from look to look.
        runs: How many runs.
        seed: Of all draws.
        knows_looks: Whether the number of looks is known before the run.
    """
    rng = np.random.default_rng(seed)
    chance = rng.beta(SPREAD * accuracy, SPREAD * (1 - accuracy), (runs, rows))
    start = rng.random((runs, rows)) < chance
    state, raised = start, np.zeros(runs, dtype=bool)
    for look, shift in enumerate(shifts, 1):
        renewed = rng.random((runs, rows)) < churn
        state = np.where(renewed, rng.random((runs, rows)) < chance, state)
        now = _shifted(state, shift, accuracy, rng)
        worse, better = (start & ~now).sum(axis=1), (~start & now).sum(axis=1)
        p_values = binom.sf(worse - 1, worse + better, 0.5)
        raised |= p_values <= level_of(look, len(shifts) if knows_looks else None)
    return float(raised.mean())


def _shifted(state: NDArray[np.bool_], shift: float, accuracy: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The answers with the expected accuracy moved by ``shift``: right ones become wrong, or the reverse."""
    drawn = rng.random(state.shape)
    if shift < 0:
        return state & (drawn >= -shift / accuracy)
    return state | (drawn < shift / (1 - accuracy))


def at_once(points: float, looks: int) -> list[float]:
    """Fallen by so many points before the first look."""
    return [-points / 100] * looks


def slowly(points: float, looks: int) -> list[float]:
    """Fallen in equal parts, by so many points at the last look."""
    return [-points / 100 * look / looks for look in range(1, looks + 1)]


def up_and_back(points: float, looks: int) -> list[float]:
    """Risen by so many points in the middle, back at the start at the last look."""
    return [points / 100 * (1 - abs(2 * look / looks - 1)) for look in range(1, looks + 1)]


def print_table() -> None:
    """Healthy runs, then falls, as Markdown."""
    print("| healthy runs, % with an alarm | 100 rows | 200 rows | 400 rows |\n| :--- | ---: | ---: | ---: |")
    for accuracy in (0.6, 0.85, 0.95):
        for churn in (0.1, 0.5, 1.0):
            found = [alarm_share([0.0] * 5, rows=rows, accuracy=accuracy, churn=churn) for rows in (100, 200, 400)]
            _row(f"accuracy {accuracy:g}, {100 * churn:.0f} % of the answers drawn anew a look", found)
    for name, shifts, knows in (
        ("10 looks", [0.0] * 10, True),
        ("30 looks, their number not known before", [0.0] * 30, False),
        ("up by 5 points and back, 5 looks", up_and_back(5, 5), True),
    ):
        _row(name, [alarm_share(shifts, rows=rows, knows_looks=knows) for rows in (100, 200, 400)])
    print("\n| falls from 0.85, % with an alarm, 5 looks | 100 rows | 200 rows | 400 rows |")
    print("| :--- | ---: | ---: | ---: |")
    for points in (5, 10, 15):
        for name, kind in (("at once", at_once), ("slowly, up to the last look", slowly)):
            _row(f"{points} points, {name}", [alarm_share(kind(points, 5), rows=rows) for rows in (100, 200, 400)])


def _row(name: str, shares: Sequence[float]) -> None:
    print(f"| {name} | " + " | ".join(f"{100 * share:.2f}" for share in shares) + " |", flush=True)


if __name__ == "__main__":
    print_table()
