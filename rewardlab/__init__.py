"""Fine-tune language models with verifiable, learned and mixed rewards, and compare the results in one table.

``Lab`` trains, evaluates and compares; ``reward`` makes a reward of a function; ``score`` tries one without training.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardlab.errors import ConfigError, DataError, InputError, RewardlabError, RunFolderError
    from rewardlab.lab.audited_log import audit
    from rewardlab.lab.compared import Compared, compare
    from rewardlab.lab.finished import Run
    from rewardlab.lab.lab import Lab
    from rewardlab.lab.own_reward import reward
    from rewardlab.lab.pair_files import export_pairs, pair_summary
    from rewardlab.lab.rescored_log import rescore
    from rewardlab.lab.reward_model_tools import calibrate, report_cards, sweep
    from rewardlab.lab.scoring import load_task, methods, score
    from rewardlab.lab.suite_run import run_suite
    from rewardlab.lab.two_rewards import reward_difference
    from rewardlab.rewards.trl import as_trl_reward
    from rewardlab.tasks.task import Task
    from rewardlab.types import Answer, Example, Pair, Score

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Compared",
    "ConfigError",
    "DataError",
    "Example",
    "InputError",
    "Lab",
    "Pair",
    "RewardlabError",
    "Run",
    "RunFolderError",
    "Score",
    "Task",
    "__version__",
    "as_trl_reward",
    "audit",
    "calibrate",
    "compare",
    "export_pairs",
    "load_task",
    "methods",
    "pair_summary",
    "report_cards",
    "rescore",
    "reward",
    "reward_difference",
    "run_suite",
    "score",
    "sweep",
]

_MODULES = {
    "rewardlab.errors": ("ConfigError", "DataError", "InputError", "RewardlabError", "RunFolderError"),
    "rewardlab.lab.audited_log": ("audit",),
    "rewardlab.lab.compared": ("Compared", "compare"),
    "rewardlab.lab.finished": ("Run",),
    "rewardlab.lab.lab": ("Lab",),
    "rewardlab.lab.pair_files": ("export_pairs", "pair_summary"),
    "rewardlab.lab.rescored_log": ("rescore",),
    "rewardlab.lab.reward_model_tools": ("calibrate", "report_cards", "sweep"),
    "rewardlab.lab.scoring": ("load_task", "methods", "score"),
    "rewardlab.lab.own_reward": ("reward",),
    "rewardlab.lab.suite_run": ("run_suite",),
    "rewardlab.lab.two_rewards": ("reward_difference",),
    "rewardlab.rewards.trl": ("as_trl_reward",),
    "rewardlab.tasks.task": ("Task",),
    "rewardlab.types": ("Answer", "Example", "Pair", "Score"),
}
"""Where the public names live."""


def __getattr__(name: str) -> Any:
    """Load public names when they are first used, so that ``import rewardlab`` stays instant."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What completion offers."""
    return sorted(__all__)
