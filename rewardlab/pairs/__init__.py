"""Preference pairs: label-sensitive, ranked and rationale-sensitive, and what they are made of.

Importing this imports no model library. The stage is ``pairs.stage.run_pairs``.
"""

from __future__ import annotations

from rewardlab.pairs.files import HELD_OUT_FILE, PAIRS_FILE, SAMPLES_FILE, read_pairs
from rewardlab.pairs.stage import run_pairs
from rewardlab.pairs.statistics import baselines, kind_shares, label_only_accuracy, length_only_accuracy

__all__ = [
    "HELD_OUT_FILE",
    "PAIRS_FILE",
    "SAMPLES_FILE",
    "baselines",
    "kind_shares",
    "label_only_accuracy",
    "length_only_accuracy",
    "read_pairs",
    "run_pairs",
]
