"""Plain functions as rewards: ours ``(examples, responses)`` and TRL's ``(prompts=, completions=, **columns)``."""

from __future__ import annotations

import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewardlab.errors import ConfigError, TrainingError
from rewardlab.tasks.task import OPENINGS, prompt_of
from rewardlab.types import Example, Score

Judgement = Score | float | None
RewardFunction = Callable[[Sequence[Example], Sequence[str]], Sequence[Judgement]]
"""What a user writes: one Score, number or None (could not judge) per response."""

TRLFunction = Callable[..., Any]
"""A TRL ``reward_funcs`` callable: keyword lists in, one float or None per completion out."""


class FunctionReward:
    """A reward made of a plain function.

    Args:
        name: How tables and ledgers call it.
        function: Batched; numbers and None are turned into scores.
        needs_gold: True when it reads ``Example.label``.
    """

    def __init__(self, name: str, function: RewardFunction, *, needs_gold: bool = False) -> None:
        self.name = name
        self.needs_gold = needs_gold
        self._function = function

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        """Score each response; see :class:`rewardlab.types.Reward`."""
        return [as_score(self.name, value) for value in self._function(examples, responses)]


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


def from_trl(name: str, function: TRLFunction, *, needs_gold: bool | None = None, chat: bool = False) -> FunctionReward:
    """Use a TRL-style callable as a reward.

    It receives ``prompts``, ``completions``, ``label``, ``id``, ``task`` and every field of the examples' tasks as
    columns; a field that a row lacks is None there.

    Args:
        name: How tables and ledgers call it.
        function: Synchronous TRL ``reward_funcs`` callable.
        needs_gold: Whether it reads labels; None asks its signature for a parameter called ``label``.
        chat: Hand prompts and completions as lists of messages, as TRL does for conversational data.
    Raises:
        ConfigError: ``function`` is asynchronous.
    """
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        raise ConfigError(f"reward {name!r} is asynchronous; wrap it in a synchronous function")
    reads_label = "label" in parameters(function) if needs_gold is None else needs_gold

    def judge(examples: Sequence[Example], responses: Sequence[str]) -> Sequence[Judgement]:
        judged: Sequence[Judgement] = function(**_columns(examples, responses, chat))
        return judged

    return FunctionReward(name, judge, needs_gold=reads_label)


def parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """A callable's parameters by name; empty where Python cannot tell."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def is_trl_style(function: Callable[..., Any]) -> bool:
    """True when the signature takes ``completions`` by name, as TRL's reward functions do."""
    return "completions" in parameters(function)


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


def _columns(examples: Sequence[Example], responses: Sequence[str], chat: bool) -> dict[str, list[Any]]:
    prompts: list[Any] = [prompt_of(example) + OPENINGS[example.format] for example in examples]
    completions: list[Any] = list(responses)
    if chat:
        prompts = [[{"role": "user", "content": prompt_of(example)}] for example in examples]
        completions = [[{"role": "assistant", "content": response}] for response in responses]
    fields = dict.fromkeys(name for example in examples for name in example.fields)
    columns: dict[str, list[Any]] = {name: [example.fields.get(name) for example in examples] for name in fields}
    columns["id"] = [example.id for example in examples]
    columns["task"] = [example.task for example in examples]
    columns["label"] = [example.label for example in examples]
    return {**columns, "prompts": prompts, "completions": completions}
