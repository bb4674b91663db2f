"""A user's own task: a TOML file, or a Python file that defines ``task``, beside a folder of JSON Lines.

The TOML keys are the fields of :class:`TaskFile`. All problems of a file are reported in one message.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from rewardlab.errors import ConfigError, UnknownNameError
from rewardlab.metrics import METRICS, OF_CANDIDATES, POSITIVE_LABEL
from rewardlab.reading import parse_toml, told
from rewardlab.registry import Place
from rewardlab.tasks.parsing import AnswerParser
from rewardlab.tasks.task import HubSource, Task, tasks
from rewardlab.tasks.templates import in_every_format, judgement_template, one_of, templates
from rewardlab.tasks.text import composed
from rewardlab.types import ANSWER_FORMATS, WORDED_FORMATS, AnswerFormat

TASK_FILE = "task file"
"""Name of the place where a file declares a task."""


class HubFile(BaseModel):
    """The table ``[hub]``: where the rows lie on the Hugging Face hub."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    path: str
    config: str | None = None
    splits: dict[str, str] = Field({}, description="our split name -> the hub's; may be left out for a local folder")
    fields: dict[str, str] = {}
    labels: dict[str, str] = {}


class TaskFile(BaseModel):
    """The keys of a task file; labels are compared in Unicode's composed form, however an editor wrote them."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="lower case, digits, hyphens")
    question: str = Field("", description="what the task asks, one line")
    fields: tuple[str, ...] = Field(min_length=1, description="texts each row has")
    template: str = Field("", description="prompt of every format that [templates] leaves out")
    templates: dict[AnswerFormat, str] = Field({}, description="prompt per format")
    labels: tuple[str, ...] | dict[str, str] = Field(
        (), description="label set, as in the rows; or a table: value in the rows -> label"
    )
    columns: dict[str, str] = Field({}, description="field, or label -> column of the rows")
    numeric_range: tuple[float, float] | None = Field(None, description="lowest and highest number")
    multi_label: bool = Field(False, description="an answer is a set of labels, as `anger, joy`; rows have a list")
    candidates: str = Field("", description="field with a row's own answers, in place of labels; rows have lists")
    words: dict[AnswerFormat, dict[str, str]] = Field({}, description="per format: label -> printed word")
    aliases: dict[str, tuple[str, ...]] = Field({}, description="label -> other texts read as it")
    refused: tuple[str, ...] = Field((), description="texts read as malformed")
    languages: tuple[str, ...] | None = Field(
        None, description="codes of the languages whose negations are read; default all, [] none"
    )
    metrics: tuple[str, ...] = Field((), description="names of metrics, the main one first")
    test_splits: dict[str, str] = Field({}, description="column -> test file without .jsonl")
    data: Path = Field(Path(), description="folder of the rows, or one file, relative to this file")
    hub: HubFile | None = None

    @field_validator("numeric_range", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Two numbers: pydantic would read true as 1 and "5" as 5."""
        if isinstance(value, list) and any(isinstance(each, bool | str) for each in value):
            raise ValueError(f"found {json.dumps(value)}, expected two numbers")
        return value

    @field_validator("labels", "words", "aliases", "refused", mode="before")
    @classmethod
    def _composed(cls, value: Any) -> Any:
        """Texts of any depth composed, so that a label is the same one as a key and as a value."""
        if isinstance(value, bool):
            return json.dumps(value)  # labels = [true, false], as rows in JSON have them
        if isinstance(value, str):
            return composed(value)
        if isinstance(value, list):
            return [cls._composed(each) for each in value]
        return {composed(key): cls._composed(each) for key, each in value.items()} if isinstance(value, dict) else value

    @property
    def label_set(self) -> tuple[str, ...]:
        """The labels, each once, in the file's order."""
        return tuple(dict.fromkeys(self.labels.values())) if isinstance(self.labels, dict) else self.labels


def load_task(path: Path) -> Task:
    """Read, check and register the task of a TOML or Python file; a file that was read before is replaced.

    Raises:
        ConfigError: The file cannot be read, or every problem it has, in one message.
    """
    task = _from_python(path) if path.suffix == ".py" else _from_toml(path)
    if problems := _problems(task):
        raise _broken(path, problems)
    place = Place(path.resolve(), TASK_FILE)
    try:
        return tasks.add(task.name, task, place=place, replace=_is_of_a_file(task.name))
    except ConfigError as error:
        raise _broken(path, [str(error)]) from error


def _is_of_a_file(name: str) -> bool:
    """True for a task that another file declared: the same task, moved or in a second version."""
    place = tasks.place(name) if name in tasks else None
    return place is not None and place.name == TASK_FILE


def _from_toml(path: Path) -> Task:
    try:
        values = parse_toml(path.read_text(encoding="utf-8-sig"))
        return _as_task(TaskFile.model_validate(values), path)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise _broken(path, [reason]) from error
    except ValidationError as error:
        raise _broken(path, [told(map(_line, error.errors()), error.error_count())]) from error
    except ValueError as error:
        raise _broken(path, [f"not valid TOML: {error}"]) from error


def _as_task(file: TaskFile, path: Path) -> Task:
    problems = _file_problems(file)
    if file.hub and not file.hub.splits and not (path.parent / file.hub.path).is_dir():
        problems.append(f'hub.splits: none given for {file.hub.path}; write [hub.splits] with train = "train"')
    if problems:
        raise _broken(path, problems)
    prompts = templates(file.template, _judgement(file)) | file.templates
    try:
        return Task(
            name=file.name,
            question=file.question,
            fields=file.fields,
            templates=prompts,
            labels=file.label_set,
            numeric_range=file.numeric_range,
            words=file.words,
            aliases=in_every_format(file.aliases),
            refused=file.refused,
            languages=file.languages,
            multi_label=file.multi_label,
            candidates=file.candidates,
            metrics=file.metrics or _metrics(file),
            test_splits=file.test_splits,
            hub=_hub(file.hub, path.parent) if file.hub else None,
            columns=file.columns,
            label_values=file.labels if isinstance(file.labels, dict) else {},
            data=path.parent / file.data,
        )
    except ConfigError as error:
        raise _broken(path, [str(error)]) from error


def _metrics(file: TaskFile) -> tuple[str, ...]:
    """Of a file that names none."""
    if file.multi_label:
        return ("sample_f1", "micro_f1", "macro_f1", "accuracy")
    if file.candidates:
        return OF_CANDIDATES
    return ("accuracy",) if file.label_set else ("pearson", "spearman")


def _hub(file: HubFile, folder: Path) -> HubSource:
    """The hub's data set; a path to a folder that exists is taken relative to the task file."""
    local = folder / file.path
    return HubSource(**file.model_dump() | ({"path": str(local)} if local.is_dir() else {}))


def _file_problems(file: TaskFile) -> list[str]:
    """What pydantic cannot see: keys that refer to each other."""
    problems = []
    if not file.template and (missing := [name for name in WORDED_FORMATS if name not in file.templates]):
        problems.append(f'no template for format {", ".join(missing)}; give template = "..." for all')
    if not file.label_set and file.numeric_range is None and not file.candidates:
        problems.append("neither labels nor numeric_range; give labels = [...] or numeric_range = [0, 5]")
    if len(file.label_set) == 1 or len(set(file.label_set)) < len(file.label_set):
        problems.append(f"labels {list(file.label_set)} are not at least two different ones")
    problems += [
        f"fields: {name!r} holds the answer; name its column in [columns]" for name in file.fields if name == "label"
    ]
    problems += [f"columns: {name!r} is no field" for name in file.columns if name not in (*file.fields, "label")]
    tables: dict[str, Iterable[str]] = {"aliases": file.aliases}
    tables |= {f"words.{format}": words for format, words in file.words.items()}
    for name, given in tables.items():
        problems += [f"{name}: {label!r} is none of the labels" for label in given if label not in file.label_set]
    return problems


def _judgement(file: TaskFile) -> str:
    """A prompt in PPO-NLU's shape, for files that give none of their own."""
    words = tuple(file.words.get("judgement", {}).get(label, label) for label in file.label_set)
    lowest, highest = file.numeric_range or (0.0, 0.0)
    answer = one_of(words) if words else f"only one number from {lowest:g} to {highest:g}"
    if file.candidates:
        answer = f"one of the {file.candidates}, as it is listed"
    background = f"You are an assistant to answer one question. {file.question}".strip()
    return judgement_template(_plain(background), _plain(answer), file.template)


def _plain(text: str) -> str:
    """Text whose braces are no fields of a template."""
    return text.replace("{", "{{").replace("}", "}}")


def _from_python(path: Path) -> Task:
    spec = importlib.util.spec_from_file_location(f"rewardlab_task_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise _broken(path, ["no such file"])
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        # the file is the user's program: whatever it raises is a problem of the file
        raise _broken(path, [f"cannot be run: {type(error).__name__}: {error}"]) from error
    task = getattr(module, "task", None)
    if not isinstance(task, Task):
        raise _broken(path, [f"defines no `task = Task(...)`, found {type(task).__name__}"])
    return task if task.data or task.generate else replace(task, data=path.parent)


def _problems(task: Task) -> list[str]:
    """What is wrong with a complete task, whichever file it came from."""
    problems = [
        f"metric {metric!r} is not one of {', '.join(METRICS)}" for metric in task.metrics if metric not in METRICS
    ]
    if "f1" in task.metrics and POSITIVE_LABEL not in task.labels:
        problems.append(f"metric f1 needs the label {POSITIVE_LABEL!r}; use macro_f1")
    refused = [m for m in task.metrics if m in METRICS and task.candidates and m not in OF_CANDIDATES]
    if refused:
        problems.append(f"metric {refused[0]} does not fit candidates; expected one of {', '.join(OF_CANDIDATES)}")
    if "token_f1" in task.metrics and not task.candidates:
        problems.append("metric token_f1 needs candidates; use accuracy or macro_f1")
    if "parity" in task.metrics:
        problems.append("metric parity needs rows in pairs, which only the task axg has")
    if task.numeric_range and task.numeric_range[0] >= task.numeric_range[1]:
        problems.append(f"numeric_range {list(task.numeric_range)} does not rise")
    if task.data is not None and not task.data.exists():
        problems.append(f"data {task.data}: no such folder or file")
    for format in ANSWER_FORMATS:
        try:
            AnswerParser(task, format)
        except ConfigError as error:
            problems.append(str(error))
    return problems


def _line(item: Any) -> str:
    place = ".".join(map(str, item["loc"]))
    if item["type"] == "extra_forbidden":
        known = HubFile.model_fields if item["loc"][0] == "hub" else TaskFile.model_fields
        return str(UnknownNameError("key", place, known))
    return f"{place}: {item['msg'].lower()}, found {item['input']!r:.60}"


def _broken(path: Path, problems: list[str]) -> ConfigError:
    return ConfigError(f"task file {path}: {told(problems, len(problems))}")
