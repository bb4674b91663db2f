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
"""Rows stand in this order, by the longest of these that their name begins with (SPEC section 5)."""

POLICIES: Mapping[str, str] = {"best": "best on validation", "last": "last policy", "": "the only policy"}
"""Which policy of a run was evaluated -> how a row's name says so."""


def place_of(method: str) -> int:
    """Where a method stands in the table; unknown ones come last, in their own order."""
    fitting = [prefix for prefix in METHOD_ORDER if method.lower().startswith(prefix)]
    return METHOD_ORDER.index(max(fitting, key=len)) if fitting else len(METHOD_ORDER)


def row_names(keys: Sequence[MethodKey]) -> dict[MethodKey, str]:
    """A name of its own for every method: model where there are several, and what else sets namesakes apart."""
    several = len({key.model for key in keys if key.model}) > 1
    names = {}
    for key in keys:
        is_shared = any(other.method == key.method and other.model != key.model for other in keys)
        shown = ["model"] if (several and key.model) or is_shared else []
        namesakes = [other for other in keys if (other.method, other.model) == (key.method, key.model)]
        apart = [
            part
            for part in ("start", "reward", "shots", "format", "checkpoint")
            if len({getattr(k, part) for k in namesakes}) > 1
        ]
        details = [_detail(key, part) for part in (*shown, *apart)]
        names[key] = f"{key.method} ({', '.join(details)})" if details else key.method
    return names


def _detail(key: MethodKey, part: str) -> str:
    if part == "checkpoint":
        return POLICIES[key.checkpoint]
    return f"{key.shots} shots" if part == "shots" else str(getattr(key, part)) or f"no {part}"
