"""In which order tables have their methods, and what they call them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewardlab.comparison.evaluations import MethodKey

METHOD_ORDER = (
    "zero-shot",
    "few-shot",
    "5-shot",
    "encoder",
    "bert",
    "sft",
    "sft w. rationale",
    "rlhf",
    "rllr",
    "rllr-mixed",
    "rule",
    "ppo",
)
"""Rows stand in this order, by the longest of these that their name begins with."""

POLICIES: Mapping[str, str] = {"best": "best on validation", "last": "last policy", "": "the only policy"}
"""Which policy of a run was evaluated -> how a row's name says so."""


def place_of(method: str) -> int:
    """Where a method stands in the table; unknown ones come last, in their own order."""
    fitting = [prefix for prefix in METHOD_ORDER if method.lower().startswith(prefix)]
    return METHOD_ORDER.index(max(fitting, key=len)) if fitting else len(METHOD_ORDER)


def row_names(keys: Sequence[MethodKey]) -> dict[MethodKey, str]:
    """A name of its own for every method: model where there are several, and what else sets namesakes apart."""
    several = len({key.model for key in keys if key.model}) > 1
    by_method: dict[str, dict[str, list[MethodKey]]] = {}
    for key in keys:
        by_method.setdefault(key.method, {}).setdefault(key.model, []).append(key)
    parts = {
        (method, model): (*(["model"] if (several and model) or len(by_model) > 1 else []), *_differing(namesakes))
        for method, by_model in by_method.items()
        for model, namesakes in by_model.items()
    }
    names = {}
    for key in keys:
        details = [_detail(key, part) for part in parts[key.method, key.model]]
        names[key] = f"{key.method} ({', '.join(details)})" if details else key.method
    return names


def _differing(namesakes: Sequence[MethodKey]) -> list[str]:
    """The parts in which methods of one name and model differ."""
    parts = ("start", "reward", "shots", "format", "checkpoint")
    return [part for part in parts if len({getattr(key, part) for key in namesakes}) > 1]


def _detail(key: MethodKey, part: str) -> str:
    if part == "checkpoint":
        return POLICIES[key.checkpoint]
    return f"{key.shots} shots" if part == "shots" else str(getattr(key, part)) or f"no {part}"
