"""Options of one letter, acronyms that are words, labels of signs: read where they stand as an answer."""

from __future__ import annotations

import pytest

from rewardlab.errors import ConfigError
from rewardlab.tasks.parsing import AnswerParser
from tests.support.labels import labelled, readings

LETTERS = labelled(*"ABCDE")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("A", "A"),
        ("a", "A"),
        ("A.", "A"),
        ("A)", "A"),
        ("(A)", "A"),
        ("[[A]]", "A"),
        ('"A"', "A"),
        ("**A**", "A"),
        ("`A`", "A"),
        ("<b>A</b>", "A"),
        ("Ａ", "A"),
        ("A\n", "A"),
        ("A) a dog", "A"),
        ("A: a dog", "A"),
        ("A - because", "A"),
        ("A, since a dog barks", "A"),
        ("a) a dog", "A"),
        ("(a) is right", "A"),
        ("A because it fits", "A"),
        ("A is right", "A"),
        ("I choose A.", "A"),
        ("I think A fits best", "A"),
        ("The answer is A", "A"),
        ("the answer is a.", "A"),
        ("Answer: A", "A"),
        ("option a", "A"),
        ("Option A because it fits", "A"),
        ("Antwort: A", "A"),
        ("选A", "A"),
        ("答案是A。", "A"),
        ("A、因为", "A"),
        ("정답은 A입니다", "A"),
        ("我选择A因为", "A"),
        ("C++", None),
        ("A+", None),
        ("\\boxed{A}", "A"),
        ("B, since a dog barks", "B"),
        ("C) a river bank", "C"),
        ("b", "B"),
        ("I'd say B", "B"),
        ("D, e.g. a dog", "D"),
        ("E. coli is a bug", "E"),
        ("I think this is a tie", None),
        ("the answer is a tie", None),
        ("A tie is likely", None),
        ("A man, a plan", None),
        ("a man", None),
        ("it is a", None),
        ("THIS IS A TIE", None),
        ("C\n\nExplanation: A dog is a pet", "C"),
        ("Answer: A\nExplanation: A dog is a pet", "A"),
        ("I choose: A because it fits", "A"),
        ("e.g. a dog", None),
        ("the U.S.A. team", None),
        ("vitamin-C", None),
        ("I'd say so, can't you?", None),
        ("A/B", None),
        ("A or B", None),
        ("A) a dog\nB) a cat", None),
        ("not A", None),
        ("A is wrong", None),
        ("banana", None),
    ],
)
def test_letters_are_options_where_they_stand_as_options(text: str, label: str | None) -> None:
    assert readings(LETTERS, [text]) == [label]


def test_letters_that_apostrophes_cut_off_are_none() -> None:
    assert readings(labelled("T", "F"), ["It can't be", "T", "I'd say F", "It's F"]) == [None, "T", "F", "F"]
    assert readings(labelled("S", "D"), ["It's D", "that's it"]) == ["D", None]


def test_small_letters_and_roman_numbers() -> None:
    small = ["a tie", "a", "(b)", "A", "the answer is b.", "b because"]
    assert readings(labelled("a", "b"), small) == [None, "a", "b", "a", "b", "b"]
    roman = ["I think II", "I", "I. the first", "Option I", "I, for one, choose III"]
    assert readings(labelled("I", "II", "III"), roman) == ["II", "I", "I", "I", "III"]


def test_acronyms_that_are_words_are_read_in_capitals_or_alone() -> None:
    texts = ["It is HR", "IT", "it", "Send it to IT", "I think it is Finance"]
    assert readings(labelled("HR", "IT", "Finance"), texts) == ["HR", "IT", "IT", "IT", "Finance"]


def test_signs_tell_labels_apart() -> None:
    grades = ["A+", "A", "A-", "**A-**", "Grade: A+.", "A- because it is good", "A - because", "B"]
    assert readings(labelled("A+", "A", "A-", "B"), grades) == ["A+", "A", "A-", "A-", "A+", "A-", "A", "B"]
    assert readings(labelled("C", "C++", "C#"), ["C#", "It is C++.", "C"]) == ["C#", "C++", "C"]
    assert readings(labelled("+", "-", "0"), ["+", "**-**", "0", "well-known", "+ or -"]) == ["+", "-", "0", None, None]
    assert readings(labelled(":)", ":("), [":)", "it is :("]) == [":)", ":("]


def test_one_letter_in_two_cases_is_refused() -> None:
    with pytest.raises(ConfigError, match="'A' stands for both 'a' and 'A'"):
        AnswerParser(labelled("a", "A"), "label")
