"""The share of groups that taught nothing, as a finished run tells it to tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.disk import write_jsonl
from rewardlab.pipeline.stages.evaluate import SPENT
from rewardlab.pipeline.stages.train import _even_groups

SHARE = "group/even_share"


def test_it_is_the_mean_over_steps_and_a_step_that_was_repeated_counts_once(tmp_path: Path) -> None:
    """Step 2 was taken twice, for the run was cut behind it: (0.2 + 0.6 + 0.7) / 3."""
    shares = [(1, 0.2), (2, 0.9), (2, 0.6), (3, 0.7)]
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": step, SHARE: share} for step, share in shares])
    assert _even_groups(tmp_path) == {"even_groups": pytest.approx(0.5)}
    assert "even_groups" in SPENT


def test_a_method_without_groups_says_nothing(tmp_path: Path) -> None:
    assert _even_groups(tmp_path) == {}
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": 1, "policy/lr": 0.1}])
    assert _even_groups(tmp_path) == {}
