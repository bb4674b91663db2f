"""Annotators: who writes rationales, ranks answers, judges and grades; their prompts, journal and filter.

``annotators`` is the registry; an annotator of another package is a subclass of ``Annotator``. The stage is
``annotate.stage.run_annotate``. Importing this imports no model library.
"""

from __future__ import annotations

from rewardlab.annotate.base import (
    OUTCOMES,
    Annotation,
    Annotator,
    BatchPending,
    GradeRequest,
    Outcome,
    Progress,
    Ranking,
    RankingRequest,
    RationaleRequest,
    Resources,
)
from rewardlab.annotate.prompting import prompt_versions
from rewardlab.annotate.registry import Choice, annotators, choose_annotator

__all__ = [
    "OUTCOMES",
    "Annotation",
    "Annotator",
    "BatchPending",
    "Choice",
    "GradeRequest",
    "Outcome",
    "Progress",
    "Ranking",
    "RankingRequest",
    "RationaleRequest",
    "Resources",
    "annotators",
    "choose_annotator",
    "prompt_versions",
]
