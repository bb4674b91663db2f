"""The sandbox: a generated language with known truth, its annotator, and a tiny model that speaks it.

Importing it registers the sandbox tasks. Nothing here imports torch. The model was trained by
``experiments/tools/pretrain.py``.
"""

from __future__ import annotations

from pathlib import Path

from rewardlab.sandbox import tasks as _tasks  # registers the tasks
from rewardlab.sandbox.oracle import OracleAnnotator, OracleText
from rewardlab.sandbox.quality import rationale_quality

SANDBOX_TASKS = tuple(task.name for task in (_tasks.SENTIMENT, _tasks.TOPIC, _tasks.SIMILARITY))
"""What the tiny model learned its language from."""
ALL_SANDBOX_TASKS = (*SANDBOX_TASKS, *(task.name for task in _tasks.FORMS))
"""These, and other forms of them."""
TINY_MODEL_DIR = Path(__file__).parent / "tiny"
"""Weights, config and tokenizer of the tiny model, readable by ``from_pretrained``."""

__all__ = ["ALL_SANDBOX_TASKS", "SANDBOX_TASKS", "TINY_MODEL_DIR", "OracleAnnotator", "OracleText", "rationale_quality"]
