"""Reading answers: what is read, what is refused, strict beside lenient. Every expectation is worked by hand."""

from __future__ import annotations

import pytest

from rewardlab.errors import ConfigError
from rewardlab.tasks import resolve_tasks
from rewardlab.tasks.parsing import AnswerParser, format_number
from rewardlab.tasks.task import Task
from rewardlab.types import AnswerFormat, Label

TEMPLATES: dict[AnswerFormat, str] = {"label": "{text}", "rationale": "{text}", "judgement": "{text}"}
MR, AGNEWS, MNLI, QQP, STSB, STARS, COLA = resolve_tasks("mr,agnews,mnli,qqp,stsb,appreviews,cola")
RTE = Task("parsing-rte", ("text",), TEMPLATES, labels=("entailment", "not_entailment"))
HOT = Task("parsing-hot", ("text",), TEMPLATES, labels=("hot", "hot dog"))
HAPPY = Task("parsing-happy", ("text",), TEMPLATES, labels=("happy", "sad"), refused=("mostly happy",))


def lenient(task: Task, response: str, format: AnswerFormat = "label") -> Label | None:
    return task.parse(response, format).value


def strict(task: Task, response: str, format: AnswerFormat = "label") -> Label | None:
    return task.parse(response, format).strict


@pytest.mark.parametrize(
    "response",
    [
        "positive",
        "Positive",
        "POSITIVE.",
        " positive\n",
        '"positive"',
        "“Positive”",
        "'positive'",
        "**positive**",
        "`positive`",
        "_positive_",
        "__Positive__.",
        "# Positive",
        "(positive)",
        "<b>positive</b>",
        "The review is positive!",
        "positive, positive",
        "ｐｏｓｉｔｉｖｅ",
        "posi\u200btive",
        "\x00positive\x00",
        "This is not about taste. Positive",
    ],
)
def test_a_label_is_found_whatever_surrounds_it(response: str) -> None:
    assert lenient(MR, response) == "positive"


@pytest.mark.parametrize(
    "response",
    [
        "",
        " \n ",
        "good",
        "positively",
        "positivity",
        "pos itive",
        "not positive",
        "Not positive.",
        "not a very positive",
        "isn't positive",
        "isn’t positive",
        "is not positive",
        "non-positive",
        "non positive",
        "nonpositive",
        "overpositive",
        "hardly positive",
        "far from positive",
        "no positive",
        "no longer positive",
        "positive is wrong",
        "Positive isn't right",
        "positive or negative",
        "negative/positive",
        "positive\nnegative",
        "positive" + " and so on" * 500 + " negative",
        "pоsitive",  # a Cyrillic letter
    ],
)
def test_what_is_no_single_label_is_malformed(response: str) -> None:
    answer = MR.parse(response, "label")
    assert (answer.value, answer.strict) == (None, None)
    assert answer.reason


@pytest.mark.parametrize(
    ("task", "response", "label"),
    [
        (COLA, "unacceptable", "unacceptable"),
        (COLA, "Unacceptable.", "unacceptable"),
        (COLA, "not acceptable", "unacceptable"),
        (COLA, "The sentence is not acceptable.", "unacceptable"),
        (COLA, "isn’t acceptable", "unacceptable"),
        (COLA, "acceptable", "acceptable"),
        (COLA, "un-acceptable", None),
        (COLA, "not unacceptable", None),
        (COLA, "unacceptably", None),
        (RTE, "not_entailment", "not_entailment"),
        (RTE, "not entailment", "not_entailment"),
        (RTE, "Not-Entailment.", "not_entailment"),
        (RTE, "entailment", "entailment"),
        (RTE, "non-entailment", None),
        (RTE, "entailment, not_entailment", None),
        (MNLI, "not_entailment", None),
        (MNLI, "Entailment", "entailment"),
        (AGNEWS, "world POLITICS", "World politics"),
        (AGNEWS, "Sci/Tech", "Science and technology"),
        (AGNEWS, "Science & Technology", "Science and technology"),
        (AGNEWS, "science and sports", None),
        (QQP, "No, they are not duplicates.", "no"),
        (QQP, "No, no.", "no"),
        (QQP, "not", None),
        (QQP, "nothing", None),
        (QQP, "yes and no", None),
        (HOT, "a hot dog", "hot dog"),
        (HOT, "hot", "hot"),
        (HOT, "hot dog, hot", None),
        (HAPPY, "happy", "happy"),
        (HAPPY, "mostly happy", None),
    ],
)
def test_labels_inside_longer_labels(task: Task, response: str, label: str | None) -> None:
    assert lenient(task, response) == label


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ("3.75", 3.75),
        ("3.750", 3.75),
        ("+2", 2.0),
        (".5", 0.5),
        ("4.", 4.0),
        ('"4"', 4.0),
        ("**4.2**", 4.2),
        ("(4)", 4.0),
        ("4/5", 4.0),
        ("4 / 5", 4.0),
        ("4 out of 5.0.", 4.0),
        ("Score: 3.8", 3.8),
        ("3.5 (3.5)", 3.5),
        ("- 4", 4.0),
        ("-0", 0.0),
        ("５", 5.0),
        ("5.0", 5.0),
        ("0", 0.0),
        ("-1", None),
        ("−1", None),
        ("-0.5", None),
        ("6", None),
        ("5.01", None),
        ("100", None),
        ("8/10", None),
        ("1/2", None),
        ("3-4", None),
        ("3 to 4", None),
        ("3 or 4", None),
        ("3,75", None),
        ("1e0", None),
        ("0x3", None),
        ("75%", None),
        ("$3", None),
        ("3rd", None),
        ("v3", None),
        ("nan", None),
        ("inf", None),
        ("three", None),
        ("not 4", None),
        ("less than 4", None),
        ("²", None),
        ("٣", None),
        ("9" * 5000, None),
    ],
)
def test_numbers_are_read_by_the_documented_table(response: str, value: float | None) -> None:
    assert lenient(STSB, response) == value


@pytest.mark.parametrize(
    ("response", "label"),
    [
        ("4", "4"),
        ("4.0", "4"),
        ("4/5", "4"),
        ("four", "4"),
        ("4 stars", "4"),
        ("4-star", "4"),
        ("4 stars out of 5", "4"),
        ("4 (four)", "4"),
        ("3.5", None),
        ("4 or 5", None),
        ("4-5", None),
        ("four, or 5", None),
        ("0", None),
        ("-1", None),
        ("10", None),
        ("14", None),
    ],
)
def test_stars_are_labels_that_are_read_as_numbers(response: str, label: str | None) -> None:
    assert lenient(STARS, response) == label


@pytest.mark.parametrize(
    ("response", "value", "exact", "rationale"),
    [
        ("It shines.\n\n The answer is: positive", "positive", "positive", "It shines."),
        ("\n\n The answer is: positive", "positive", "positive", ""),
        ("It shines.\n\n The answer is: positive\n", "positive", "positive", "It shines."),
        ("It shines. The answer is: positive", "positive", None, "It shines."),
        ("It shines.\n\n the ANSWER is: Positive.", "positive", None, "It shines."),
        ("It shines.\n\n**The answer is:** positive", "positive", None, "It shines."),
        ("It shines.\n\nThe  answer\nis : `positive`", "positive", None, "It shines."),
        (
            "A\n\n The answer is: negative\n\n The answer is: positive",
            "positive",
            None,
            "A\n\n The answer is: negative",
        ),
        ("A\n\n The answer is: positive\n\n The answer is:", None, None, "A\n\n The answer is: positive"),
        ("It is positive. The answer is clear.", None, None, "It is positive. The answer is clear."),
        ("positive", None, None, "positive"),
        ("A\n\n The answer is: positive, or negative", None, None, "A"),
        ("A\n\n The answer is: not positive", None, None, "A"),
        ("A\n\n The answer is: Positive", "positive", None, "A"),
    ],
)
def test_rationale_answers_stand_behind_the_last_marker(
    response: str, value: str | None, exact: str | None, rationale: str
) -> None:
    answer = MR.parse(response, "rationale")
    assert (answer.value, answer.strict, answer.rationale) == (value, exact, rationale)


@pytest.mark.parametrize(
    ("response", "value", "exact"),
    [
        (" Yes </Judgement>", "acceptable", "acceptable"),
        ("No</Judgement>", "unacceptable", "unacceptable"),
        ("<Judgement> Yes </Judgement>", "acceptable", "acceptable"),
        ("<Judgement><Judgement> Yes </Judgement></Judgement>", "acceptable", None),
        (" yes </judgement>", "acceptable", None),
        (" Yes", "acceptable", None),
        (" Yes </Judgement> No", "acceptable", None),
        (" acceptable </Judgement>", "acceptable", None),
        (" not acceptable </Judgement>", "unacceptable", None),
        (" No, it is unacceptable. </Judgement>", "unacceptable", None),
        (" Yes or No </Judgement>", None, None),
        (" Yes, unacceptable </Judgement>", None, None),
        (" </Judgement> Yes", None, None),
        ("</Judgement>", None, None),
    ],
)
def test_judgements_end_at_the_closing_tag(response: str, value: str | None, exact: str | None) -> None:
    answer = COLA.parse(response, "judgement")
    assert (answer.value, answer.strict) == (value, exact)


def test_cola_says_yes_only_in_judgements() -> None:
    assert lenient(COLA, "Yes") is None
    assert strict(COLA, "acceptable") == "acceptable"


@pytest.mark.parametrize(
    ("response", "value"),
    [("3.8", 3.8), (" 4 ", 4.0), ("1.000", 1.0), ("4.", None), ("+4", None), ("4/5", None), ("6", None), ("-1", None)],
)
def test_strict_numbers_are_plain(response: str, value: float | None) -> None:
    assert strict(STSB, response) == value


def test_one_answer_named_over_and_over_is_a_loop() -> None:
    assert lenient(MR, "positive " * 50) == "positive"
    assert lenient(MR, "positive " * 51) is None


def test_a_reason_quotes_only_the_beginning() -> None:
    assert MR.parse("x" * 10_000, "label").reason == f"no label in '{'x' * 60}…'"


def test_a_text_for_two_labels_is_refused_at_declaration() -> None:
    clash = Task("parsing-clash", ("text",), TEMPLATES, labels=("a", "b"), words={"label": {"a": "same", "b": "Same."}})
    with pytest.raises(ConfigError, match=r"parsing-clash.*'Same\.' stands for both 'a' and 'b'"):
        AnswerParser(clash, "label")


def test_the_parser_is_built_once_for_one_declaration() -> None:
    assert AnswerParser.cached(MR, "label") is AnswerParser.cached(MR, "label")
    namesake = Task("mr", ("text",), TEMPLATES, labels=("up", "down"))
    assert lenient(namesake, "up") == "up"
    assert lenient(MR, "up") is None


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (3.8, "3.8"),
        (4.75, "4.75"),
        (5.0, "5.0"),
        (5, "5.0"),
        (0.0, "0.0"),
        (-0.0, "0.0"),
        (2.11111111, "2.111"),
        (10, "10.0"),
    ],
)
def test_numbers_are_printed_as_the_data_print_them(value: float, printed: str) -> None:
    assert format_number(value) == printed
