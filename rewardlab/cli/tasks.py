"""``rewardlab tasks``: what there is, and everything about one task.

Every command imports this file, so tasks and what reads their rows are imported by what needs them.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rewardlab.cli.output import echo
from rewardlab.types import ANSWER_FORMATS, AnswerFormat, Example

if TYPE_CHECKING:
    from rewardlab.tasks.sources import Splits
    from rewardlab.tasks.task import Task

DATA = typer.Option(None, "--data", help="folder with a folder per task, or the task's own")
app = typer.Typer(help="List the tasks, or show one.", no_args_is_help=False)


@app.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """List the tasks when no subcommand is given."""
    if context.invoked_subcommand is None:
        list_tasks()


@app.command("list")
def list_tasks() -> None:
    """All tasks and groups, one a line."""
    from rewardlab.tasks import GROUPS, tasks

    width = max(map(len, tasks.names()))
    for name in tasks.names():
        task = tasks.get(name)
        echo(f"{name:<{width}}  {answers_of(task):<34}  {', '.join(task.metrics):<20}  {task.question}")
    echo("\ngroups")
    for group, names in GROUPS.items():
        echo(f"{group:<{width}}  {', '.join(names)}")
    echo("\n`rewardlab tasks show NAME` prints templates, labels and a rendered example.")


@app.command("show")
def show(
    name: str = typer.Argument(help="task, group, or path of a task file"),
    format: str = typer.Option("", "--format", help=f"only this answer format: {', '.join(ANSWER_FORMATS)}"),
    data: Path | None = DATA,
) -> None:
    """Templates, labels, words, metrics, source, the rows of each split and a rendered example of a task."""
    from rewardlab.errors import UnknownNameError
    from rewardlab.tasks import resolve_tasks

    if format and format not in ANSWER_FORMATS:
        raise UnknownNameError("answer format", format, ANSWER_FORMATS)
    for task in resolve_tasks(name):
        splits = _own_rows(task, data)
        echo("\n".join(describe(task, [known for known in ANSWER_FORMATS if format in ("", known)], splits)))


def answers_of(task: Task) -> str:
    """Label set or range of a task, short."""
    if task.is_numeric:
        lowest, highest = task.numeric_range or (0, 0)
        return f"a number from {lowest:g} to {highest:g}"
    if task.candidates:
        return f"one of a row's {task.candidates}"
    listed = ", ".join(task.labels)
    return listed if len(listed) <= 34 else f"{len(task.labels)} labels"


def describe(task: Task, formats: list[AnswerFormat], splits: Splits | None = None) -> list[str]:
    """The lines that ``show`` prints for one task.

    Args:
        task: Which.
        formats: Answer formats to show.
        splits: Its rows on this machine; None shows an example of the bundled sample, if there is one.
    """
    example = splits.labelled[0] if splits and splits.labelled else _example(task)
    lines = [
        f"{task.name}: {task.question}",
        f"fields    {', '.join(task.fields)}",
        f"answers   {', '.join(task.labels) or answers_of(task)}",
        f"metrics   {', '.join(task.metrics)}",
        f"tests     {', '.join(f'{k} ({v})' for k, v in task.test_splits.items()) or f'{task.name} (test)'}",
        f"source    {_source(task)}{'' if task.trainable else '; test rows only, for eval'}",
    ]
    if task.refused:
        lines.append(f"refused   {', '.join(task.refused)}")
    lines += _describe_rows(splits) if splits else []
    for format in formats:
        lines += _describe_format(task, format, example)
    return lines


def _describe_format(task: Task, format: AnswerFormat, example: Example | None) -> list[str]:
    from rewardlab.tasks.confidence import shown_confidence
    from rewardlab.tasks.task import OPENINGS

    lines = ["", f"--- format {format}", "template:", _indented(task.templates[format])]
    for label in task.labels:
        also = ", ".join(task.aliases.get(format, {}).get(label, ()))
        lines.append(f"{label!r} is printed as {task.word(label, format)!r}{f', also read: {also}' if also else ''}")
    if example is not None and example.label is not None:
        asked = replace(example, format=format)
        rationale = "(rationale)" if format == "rationale" else ""
        answer = OPENINGS[format] + task.response(example.label, format, rationale, shown_confidence(example))
        lines += [f"row {example.id}:", _indented(task.prompt(asked)), "right answer:", _indented(answer)]
    return lines


def _own_rows(task: Task, data: Path | None) -> Splits | None:
    """The rows of local files, divided as training divides them; None for a task that has none here."""
    from rewardlab.tasks.rows import RowsMissing
    from rewardlab.tasks.sources import load_splits

    if task.generate is not None:
        return None
    log = logging.getLogger("rewardlab.tasks")
    log.setLevel(logging.ERROR)  # the notes that it would warn of are printed below
    try:
        return load_splits(task, source="local", data_dir=data)
    except RowsMissing:
        return None
    finally:
        log.setLevel(logging.NOTSET)


def _describe_rows(splits: Splits) -> list[str]:
    tests = (f"{len(rows)} test ({column})" for column, rows in splits.tests.items())
    parts = {"labelled": splits.labelled, "prompts": splits.prompts, "validation": splits.validation}
    counts = ", ".join((*(f"{len(rows)} {name}" for name, rows in parts.items()), *tests))
    files = ", ".join(f"{name} ({count} rows)" for name, count in splits.origin.files.items())
    return [
        f"found     {splits.origin.location}: {files}",
        f"rows      {counts}",
        *(f"          {note}" for note in splits.origin.notes),
    ]


def _example(task: Task) -> Example | None:
    """A row to render: bundled, generated, or none."""
    from rewardlab.tasks.rows import read_rows
    from rewardlab.tasks.sources import bundled_file

    if task.generate is not None:
        return task.generate("train", 1, 0)[0]
    path = bundled_file(task)
    return read_rows(path, task, "label").rows.take([0])[0] if path.is_file() else None


def _source(task: Task) -> str:
    """Where rows may come from, in the order in which they are looked for."""
    from rewardlab.tasks.sources import bundled_file

    if task.generate is not None:
        return "generated"
    places = [f"folder {task.data}" if task.data else f"--data DIR or REWARDLAB_DATA, folder {task.name}"]
    if task.hub:
        places.append(f"hub {task.hub.path}{f' ({task.hub.config})' if task.hub.config else ''}")
    if bundled_file(task).is_file():
        places.append("bundled sample")
    return "; ".join(places)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))
