"""PPO alone, for code that trains a policy without a pipeline: the loop of all online methods, with PPO's estimator."""

from __future__ import annotations

from functools import partial

from rewardlab.training.loop import OnlineTrainer
from rewardlab.training.methods import methods

PPOTrainer = partial(OnlineTrainer, methods.get("ppo"))
"""Takes what :class:`rewardlab.training.loop.OnlineTrainer` takes, but for the method."""
