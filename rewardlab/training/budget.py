"""What a method may spend and has spent, for comparisons at equal budgets; and which prompts it has read.

A budget ends training on a whole step. What was spent is part of a checkpoint, so that a resumed run ends where an
uninterrupted one does: to the bit for tokens, as far as time repeats itself for seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from rewardlab import processes
from rewardlab.config import fingerprint
from rewardlab.online_config import Balance, OnlineConfig
from rewardlab.training.batches import draws_of
from rewardlab.training.schedule import is_limited
from rewardlab.types import Example, Pair

Row = TypeVar("Row", bound=Example | Pair)


class Budget:
    """Generated tokens and device seconds of the steps taken, and their limits.

    Args:
        config: Its ``max_tokens`` and ``max_seconds``; None is no limit.

    Attributes:
        tokens, seconds: What was spent.
        is_limited: True when there is a limit.
    """

    def __init__(self, config: OnlineConfig) -> None:
        self.tokens = 0
        self.seconds = 0.0
        self.is_limited = is_limited(config)
        self._limits = (config.max_tokens, config.max_seconds)

    @property
    def is_spent(self) -> bool:
        """True when no further step may begin."""
        return self.share() >= 1

    def share(self) -> float:
        """The part of the limit that is spent, of two the larger; 0 without one."""
        spent = (self.tokens, self.seconds)
        return max(amount / limit if limit else 0.0 for amount, limit in zip(spent, self._limits, strict=True))

    def spend(self, tokens: int, seconds: float) -> None:
        """Count one step: its response tokens over all processes, and this process's seconds.

        Devices work side by side, so the seconds of all processes are added up.
        """
        self.tokens += tokens
        self.seconds += sum(processes.gather(seconds))

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"tokens": self.tokens, "seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state` returned."""
        self.tokens, self.seconds = state["tokens"], state["seconds"]


def prompts_of(examples: Sequence[Row], steps: int, batch: int, seed: int, balance: Balance = "none") -> list[Row]:
    """The prompts of the first ``steps`` steps, in the order read."""
    draw = draws_of(examples, batch, seed, balance)
    return [example for step in range(steps) for example in draw(step)]


@dataclass(frozen=True, slots=True)
class PromptsRead:
    """The prompts of the steps taken.

    Attributes:
        prompts: Distinct ones.
        prompts_by_task: The same, by task.
        prompts_order: Fingerprint over task and id of every prompt in the order read: two runs with the same one were
            asked the same.
    """

    prompts: int
    prompts_by_task: dict[str, int]
    prompts_order: str

    @classmethod
    def of(
        cls, examples: Sequence[Example | Pair], steps: int, batch: int, seed: int, balance: Balance = "none"
    ) -> PromptsRead:
        """What ``steps`` steps read of ``examples``, or of pairs."""
        read = [[e.task, e.id] for e in prompts_of(examples, steps, batch, seed, balance)]
        distinct = {(task, id) for task, id in read}
        return cls(len(distinct), dict(Counter(task for task, _ in sorted(distinct))), fingerprint(read))

    def to_json(self) -> dict[str, Any]:
        """As result.json stores it."""
        return asdict(self)
