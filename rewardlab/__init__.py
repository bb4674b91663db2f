"""rewardlab: which reward should fine-tune a language model - rules, reward models, or a mixture?"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardlab.rewards.trl import as_trl_reward

__version__ = "0.1.0"

__all__ = ["__version__", "as_trl_reward"]


def __getattr__(name: str) -> Any:
    """Load public names when they are first used, so that ``import rewardlab`` stays instant."""
    if name == "as_trl_reward":
        from rewardlab.rewards.trl import as_trl_reward

        return as_trl_reward
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
