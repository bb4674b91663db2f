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
from rewardlab.annotate.prompting import prompt_versions
from rewardlab.annotate.registry import Choice, annotators, choose_annotator

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
    "annotators",
    "choose_annotator",
    "prompt_versions",
]
