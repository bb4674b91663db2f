"""Plain functions ``(examples, responses)`` as rewards; those in TRL's form stand in ``trl_functions``."""

from __future__ import annotations

import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rewardlab.code_identity import names_read
from rewardlab.errors import ConfigError, TrainingError
from rewardlab.types import Example, Score

Judgement = Score | float | None
RewardFunction = Callable[[Sequence[Example], Sequence[str]], Sequence[Judgement]]
"""What a user writes: one Score, number or None (could not judge) per response."""


class FunctionReward:
    """A reward made of a plain function.

    Args:
        name: How tables and ledgers call it.
        function: Batched; numbers and None are turned into scores.
        needs_gold: True when it reads ``Example.label``; None: see :func:`reads_gold`. Where it is False, examples are
            handed over without their labels.

    Attributes:
        columns: Fields that a task must have for it.
    """

    columns: tuple[str, ...] = ()

    def __init__(self, name: str, function: RewardFunction, *, needs_gold: bool | None = None) -> None:
        self.name = name
        self.needs_gold = reads_gold(function) if needs_gold is None else needs_gold
        self._function = function

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        """Score each response; see :class:`rewardlab.types.Reward`."""
        given = examples if self.needs_gold else [replace(example, label=None) for example in examples]
        return [as_score(self.name, value) for value in self._function(given, responses)]


def reads_gold(function: Callable[..., Any]) -> bool:
    """Whether a function reads gold labels: its attribute ``needs_gold``, else whether its code names ``label``."""
    said = getattr(function, "needs_gold", None)
    return "label" in names_read(function) if said is None else bool(said)


def as_score(name: str, value: Judgement) -> Score:
    """Wrap what a function said; anything but a finite number is "could not judge", with the reason.

    Example:
        >>> as_score("mine", float("nan")).reason
        'mine returned nan'
    """
    if isinstance(value, Score):
        return value
    if value is None:
        return Score(None, parts={name: None}, reason=f"{name} could not judge")
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TrainingError(
            f"reward {name!r} returned {type(value).__name__}; expected a Score, a number or None"
        ) from error
    if not math.isfinite(number):
        return Score(None, parts={name: None}, reason=f"{name} returned {number}")
    return Score(number, parts={name: number}, terms={name: number})


def parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """A callable's parameters by name; empty where Python cannot tell."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def takes_a_batch(function: Callable[..., Any]) -> bool:
    """True when ``function(examples, responses)`` fits the signature."""
    try:
        inspect.signature(function).bind((), ())
    except TypeError:
        return False
    except ValueError:  # a built-in without a signature: let the first call tell
        return True
    return True


def load_reference(reference: str) -> Any:
    """Import ``package.module:attribute``; the current folder counts as a place for modules.

    Raises:
        ConfigError: No such module or attribute, or its import fails.
    """
    module_name, _, attribute = reference.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError(f"reward {reference!r}: cannot import {module_name}: {error}") from error
    if not hasattr(module, attribute):
        raise ConfigError(f"reward {reference!r}: module {module_name} has no attribute {attribute!r}")
    return getattr(module, attribute)
