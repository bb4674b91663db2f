"""``Task``: one data set with its prompt templates, labels, answer formats and metrics.

A task is data: everything here is declared once (``rllr.py``, ``glue.py``, ``sandbox/``, or a user's file) and
read by every stage. How answers are read stands in ``parsing.py``, where rows come from in ``sources.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from rewardlab.code_identity import code_hash, code_hashes
from rewardlab.errors import ConfigError, DataError
from rewardlab.gold_answers import alternatives, is_one_of
from rewardlab.reading import strange_value
from rewardlab.registry import Registry
from rewardlab.tasks.candidates import Candidates, tellable
from rewardlab.tasks.confidence import confidence_text
from rewardlab.tasks.languages import LANGUAGES
from rewardlab.tasks.parsing import ANSWER_MARK as ANSWER_MARK
from rewardlab.tasks.parsing import AnswerParser, format_number
from rewardlab.tasks.sets import BETWEEN, labels_in
from rewardlab.tasks.words import worded
from rewardlab.types import WORDED_FORMATS, Answer, AnswerFormat, Example, Label

OPENINGS: Mapping[AnswerFormat, str] = {"label": "", "rationale": "", "judgement": "<Judgement>", "confident": ""}
"""How the assistant turn begins (PPO-NLU section 4.1)."""

STOP_STRINGS: Mapping[AnswerFormat, tuple[str, ...]] = {
    "label": ("\n",),
    "rationale": (),
    "judgement": ("</Judgement>",),
    "confident": ("%)",),
}
"""Texts after which a response is complete, beside the end-of-sequence token."""

HOW_SURE = "\n\n Answer in the form: The answer is: ... (80 %), with how sure you are in percent."
"""What the format ``confident`` asks, behind the prompt of ``label``, where a task has no template for it."""

Generator = Callable[[str, int, int], list[Example]]
"""(split, number of rows, seed) -> rows; what generated tasks have in place of files."""


CodePart = Literal["quality", "claim"]
"""Callables of a task whose outcome no row shows; rows that ``generate`` makes are known by their content."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """Where a task lies on the Hugging Face hub.

    Attributes:
        path: Data set id.
        config: Configuration name, or None.
        splits: Our split name -> the hub's.
        fields: Our field name -> the hub's column; ``label`` included when it differs.
        labels: The hub's label value -> ours (integers as strings); empty when they are the same.
    """

    path: str
    config: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """One data set: declared in one place, used by every stage.

    Attributes:
        name: Its name on the command line and in tables.
        fields: Texts each row must have; templates may use no others.
        templates: Prompt template per answer format, ``{field}`` in braces.
        labels: The label set of a classification task; empty for numeric tasks.
        numeric_range: (lowest, highest) of a numeric task, or of a classification task whose labels are
            numbers on a scale (stars); such a task uses the wrong-number rule for pairs.
        words: Per format, label -> the word that the response prints (the label itself when absent).
        aliases: Per format, label -> other texts that are read as it.
        refused: Texts that look like a label and are none ("not positive"): read as malformed.
        languages: Whose negations and answer marks are read, ISO 639-1 codes (:mod:`rewardlab.tasks.languages`); None:
            all of that table; empty: none.
        metrics: Names in ``rewardlab.metrics``, the main one first.
        test_splits: Column name -> split file; MNLI has two.
        question: What the task asks, one line for ``rewardlab tasks``.
        hub: Where it lies on the Hugging Face hub.
        columns: Our field name -> the column in files of rows; ``label`` included when it differs.
        label_values: The label value in files of rows -> ours (numbers as texts); empty when they are the same.
        data: Folder of its files of rows, or one such file, for a user's own task.
        generate: Generator of its rows, for tasks without files.
        quality: (example, response) -> rationale quality in [0, 1], where it is known.
        claim: (example, rationale) -> the label it argues for, where a task's own language shows it, else None.
        multi_label: An answer is a set of labels (:mod:`rewardlab.tasks.sets`), written ``anger, joy``.
        candidates: The field that holds a row's own answers, in place of labels (:mod:`rewardlab.tasks.candidates`).
        group: Fields -> the name of what a row is measured together with, for ``exact_match`` and ``parity``: MultiRC's
            answers to one question, AX-g's two rows of one pair. Its rows are resampled together.
        trainable: False for a set that has test rows only (AX-b, AX-g): it is evaluated, never trained on.

    Example:
        >>> import rewardlab as rl
        >>> wording = dict.fromkeys(("label", "rationale", "judgement"), "Is this urgent? {text}")
        >>> task = rl.Task("tickets", fields=("text",), templates=wording, labels=("urgent", "normal"))
        >>> task.prompt(rl.Example("tickets", "1", {"text": "The server is down."}))
        'Is this urgent? The server is down.'
    """

    name: str
    fields: tuple[str, ...]
    templates: Mapping[AnswerFormat, str]
    labels: tuple[str, ...] = ()
    numeric_range: tuple[float, float] | None = None
    words: Mapping[AnswerFormat, Mapping[str, str]] = field(default_factory=dict)
    aliases: Mapping[AnswerFormat, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    languages: tuple[str, ...] | None = None
    metrics: tuple[str, ...] = ("accuracy",)
    test_splits: Mapping[str, str] = field(default_factory=dict)
    question: str = ""
    hub: HubSource | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    label_values: Mapping[str, str] = field(default_factory=dict)
    data: Path | None = None
    generate: Generator | None = None
    quality: Callable[[Example, str], float] | None = None
    claim: Callable[[Example, str], Label | None] | None = None
    trainable: bool = True
    multi_label: bool = False
    candidates: str = ""
    group: Callable[[Mapping[str, str]], str] | None = None

    def __post_init__(self) -> None:
        if self.multi_label and (self.is_ordinal or not self.labels or any("," in label for label in self.labels)):
            raise ConfigError(
                f"task {self.name!r}: multi_label needs labels without commas, and no numeric_range; a set of "
                "labels is written with commas between them"
            )
        missing = [name for name in WORDED_FORMATS if name not in self.templates]
        if missing:
            raise ConfigError(f"task {self.name!r} has no template for format {', '.join(missing)}")
        filled = {"confident": self.templates["label"] + HOW_SURE, **self.templates}
        object.__setattr__(self, "templates", filled)
        if self.candidates and (self.labels or self.is_ordinal or self.candidates not in self.fields):
            raise ConfigError(
                f"task {self.name!r}: candidates names one of its fields, in place of labels and numeric_range; found "
                f"{self.candidates!r}, fields {', '.join(self.fields)}"
            )
        if not self.labels and self.numeric_range is None and not self.candidates:
            raise ConfigError(f"task {self.name!r} needs labels, a numeric_range or candidates")
        if unknown_codes := [code for code in self.languages or () if code not in LANGUAGES]:
            raise ConfigError(
                f"task {self.name!r}: languages {', '.join(map(repr, unknown_codes))} not known; "
                f"expected some of {', '.join(LANGUAGES)}"
            )
        if self.numeric_range and (strange := strange_value(self.numeric_range)):
            raise ConfigError(f"task {self.name!r}: numeric_range {list(self.numeric_range)}: {strange}")
        for format, template in self.templates.items():
            named = template_fields(template)
            if not named:
                raise ConfigError(
                    f"task {self.name!r}: template {format} names none of its fields {', '.join(self.fields)}, so that "
                    f"every prompt would be the same; write {{{self.fields[0]}}}, with single braces, for its text"
                )
            if unknown := named - set(self.fields):
                raise ConfigError(
                    f"task {self.name!r}: template {format} names {', '.join(sorted(unknown))}, "
                    f"which is not among its fields {', '.join(self.fields)}; write {{{{ and }}}} for plain braces"
                )

    @property
    def is_numeric(self) -> bool:
        """True when answers are numbers (STS-B), False when they are labels."""
        return not self.labels and not self.candidates

    @property
    def is_ordinal(self) -> bool:
        """True when wrong answers come from the wrong-number rule (STS-B, stars)."""
        return self.numeric_range is not None

    def sources(self, name: str) -> tuple[str, ...]:
        """Columns of files of rows in which a field, or ``label``, may stand; the first that has a value counts."""
        named = self.columns.get(name, name)
        return (named, self.hub.fields.get(name, name)) if self.hub else (named,)

    def to_json(self, format: AnswerFormat | None = None) -> dict[str, Any]:
        """What prompts and answers depend on, JSON-ready: for fingerprints and for show.

        ``format`` is that of the prompts; the template of ``confident`` is told where it is that one alone, so that
        what was stored before there was such a format keeps its fingerprint.
        """
        return {
            "name": self.name,
            "fields": list(self.fields),
            "templates": {k: text for k, text in self.templates.items() if k in WORDED_FORMATS or k == format},
            "labels": list(self.labels),
            "numeric_range": list(self.numeric_range) if self.numeric_range else None,
            "words": {format: dict(words) for format, words in self.words.items()},
            "aliases": {format: {k: list(v) for k, v in texts.items()} for format, texts in self.aliases.items()},
            "refused": list(self.refused),
            "metrics": list(self.metrics),
            "test_splits": dict(self.test_splits),
            **({"multi_label": True} if self.multi_label else {}),
            **({"candidates": self.candidates} if self.candidates else {}),
            **({} if self.languages is None else {"languages": list(self.languages)}),
        }

    def code_hashes(self, *parts: CodePart) -> tuple[dict[str, str], dict[str, str]]:
        """Hashes of its own code, and of what has none, the reason; both by name.

        Args:
            parts: Callables that are asked for. A class of its own, which may read answers by its own rules, and the
                version of the package that brought the task always count.
        """
        plugin = tasks.plugin(self.name) if self.name in tasks and tasks.get(self.name) is self else None
        code: dict[str, object] = {part: getattr(self, part) for part in parts}
        code["class"] = None if type(self) is Task else type(self)
        known, unknown = code_hashes(
            {name: partial(code_hash, each) for name, each in code.items() if each is not None}
        )
        return known | ({"package": plugin.distribution} if plugin else {}), unknown

    def prompt(self, example: Example) -> str:
        """The prompt of one row under its own format; raises DataError when a field is missing."""
        try:
            return self.templates[example.format].format_map(dict(example.fields))
        except KeyError as error:
            raise DataError(f"task {self.name}: row {example.id} has no field {error.args[0]!r}") from error

    def word(self, label: Label, format: AnswerFormat) -> str:
        """How a response of that format prints ``label``; of several gold answers the first."""
        if self.is_numeric:
            return format_number(float(label))
        if self.candidates:
            return alternatives(label)[0]
        words = self.words.get(worded(format), {})
        if self.multi_label:
            return BETWEEN.join(words.get(each, each) for each in labels_in(label))
        return words.get(str(label), str(label))

    def response(self, label: Label, format: AnswerFormat, rationale: str = "", confidence: float = 1.0) -> str:
        """The complete response that argues ``rationale`` and ends in ``label`` (opening left out).

        ``confidence`` is what it states in the format ``confident``, from 0 to 1.
        """
        word = self.word(label, format)
        if format == "confident":
            return f"{ANSWER_MARK.strip()} {word} {confidence_text(confidence)}"
        if format == "rationale":
            return f"{rationale}{ANSWER_MARK}{word}"
        return f" {word} </Judgement>" if format == "judgement" else word

    def is_right(self, answer: Label | None, gold: Label) -> bool:
        """Whether an answer counts as the gold label: printed as it is, or a gold answer among candidates."""
        if self.candidates:
            return is_one_of(answer, gold)
        return answer is not None and self.word(answer, "label") == self.word(gold, "label")

    def options(self, example: Example) -> tuple[Label, ...]:
        """All answers that a row allows: the task's labels, or the row's candidates; empty for numbers."""
        return alternatives(example.fields[self.candidates]) if self.candidates else self.labels

    def parse(self, response: str, format: AnswerFormat, candidates: tuple[str, ...] = ()) -> Answer:
        """Read the answer in ``response`` (without its opening). Never raises, whatever the text.

        ``candidates`` are those of the row, where the task has them; :func:`parse_response` knows them.
        """
        return self.parser(format, candidates).parse(response)

    def parser(self, format: AnswerFormat, candidates: tuple[str, ...] = ()) -> AnswerParser:
        """The parser for one format, and for the candidates of a row; built once and kept."""
        if self.candidates:
            return _candidate_parser(Candidates(self.name, tellable(candidates), self.languages), format)
        return AnswerParser.cached(self, format)


@lru_cache(maxsize=1024)
def _candidate_parser(space: Candidates, format: AnswerFormat) -> AnswerParser:
    """The parser of one row; kept for the rows of a step or of a part of a test, which are read several times."""
    return AnswerParser(space, format)


def template_fields(template: str) -> set[str]:
    """The names in braces of a template; raises ConfigError when the braces do not match, or hold more than a name.

    A field is put in as it stands: a format (``{text:>9}``) or a conversion (``{text!r}``) could fail on some row, or
    make a prompt of any length.
    """
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ConfigError(f"template {template[:60]!r}: {error}; write {{{{ and }}}} for plain braces") from error
    for _, name, spec, conversion in parts:
        if spec or conversion:
            found = f"{name}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}"
            raise ConfigError(
                f"template {template[:60]!r}: {{{found[:40]}}} has a format; write {{{name}}}, or {{{{ and }}}} for "
                "plain braces"
            )
    return {str(name) for _, name, _, _ in parts}


class TaskRegistry(Registry[Task]):
    """All known tasks; the generated ones register themselves when first asked for.

    Args:
        later: Modules above this layer that declare tasks. They import this one, so they are imported by name,
            once, when a name is missing or all names are listed.
    """

    def __init__(self, later: Sequence[str]) -> None:
        super().__init__("task", group="rewardlab.tasks")
        self._later = tuple(later)

    def names(self) -> list[str]:
        """All names, in registration order."""
        self._import_later()
        return super().names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self.names()

    def _load_plugins(self) -> None:
        self._import_later()
        super()._load_plugins()

    def _import_later(self) -> None:
        modules, self._later = self._later, ()
        for module in modules:
            import_module(module)


tasks = TaskRegistry(later=("rewardlab.sandbox.tasks",))
"""All known tasks. A user's file adds to it; so do plug-ins through the entry-point group ``rewardlab.tasks``."""


def declare(task: Task) -> Task:
    """Register a task under its own name; raises ConfigError when the name is taken."""
    return tasks.add(task.name, task)


def prompt_of(example: Example) -> str:
    """The prompt of ``example``, whichever task it belongs to."""
    return tasks.get(example.task).prompt(example)


def parser_of(example: Example) -> AnswerParser:
    """What reads the responses to an example: by its task, its format and its own candidates."""
    task = tasks.get(example.task)
    candidates = alternatives(example.fields.get(task.candidates, "")) if task.candidates else ()
    return task.parser(example.format, candidates)


def parse_response(example: Example, response: str) -> Answer:
    """Read the answer in ``response`` by the rules of the example's own task and format."""
    return parser_of(example).parse(response)


def with_format(examples: Sequence[Example], format: AnswerFormat) -> list[Example]:
    """The same rows, asked in another answer format."""
    return [replace(example, format=format) for example in examples]
