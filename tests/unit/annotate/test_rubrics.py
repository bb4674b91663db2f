"""Rubrics: the request that a template makes, the grade that is read, and templates that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.annotate.rubrics import Rubric, shipped_rubrics
from rewardlab.config import RunConfig
from rewardlab.errors import ConfigError
from rewardlab.rubric_config import RubricConfig
from rewardlab.types import Example

ROW = Example("agnews", "n1", {"text": "Rovers won the cup."}, "Sports")


def rubric(scale: str = "0-10", template: str = "answer") -> Rubric:
    return Rubric.load(RubricConfig(template=template, scale=scale))


class TestReading:
    @pytest.mark.parametrize(
        ("text", "scale", "share"),
        [
            ("7", "0-10", 0.7),
            ("**7**\nIt is clear.", "0-10", 0.7),
            ("7.5, because it is clear", "0-10", 0.75),
            ("[7/10]", "0-10", 0.7),
            ("7 out of 10.", "0-10", 0.7),
            ("4", "1-5", 0.75),  # (4 - 1) / (5 - 1)
            ("1", "1-5", 0.0),
            ("Grade: 7", "0-10", 0.7),
            ("3 of 4 points are met, so the score is **7** / 10", "0-10", 0.7),
            ("Rating: 3 at first sight. Final rating: 9", "0-10", 0.9),
            ("<think>It may be 3.</think>\n8", "0-10", 0.8),
            ("1. It is wrong throughout.", "0-10", 0.1),
            ("1. It is right.\n2. It is clear.\nGrade: 9", "0-10", 0.9),
            ("7 - clear and right", "0-10", 0.7),
        ],
    )
    def test_a_grade(self, text: str, scale: str, share: float) -> None:
        assert rubric(scale).read(text).share == pytest.approx(share, abs=1e-12)

    @pytest.mark.parametrize(
        ("text", "scale"),
        [
            ("11", "0-10"),
            ("0", "1-5"),
            ("7/5", "0-10"),
            ("7-8", "0-10"),
            ("7 - 8", "0-10"),
            ("7 to 8", "0-10"),
            ("Score: 7 or 8", "0-10"),
            ("1. The answer is right.\n2. The reasons are not.", "0-10"),
            ("-3", "0-10"),
            ("70%", "0-10"),
            ("3 of 4 points are met", "0-10"),
            ("good", "0-10"),
            ("", "0-10"),
            ("seven " * 20_000, "0-10"),
            ("grade " * 20_000, "0-10"),
        ],
    )
    def test_no_grade(self, text: str, scale: str) -> None:
        found = rubric(scale).read(text)
        assert found.share is None
        assert len(found.reason) < 120

    def test_of_an_answer_that_was_cut_only_a_number_with_more_behind_it_is_read(self) -> None:
        cut = {text: rubric().read(text, is_cut=True).share for text in ("1", "7.", "7. It is", "Grade: 7 and", "")}
        assert cut == {"1": None, "7.": None, "7. It is": 0.7, "Grade: 7 and": None, "": None}


class TestRequests:
    def test_both_shipped_rubrics_print_question_response_and_scale(self) -> None:
        assert shipped_rubrics() == ["answer", "rationale"]
        for name in shipped_rubrics():
            text = rubric("1-5", name).request(ROW, "  A match.  ")
            assert "Rovers won the cup." in text
            assert "[Response]\nA match.\n" in text
            assert text.endswith("Reply with one number from 1 to 5 and nothing else.")
            assert "version" not in text

    def test_a_response_is_no_template(self) -> None:
        assert "{{ question }} {% raw %}" in rubric().request(ROW, "{{ question }} {% raw %}")

    def test_the_version_is_that_of_the_words(self, tmp_path: Path) -> None:
        own = tmp_path / "mine.jinja"
        own.write_text("{# version 3 #}\nGrade {{ response }}.")
        first = rubric(template=str(own))
        own.write_text("{# version 3 #}\nGrade {{ response }}!")
        second = rubric(template=str(own))
        own.write_text("Grade {{ response }}!")
        bare = rubric(template=str(own))
        assert (first.version[:2], bare.version[:2]) == ("3-", "0-")
        assert len({first.version, second.version, bare.version}) == 3
        assert second.version[2:] == bare.version[2:]
        assert second.request(ROW, "x") == "Grade x!"


class TestTemplatesThatCannotBeUsed:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("Grade this.", "does not print {{ response }}"),
            ("{{ response }} {{ gold }} {{ rules }}", "prints gold, rules; expected some of question, response"),
            ("Grade\n{{ response ", "line 2: "),
        ],
    )
    def test_one_line_says_why(self, tmp_path: Path, text: str, told: str) -> None:
        own = tmp_path / "mine.jinja"
        own.write_text(text)
        with pytest.raises(ConfigError) as caught:
            rubric(template=str(own))
        assert str(own) in str(caught.value)
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_there_is_none(self) -> None:
        with pytest.raises(ConfigError, match=r"rubric.template = 'answr': cannot be read .* answer or rationale"):
            rubric(template="answr")

    @pytest.mark.parametrize("scale", ["10", "10-0", "5-5", "0-10.5", "low-high", "-1-5", "", "\u00b2-\u00b9"])
    def test_a_scale_is_two_numbers(self, scale: str) -> None:
        with pytest.raises(ValueError, match="two whole numbers, the lowest first"):
            RunConfig.model_validate({"rubric": {"scale": scale}})
