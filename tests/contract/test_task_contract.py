"""What every registered task must do; a task joins by being registered."""

from __future__ import annotations

import itertools

import pytest

from rewardlab.metrics import METRICS
from rewardlab.tasks import GROUPS, tasks
from rewardlab.tasks.checked import content_key
from rewardlab.tasks.rows import read_rows
from rewardlab.tasks.sets import joined, labels_in
from rewardlab.tasks.sources import Splits, bundled_file, load_splits
from rewardlab.tasks.task import OPENINGS, Task, prompt_of, template_fields
from rewardlab.types import ANSWER_FORMATS, AnswerFormat, Label

ALL = [tasks.get(name) for name in tasks.names()]
REAL = [task for task in ALL if task.generate is None and task.data is None]
SAMPLED = [task for task in ALL if task.generate is not None or bundled_file(task).is_file()]
NOT_ON_THE_HUB = {"sick", "goemotions_ekman"}


def labels_of(task: Task) -> tuple[Label, ...]:
    if task.candidates:
        return ()  # answers are of their rows: tests/unit/tasks/test_candidates.py
    lowest, highest = task.numeric_range or (0.0, 0.0)
    return task.labels or (lowest, highest, (lowest + highest) / 2, lowest + 0.1, 2.333, 3.75)


def sample(task: Task) -> Splits:
    return load_splits(task, source="bundled", labelled=12, prompts=8, validation=6, test=6)


def test_the_tasks_of_this_version_are_registered() -> None:
    assert {"mr", "agnews", "appreviews", "mrpc", "qqp", "mnli", "sst2", "stsb", "cola"} <= set(tasks.names())
    assert {"sandbox-sentiment", "sandbox-topic", "sandbox-similarity"} <= set(tasks.names())


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
class TestEveryTask:
    def test_says_what_it_asks_and_is_named_as_registered(self, task: Task) -> None:
        assert task.question.endswith("?")
        assert tasks.get(task.name) is task

    def test_templates_use_every_field_and_no_other(self, task: Task) -> None:
        for format in ANSWER_FORMATS:
            assert template_fields(task.templates[format]) == set(task.fields)

    def test_metrics_are_known(self, task: Task) -> None:
        assert task.metrics
        assert set(task.metrics) <= set(METRICS)

    def test_words_are_unique(self, task: Task) -> None:
        for format in ANSWER_FORMATS:
            words = [task.word(label, format).casefold() for label in task.labels]
            assert len(words) == len(set(words))

    def test_words_aliases_and_formats_are_of_its_labels(self, task: Task) -> None:
        for table in (task.words, task.aliases):
            assert set(table) <= set(ANSWER_FORMATS)
            assert {label for entry in table.values() for label in entry} <= set(task.labels)

    @pytest.mark.parametrize("format", ANSWER_FORMATS)
    @pytest.mark.parametrize("rationale", ["", "Because it says so.", "The answer is: none yet.\n\nStill,"])
    def test_every_label_survives_print_and_parse(self, task: Task, format: AnswerFormat, rationale: str) -> None:
        for label in labels_of(task):
            answer = task.parse(task.response(label, format, rationale), format)
            assert answer.value == label
            # a rationale with a marker of its own breaks the exact form
            assert answer.strict == (None if format == "rationale" and "none yet" in rationale else label)
            assert answer.rationale == (rationale if format == "rationale" else "")

    def test_an_opening_that_is_repeated_changes_nothing(self, task: Task) -> None:
        for format, label in itertools.product(ANSWER_FORMATS, labels_of(task)):
            answer = task.parse(OPENINGS[format] + task.response(label, format), format)
            assert (answer.value, answer.strict) == (label, label)

    def test_every_alias_reads_as_its_label_and_never_strictly(self, task: Task) -> None:
        for format in task.aliases:
            for label, alias in ((label, alias) for label, texts in task.aliases[format].items() for alias in texts):
                response = {
                    "label": alias,
                    "rationale": f"\n\n The answer is: {alias}",
                    "judgement": f"{alias} </Judgement>",
                }
                answer = task.parse(response[format], format)
                assert (answer.value, answer.strict) == (label, None)

    def test_two_labels_and_no_label_are_malformed(self, task: Task) -> None:
        for format in ANSWER_FORMATS:
            for one, other in itertools.combinations(labels_of(task)[:4], 2):
                both = f"{task.word(one, format)} or {task.word(other, format)}"
                answer = task.parse(task.response(one, format).replace(task.word(one, format), both), format)
                assert answer.value == (joined(map(str, (one, other)), task.labels) if task.multi_label else None)
            assert task.parse("", format).is_malformed

    def test_negated_labels_are_malformed_unless_they_are_a_label(self, task: Task) -> None:
        for label in task.labels:
            answer = task.parse(f"not {label}", "label")
            assert answer.value != label


@pytest.mark.parametrize("task", SAMPLED, ids=lambda task: task.name)
class TestEveryTaskWithRowsOfItsOwn:
    def test_rows_have_prompts_labels_and_disjoint_parts(self, task: Task) -> None:
        splits = sample(task)
        every = [splits.labelled, splits.prompts, splits.validation, *splits.tests.values()]
        rows = [example for part in every for example in part]
        assert all(every)
        assert len({content_key(example) for example in rows}) == len(rows)
        assert len({example.id for example in rows}) == len(rows)
        for example in rows:
            assert example.task == task.name
            assert all(text.strip() for text in example.fields.values())
            assert all(example.fields[name] in prompt_of(example) for name in task.fields)
            known = set(labels_in(example.label) if task.multi_label else (example.label,))
            assert known <= set(task.labels) if task.labels else isinstance(example.label, float)

    def test_loading_is_deterministic(self, task: Task) -> None:
        assert sample(task) == sample(task)
        assert sample(task).origin.sha256 == sample(task).origin.sha256


@pytest.mark.parametrize("name", [*GROUPS["rllr8"], "cola"])
def test_rllrs_tasks_and_cola_have_a_bundled_sample_of_32_rows_or_more(name: str) -> None:
    task = tasks.get(name)
    assert len(read_rows(bundled_file(task), task, "label").examples) >= 32


@pytest.mark.parametrize("task", REAL, ids=lambda task: task.name)
class TestEveryRealTask:
    def test_says_where_it_lies_on_the_hub(self, task: Task) -> None:
        assert (task.hub is None) == (task.name in NOT_ON_THE_HUB)
        if task.hub is None:
            return
        assert ("train" in task.hub.splits) == task.trainable
        assert set(task.hub.labels.values()) in (set(), set(task.labels))
        assert set(task.hub.fields) <= {*task.fields, "label"}
