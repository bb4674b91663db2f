"""Texts that somebody else wrote: what no reader, file or device can take is one line, and found at once."""

from __future__ import annotations

import json
import tomllib
from datetime import date, datetime, time

import pytest

from rewardlab.reading import half_character, mended, parse_json, parse_toml, strange_value, told


class TestToml:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("seed = " + "9" * 5000, "more than 64 bits"),
            ("seed = " + "9" * 20, "more than 64 bits"),
            ("seed = [1, {a = " + "9" * 400 + "}]", "more than 64 bits"),
            ("x = " + "[" * 20_000, "nested more than 32 deep"),
            ("x = " + "[" * 33 + "]" * 33, "nested more than 32 deep"),
            ("\n" + ".".join("a" * 20_000) + " = 1", "line 2: a dotted key of more than 100 parts"),
            ("[" + ".".join("a" * 20_000) + "]", "a dotted key of more than 100 parts"),
            ("x = {a" + '."a"' * 20_000 + " = 1}", "a dotted key of more than 100 parts"),
            (".".join("a" * 40) + " = 1", "nested more than 32 deep"),
        ],
        ids=["5000 digits", "20 digits", "inside", "open lists", "33 lists", "key", "header", "inline", "40 parts"],
    )
    def test_what_cannot_be_taken_is_one_line(self, text: str, said: str) -> None:
        with pytest.raises(ValueError, match=said) as caught:
            parse_toml(text)
        assert not isinstance(caught.value, tomllib.TOMLDecodeError)
        assert len(str(caught.value).splitlines()) == 1
        assert len(str(caught.value)) < 100

    def test_what_can_be_taken_is(self) -> None:
        lists = "[" * 32 + "]" * 32
        assert parse_toml(f"n = {2**63 - 1}\nx = {lists}\n[a.b]\nc = 0.5") == {
            "n": 9223372036854775807,
            "x": json.loads(lists),
            "a": {"b": {"c": 0.5}},
        }
        sentences = 'text = "' + "No. Yes. " * 40 + '"'
        assert parse_toml(sentences)["text"].startswith("No. Yes.")

    def test_what_is_no_toml_keeps_its_own_error(self) -> None:
        with pytest.raises(tomllib.TOMLDecodeError, match="line 1"):
            parse_toml("seed == 1")


class TestJson:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('{"n": ' + "9" * 5000 + "}", "a number of 5000 digits, expected at most 308"),
            ("-" + "9" * 308, "a number of 309 digits"),
            ("[" * 100_000, "nested too deeply"),
            ('{"text": "cut \\ud83d"}', r"'\\ud83d' is half of a character"),
            ('{"cut \\uDC00": 1}', r"'\\udc00' is half of a character"),
            ('["\\ude00\\ud83d"]', "half of a character"),
        ],
    )
    def test_what_cannot_be_taken_is_one_line(self, text: str, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            parse_json(text)

    def test_what_can_be_taken_is(self) -> None:
        assert parse_json('{"text": "\\ud83d\\ude00", "n": ' + "9" * 308 + "}") == {"text": "😀", "n": 10**308 - 1}


def test_halves_of_characters_are_found_and_mended() -> None:
    assert half_character("an emoji 😀, an accent é") is None
    assert half_character("cut \ud83d") == "\ud83d"
    assert mended("cut \ud83d here") == "cut � here"
    assert mended("\ud83d\ude00 and \udcff") == "😀 and �"
    assert mended("é") == "é"


def test_strange_values_are_found_however_deep() -> None:
    assert strange_value({"a": [1, (2.5, {"b": 2**63 - 1})]}) is None
    assert strange_value({"a": [1, (2.5, {"b": float("nan")})]}) == "expected a finite number"
    assert strange_value([float("-inf")]) == "expected a finite number"
    assert strange_value((0, 10**400)) == "expected a number of fewer than 64 bits"
    assert strange_value(-(2**63)) == "expected a number of fewer than 64 bits"


@pytest.mark.parametrize("moment", [date(2024, 1, 2), datetime(2024, 1, 2, 3), time(3)])
def test_a_moment_inside_a_table_is_strange(moment: date | time) -> None:
    """TOML has dates, a request and a run's files have none; a setting that is a date is read as one."""
    assert "write it in quotes" in str(strange_value({"a": [{"b": moment}]}))
    assert strange_value(moment) is None


def test_many_problems_are_counted_and_not_worked_out() -> None:
    asked: list[int] = []

    def problem(number: int) -> str:
        asked.append(number)
        return f"problem {number}"

    assert told(map(problem, range(3)), 3) == "problem 0; problem 1; problem 2"
    asked.clear()
    line = told(map(problem, range(20_000)), 20_000)
    assert line.endswith("problem 9; and 19990 more problems")
    assert asked == list(range(10))
