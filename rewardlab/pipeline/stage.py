"""``Stage``: one cached step of the pipeline, its identity, and the order in which stages must run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rewardlab.annotate.money import Purse
from rewardlab.config import fingerprint
from rewardlab.pipeline.kinds import stage_kinds
from rewardlab.pipeline.rows import UNREAD
from rewardlab.runs import RunFolder, input_folder
from rewardlab.tasks.places import named_files

if TYPE_CHECKING:
    from rewardlab.annotate.preview import Preview
    from rewardlab.training.progress import Recorder

logger = logging.getLogger(__name__)

HELD_OUT = "held_out_"
"""Begins the names of inputs that a stage is measured on."""
AS_LONG_AS = "as_long_as_"
"""Begins the names of inputs that a stage takes its time from, and nothing else."""
JOURNALS = "annotations"
"""Folder of the annotators' journals, under the root of all runs."""
SampledPart = Literal["labelled", "validation"]
"""Rows that answers are sampled to."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage's function gets.

    Attributes:
        folder: Its opened run folder.
        inputs: Folders of the finished stages it asked for, by name.
        recorder: Where training sends its numbers.
        report: Called with (what, done, total) by stages that do not train.
        purse: What the command spends on annotators; each of them keeps the budget of all.
        say: Takes a line for the person watching.
        journals: Folder of the annotators' journals, which all runs share.
    """

    folder: RunFolder
    inputs: Mapping[str, Path]
    recorder: Recorder
    report: Callable[[str, int, int], None]
    purse: Purse = field(default_factory=Purse)
    say: Callable[[str], None] = logger.info
    journals: Path = Path("runs") / JOURNALS


def asks_nothing() -> Preview | None:
    """The preview of a stage that needs no annotator, or a free one."""
    return None


def needs_nothing() -> None:
    """The check of a stage that depends on nothing but its inputs."""


@dataclass(frozen=True, eq=False)  # no slots: its fingerprint is kept
class Stage:
    """One step.

    Attributes:
        kind: One of :func:`rewardlab.pipeline.kinds.stage_kinds`.
        title: What it is, for people.
        slug: Short, for its folder's name.
        settings: Everything its outcome depends on, apart from its inputs; JSON-ready.
        inputs: Name -> the stage it needs.
        run: Does the work and returns the result.
        config: The whole configuration it was built from, JSON-ready; stored for rerunning.
        at: Its folder, when it is not the one under the root.
        preview: What it will ask of a hosted annotator; None is nothing.
        check: Asks, before anything runs, for what it needs beside its inputs, such as a server; raises InputError.
    """

    kind: str
    title: str
    slug: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Stage]
    run: Callable[[Work], dict[str, Any]]
    config: Mapping[str, Any] = field(default_factory=dict)
    at: Path | None = None
    preview: Callable[[], Preview | None] = asks_nothing
    check: Callable[[], object] = needs_nothing

    @property
    def identity(self) -> dict[str, Any]:
        """What its fingerprint is made of; rivals that it takes its time from stand in its settings."""
        needed = {name: stage for name, stage in self.inputs.items() if not name.startswith(AS_LONG_AS)}
        return {
            "version": stage_kinds()[self.kind].version,
            "settings": dict(self.settings),
            "inputs": {name: stage.fingerprint for name, stage in needed.items()},
        }

    @cached_property
    def fingerprint(self) -> str:
        """Changes when anything changes that the outcome depends on."""
        return fingerprint({"stage": self.kind, **self.identity})

    @property
    def has_rows(self) -> bool:
        """False in a plan where rows that this stage or one it needs reads are not here: it has no identity yet."""
        hashes = (str(each) for stage in self.chain() for each in stage.settings.get("rows", {}).values())
        return not any(each.startswith(UNREAD) for each in hashes)

    def folder(self, root: Path) -> RunFolder:
        """Where it lives: its own place, or under the runs root."""
        inputs = {stage.fingerprint: stage.path(root) for stage in self.inputs.values()}
        return RunFolder(self.path(root), self.kind, self.identity, self.config, named_files(self.config), inputs)

    def path(self, root: Path) -> Path:
        """The folder's own: its place, or the one under the runs root."""
        return self.at or root / self.kind / f"{self.slug}-{self.fingerprint}"

    def made_at(self, run: Path) -> Stage:
        """This stage, finished in ``run``, and what it was made of where the run's folder says that it lies."""
        inputs = {}
        for name, stage in self.inputs.items():
            place = input_folder(run, stage.fingerprint)
            inputs[name] = stage if place is None else stage.made_at(place)
        return replace(self, at=run, inputs=inputs)

    def chain(self, *, measuring: bool = True) -> list[Stage]:
        """This stage and all it needs, each once, inputs first.

        Args:
            measuring: False leaves out what only serves to measure it (inputs called ``held_out_*``, and rivals it
                is given the time of), so that a method is not charged for the pairs its reward model is tested on.
        """
        found: dict[str, Stage] = {}
        for stage in self._walk(measuring):
            found.setdefault(stage.fingerprint, stage)
        return list(found.values())

    def _walk(self, measuring: bool) -> Iterator[Stage]:
        for name, stage in self.inputs.items():
            if measuring or not name.startswith((HELD_OUT, AS_LONG_AS)):
                yield from stage._walk(measuring)
        yield self
