"""Declarations, the registry of tasks, and the listing on the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from rewardlab.cli.tasks import app
from rewardlab.errors import ConfigError, DataError, InputError, UnknownNameError
from rewardlab.tasks import GROUPS, resolve_tasks, tasks
from rewardlab.tasks.task import Task, TaskRegistry, parse_response, prompt_of, with_format
from rewardlab.types import ANSWER_FORMATS, Example

TEMPLATES = dict.fromkeys(ANSWER_FORMATS, "{text}?")


def row(task: str, **fields: str) -> Example:
    return Example(task, "r1", fields)


@pytest.mark.parametrize(
    ("example", "prompt"),
    [
        (row("mr", text="A {bore}."), "A {bore}. What sentiment does the writer express for the movie?"),
        (row("agnews", text="T"), "What label best describes this news article? \n T"),
        (
            row("mnli", sentence1="P", sentence2="H"),
            "Given a premise and a hypothesis, predict the relationship between them. Choose one of the following "
            "labels: contradiction, entailment, neutral. Premise:P, or Hypothesis:H",
        ),
        (row("qqp", sentence1="A?", sentence2="B?"), 'I received the questions "A?" and "B?". Are they duplicates?'),
        (row("sst2", text="T"), "Movie review: T What sentiment dose the movie review express?"),
        (
            row("stsb", sentence1="A", sentence2="B"),
            "Analyze the semantic similarity between two sentences and predict a similarity score from 0 to 5. "
            "Sentence 1: A, Sentence 2: B",
        ),
        (
            row("mrpc", sentence1="A", sentence2="B"),
            "Does the sentence \n A \n paraphrase (that is, mean the same thing as) this sentence? \n B",
        ),
        (
            row("appreviews", text="T"),
            "On a scale of 1-5 (with 1 being least favorable and 5 being most favorable), how would you rate this "
            'review? "T"',
        ),
    ],
)
def test_rllr_prompts_are_the_papers_own(example: Example, prompt: str) -> None:
    assert prompt_of(example) == prompt
    assert prompt_of(with_format([example], "label")[0]) == prompt


def test_colas_judgement_prompt_is_ppo_nlus() -> None:
    example = Example("cola", "r1", {"text": "Us went."}, format="judgement")
    assert prompt_of(example) == (
        "You are an assistant to analyze the linguistic properties of a sentence. The task is to decide the linguistic "
        "acceptability of a sentence. If the sentence is linguistically correct then it is acceptable, else it is not."
        '\n\nThe result you give should have the following form:\n<Judgement> {Insert only "Yes" or "No" here} '
        '</Judgement>\nNow judge if the sentence "Us went." is linguistically acceptable.'
    )


def test_declarations_are_ascii_so_no_scanned_letter_survives() -> None:
    for task in resolve_tasks("rllr8,cola"):
        assert all(template.isascii() for template in task.templates.values())


def test_metrics_and_columns_of_the_tables() -> None:
    metrics = {task.name: task.metrics for task in resolve_tasks("rllr8,cola")}
    assert metrics == {
        **dict.fromkeys(("mr", "agnews", "mnli", "sst2", "appreviews"), ("accuracy",)),
        **dict.fromkeys(("qqp", "mrpc"), ("accuracy", "f1")),
        "stsb": ("pearson", "spearman"),
        "cola": ("matthews", "accuracy"),
    }
    assert tasks.get("mnli").test_splits == {"mnli": "validation", "mnli-mm": "validation_mismatched"}


def test_responses_of_the_three_formats() -> None:
    cola, stsb = resolve_tasks("cola,stsb")
    assert cola.response("unacceptable", "label") == "unacceptable"
    assert cola.response("unacceptable", "judgement") == " No </Judgement>"
    assert stsb.response(3.8, "rationale", "Close.") == "Close.\n\n The answer is: 3.8"


def test_an_example_is_read_by_its_own_task_and_format() -> None:
    assert parse_response(Example("cola", "r1", {}, format="judgement"), " No </Judgement>").strict == "unacceptable"
    assert parse_response(Example("qqp", "r1", {}, format="label"), "no").strict == "no"


def test_names_groups_and_lists_are_resolved_in_order_and_once() -> None:
    assert [task.name for task in resolve_tasks("sst2, mr,sst2")] == ["sst2", "mr"]
    assert [task.name for task in resolve_tasks("rllr8")] == list(GROUPS["rllr8"])
    assert [task.name for task in resolve_tasks("sandbox,sandbox-topic,mr")] == [*GROUPS["sandbox"], "mr"]


def test_an_unknown_task_names_its_neighbours() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown task 'agnew'; did you mean agnews"):
        resolve_tasks("mr,agnew")
    with pytest.raises(InputError, match="names no task"):
        resolve_tasks(" , ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"templates": {"label": "{text}"}}, "no template for format rationale, judgement"),
        ({"labels": ()}, "needs labels, a numeric_range or candidates"),
        ({"templates": {**TEMPLATES, "label": "{text} {body}"}}, "template label names body"),
        ({"templates": {**TEMPLATES, "label": "{text.__class__}"}}, "template label names text.__class__"),
        ({"templates": {**TEMPLATES, "label": "{text} {"}}, "write {{ and }} for plain braces"),
    ],
)
def test_a_broken_declaration_is_refused(changes: dict[str, object], message: str) -> None:
    values: dict[str, object] = {"name": "t", "fields": ("text",), "templates": TEMPLATES, "labels": ("a", "b")}
    with pytest.raises(ConfigError, match=message.replace("{", r"\{").replace("}", r"\}")):
        Task(**{**values, **changes})  # type: ignore[arg-type]  # the values are wrong on purpose


def test_a_row_without_its_field_is_named() -> None:
    with pytest.raises(DataError, match="task mr: row r1 has no field 'text'"):
        prompt_of(row("mr", body="x"))


def test_the_registry_imports_later_modules_once_and_only_when_asked() -> None:
    registry = TaskRegistry(later=("no_such_module_of_tasks",))
    task = Task("t", ("text",), TEMPLATES, labels=("a", "b"))
    registry.add("t", task)
    assert registry.get("t") is task
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_tasks"):
        registry.names()
    assert registry.names() == ["t"]


def test_what_a_prompt_depends_on_is_json_ready() -> None:
    task = tasks.get("cola")
    assert task.to_json()["words"] == {"judgement": {"unacceptable": "No", "acceptable": "Yes"}}
    assert task.to_json()["numeric_range"] is None
    assert tasks.get("stsb").to_json()["numeric_range"] == [0.0, 5.0]


def test_the_listing_names_every_task_and_group() -> None:
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    names = [line.split()[0] for line in result.stdout.splitlines() if line.strip()]
    assert {*tasks.names(), *GROUPS} <= set(names)
    assert CliRunner().invoke(app, ["list"]).stdout == result.stdout


def test_show_renders_a_row() -> None:
    result = CliRunner().invoke(app, ["show", "cola", "--format", "judgement"])
    assert result.exit_code == 0
    assert "metrics   matthews, accuracy" in result.stdout
    assert "'unacceptable' is printed as 'No', also read: not acceptable" in result.stdout
    assert '<Judgement> {Insert only "Yes" or "No" here} </Judgement>' in result.stdout
    assert "format label" not in result.stdout


def test_show_refuses_an_unknown_format() -> None:
    result = CliRunner().invoke(app, ["show", "mr", "--format", "labels"])
    assert isinstance(result.exception, UnknownNameError)
    assert str(result.exception) == "unknown answer format 'labels'; did you mean label?"


def test_the_listing_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "datasets", "polars", "numpy", "sklearn", "rich")
    code = (
        "import sys; from typer.testing import CliRunner; from rewardlab.cli.tasks import app\n"
        "assert CliRunner().invoke(app, []).exit_code == 0\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
