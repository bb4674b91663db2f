"""Tasks of GLUE and SuperGLUE beside RLLR's, and the sets that PPO-NLU tests on: real rows, answers, refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rewardlab.config_loading import load_config
from rewardlab.errors import ConfigError, DataError
from rewardlab.pipeline import Pipeline
from rewardlab.tasks import GROUPS, resolve_tasks, tasks
from rewardlab.tasks.rows import check_rows
from rewardlab.tasks.sources import bundled_file, load_splits
from rewardlab.tasks.task import Task, parse_response, prompt_of
from rewardlab.types import ANSWER_FORMATS, AnswerFormat

DATA = os.environ.get("REWARDLAB_DATA", "")
"""Read before the fixture takes it away."""
NEW = [task for task in resolve_tasks("ppo-nlu,ppo-nlu-unseen") if not bundled_file(task).is_file()]
FORMS: dict[AnswerFormat, str] = {
    "label": "{}",
    "rationale": "Because.\n\n The answer is: {}",
    "judgement": " {} </Judgement>",
    "confident": "The answer is: {} (80 %)",
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)
    monkeypatch.setattr("rewardlab.tasks.hub.offline_reason", lambda: "no route to the hub")


def test_groups_are_the_papers_tables() -> None:
    """Nine of GLUE, eight of SuperGLUE; RTE is in both and counted once; diagnostics are tests only."""
    assert set(GROUPS["glue"]) == {"cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb", "wnli"}
    assert set(GROUPS["superglue"]) == {"boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc"}
    assert sorted(GROUPS["ppo-nlu"]) == sorted({*GROUPS["glue"], *GROUPS["superglue"]})
    assert {task.name for task in NEW if not task.trainable} == {"axb", "axg"}


def test_metrics_are_the_papers() -> None:
    """Tables 1 and 3; accuracy where nothing else is named."""
    others = {task.name: task.metrics for task in NEW if task.metrics != ("accuracy",)}
    assert others == {
        "cb": ("macro_f1", "accuracy"),
        "multirc": ("f1", "exact_match", "accuracy"),
        "record": ("token_f1", "exact_match"),
        "axb": ("matthews", "accuracy"),
        "axg": ("accuracy", "parity"),
    }


@pytest.mark.parametrize("format", ANSWER_FORMATS)
@pytest.mark.parametrize("task", NEW, ids=lambda task: task.name)
def test_twenty_real_rows_print_and_read_their_gold_labels(task: Task, format: AnswerFormat) -> None:
    if not DATA or not (Path(DATA) / task.name).is_dir():
        pytest.skip(f"needs REWARDLAB_DATA, the folder of real data sets, with {task.name} in it")
    splits = load_splits(
        task, source="local", data_dir=Path(DATA), format=format, labelled=20, prompts=20, validation=20, test=20
    )
    rows = splits.tests[task.name]
    assert len(rows) == 20
    assert (len(splits.labelled), len(splits.prompts)) == ((20, 20) if task.trainable else (0, 0))
    for row in [*splits.labelled, *rows]:
        assert row.label is not None
        assert all(row.fields[name] in prompt_of(row) for name in task.fields)
        answer = parse_response(row, task.response(row.label, format, "So it is."))
        assert task.is_right(answer.value, row.label)
        assert answer.strict == answer.value


@pytest.mark.parametrize(
    ("name", "text", "label"),
    [
        ("rte", "not_entailment", "not_entailment"),
        ("rte", "Non-entailment", "not_entailment"),
        ("rte", "It does not entail it.", "not_entailment"),
        ("rte", "entailed", "entailment"),
        ("rte", "neutral", None),
        ("rte", "entailment or not entailment", None),
        ("rte", "not not entailment", None),
        ("qnli", "It is not an entailment", "not_entailment"),
        ("boolq", "Yes.", "yes"),
        ("boolq", "yes and no", None),
        ("boolq", "maybe", None),
        ("copa", "Choice 2", "choice2"),
        ("copa", "1", "choice1"),
        ("copa", "the second", "choice2"),
        ("copa", "not choice 1", None),
        ("copa", "both", None),
        ("copa", "neither choice 1", None),
        ("copa", "choice 3", None),
        ("cb", "contradictory", "contradiction"),
        ("financial_phrasebank", "neutral", "neutral"),
        ("financial_phrasebank", "mixed, rather positive", None),
        ("financial_phrasebank", "not positive", None),
        ("emotion", "happy", "joy"),
        ("emotion", "no emotion, or joy", None),
        ("emotion", "anger and fear", None),
        ("depression", "not depressed", "not_depressed"),
        ("depression", "non-depressed", "not_depressed"),
        ("depression", "depressed or not depressed", None),
    ],
)
@pytest.mark.parametrize("format", ANSWER_FORMATS)
def test_what_is_read_and_what_is_refused(name: str, text: str, label: str | None, format: AnswerFormat) -> None:
    assert tasks.get(name).parse(FORMS[format].format(text), format).value == label


def test_a_set_without_training_rows_gives_its_tests_alone(tmp_path: Path) -> None:
    row = {"sentence1": "A cat sat.", "sentence2": "A cat stood.", "label": "not_entailment"}
    (tmp_path / "axb").mkdir()
    (tmp_path / "axb" / "test.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    splits = load_splits(tasks.get("axb"), data_dir=tmp_path)
    assert [splits.labelled, splits.prompts, splits.validation] == [[], [], []]
    assert [example.label for example in splits.tests["axb"]] == ["not_entailment"]


def test_it_is_evaluated_and_never_trained_on(tmp_path: Path) -> None:
    (tmp_path / "axg").mkdir()
    row = {"sentence1": "A.", "sentence2": "B.", "label": "entailment"}
    (tmp_path / "axg" / "test.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    config = load_config(
        {"task": "axg", "format": "judgement", "data.dir": str(tmp_path), "model.name": "sandbox-tiny"}
    )
    pipeline = Pipeline(config, tmp_path / "runs")
    assert pipeline.eval(None).title == "evaluate zero-shot on axg"
    with pytest.raises(ConfigError, match=r"task axg has test rows only.*rewardlab eval --run RUN --task axg"):
        pipeline.sft(False)


def test_rows_that_are_nowhere_are_told_in_one_line_without_a_sample_that_does_not_exist() -> None:
    with pytest.raises(DataError, match="no rows for task qnli") as told:
        load_splits(tasks.get("qnli"))
    assert "no route to the hub" in str(told.value)
    assert "take --source bundled" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_benchmark_label_that_is_hidden_is_refused() -> None:
    """GLUE and SuperGLUE have -1 for the labels of their tests."""
    row = {"premise": "P", "choice1": "A", "choice2": "B", "question": "cause", "label": -1}
    with pytest.raises(DataError, match="label -1 is not one of choice1, choice2"):
        check_rows(lambda: [("row 0", row)], "copa", tasks.get("copa"), "label")
