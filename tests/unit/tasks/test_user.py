"""A user's own task: the example in ``tests/data/tickets``, a Python file, and every problem in one message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardlab.errors import ConfigError
from rewardlab.tasks import resolve_tasks, tasks
from rewardlab.tasks.sources import load_splits
from rewardlab.tasks.task import prompt_of
from rewardlab.tasks.user import load_task
from rewardlab.types import ANSWER_FORMATS

TICKETS = Path(__file__).parents[2] / "data" / "tickets" / "tickets.toml"
PYTHON_TASK = """
from rewardlab.tasks.task import Task
template = "{text} How warm is it?"
task = Task(
    name="warmth", fields=("text",), numeric_range=(-10, 40), metrics=("spearman",),
    templates={"label": template, "rationale": template, "judgement": template},
)
"""


@pytest.fixture(autouse=True)
def forget_tasks() -> Iterator[None]:
    known = set(tasks.names())
    yield
    for name in set(tasks.names()) - known:
        del tasks._entries[name]


def toml(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_task_works_like_any_other() -> None:
    [task] = resolve_tasks(str(TICKETS))
    assert tasks.get("tickets") is task
    splits = load_splits(task, labelled=5)
    # 24 rows: 6 test, 2 of 18 validation, 16 left: 5 labelled, 11 prompts
    found = [len(splits.labelled), len(splits.prompts), len(splits.validation), len(splits.tests["tickets"])]
    assert found == [5, 11, 2, 6]
    assert splits.origin.location == str(TICKETS.parent)
    assert (
        prompt_of(splits.labelled[0])
        == f"A customer wrote: {splits.labelled[0].fields['text']}\nWhat kind of message is it?"
    )
    assert task.metrics == ("accuracy",)
    for format in ANSWER_FORMATS:
        for label in task.labels:
            assert task.parse(task.response(label, format), format).strict == label
    assert task.parse("A defect.", "label").value == "bug"


def test_a_judgement_prompt_is_made_when_none_is_given() -> None:
    assert load_task(TICKETS).templates["judgement"] == (
        "You are an assistant to answer one question. Is a support ticket a bug report, a question or praise?\n\n"
        'The result you give should have the following form:\n<Judgement> {{Insert only "bug", "question" or "praise" '
        "here}} </Judgement>\nA customer wrote: {text}\nWhat kind of message is it?"
    )


def test_a_file_may_be_read_again_after_a_change(tmp_path: Path) -> None:
    first = load_task(toml(tmp_path, 'name = "mine"\nfields = ["text"]\ntemplate = "{text} A?"\nlabels = ["a", "b"]'))
    second = load_task(toml(tmp_path, 'name = "mine"\nfields = ["text"]\ntemplate = "{text} B?"\nlabels = ["a", "b"]'))
    assert tasks.get("mine") is second is not first


def test_a_numeric_task_and_every_key(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    path = toml(
        tmp_path,
        """
        name = "heat"
        question = "How hot is it {really}?"
        fields = ["text"]
        numeric_range = [0, 10]
        metrics = ["spearman"]
        refused = ["10 out of 10 cats"]
        data = "rows"
        test_splits = { heat = "validation" }
        [templates]
        label = "{text} L"
        rationale = "{text} R"
        judgement = "{text} J"
        [hub]
        path = "someone/heat"
        splits = { train = "train" }
        fields = { label = "degrees" }
        """,
    )
    task = load_task(path)
    given = {format: text for format, text in task.templates.items() if format != "confident"}
    assert given == {"label": "{text} L", "rationale": "{text} R", "judgement": "{text} J"}
    assert task.templates["confident"].startswith("{text} L\n")
    assert (task.numeric_range, task.data, task.test_splits) == ((0.0, 10.0), tmp_path / "rows", {"heat": "validation"})
    assert task.hub is not None
    assert (task.hub.path, task.hub.fields) == ("someone/heat", {"label": "degrees"})
    assert task.parse("7/10", "label").value == 7.0


def test_numbers_may_be_labels_and_words_differ_by_format(tmp_path: Path) -> None:
    path = toml(
        tmp_path,
        'name = "stars"\nfields = ["text"]\ntemplate = "{text}"\nlabels = [1, 2]\n'
        '[words.judgement]\n1 = "Low"\n2 = "High"\n',
    )
    task = load_task(path)
    assert task.labels == ("1", "2")
    assert task.response("2", "judgement") == " High </Judgement>"
    assert '"Low" or "High"' in task.templates["judgement"]


def test_a_python_file_defines_a_task(tmp_path: Path) -> None:
    path = toml(tmp_path, PYTHON_TASK, "warmth.py")
    task = load_task(path)
    assert (task.name, task.data) == ("warmth", tmp_path)
    assert task.parse("The answer is: -1", "rationale").value == -1.0


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("name = ", ["not valid TOML"]),
        (
            'name = "My task"\nfields = []\nlable = ["a"]',
            [
                "name: string should match pattern",
                "fields: tuple should have at least 1 item",
                "unknown key 'lable'; did you mean labels",
            ],
        ),
        (
            'name = "t"\nfields = ["text"]\nlabels = ["a"]\n[aliases]\nc = ["x"]\n[words.label]\nd = "D"',
            [
                "no template for format label, rationale, judgement",
                "not at least two",
                "aliases: 'c' is none",
                "'d' is none",
            ],
        ),
        ('name = "t"\nfields = ["text"]\ntemplate = "{text}"', ["neither labels nor numeric_range"]),
        ('name = "t"\nfields = ["text"]\ntemplate = "{body}"\nlabels = ["a", "b"]', ["names body, which is not among"]),
        (
            'name = "t"\nfields = ["text"]\ntemplate = "{text}"\nlabels = ["a", "A"]\n'
            'metrics = ["acc", "f1", "token_f1"]\ndata = "no"',
            [
                "metric token_f1 needs candidates",
                "metric 'acc' is not one of",
                "metric f1 needs the label 'yes'",
                "no such folder or file",
                "stands for both 'a' and 'A'",
            ],
        ),
        ('name = "t"\nfields = ["text"]\ntemplate = "{text}"\nnumeric_range = [5, 0]', ["does not rise"]),
        (
            'name = "t"\nfields = ["label"]\ntemplate = "{label}"\nlabels = ["a", "b"]',
            ["fields: 'label' holds the answer; name its column in [columns]"],
        ),
        (
            'name = "mr"\nfields = ["text"]\ntemplate = "{text}"\nlabels = ["a", "b"]',
            ["task 'mr' is registered already by rewardlab itself"],
        ),
    ],
)
def test_all_problems_stand_in_one_line(tmp_path: Path, text: str, messages: list[str]) -> None:
    path = toml(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_task(path)
    assert str(caught.value).startswith(f"task file {path}: ")
    assert "\n" not in str(caught.value)
    for message in messages:
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("task = 3", "defines no `task = Task(...)`, found int"),
        ("import no_such_module", "cannot be run: ModuleNotFoundError"),
        (PYTHON_TASK.replace("spearman", "pearsn"), "metric 'pearsn' is not one of"),
    ],
)
def test_a_python_file_that_cannot_be_used(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_task(toml(tmp_path, code, "broken.py"))
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["missing.toml", "missing.py"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: no such file"):
        resolve_tasks(str(tmp_path / name))


@pytest.mark.parametrize("template", ["Ticket: {{text}}", "Which kind is it?"])
def test_a_template_that_shows_nothing_of_a_row_is_refused(template: str, tmp_path: Path) -> None:
    """Double braces are what other template languages write for a field."""
    path = tmp_path / "t.toml"
    path.write_text(f'name = "t"\nquestion = "q?"\nfields = ["text"]\nlabels = ["a", "b"]\ntemplate = "{template}"\n')
    with pytest.raises(ConfigError, match=r"names none of its fields text.*write \{text\}, with single braces"):
        load_task(path)


@pytest.mark.parametrize("given", ["[true, 5]", '["1", 5]'])
def test_what_only_looks_like_a_number_is_no_bound(tmp_path: Path, given: str) -> None:
    text = f'name = "mine"\nfields = ["text"]\ntemplate = "{{text}} ?"\nnumeric_range = {given}'
    with pytest.raises(ConfigError, match=r"numeric_range: .*expected two numbers"):
        load_task(toml(tmp_path, text))
