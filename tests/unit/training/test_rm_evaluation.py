"""What a reward model is trained and measured on: encoded pairs, pairs of samples, accuracy, SFT scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rewardlab.disk import read_json
from rewardlab.errors import DataError
from rewardlab.models import load_trunk
from rewardlab.models.scoring import score_rows
from rewardlab.tasks.task import prompt_of
from rewardlab.training.reward_model import train_reward_model
from rewardlab.training.rm_evaluation import (
    EncodedPair,
    EncodedPairs,
    PairEncoder,
    SampledAnswer,
    pair_accuracy,
    policy_pairs,
    score_quantiles,
    store_sft_scores,
)
from rewardlab.types import Example
from tests.support.reward_models import MARK, PAIRS, SAMPLES, make_config, open_folder, trunk_with_role


def test_pairs_over_the_budgets_are_counted(film_llama: Path) -> None:
    model = make_config(film_llama).model
    codec = load_trunk(model).codec
    prompt, chosen = len(codec.text_prompt_ids(PAIRS[0].prompt, "rationale")), len(codec.response_ids(PAIRS[0].chosen))
    fits = PairEncoder(codec, model.model_copy(update={"max_prompt_tokens": prompt}))(PAIRS[:1])
    assert (len(fits.pairs), fits.dropped) == (1, 0)
    short = PairEncoder(codec, model.model_copy(update={"max_prompt_tokens": prompt - 1}))(PAIRS[:1])
    assert (len(short.pairs), short.dropped) == (0, 1)
    # the end token is not part of the budget: an answer cut at its budget gets one when it is scored
    fits = PairEncoder(codec, model.model_copy(update={"max_new_tokens": chosen - 1}))(PAIRS[:1])
    assert (len(fits.pairs), fits.dropped) == (1, 0)
    cut = PairEncoder(codec, model.model_copy(update={"max_new_tokens": chosen - 2}))(PAIRS[:1])
    assert (len(cut.pairs), cut.dropped) == (0, 1)


def test_a_long_prompt_has_its_text_cut_as_ppo_cuts_it(film_llama: Path, tmp_path: Path) -> None:
    """The reward model of PPO reads ``codec.prompt_ids``; a pair of that row is trained on the same tokens."""
    config = make_config(film_llama)
    codec = load_trunk(config.model).codec
    example = Example("mr", "row-0", {"text": "the film is good and " * 40}, "positive")
    long = replace(PAIRS[0], prompt=prompt_of(example))
    expected = codec.prompt_ids(example)
    assert len(expected) <= 64 < len(codec.text_prompt_ids(long.prompt, "rationale"))
    encoded = PairEncoder(codec, config.model, [example])([long, PAIRS[1]])
    assert (len(encoded.pairs), encoded.dropped, encoded.shortened) == (2, 0, 1)
    assert encoded.pairs[0].chosen == expected + codec.response_ids(long.chosen)
    assert encoded.pairs[0].rejected == expected + codec.response_ids(long.rejected)
    result = train_reward_model(
        open_folder(tmp_path / "run"), config, "label", None, [long, *PAIRS], {}, SAMPLES, examples=[example]
    )
    assert (result["pairs"], result["dropped"], result["shortened"]) == (33, 0, 1)


def test_a_prompt_that_cannot_be_cut_is_dropped_and_counted(film_llama: Path, caplog: pytest.LogCaptureFixture) -> None:
    example = Example("mr", "row-0", {"text": "the film 0"}, "positive")
    config = make_config(film_llama)
    model = config.model.model_copy(update={"max_prompt_tokens": 8})
    config = config.model_copy(update={"model": model})
    codec = load_trunk(model).codec
    encoded = PairEncoder(codec, model, [example])(PAIRS[:1])
    assert (len(encoded.pairs), encoded.dropped, encoded.shortened) == (0, 1, 0)
    tokens = len(codec.text_prompt_ids(PAIRS[0].prompt, "rationale"))
    with pytest.raises(DataError) as told:
        encoded.report("label reward model", "label pair", config)
    assert str(told.value) == (
        "no label pair is left to train on: of 1, 1 have a prompt of more than 8 tokens that cannot be cut (the "
        f"longest has {tokens}: give --set model.max_prompt_tokens={tokens})"
    )
    both = EncodedPairs([EncodedPair(PAIRS[0], [1], [2])], 0, [], [70, 90])
    both.report("label reward model", "label pair", config)
    assert (
        "label reward model on 1 of 3 pairs, 0 with their text cut to model.max_prompt_tokens; left out: 2 have a "
        f"response of more than {config.new_tokens} tokens (the longest has 90: give --set "
        "model.max_new_tokens=90, or another --model)"
    ) in caplog.text


def test_the_budget_that_is_named_is_enough(film_llama: Path) -> None:
    config = make_config(film_llama)
    codec = load_trunk(config.model).codec
    short = config.model.model_copy(update={"max_new_tokens": 2})
    needed = max(PairEncoder(codec, short)(PAIRS).long_responses)
    enough = PairEncoder(codec, config.model.model_copy(update={"max_new_tokens": needed}))(PAIRS)
    below = PairEncoder(codec, config.model.model_copy(update={"max_new_tokens": needed - 1}))(PAIRS)
    assert enough.dropped == 0
    assert below.dropped > 0


def test_policy_pairs_follow_gold() -> None:
    right, wrong, odd = f"x{MARK}positive", f"y{MARK}negative", "no answer here"
    sample = SampledAnswer(Example("mr", "1", {"text": "a"}, "positive"), (wrong, right, odd, right, wrong))
    assert [(pair.chosen, pair.rejected) for pair in policy_pairs([sample])] == [(right, wrong)]
    unlabelled = replace(sample, example=replace(sample.example, label=None))
    assert policy_pairs([unlabelled]) == []


def test_policy_pairs_of_numbers_prefer_the_nearer() -> None:
    """Gold 3.0: 3.5 is 0.5 away, 2.5 also, 1.0 is 2 away. The tie gives no pair."""
    texts = tuple(f"r{MARK}{number}" for number in ("1.0", "3.5", "2.5"))
    fields = {"sentence1": "a", "sentence2": "b"}
    pairs = policy_pairs([SampledAnswer(Example("stsb", "1", fields, 3.0), texts)])
    assert [(pair.chosen_label, pair.rejected_label) for pair in pairs] == [(3.5, 1.0), (2.5, 1.0)]


def test_accuracy_counts_a_tie_as_half() -> None:
    measured = pair_accuracy([(2.0, 1.0), (1.0, 1.0), (0.0, 1.0), (3.0, 1.0)], ["a", "b", "c", "d"])
    # (1 + 0.5 + 0 + 1) / 4
    assert measured["value"] == pytest.approx(0.625)
    assert measured["n"] == 4


def test_sft_scores_take_every_prompt_before_second_answers(film_llama: Path, tmp_path: Path) -> None:
    trunk = trunk_with_role(film_llama)
    summary = store_sft_scores(tmp_path, trunk, "rm", SAMPLES, limit=9)
    stored = read_json(tmp_path / "sft_scores.json")
    drawn = [(sample.example, sample.responses[0]) for sample in SAMPLES] + [
        (SAMPLES[0].example, SAMPLES[0].responses[1])
    ]
    rows = [trunk.codec.prompt_ids(example) + trunk.codec.response_ids(text) for example, text in drawn]
    assert stored["scores"] == pytest.approx(score_rows(trunk, "rm", rows), abs=1e-5)
    assert stored["mean"] == summary["mean"] == pytest.approx(sum(stored["scores"]) / 9)
    assert stored["quantiles"]["q50"] == pytest.approx(sorted(stored["scores"])[4])


def test_quantiles_by_hand() -> None:
    # of 0..100, the percent itself; one score is all its quantiles
    assert score_quantiles([float(number) for number in range(101)])["q75"] == pytest.approx(75.0)
    assert score_quantiles([2.5])["q99"] == 2.5
