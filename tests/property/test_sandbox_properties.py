"""What must hold for every sandbox row: splits, gold from evidence, quality bounds, tokens, oracle rates."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardlab.sandbox import ALL_SANDBOX_TASKS, TINY_MODEL_DIR, OracleAnnotator, rationale_quality
from rewardlab.sandbox.grammar import SPLITS
from rewardlab.sandbox.rationales import write_rationale
from rewardlab.sandbox.words import CLEAR, LOADED, SHARED_WORDS, TOPIC_WORDS
from rewardlab.tasks.task import prompt_of, tasks, with_format
from rewardlab.types import ANSWER_FORMATS, Example, Label

names = st.sampled_from(ALL_SANDBOX_TASKS)
measured = st.sampled_from([name for name in ALL_SANDBOX_TASKS if tasks.get(name).quality is not None])
seeds = st.integers(0, 10_000)
few = settings(max_examples=25)


@few
@given(names, seeds, seeds)
def test_splits_are_disjoint_whatever_the_seeds(name: str, seed: int, other_seed: int) -> None:
    train, test = generate(name, "train", 200, seed), generate(name, "test", 100, other_seed)
    validation = generate(name, "validation", 100, seed)
    texts = [{tuple(row.fields.values()) for row in rows} for rows in (train, validation, test)]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]
    assert len(texts[0]) == 200
    assert len({row.id for rows in (train, validation, test) for row in rows}) == 400


@few
@given(names, st.sampled_from(sorted(SPLITS)), seeds)
def test_gold_follows_from_the_evidence(name: str, split: str, seed: int) -> None:
    for row in generate(name, split, 60, seed):
        assert row.label == gold_by_slow_reading(row)


@few
@given(names, seeds)
def test_evidence_stands_in_the_text(name: str, seed: int) -> None:
    for row in generate(name, "train", 60, seed):
        text = " ".join(row.fields.values()).replace(".", "").replace(",", "").split()
        for label in all_labels(row):
            quoted = write_rationale(row, label, 3).split('"')[1::2]
            assert all(word in text for quote in quoted for word in quote.split())


@few
@given(measured, seeds, st.integers(0, 3))
def test_quality_is_bounded_grows_with_detail_and_is_full_for_the_truth(name: str, seed: int, detail: int) -> None:
    for row in generate(name, "train", 30, seed):
        for label in all_labels(row):
            qualities = [quality(row, label, level) for level in range(4)]
            assert 0.0 < qualities[0] <= qualities[1] <= qualities[2] <= qualities[3] <= 1.0
        assert quality(row, gold(row), 3) == pytest.approx(1.0)
        assert rationale_quality(row, write_rationale(row, gold(row), detail)) == 0.0  # no answer behind it


@few
@given(measured, seeds, st.text(max_size=200))
def test_quality_of_any_text_is_between_0_and_1(name: str, seed: int, text: str) -> None:
    row = generate(name, "train", 1, seed)[0]
    response = tasks.get(name).response(gold(row), "rationale", text)
    assert 0.0 <= rationale_quality(row, response) <= 1.0


@few
@given(names, seeds, seeds)
def test_the_same_request_gets_the_same_text(name: str, seed: int, oracle_seed: int) -> None:
    row = generate(name, "train", 1, seed)[0]
    texts = {OracleAnnotator(seed=oracle_seed).rationale(row, gold(row)) for _ in range(3)}
    assert len(texts) == 1


@pytest.mark.parametrize("name", ALL_SANDBOX_TASKS)
def test_oracle_keeps_its_rates(name: str) -> None:
    oracle = OracleAnnotator(refusal_rate=0.10, mismatch_rate=0.05, seed=5)
    outcomes = Counter(oracle.rationale(row, gold(row)).outcome for row in generate(name, "train", 2000, 5))
    # five standard errors: sqrt(.1 * .9 / 2000) = 0.0067 and sqrt(.05 * .95 / 2000) = 0.0049
    assert outcomes["refused"] / 2000 == pytest.approx(0.10, abs=0.034)
    assert outcomes["mismatched"] / 2000 == pytest.approx(0.05, abs=0.025)


@few
@given(names, seeds, st.sampled_from(ANSWER_FORMATS), st.integers(0, 3))
def test_sandbox_text_survives_the_tokenizer_in_whole_words(name: str, seed: int, format: str, detail: int) -> None:
    tokenizer = tiny_tokenizer()
    for row in with_format(generate(name, "train", 5, seed), format):  # type: ignore[arg-type]
        for label in all_labels(row):
            response = tasks.get(name).response(label, row.format, write_rationale(row, label, detail))
            ids = tokenizer(prompt_of(row) + response)["input_ids"]
            assert tokenizer.decode(ids) == prompt_of(row) + response
            assert len(ids) <= 110
            assert len(tokenizer(response)["input_ids"]) <= 40


@few
@given(st.text(max_size=100))
def test_any_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = tiny_tokenizer()
    if not any(token in text for token in tokenizer.all_special_tokens):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def generate(name: str, split: str, n: int, seed: int) -> list[Example]:
    maker = tasks.get(name).generate
    assert maker is not None
    return maker(split, n, seed)


def gold(row: Example) -> Label:
    assert row.label is not None
    return row.label


def all_labels(row: Example) -> tuple[Label, ...]:
    return tasks.get(row.task).labels or (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)


def quality(row: Example, label: Label, detail: int) -> float:
    return rationale_quality(row, tasks.get(row.task).response(label, "rationale", write_rationale(row, label, detail)))


def gold_by_slow_reading(row: Example) -> Label:
    """The label read off the text, by the rules as the documentation states them."""
    if row.task == "sandbox-similarity":
        weights = {"agent": 1.0, "action": 1.5, "object": 1.5, "location": 1.0}
        return sum(weights[slot] for slot in row.evidence["same"])
    words = row.fields["text"].replace(".", "").replace(",", "").split()
    if row.task == "sandbox-topics":
        clear = [topic for topic, own in TOPIC_WORDS.items() if {*own} & {*words}]
        return ", ".join(sorted(clear)) or slow_topic(words)
    return slow_sentiment(words) if row.task == "sandbox-sentiment" else slow_topic(words)


def slow_sentiment(words: list[str]) -> str:
    for joint in ("but", "yet", "and"):
        if joint in words:
            words = words[words.index(joint) :]
    good = any(word in CLEAR["positive"] or word in LOADED["positive"] for word in words)
    turns = sum(word in ("not", "never", "hardly") for word in words)
    return "positive" if good == (turns % 2 == 0) else "negative"


def slow_topic(words: list[str]) -> str:
    clear = [topic for word in words for topic, listed in TOPIC_WORDS.items() if word in listed]
    if clear:
        most = max(clear.count(topic) for topic in clear)
        return next(topic for topic in clear if clear.count(topic) == most)
    return next(home for word in words for (home, _), listed in SHARED_WORDS.items() if word in listed)


@cache
def tiny_tokenizer():  # type: ignore[no-untyped-def]
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TINY_MODEL_DIR)
