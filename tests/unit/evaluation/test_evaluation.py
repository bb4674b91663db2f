"""Evaluation: predictions and few-shot prompts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from rewardlab.comparison.evaluations import load_eval
from rewardlab.comparison.statistics import draws_of, estimate
from rewardlab.disk import read_json, write_json
from rewardlab.errors import DataError
from rewardlab.evaluation.answers import write_answers
from rewardlab.evaluation.few_shot import Demonstration, chain_of_thought, choose_demonstrations, few_shot_prompt
from rewardlab.evaluation.predict import Decoding, GeneratedText, evaluate, random_answer
from rewardlab.tasks.task import Task, tasks
from rewardlab.types import Example
from tests.support.runs import eval_folder

TEMPLATES = {"label": "Q: {text}", "rationale": "Why? Q: {text}", "judgement": "Judge: {text}"}


def _quality(example: Example, response: str) -> float:
    return float(example.fields["text"] in response)


TOY = Task(name="toy-eval", fields=("text",), templates=TEMPLATES, labels=("no", "yes"), quality=_quality)
SCALE = Task(
    name="toy-scale", fields=("text",), templates=TEMPLATES, numeric_range=(0.0, 5.0), metrics=("pearson", "spearman")
)


@pytest.fixture(autouse=True)
def _known_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_entries", {**tasks._entries, "toy-eval": TOY, "toy-scale": SCALE})


def _examples(labels: Sequence[str | float | None], task: str = "toy-eval") -> list[Example]:
    return [
        Example(task, f"row-{number}", {"text": f"text {number}"}, label, "rationale")
        for number, label in enumerate(labels)
    ]


def _says(responses: Sequence[str]) -> Callable[[Sequence[Example], Decoding], list[GeneratedText]]:
    def generate(examples: Sequence[Example], decoding: Decoding) -> list[GeneratedText]:
        texts = responses if decoding == "sampled" else ["so\n\n The answer is: yes"] * len(examples)
        return [GeneratedText(text, finished=number > 0) for number, text in enumerate(texts)]

    return generate


def test_every_prediction_is_read_and_measured() -> None:
    responses = [
        "text 0\n\n The answer is: yes",  # right, strict
        "because\n\n The answer is: yes",  # wrong
        "no idea at all",  # malformed
        "I say text 3. The answer is: no.",  # right, lenient only
    ]
    rows, columns = evaluate({"toy": _examples(["yes", "no", "yes", "no"])}, _says(responses), bootstrap=100)
    cell = columns["toy"]["sampled"]
    assert cell["n"] == 4
    assert cell["metrics"]["accuracy"]["value"] == pytest.approx(2 / 4)
    assert cell["malformed"] == pytest.approx(1 / 4)
    assert cell["strict_malformed"] == pytest.approx(2 / 4)
    assert cell["unfinished"] == pytest.approx(1 / 4)
    assert cell["quality"]["value"] == pytest.approx(2 / 4)
    assert columns["toy"]["greedy"]["metrics"]["accuracy"]["value"] == pytest.approx(2 / 4)
    first, second, third, fourth = rows[:4]
    assert [row.decoding for row in rows] == ["sampled"] * 4 + ["greedy"] * 4
    assert (first.answer, first.strict, first.is_correct, first.finished) == ("yes", "yes", True, False)
    assert (second.answer, second.is_correct, second.finished) == ("yes", False, True)
    assert (third.answer, third.is_correct, third.is_malformed) == (None, False, True)
    assert (fourth.answer, fourth.strict, fourth.is_correct) == ("no", None, True)
    assert first.prompt == "Why? Q: text 0"
    assert first.quality == 1.0
    assert json.loads(json.dumps(first.to_json()))["column"] == "toy"


def test_numbers_are_measured_by_correlation() -> None:
    responses = [f"r\n\n The answer is: {number}" for number in ("0.0", "2.0", "5.0")]
    rows, columns = evaluate({"s": _examples([0.0, 2.5, 5.0], "toy-scale")}, _says(responses), bootstrap=100)
    cell = columns["s"]["sampled"]
    assert cell["metrics"]["spearman"]["value"] == pytest.approx(1.0)
    # deviations (-2.5, 0, 2.5) and (-7, -1, 8)/3: 12.5 / sqrt(12.5 * 38/3) = 0.99340
    assert cell["metrics"]["pearson"]["value"] == pytest.approx(0.99340, abs=1e-5)
    assert [row.is_correct for row in rows[:3]] == [True, False, True]
    assert cell["quality"] is None
    assert cell["numeric_range"] == (0.0, 5.0)


def test_the_prompt_that_was_asked_is_recorded() -> None:
    rows, _ = evaluate({"toy": _examples(["yes"])}, _says(["yes"]), bootstrap=100, prompt=lambda example: example.id)
    assert rows[0].prompt == "row-0"


def test_the_stored_interval_is_the_one_that_a_comparison_prints(tmp_path: Path) -> None:
    """Rows out of order; a correlation, whose interval tells any two sets of resamples apart."""
    examples = list(reversed(_examples([number * 5 / 19 for number in range(20)], "toy-scale")))
    responses = [f"so\n\n The answer is: {number * 7 % 11 / 2.5}" for number in range(20)]
    rows, columns = evaluate({"s": examples}, _says(responses))
    folder = eval_folder(tmp_path / "eval", columns={})
    write_answers(folder, rows)
    write_json(folder / "result.json", {**read_json(folder / "result.json"), "columns": columns})
    printed = estimate(draws_of({0: load_eval(folder).cells["s", "sampled"]}, ("pearson",)))
    stored = columns["s"]["sampled"]["metrics"]["pearson"]
    assert stored == pytest.approx({"value": printed.value, "low": printed.low, "high": printed.high}, abs=1e-12)
    assert stored["low"] < stored["value"] < stored["high"]


def test_evaluation_refuses_what_it_cannot_measure() -> None:
    with pytest.raises(DataError, match="toy: there are no test examples"):
        evaluate({"toy": []}, _says([]))
    with pytest.raises(DataError, match="row row-1 and 0 more have no gold label"):
        evaluate({"toy": _examples(["yes", None])}, _says(["yes", "yes"]))
    with pytest.raises(DataError, match="2 examples, 1 responses"):
        evaluate({"toy": _examples(["yes", "no"])}, _says(["yes"]))
    with pytest.raises(DataError, match="one task a column"):
        evaluate({"toy": [*_examples(["yes"]), *_examples([1.0], "toy-scale")]}, _says(["yes", "yes"]))


def test_few_shot_prompts_show_question_and_answer_in_the_examples_format() -> None:
    question, shown = _examples([None, "yes"])
    text = few_shot_prompt(TOY, question, [Demonstration(shown, "Because of 1.")])
    assert text == "Why? Q: text 1\n\nBecause of 1.\n\n The answer is: yes\n\nWhy? Q: text 0"
    bare = few_shot_prompt(TOY, question, [Demonstration(shown)])
    assert bare == "Why? Q: text 1\n\nThe answer is: yes\n\nWhy? Q: text 0"
    judged = few_shot_prompt(TOY, replace(question, format="judgement"), [Demonstration(shown)])
    assert judged == "Judge: text 1\n\n<Judgement> yes </Judgement>\n\nJudge: text 0"
    assert few_shot_prompt(TOY, replace(question, format="label"), []) == "Q: text 0"


def test_a_demonstration_without_label_is_refused() -> None:
    question, bare = _examples([None, None])
    with pytest.raises(DataError, match="row row-1 has no label"):
        few_shot_prompt(TOY, question, [Demonstration(bare)])


def test_a_call_for_reasoning_stands_behind_each_prompt_and_names_what_the_parser_reads() -> None:
    asking = chain_of_thought(SCALE)
    assert asking.startswith("\nLet's think step by step. ")
    assert asking.endswith("in place of the dots, a number from 0 to 5.")
    question, shown = _examples([1.0, 2.0], "toy-scale")
    text = few_shot_prompt(SCALE, question, [Demonstration(shown, "they differ")], asking)
    first, answer, last = text.split("\n\n", 1)[0], "they differ", text.rpartition("\n\n")[2]
    assert first == SCALE.prompt(shown) + asking
    assert last == SCALE.prompt(question) + asking
    assert answer in text
    told = chain_of_thought(TOY)
    (mark,) = re.findall(r'the line "(.*?) \.\.\."', told)
    assert [TOY.parse(f"because\n{mark} {label}", "rationale").value for label in TOY.labels] == list(TOY.labels)
    assert all(f'"{label}"' in told for label in TOY.labels)


def test_demonstrations_are_balanced_and_seeded() -> None:
    pool = [Demonstration(example) for example in _examples(["yes"] * 40 + ["no"] * 4 + [None] * 4)]
    chosen = choose_demonstrations(TOY, pool, 4, seed=1)
    assert sorted(str(shot.example.label) for shot in chosen) == ["no", "no", "yes", "yes"]
    assert chosen == choose_demonstrations(TOY, pool, 4, seed=1)
    assert chosen != choose_demonstrations(TOY, pool, 4, seed=2)
    assert {len(choose_demonstrations(TOY, pool, 44, seed=0))} == {44}


def test_numeric_demonstrations_cover_the_range() -> None:
    golds = [0.1 * number for number in range(30)] + [3.5, 4.5]
    pool = [Demonstration(example) for example in _examples(golds, "toy-scale")]
    chosen = choose_demonstrations(SCALE, pool, 5, seed=0)
    assert sorted(int(float(str(shot.example.label))) for shot in chosen) == [0, 1, 2, 3, 4]


def test_excluded_rows_are_never_shown() -> None:
    pool = [Demonstration(example) for example in _examples(["yes", "no", "yes"])]
    chosen = choose_demonstrations(TOY, pool, 2, seed=0, exclude=frozenset({"row-0"}))
    assert {shot.example.id for shot in chosen} == {"row-1", "row-2"}
    with pytest.raises(DataError, match="2 labelled rows, 3 shots asked"):
        choose_demonstrations(TOY, pool, 3, seed=0, exclude=frozenset({"row-0"}))


class TestGuess:
    """``eval.unreadable = random``: PPO-NLU's code tosses a coin where a response holds no answer."""

    def test_a_perfect_model_that_says_no_for_negative_is_right_in_three_quarters(self) -> None:
        """All of the positive half and half of the negative one: 0.5 + 0.25; of 1 000 coins 2 sigma are 0.016."""
        gold = ["positive", "negative"] * 1000
        rows = [
            Example("sst2", str(number), {"text": "a film"}, label, "judgement") for number, label in enumerate(gold)
        ]

        def generate(examples: Sequence[Example], decoding: Decoding) -> list[GeneratedText]:
            words = {"positive": " positive </Judgement>", "negative": " No </Judgement>"}
            return [GeneratedText(words[str(example.label)], True) for example in examples]

        found = evaluate({"sst2": rows}, generate, bootstrap=100, guess=partial(random_answer, 0)).columns["sst2"]
        values = [cell["metrics"]["accuracy"]["value"] for cell in found.values()]
        assert values == [pytest.approx(0.75, abs=0.02)] * 2
        assert {cell["malformed"] for cell in found.values()} == {0.5}
        wrong = evaluate({"sst2": rows}, generate, bootstrap=100).columns["sst2"]["greedy"]
        assert wrong["metrics"]["accuracy"]["value"] == 0.5

    def guess(self, example: Example, decoding: Decoding) -> str:
        return "yes"

    def test_it_stands_in_for_what_cannot_be_read_and_for_nothing_else(self) -> None:
        responses = ["no idea", "no idea", "because\n\n The answer is: no", "because\n\n The answer is: no"]
        examples = _examples(["yes", "no", "yes", "no"])
        rows, columns = evaluate({"toy": examples}, _says(responses), bootstrap=100, guess=self.guess)
        sampled = rows[:4]
        assert [row.answer for row in sampled] == ["yes", "yes", "no", "no"]
        assert [row.strict for row in sampled] == [None, None, "no", "no"]
        assert [row.is_correct for row in sampled] == [True, False, False, True]
        assert [row.is_malformed for row in sampled] == [True, True, False, False]
        cell = columns["toy"]["sampled"]
        assert (cell["metrics"]["accuracy"]["value"], cell["malformed"]) == (0.5, 0.5)

    def test_labels_are_drawn_evenly_and_again_the_same(self) -> None:
        examples = _examples(["yes"] * 400)
        drawn = [random_answer(0, example, "greedy") for example in examples]
        assert 160 < drawn.count("yes") < 240  # four deviations of a fair coin, 10
        assert set(drawn) == {"yes", "no"}
        assert [random_answer(0, example, "greedy") for example in examples] == drawn
        for other in ((1, "greedy"), (0, "sampled")):
            assert [random_answer(other[0], example, other[1]) for example in examples] != drawn

    def test_numbers_lie_anywhere_on_the_scale(self) -> None:
        drawn = [float(random_answer(0, example, "greedy")) for example in _examples([1.0] * 400, "toy-scale")]
        assert 0.0 <= min(drawn) < 0.1
        assert 4.9 < max(drawn) <= 5.0
