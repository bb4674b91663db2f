"""Answers that each row brings (ReCoRD): reading, gold answers, rows, rewards, wrong answers and metrics, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewardlab.annotate.claims import claimed_labels, masked
from rewardlab.annotate.wrong_labels import WrongLabels
from rewardlab.errors import ConfigError, DataError
from rewardlab.evaluation.budgets import long_labels
from rewardlab.evaluation.few_shot import chain_of_thought
from rewardlab.evaluation.predict import GeneratedText, evaluate, random_answer
from rewardlab.metrics import score_predictions
from rewardlab.rewards.rule import RuleReward
from rewardlab.tasks import tasks
from rewardlab.tasks.rows import check_rows
from rewardlab.tasks.task import Task, parse_response, prompt_of
from rewardlab.tasks.user import load_task
from rewardlab.types import AnswerFormat, Example

RECORD = tasks.get("record")
ENTITIES = ["Barack Obama", "Obama", "George W. Bush", "U.S. Senate", "Congo", "2008"]
ROW = {
    "passage": "Barack Obama won in 2008. @highlight George W. Bush went home.",
    "query": "@placeholder was elected.",
    "entities": ENTITIES,
    "answers": ["Barack Obama", "Obama"],
}


def example(format: AnswerFormat = "label", **changed: object) -> Example:
    return check_rows(lambda: [("row 0", {**ROW, **changed})], "record", RECORD, format).examples[0]


def test_a_row_of_the_hub_keeps_its_lists_as_texts() -> None:
    row = example("judgement")
    assert row.label == "Barack Obama | Obama"
    assert row.fields["entities"] == "Barack Obama | Obama | George W. Bush | U.S. Senate | Congo | 2008"
    assert RECORD.options(row) == tuple(ENTITIES)
    assert f"The entities are: {row.fields['entities']}." in prompt_of(row)
    assert RECORD.response("Barack Obama | Obama", "judgement") == " Barack Obama </Judgement>", "SFT learns the first"
    written = example(entities=" | ".join(ENTITIES), answers=None, label="Obama")
    assert (written.fields, written.label) == (row.fields, "Obama")


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ("Barack Obama", "Barack Obama"),
        ("obama", "Obama"),
        ("It was Barack Obama.", "Barack Obama"),
        ("The U.S. Senate", "U.S. Senate"),
        ("2008", "2008"),
        ("Barack Obama or George W. Bush", None),
        ("Obama, that is Barack Obama", None),
        ("not Congo", None),
        ("Bush", None),
        ("Hillary Clinton", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("form", ["{}", " {} </Judgement>"])
def test_what_is_read(response: str, value: str | None, form: str) -> None:
    """Whole names only, the longest first; two different candidates are no answer, be they spellings of one entity."""
    format: AnswerFormat = "label" if form == "{}" else "judgement"
    assert parse_response(example(format), form.format(response)).value == value


def test_the_candidates_of_one_row_are_none_of_another() -> None:
    assert parse_response(example(entities=["Obama", "Lima"], answers=["Lima"]), "Congo").value is None
    assert parse_response(example(), "Congo").value == "Congo"


def test_candidates_that_read_alike_are_one() -> None:
    row = example(entities=["US", "us", "!", "Congo"], answers=["us"])
    answer = parse_response(row, "US")
    assert answer.value == "US"
    assert row.label is not None
    assert RECORD.is_right(answer.value, row.label), "gold us, up to case"


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"answers": ["Clinton"]}, "none of its gold answers 'Clinton' is among its entities"),
        ({"answers": []}, "'label' names nothing"),
        ({"answers": "Clinton"}, "none of its gold answers"),
        ({"entities": 3}, "'entities' is 3, expected a list of texts"),
        ({"entities": ["a | b", "Obama"]}, "'entities' has ' | ' inside of a text"),
    ],
)
def test_a_row_that_cannot_be_answered_is_refused(changed: dict[str, object], problem: str) -> None:
    with pytest.raises(DataError) as told:
        example(**changed)
    assert problem in str(told.value)


def test_the_rule_takes_any_gold_answer() -> None:
    responses = ["Obama", "barack obama!", "Congo", "Clinton"]
    scores = RuleReward()([example()] * 4, responses)
    assert [score.score for score in scores] == [1.0, 1.0, 0.0, -1.0]


def test_a_wrong_answer_is_a_candidate_that_is_no_gold_one() -> None:
    drawn = {WrongLabels(RECORD, []).of(example(), seed) for seed in range(60)}
    assert drawn == {"George W. Bush", "U.S. Senate", "Congo", "2008"}
    with pytest.raises(DataError, match="no wrong candidate"):
        WrongLabels(RECORD, []).of(example(entities=["Obama", "obama."], answers=["Obama"]), 0)
    assert {random_answer(seed, example(), "greedy") for seed in range(99)} == set(ENTITIES)


def test_a_rationale_claims_candidates() -> None:
    assert claimed_labels(example(), "So Congo it is.") == ["Congo"]


def test_a_masked_rationale_has_every_gold_answer_as_the_one_asked_for() -> None:
    text = masked(example(), "Barack Obama | Obama", "Obama it is, not Congo.")
    assert " ".join(text.split()) == "xasked it is, not xother ."


def test_no_label_is_too_long_where_rows_have_their_own_answers() -> None:
    assert long_labels(RECORD, "label", 4, lambda response: [0] * len(response)) is None


@pytest.mark.parametrize("metrics", ['["macro_f1"]', '["parity"]'])
def test_metrics_that_do_not_fit_are_refused_with_the_file(tmp_path: Path, metrics: str) -> None:
    file = tmp_path / "who.toml"
    text = 'name = "who"\nfields = ["text", "names"]\ncandidates = "names"\ntemplate = "{text} {names}"\n'
    file.write_text(text + f"metrics = {metrics}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=json.loads(metrics)[0]):
        load_task(file)


def test_token_overlap_and_exact_match_by_hand() -> None:
    """Row 1: right. Row 2: 'Barack Obama' against 'Mr Barack Obama' shares 2 of 2 and 3 words, 2 * 2 / 5 = 0.8; against
    'Rome' nothing. Row 3: malformed. Row 4: 'the Rome!' is 'Rome'."""
    gold = ["Rome | Italy", "Mr Barack Obama | Rome", "Rome", "Rome"]
    answers = ["Italy", "Barack Obama", None, "the Rome!"]
    assert score_predictions("token_f1", gold, answers, RECORD) == pytest.approx((1 + 0.8 + 0 + 1) / 4)
    assert score_predictions("exact_match", gold, answers, RECORD) == 0.5
    assert score_predictions("accuracy", gold, answers, RECORD) == 0.5
    with pytest.raises(ConfigError, match="macro_f1 does not fit candidates"):
        score_predictions("macro_f1", gold, answers, RECORD)
    with pytest.raises(ConfigError, match="token_f1 needs a task whose answers are candidates"):
        score_predictions("token_f1", ["yes"], ["no"], tasks.get("boolq"))


def test_an_evaluation_measures_both() -> None:
    rows = [example(id="a"), example(id="b", answers=["George W. Bush"])]
    texts = [GeneratedText("Obama", finished=True), GeneratedText("U.S. Senate", finished=True)]
    found = evaluate({"record": rows}, lambda examples, decoding: texts, bootstrap=20)
    cell = found.columns["record"]["greedy"]
    assert {name: metric["value"] for name, metric in cell["metrics"].items()} == {"token_f1": 0.5, "exact_match": 0.5}
    assert [row.is_correct for row in found.rows] == [True, False] * 2
    assert cell["candidates"] == "entities"


def test_a_task_file_may_declare_candidates(tmp_path: Path) -> None:
    row = {"text": "Who?", "names": ["Ann", "Bob"], "label": ["Bob"]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    file = tmp_path / "who.toml"
    text = 'name = "who"\nfields = ["text", "names"]\ncandidates = "names"\ntemplate = "{text} {names}"\n'
    file.write_text(text, encoding="utf-8")
    task = load_task(file)
    assert task.metrics == ("token_f1", "accuracy", "exact_match")
    assert "Insert one of the names" in task.templates["judgement"]
    assert not task.is_numeric
    assert "one of the answers that are listed" in chain_of_thought(task)
    file.write_text(text.replace('"names"\n', '"others"\n'), encoding="utf-8")
    with pytest.raises(ConfigError, match="candidates names one of its fields"):
        load_task(file)


def test_candidates_stand_in_place_of_labels() -> None:
    with pytest.raises(ConfigError, match="in place of labels"):
        Task("who", ("text",), RECORD.templates, labels=("a", "b"), candidates="text")
