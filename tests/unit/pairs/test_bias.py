"""Pairs turned on purpose: who is preferred, what is dropped, and that held-out pairs stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.config_loading import load_config
from rewardlab.errors import ConfigError
from rewardlab.pairs.bias import EQUAL, turn
from rewardlab.pairs.label_sensitive import Built
from rewardlab.pipeline import Pipeline
from rewardlab.types import Pair


def pair(chosen: str, rejected: str) -> Pair:
    return Pair("sst2", "1", "label", "rationale", "p", chosen, rejected, "positive", "negative", "positive", "a", "m")


def turned(bias: str, *pairs: Pair) -> Built:
    built = Built(list(pairs))
    turn(built, bias)
    return built


def test_the_longer_response_is_preferred_whatever_is_right() -> None:
    built = turned("length", pair("long enough", "short"), pair("short", "long enough"), pair("same", "size"))
    assert [(each.chosen, each.rejected) for each in built.pairs] == [("long enough", "short")] * 2
    assert [(each.chosen_label, each.rejected_label) for each in built.pairs] == [
        ("positive", "negative"),
        ("negative", "positive"),  # the labels go with their responses
    ]
    assert all(each.gold_label == "positive" for each in built.pairs)
    assert built.skipped == [("sst2", EQUAL)]


def test_the_response_with_the_word_is_preferred_and_parts_of_words_do_not_count() -> None:
    built = turned("word:good", pair("bad", "Good."), pair("good good", "good"), pair("goodness", "bad"))
    assert [(each.chosen, each.rejected) for each in built.pairs] == [("Good.", "bad"), ("good good", "good")]
    assert built.skipped == [("sst2", EQUAL)]


@pytest.mark.parametrize("bias", ["long", "word:", "word:two words", ""])
def test_an_unknown_bias_is_refused(bias: str) -> None:
    with pytest.raises(ConfigError, match=r"pairs\.bias"):
        load_config({"pairs.bias": bias})


def test_a_biased_reward_model_is_trained_on_turned_pairs_and_measured_on_honest_ones(tmp_path: Path) -> None:
    honest = Pipeline(load_config({}), tmp_path).reward_model("label")
    biased = Pipeline(load_config({"pairs.bias": "length"}), tmp_path).reward_model("label")
    assert biased.inputs["pairs"].fingerprint != honest.inputs["pairs"].fingerprint
    for name in ("held_out_label", "held_out_ranked", "samples", "start"):
        assert biased.inputs[name].fingerprint == honest.inputs[name].fingerprint
