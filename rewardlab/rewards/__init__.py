"""Rewards: functions from examples and responses to scores, by name, by expression, and to and from TRL.

``context`` what they are built from, ``registry`` their names, ``functions`` plain functions as rewards, ``rule``,
``balanced``, ``confidence``, ``learned`` and ``rubric`` the shipped ones, ``expression``, ``plan``, ``evaluate`` and
``groups`` the expressions, ``calibration`` lambda, ``moving`` what changes while a policy is trained, ``ledger`` the
record of every score, ``rescoring`` stored responses under another expression, ``trl`` and ``trl_functions`` the bridge
to TRL and from it, ``openenv`` OpenEnv's rubrics, ``background`` asynchronous functions. None of them imports torch
before a reward model is loaded.
"""

from rewardlab.rewards import balanced, confidence, learned, rubric, rule
from rewardlab.rewards.balanced import label_shares
from rewardlab.rewards.calibration import Lambda, parse_lambda, resolve_lambda
from rewardlab.rewards.context import RewardContext
from rewardlab.rewards.ledger import GLOSSARY, Ledger, Shaped, summary
from rewardlab.rewards.plan import ExpressionReward, RewardPlan, build_reward, plan_reward, refuse_groups, refuse_moving
from rewardlab.rewards.registry import (
    RewardEntry,
    find_reward,
    register_openenv_reward,
    register_reward,
    register_trl_reward,
    rewards,
)
from rewardlab.rewards.trl import as_trl_reward

__all__ = [
    "GLOSSARY",
    "ExpressionReward",
    "Lambda",
    "Ledger",
    "RewardContext",
    "RewardEntry",
    "RewardPlan",
    "Shaped",
    "as_trl_reward",
    "balanced",
    "build_reward",
    "confidence",
    "find_reward",
    "label_shares",
    "learned",
    "parse_lambda",
    "plan_reward",
    "refuse_groups",
    "refuse_moving",
    "register_openenv_reward",
    "register_reward",
    "register_trl_reward",
    "resolve_lambda",
    "rewards",
    "rubric",
    "rule",
    "summary",
]
