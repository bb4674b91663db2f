"""Labels that are numbers, with and without a scale, with and without signs; labels that begin one another."""

from __future__ import annotations

import pytest

from rewardlab.errors import ConfigError
from rewardlab.tasks.parsing import AnswerParser
from tests.support.labels import labelled, readings

POLARITY = ["-1", "0", "1"]
SCALE = ["-2", "-1", "0", "1", "2"]
SIGNED = [
    ("-1", "-1"),
    ("1", "1"),
    ("+1", "1"),
    ("−1", "-1"),
    ("-1.", "-1"),
    ("1.", "1"),
    ("1.0", "1"),
    ("0", "0"),
    ("**1**", "1"),
    ("(-1)", "-1"),
    ("'-1'", "-1"),
    ("Label: -1", "-1"),
    ("label=-1", "-1"),
    ("minus 1", "-1"),
    ("评分是-1。", "-1"),
    ("$-1$", "-1"),
    ("$$1$$", "1"),
    ("评分是1分", "1"),
    ("- 1", None),
    ("* 1", "1"),
    ("1 or 0", None),
    ("not 1", None),
    ("10", None),
    ("0.5", None),
    ("-10", None),
    ("1st", None),
    ("100%", None),
    ("1/3", None),
]


@pytest.mark.parametrize(("text", "label"), SIGNED)
def test_signed_labels_with_and_without_a_scale(text: str, label: str | None) -> None:
    assert readings(labelled(*POLARITY), [text]) == [label]
    assert readings(labelled(*SCALE, numeric_range=(-2, 2)), [text]) == [label]


@pytest.mark.parametrize("more", [{}, {"numeric_range": (-2, 2)}])
def test_every_signed_label_survives_print_and_parse(more: dict[str, tuple[int, int]]) -> None:
    task = labelled(*SCALE, **more)
    for format in ("label", "rationale", "judgement"):
        for label in SCALE:
            answer = task.parse(task.response(label, format), format)
            assert (answer.value, answer.strict) == (label, label)


def test_a_minus_in_front_of_an_unsigned_label_is_no_label() -> None:
    assert readings(labelled("0", "1"), ["-1", "minus 1", "1", "- 1", "class 0", "1.5"]) == [
        None,
        None,
        "1",
        "1",
        "0",
        None,
    ]


def test_numbers_that_are_no_label_are_passed_over_where_there_is_no_scale() -> None:
    assert readings(labelled("0", "1"), ["1, since 3 words are praise", "7"]) == ["1", None]


def test_padded_numbers_and_numbers_in_words() -> None:
    assert readings(labelled("01", "02", "10"), ["01", "1", "10", "2"]) == ["01", "01", "10", "02"]
    assert readings(labelled("level 1", "level 2"), ["Level-2", "level 10", "level 1"]) == ["level 2", None, "level 1"]


@pytest.mark.parametrize(
    "text", ["4 von 5", "4 sur 5", "4 de 5", "4 из 5", "4 su 5", "4 av 5", "4/5", "4 out of 5", "$4/5$", "$4$"]
)
def test_the_end_of_the_scale_in_other_languages(text: str) -> None:
    assert readings(labelled(*"12345", numeric_range=(1, 5)), [text]) == ["4"]
    assert readings(labelled(numeric_range=(0, 5)), [text]) == [4.0]


def test_two_numbers_and_sums_of_money_are_no_score() -> None:
    texts = ["von 4 auf 5", "de 4 a 5", "4 de 10", "$4", "between $4 and $5"]
    assert readings(labelled(numeric_range=(0, 5)), texts) == [None] * 5


def test_numbers_below_zero_on_a_scale() -> None:
    task = labelled(numeric_range=(-3, 3))
    assert readings(task, ["-2.5", "minus 1", "-4", "评分为2.5分", "不是2", "- 2"]) == [
        -2.5,
        -1.0,
        None,
        2.5,
        None,
        None,
    ]
    assert task.parse("-2.5", "label").strict == -2.5
    assert task.parse("−2.5", "label").strict is None
    assert labelled(numeric_range=(0, 5)).parse("-0", "label").strict is None


def test_one_number_for_two_labels_is_refused() -> None:
    both = {format: {"a": ("1",), "b": ("1",)} for format in ("label", "rationale", "judgement")}
    with pytest.raises(ConfigError, match="'1' stands for both 'a' and 'b'"):
        AnswerParser(labelled("a", "b", aliases=both), "label")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("positive", "positive"),
        ("Positive.", "positive"),
        ("It is positive with charm", "positive"),
        ("positive with reservations", "positive with reservations"),
        ("positive, with reservations", "positive with reservations"),
        ("positive (with reservations)", "positive with reservations"),
        ("positive - with reservations", "positive with reservations"),
        ("positive\nwith reservations", "positive with reservations"),
        ("positive with", None),  # the budget cut it
        ("positive with res", None),
        ("positive or positive with reservations", None),
    ],
)
def test_a_label_that_begins_another(text: str, label: str | None) -> None:
    assert readings(labelled("positive", "positive with reservations", "negative"), [text]) == [label]


def test_a_line_break_inside_a_label_does_not_turn_it_round() -> None:
    assert readings(labelled("entailment", "not entailment"), ["not\nentailment"]) == ["not entailment"]
