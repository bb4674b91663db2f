"""Rewards that a finished run was trained on and that this process does not have.

They were typed in a notebook, or came from a package or file that is gone. What such a run trained can be evaluated all
the same: its plan needs the names of its rewards, not their scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rewardlab.errors import ConfigError, InputError
from rewardlab.rewards.context import RewardContext
from rewardlab.rewards.expression import RESERVED, Name, parse, walk
from rewardlab.rewards.registry import RewardEntry, find_reward, rewards
from rewardlab.types import Reward


@contextmanager
def lent_absent(expression: str) -> Iterator[None]:
    """Inside the block the expression can be planned, whichever of its rewards are absent.

    Raises:
        ExpressionError: The expression cannot be read.
        ConfigError: In the block, where an absent reward is to be built.
    """
    named = {node.name for node in walk(parse(expression)) if isinstance(node, Name)} - RESERVED
    with rewards.lent({name: _absent(name) for name in sorted(named) if not _is_here(name)}):
        yield


def _is_here(name: str) -> bool:
    try:
        find_reward(name)
    except InputError:
        return False
    return True


def _absent(name: str) -> RewardEntry:
    def refuse(context: RewardContext) -> Reward:
        raise ConfigError(
            f"reward {name!r} is not known here; run the code that registers it, such as the cell of a notebook, first"
        )

    return RewardEntry(name, refuse, "a reward that is not known here", needs_prompt=False)
