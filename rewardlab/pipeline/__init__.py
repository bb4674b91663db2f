"""The stages, what each needs, and their cache: same question, same folder, nothing runs twice."""

from rewardlab.pipeline.pipeline import Pipeline, check, check_goal
from rewardlab.pipeline.runner import Runner
from rewardlab.pipeline.stage import Stage

__all__ = ["Pipeline", "Runner", "Stage", "check", "check_goal"]
