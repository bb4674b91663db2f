"""A function as a reward: the decorator ``reward``, and functions given in place of expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast, overload

from rewardlab.errors import ConfigError
from rewardlab.registry import place_of
from rewardlab.rewards.functions import takes_a_batch
from rewardlab.rewards.openenv import OpenEnvRubric, is_openenv
from rewardlab.rewards.registry import (
    ENTRY,
    RewardEntry,
    register_openenv_reward,
    register_reward,
    register_trl_reward,
    rewards,
)
from rewardlab.rewards.trl_functions import is_trl_style

F = TypeVar("F", bound=Callable[..., Any])


@overload
def reward(function: F, /) -> F: ...
@overload
def reward(
    *, name: str | None = None, description: str = "", needs_gold: bool | None = None, needs_prompt: bool = True
) -> Callable[[F], F]: ...
def reward(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    description: str = "",
    needs_gold: bool | None = None,
    needs_prompt: bool = True,
) -> F | Callable[[F], F]:
    """Decorator: register a function as a reward under its own name, with or without arguments.

    Args:
        function: ``(examples, responses) -> [Score | float | None, ...]``, or a function in TRL's form, which names
            ``completions`` or takes ``**kwargs``; or a rubric of OpenEnv, the object.
        name: Its name in expressions; None is the function's.
        description: For ``rewardlab reward list``; default: the first line of the function's docstring.
        needs_gold: Whether it reads labels; None: found in its code. A reward for which that is False gets no labels.
        needs_prompt: False when it reads ids and labels alone, not the task's fields.
    Raises:
        ConfigError: It has no name that expressions can use, or the name is taken by another reward.

    Example:
        >>> import rewardlab as rl
        >>> @rl.reward
        ... def brevity(examples, responses):
        ...     "1 for an answer of at most three words, else 0."
        ...     return [float(len(response.split()) <= 3) for response in responses]
        >>> [score.score for score in rl.score("2 * brevity", "agnews", ["Sports", "I am not so sure"])]
        [2.0, 0.0]
    """

    def add(written: F) -> F:
        own = name or getattr(written, "__name__", "") or (type(written).__name__ if is_openenv(written) else "")
        if not own:
            raise ConfigError(f"{written!r:.60} has no name of its own; give one, as in reward(name='brevity')")
        if is_openenv(written):
            rubric = cast(OpenEnvRubric, written)
            entry = register_openenv_reward(own, rubric, description=description, needs_gold=needs_gold)
            vars(written)[ENTRY] = entry
            return written
        if is_trl_style(written):
            vars(written)[ENTRY] = register_trl_reward(own, written, description=description, needs_gold=needs_gold)
            return written
        if not takes_a_batch(written):
            raise ConfigError(f"reward {own!r}: expected (examples, responses) or TRL's (prompts, completions, ...)")
        register_reward(own, description=description, needs_gold=needs_gold, needs_prompt=needs_prompt)(written)
        return written

    return add if function is None else add(function)


def expression_of(given: str | Callable[..., Any]) -> str:
    """An expression as it is; a function as the name that it is registered under, which happens here if need be.

    Raises:
        ConfigError: It is neither, or as :func:`reward` does.
    """
    if isinstance(given, str):
        return given
    if not callable(given):
        raise ConfigError(f"reward {given!r:.60}: expected an expression such as 'rule - 0.1 * length', or a function")
    entry = getattr(given, ENTRY, None)
    if not isinstance(entry, RewardEntry):
        entry = getattr(reward(given), ENTRY)
    return rewards.add(entry.name, entry, place=place_of(given)).name
