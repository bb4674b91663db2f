"""Annotators: who writes rationales, ranks answers and judges; their prompts, journal and filter.

Importing this imports no model library. The stage is ``annotate.stage.run_annotate``.
"""

from __future__ import annotations

from rewardlab.annotate.base import (
    OUTCOMES,
    Annotation,
    Annotator,
    BatchPending,
    Outcome,
    Progress,
    Ranking,
    RankingRequest,
    RationaleRequest,
)
from rewardlab.annotate.choose import Choice, build_annotator, choose_annotator
from rewardlab.annotate.prompting import prompt_versions

__all__ = [
    "OUTCOMES",
    "Annotation",
    "Annotator",
    "BatchPending",
    "Choice",
    "Outcome",
    "Progress",
    "Ranking",
    "RankingRequest",
    "RationaleRequest",
    "build_annotator",
    "choose_annotator",
    "prompt_versions",
]
