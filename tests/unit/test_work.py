"""Choices that a stage makes when it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.config import load_config
from rewardlab.pipeline.work import _critic_kind


@pytest.mark.parametrize(
    ("kinds", "ppo", "expected"),
    [
        (("label",), {}, "label"),
        (("ranked",), {}, "ranked"),
        (("rationale", "label"), {}, "label"),
        ((), {}, None),
        (("ranked",), {"ppo.value_init": "zero"}, None),
        (("ranked",), {"ppo.value": "head"}, None),
    ],
)
def test_every_learned_reward_gives_the_critic_a_start(
    kinds: tuple[str, ...], ppo: dict[str, str], expected: str | None
) -> None:
    assert _critic_kind(load_config(ppo), {kind: Path(kind) for kind in kinds}) == expected
