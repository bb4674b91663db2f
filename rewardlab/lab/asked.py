"""``Asked``: the settings that a command line, or a ``Lab`` in Python, was given, before they are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardlab.config import RunConfig
from rewardlab.config_loading import load_config

RUNS = Path("runs")
"""Where run folders live unless another place is named."""
OPTIONS: Mapping[str, str] = {
    "task": "task",
    "format": "format",
    "model": "model.name",
    "seed": "seed",
    "device": "model.device",
    "dtype": "model.dtype",
    "data": "data.dir",
    "source": "data.source",
    "annotator": "annotate.annotator",
}
"""Option that every stage has, on the command line and in Python -> its dotted key."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was given.

    Attributes:
        given: Dotted configuration key -> value; None where it was left out.
        file: Configuration file; None reads ``rewardlab.toml`` where there is one.
        root: Where run folders live.
        above: Stands above all that is given, as ``--set`` does.
    """

    given: Mapping[str, Any]
    file: Path | None
    root: Path
    above: Mapping[str, Any] = field(default_factory=dict)

    def values(self, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """All that was given, and ``more`` above it; what was left out is absent."""
        return {**known(self.given), **known(more or {}), **self.above}

    def config(self, more: Mapping[str, Any] | None = None) -> RunConfig:
        """The resolved configuration; raises ConfigError."""
        return load_config(self.values(more), self.file)


def known(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were not left out.

    >>> known({"seed": 0, "task": None})
    {'seed': 0}
    """
    return {key: value for key, value in settings.items() if value is not None}
