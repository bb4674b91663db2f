"""The registry of named rewards, and the ways to add one: an entry, a function, TRL's, OpenEnv's, a reference."""

from __future__ import annotations

import keyword
from collections.abc import Callable
from dataclasses import dataclass, replace

from rewardlab.errors import ConfigError
from rewardlab.registry import Registry, place_of
from rewardlab.rewards.context import RewardContext
from rewardlab.rewards.expression import RESERVED
from rewardlab.rewards.functions import FunctionReward, RewardFunction, load_reference, takes_a_batch
from rewardlab.rewards.openenv import OpenEnvRubric, code_of, from_openenv, is_openenv
from rewardlab.rewards.trl_functions import TRLFunction, from_trl, is_trl_style
from rewardlab.types import AnswerFormat, PairKind, Reward


@dataclass(frozen=True, slots=True)
class RewardEntry:
    """One named reward.

    Attributes:
        name: Its name in expressions: an identifier that the expression language does not use itself.
        build: Makes the reward; called once per run.
        description: What it gives, in which unit; ``rewardlab reward list`` prints it.
        needs_gold: True when it reads ``Example.label``.
        pair_kind: The reward model it needs, or None.
        needs_prompt: False when ids and labels are enough for it, without the task's fields.
        code: The callable that its author wrote; None: ``build`` is.
        module: The module that it was found in by a reference, or None.
        columns: Fields that a task must have for it; beside those it takes what there is.
        needs_shares: True when it weighs by the shares of gold labels among the prompts.
        formats: Answer formats in which it can tell responses apart; empty: all.
        needs_rubric: True when an annotator gives it by the rubric of the run.
        shows_prompt: True when it cannot be asked of responses without the fields of their rows.
    """

    name: str
    build: Callable[[RewardContext], Reward]
    description: str
    needs_gold: bool = False
    pair_kind: PairKind | None = None
    needs_prompt: bool = True
    code: object = None
    module: str | None = None
    columns: tuple[str, ...] = ()
    needs_shares: bool = False
    formats: tuple[AnswerFormat, ...] = ()
    needs_rubric: bool = False
    shows_prompt: bool = False

    def code_hash(self) -> str | None:
        """What its author wrote, and the version of the package that brought it, as a hash; None for rewardlab's own.

        Raises:
            UnknownCodeError: As :func:`rewardlab.code_identity.code_hash` does.
        """
        return rewards.code_hash(self.name, self.code or self.build, self.module)

    def __post_init__(self) -> None:
        if ":" in self.name:
            return
        if not self.name.isidentifier() or keyword.iskeyword(self.name) or self.name in RESERVED:
            raise ConfigError(
                f"reward name {self.name!r} cannot be used in expressions; choose an identifier "
                f"other than {', '.join(sorted(RESERVED))} and Python's keywords"
            )


rewards: Registry[RewardEntry] = Registry("reward", group="rewardlab.rewards")
"""All named rewards; other packages add entries through the entry-point group ``rewardlab.rewards``."""

ENTRY = "reward_entry"
"""Attribute in which a registered function keeps its entry, so that ``module:function`` has what was declared."""


def register_reward(
    name: str, *, description: str = "", needs_gold: bool | None = None, needs_prompt: bool = True
) -> Callable[[RewardFunction], RewardFunction]:
    """Decorator: register ``(examples, responses) -> [Score | float | None, ...]`` as a reward.

    The description defaults to the first line of the function's docstring. ``needs_gold`` says whether it reads
    labels; by default it is found in its code (:func:`rewardlab.rewards.functions.reads_gold`).
    """

    def add(function: RewardFunction) -> RewardFunction:
        reward = FunctionReward(name, function, needs_gold=needs_gold)
        text = description or _first_line(function)
        entry = RewardEntry(
            name, lambda context: reward, text, reward.needs_gold, needs_prompt=needs_prompt, code=function
        )
        vars(function)[ENTRY] = rewards.add(name, entry, place=place_of(function))
        return function

    return add


def register_trl_reward(
    name: str,
    func: TRLFunction,
    *,
    description: str = "",
    needs_gold: bool | None = None,
    chat: bool | None = None,
    replace: bool = False,
) -> RewardEntry:
    """Register a TRL-style callable; arguments as in :func:`rewardlab.rewards.trl_functions.from_trl`."""
    reward = from_trl(name, func, needs_gold=needs_gold, chat=chat)
    text = description or _first_line(func)
    entry = RewardEntry(name, lambda context: reward, text, reward.needs_gold, columns=reward.columns, code=func)
    return rewards.add(name, entry, replace=replace, place=place_of(func))


def register_openenv_reward(
    name: str, rubric: OpenEnvRubric, *, description: str = "", needs_gold: bool | None = None, replace: bool = False
) -> RewardEntry:
    """Register a rubric of OpenEnv; arguments as in :func:`rewardlab.rewards.openenv.from_openenv`."""
    reward = from_openenv(name, rubric, needs_gold=needs_gold)
    text = description or _first_line(type(rubric))
    entry = RewardEntry(name, lambda context: reward, text, reward.needs_gold, code=code_of(rubric), shows_prompt=True)
    return rewards.add(name, entry, replace=replace, place=place_of(type(rubric)))


def find_reward(name: str) -> RewardEntry:
    """The entry called ``name``, or the one that ``package.module:callable`` refers to.

    Raises:
        UnknownNameError: No registered reward has that name.
        ConfigError: The reference cannot be imported or is no reward.
    """
    is_reference = ":" in name and name not in rewards
    return _from_reference(name) if is_reference else rewards.get(name)


def _from_reference(reference: str) -> RewardEntry:
    found = load_reference(reference)
    module = reference.partition(":")[0]
    entry = found if isinstance(found, RewardEntry) else getattr(found, ENTRY, None)
    if isinstance(entry, RewardEntry):
        return replace(entry, module=module)
    if is_openenv(found):
        rubric = from_openenv(reference, found)
        text = _first_line(type(found))  # importing the module makes the object, which is its class and no more then
        return RewardEntry(
            reference,
            lambda context: rubric,
            text,
            rubric.needs_gold,
            code=type(found),
            module=module,
            shows_prompt=True,
        )
    if not callable(found):
        raise ConfigError(f"reward {reference!r}: found {type(found).__name__}, expected a callable or a RewardEntry")
    reward: FunctionReward
    if is_trl_style(found):
        reward = from_trl(reference, found)
    elif not takes_a_batch(found):
        raise ConfigError(f"reward {reference!r}: expected (examples, responses) or TRL's (prompts, completions, ...)")
    else:
        reward = FunctionReward(reference, found)
    return RewardEntry(
        reference,
        lambda context: reward,
        _first_line(found),
        reward.needs_gold,
        columns=reward.columns,
        code=found,
        module=module,
    )


def _first_line(function: object) -> str:
    return (getattr(function, "__doc__", None) or "no description").strip().splitlines()[0]
