"""How long stages will take: as finished ones like them took, else as the embedded model's took when measured."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from rewardlab.config import TINY_MODEL
from rewardlab.disk import read_json
from rewardlab.errors import RewardlabError
from rewardlab.pipeline.stage import AS_LONG_AS, Stage, asks_nothing
from rewardlab.tasks import separate_tasks

TIMED = "as_long_as"
"""Setting of a stage that was given the time of others, so its own size does not predict it."""
MEASURED = Path(__file__).with_name("seconds.toml")


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds, and whether they were measured elsewhere."""

    seconds: float
    is_rough: bool = False


class Durations:
    """What finished stages under a root took."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._taken: dict[str, list[tuple[Any, float]]] = {}

    def of(self, stage: Stage) -> Duration | None:
        """Median of the finished stages of that kind like it, else as measured elsewhere; None when neither is known.

        A stage that is given the time of others takes as long as all that they need.
        """
        rivals = [each for name, each in stage.inputs.items() if name.startswith(AS_LONG_AS)]
        if rivals:
            behind = {each.fingerprint: each for rival in rivals for each in rival.chain(measuring=False)}
            return total([self.of(each) for each in behind.values() if each.kind != "annotate"])
        if stage.kind not in self._taken:
            self._taken[stage.kind] = list(self._read(stage.kind))
        wanted = _likeness(stage.kind, stage.config)
        alike = [seconds for config, seconds in self._taken[stage.kind] if config == wanted]
        if alike:
            return Duration(median(alike))
        is_free = stage.preview is asks_nothing or (stage.has_rows and stage.preview() is None)
        return measured(stage.kind, stage.config) if is_free else None

    def guess(self, stage: Stage) -> float:
        """Seconds for an order of stages: as :meth:`of` says, and one where nothing is known."""
        known = self.of(stage)
        return 1.0 if known is None else known.seconds

    def _read(self, kind: str) -> Iterator[tuple[Any, float]]:
        for path in sorted((self._root / kind).glob("*/result.json")):
            try:
                config, result = read_json(path.with_name("config.json")), read_json(path)
                if TIMED not in config["identity"]["settings"]:
                    yield _likeness(kind, config["config"]), float(result["stage_seconds"])
            except (RewardlabError, KeyError, TypeError, ValueError, AttributeError):
                continue  # damaged, or of another program: it has no time


def total(found: Sequence[Duration | None]) -> Duration | None:
    """All together; None where one of them is not known."""
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    return Duration(sum(each.seconds for each in known), any(each.is_rough for each in known))


def measured(kind: str, config: Mapping[str, Any]) -> Duration | None:
    """What a stage of that kind took where it was measured, in proportion to its size; the embedded model's alone."""
    if _value(config, "model.name") != TINY_MODEL:
        return None
    for entry in _entries().get(kind, ()):
        if all(_value(config, key) == wanted for key, wanted in entry.get("like", {}).items()):
            return _scaled(entry, config)
    return None


def _scaled(entry: Mapping[str, Any], config: Mapping[str, Any]) -> Duration | None:
    seconds = float(entry["seconds"])
    for key, size in entry.get("per", {}).items():
        own = len(separate_tasks(config["task"])) if key == "tasks" else _value(config, key)
        if own is None:
            return None
        seconds *= own / size
    return Duration(seconds, is_rough=True)


def _value(config: Mapping[str, Any], dotted: str) -> Any:
    found: Any = config
    for key in dotted.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


@cache
def _entries() -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads(MEASURED.read_text(encoding="utf-8"))


def _likeness(kind: str, config: Mapping[str, Any]) -> list[Any]:
    """What the time of a stage depends on most: rows, model, answer format and its own section."""
    return [config.get(name) for name in ("task", "model", "format", "data", kind)]
