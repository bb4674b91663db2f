"""``brier``: by hand, what it is highest at, and where it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rewardlab.config import RewardConfig
from rewardlab.config_loading import load_config
from rewardlab.errors import ConfigError
from rewardlab.pipeline.pipeline import Pipeline
from rewardlab.rewards import RewardContext, build_reward, summary
from rewardlab.rewards.ledger import scored_row
from rewardlab.types import Example, Score

ROW = Example("mr", "1", {"text": "A delight."}, "positive", "confident")


def brier(response: str, example: Example = ROW, **context: str) -> Score:
    reward = build_reward(RewardConfig(expression="brier"), RewardContext(**context))  # type: ignore[arg-type]
    return reward([example], [response])[0]


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("The answer is: positive (100 %)", 0.0),
        ("The answer is: positive (80 %)", -0.04),
        ("The answer is: positive (0 %)", -1.0),
        ("The answer is: negative (100 %)", -1.0),
        ("The answer is: negative (80 %)", -0.64),
        ("The answer is: negative (0 %)", 0.0),
        ("The answer is: negative (50 %)", -0.25),
        ("The answer is: positive", -1.0),
        ("I am 90 % sure.", -1.0),
        ("", -1.0),
    ],
)
def test_by_hand(response: str, expected: float) -> None:
    assert brier(response).score == pytest.approx(expected)


def test_strict_reading_wants_the_exact_format() -> None:
    assert brier("The answer is: positive (80%)", reading="strict").score == -1.0
    assert brier("The answer is: positive (80 %)", reading="strict").score == pytest.approx(-0.04)


def test_a_number_is_right_as_printed() -> None:
    row = Example("stsb", "1", {}, 3.0, "confident")
    assert brier("The answer is: 3 (70 %)", row).score == pytest.approx(-0.09)
    assert brier("The answer is: 3.5 (70 %)", row).score == pytest.approx(-0.49)


@pytest.mark.parametrize("chance", [0.3, 0.5, 0.9])
def test_it_is_highest_at_the_probability_of_being_right(chance: float) -> None:
    stated = np.arange(0, 101, 10)
    right, wrong = (
        [brier(f"The answer is: {word} ({p} %)").score for p in stated] for word in ("positive", "negative")
    )
    expected = [chance * (r or 0.0) + (1 - chance) * (w or 0.0) for r, w in zip(right, wrong, strict=True)]
    assert stated[int(np.argmax(expected))] == round(100 * chance)


def test_the_reason_tells_a_missing_confidence_from_a_missing_answer() -> None:
    assert brier("The answer is: positive").reason == "brier: states no confidence"
    assert "malformed" in brier("perhaps (90 %)").reason


def test_other_formats_are_refused_before_anything_runs(tmp_path: Path) -> None:
    for format in ("label", "rationale"):
        given = {"reward.expression": "rule + brier", "format": format, "data.prompts": 8, "data.labelled": 8}
        with pytest.raises(ConfigError, match=f"reward 'brier' reads what answers of --format {format} do not state"):
            Pipeline(load_config(given), tmp_path).train("ppo")
    assert Pipeline(load_config(given | {"format": "confident"}), tmp_path).train("ppo").kind == "ppo"


def test_curves_of_confidence() -> None:
    """Stated 1.0 and wrong, 0.8 and right, none, and malformed with 0.9: overconfidence (1 + 0.8) / 2 - 1/2."""
    texts = ["negative (100 %)", "positive (80 %)", "positive", "perhaps (90 %)"]
    rows = [scored_row(ROW, f"The answer is: {text}", brier(f"The answer is: {text}")) for text in texts]
    assert [row.get("confidence") for row in rows] == [1.0, 0.8, None, 0.9]
    assert "confidence" not in rows[2]
    means = summary(rows)
    assert means["reward/confidence"] == pytest.approx(0.9)
    assert means["reward/overconfidence"] == pytest.approx(0.4)
