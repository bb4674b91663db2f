"""What a method consumed, stage by stage, so that nothing is counted twice: labels, annotator calls, device seconds.

A row of a table may be made of several runs (one per task in single-task training) that share stages, such as the SFT
model they start from; and several stages of one run read the same labelled rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rewardlab.errors import RunFolderError
from rewardlab.types import Example


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one stage consumed.

    Attributes:
        gold: Pool of rows ("labelled/TASK", "prompts/TASK") -> gold labels read from it.
        calls: Annotator calls.
        seconds: Device seconds it took, over all attempts: of a CPU processor time, else by the clock.
    """

    gold: Mapping[str, int]
    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a method consumed; ``stages`` by a name that two runs share when they share the stage."""

    stages: Mapping[str, StageCost] = field(default_factory=dict)

    @property
    def gold(self) -> dict[str, int]:
        """Gold labels by pool; rows of one pool are counted once, whoever read them."""
        pools: dict[str, int] = {}
        for stage in self.stages.values():
            for pool, count in stage.gold.items():
                pools[pool] = max(pools.get(pool, count), count)
        return pools

    @property
    def calls(self) -> int:
        """Annotator calls."""
        return sum(stage.calls for stage in self.stages.values())

    @property
    def seconds(self) -> float:
        """Device seconds of the stages."""
        return sum(stage.seconds for stage in self.stages.values())

    @classmethod
    def of(cls, results: Mapping[str, Mapping[str, Any]]) -> Cost:
        """Cost of a chain, from the results of its stages.

        Rationales for wrong labels are charged where label pairs are made of them, requests for held-out pairs never.
        """
        makes_label_pairs = any(result.get("kind") == "label" for result in results.values())
        return cls({name: _stage_cost(name, result, makes_label_pairs) for name, result in results.items()})

    @classmethod
    def read(cls, stored: Mapping[str, Any], name: str) -> Cost:
        """What :meth:`to_json` stored; one without stages is taken as one stage called ``name``."""
        if "stages" in stored:
            return cls({stage: _stored_cost(**cost) for stage, cost in stored["stages"].items()})
        gold = {name: int(stored["gold_labels"])} if stored.get("gold_labels") else {}
        return cls({name: StageCost(gold, int(stored.get("annotator_calls", 0)), float(stored.get("seconds", 0.0)))})

    @classmethod
    def together(cls, costs: Iterable[Cost]) -> Cost:
        """What several runs consumed; a stage that they share is counted once."""
        return cls({name: stage for cost in costs for name, stage in cost.stages.items()})

    def totals(self) -> dict[str, float]:
        """What tables print: gold_labels, annotator_calls, seconds."""
        return {
            "gold_labels": sum(self.gold.values()),
            "annotator_calls": self.calls,
            "seconds": round(self.seconds, 1),
        }

    def to_json(self) -> dict[str, Any]:
        """As eval's result.json stores it."""
        return {**self.totals(), "stages": {name: asdict(stage) for name, stage in self.stages.items()}}


def gold_read(pool: str, examples: Iterable[Example]) -> dict[str, int]:
    """Gold labels of these rows, by pool and task: what a stage's result says under ``gold``."""
    return dict(Counter(f"{pool}/{example.task}" for example in examples if example.label is not None))


def device_seconds(result: Mapping[str, Any], name: str) -> float:
    """Device seconds of the finished stage ``name``.

    Raises:
        RunFolderError: Its result has none. The clock's seconds must not stand in: on a busy CPU they are others.
    """
    if "stage_device_seconds" not in result:
        raise RunFolderError(
            f"run folder {name}: no stage_device_seconds in its result.json, which every finished stage writes "
            "(an older version made it); move the folder away and give the command again"
        )
    return float(result["stage_device_seconds"])


def _stored_cost(*, gold: Mapping[str, Any], calls: Any, seconds: Any) -> StageCost:
    """Raises TypeError, ValueError or AttributeError where a value is no count."""
    return StageCost({pool: int(count) for pool, count in gold.items()}, int(calls), float(seconds))


def _stage_cost(name: str, result: Mapping[str, Any], makes_label_pairs: bool) -> StageCost:
    wrong_labels = int(result.get("wrong_label_calls", 0)) if makes_label_pairs else 0
    gold = {str(pool): int(count) for pool, count in result.get("gold", {}).items()}
    calls = int(result.get("annotator_calls", 0)) + wrong_labels
    return StageCost(gold, calls, device_seconds(result, name))
