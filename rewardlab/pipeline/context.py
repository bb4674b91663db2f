"""``Context``: tasks and rows of one configuration, and the settings that make the identities of its stages.

Nothing here imports torch before a stage runs, so a plan is printed at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rewardlab import processes
from rewardlab.annotate.base import Ability
from rewardlab.annotate.bundled import written_tasks
from rewardlab.annotate.registry import Choice, annotator_code, check_ability, choose_annotator
from rewardlab.code_identity import code_hashes
from rewardlab.config import RunConfig, fingerprint
from rewardlab.errors import ConfigError
from rewardlab.models.names import model_identity
from rewardlab.pipeline.rows import Rows
from rewardlab.pipeline.stage import Stage, Work, asks_nothing, needs_nothing
from rewardlab.rewards.plan import RewardPlan, plan_reward
from rewardlab.section import STORING
from rewardlab.tasks import resolve_tasks
from rewardlab.tasks.sources import PartName, Splits
from rewardlab.tasks.task import CodePart, Task
from rewardlab.training.methods import TrainingMethod

if TYPE_CHECKING:
    from rewardlab.annotate.preview import Preview

logger = logging.getLogger(__name__)


class Context:
    """Tasks and rows of a configuration, and what its stages depend on.

    Args:
        config: The run.
        root: Where run folders and annotation journals live.
        rows: Shared by pipelines that read the same rows.
    """

    def __init__(self, config: RunConfig, root: Path, rows: Rows | None = None) -> None:
        self.config = config
        self.root = root
        self.rows = rows or Rows()
        self._task_codes: dict[tuple[CodePart, ...], dict[str, dict[str, str]]] = {}

    @cached_property
    def tasks(self) -> list[Task]:
        """The tasks of the run."""
        return resolve_tasks(self.config.task)

    @cached_property
    def splits(self) -> dict[str, Splits]:
        """Task name -> its rows, loaded once."""
        config = self.config
        return {task.name: self.rows.splits(task, config.rows, config.format) for task in self.tasks}

    @cached_property
    def reward(self) -> RewardPlan:
        """What the reward expression needs; bad expressions are found here."""
        return plan_reward(self.config.reward)

    @cached_property
    def reward_code(self) -> dict[str, str]:
        """Reward -> hash of its code, of rewards that are not rewardlab's own."""
        return with_unknown("reward", self.reward.code, self.reward.unknown_code)

    def reward_settings(self) -> dict[str, Any]:
        """What scores depend on beside reward models: the section, code of others, and the rubric where it is asked.

        Raises:
            InputError: Nobody can grade by the rubric.
        """
        rubric = {"rubric": self._rubric_settings} if self.reward.needs_rubric else {}
        code = {"reward_code": self.reward_code} if self.reward_code else {}
        return {"reward": dumped(self.config.reward), **code, **rubric}

    @cached_property
    def _rubric_settings(self) -> dict[str, Any]:
        from rewardlab.annotate.grading import choose_grader, rubric_identity

        kind = choose_grader(self.config, [task.name for task in self.tasks], may_lack_key=self.rows.may_lack).kind
        code = with_unknown("annotator", *annotator_code(kind))
        return {**rubric_identity(self.config, kind), **({"annotator_code": code} if code else {})}

    @staticmethod
    def method_code(method: TrainingMethod) -> dict[str, str]:
        """Hash of the code behind a method that another package brings; empty for rewardlab's own."""
        known, unknown = code_hashes({method.name: method.code_hash})
        return with_unknown("training method", known, unknown)

    @cached_property
    def behind(self) -> Context:
        """The configuration of the models that a policy starts from and is rewarded by."""
        if self.config.start_task is None:
            return self
        config = self.config.model_copy(update={"task": self.config.start_task, "start_task": None})
        return Context(config, self.root, self.rows)

    def results(self, chain: Sequence[Stage]) -> dict[str, dict[str, Any]]:
        """Fingerprint -> result of each finished stage."""
        folders = {stage.fingerprint: stage.folder(self.root) for stage in chain}
        return {name: folder.result() for name, folder in folders.items() if folder.is_done}

    def stage(
        self,
        kind: str,
        title: str,
        slug: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, Stage],
        run: Callable[[Work], dict[str, Any]],
        preview: Callable[[], Preview | None] = asks_nothing,
        check: Callable[[], object] = needs_nothing,
    ) -> Stage:
        stored = self.config.model_dump(mode="json")
        return Stage(kind, title, slug, settings, inputs, run, config=stored, preview=preview, check=check)

    def data(self, *parts: PartName) -> dict[str, Any]:
        """The rows that a stage reads and the questions, by content; refused where a task has test rows only."""
        lacking = [task.name for task in self.tasks if not task.trainable] if set(parts) - {"tests"} else []
        if lacking:
            raise ConfigError(
                f"task {', '.join(lacking)} has test rows only, and this reads its {', '.join(parts)} rows; "
                f"train on other tasks, then `rewardlab eval --run RUN --task {','.join(lacking)}`"
            )
        data, format = self.config.rows, self.config.format
        return {
            "format": format,
            "tasks": {task.name: fingerprint(task.to_json(self.config.format)) for task in self.tasks},
            "rows": {task.name: self.rows.sha256(task, data, format, parts) for task in self.tasks},
            **self.task_code(),
        }

    def task_code(self, *parts: CodePart) -> dict[str, dict[str, dict[str, str]]]:
        """The setting ``task_code``: hashes of what tasks bring as code; absent when none does."""
        if parts not in self._task_codes:
            found = {task.name: with_unknown(f"task {task.name}", *task.code_hashes(*parts)) for task in self.tasks}
            self._task_codes[parts] = {name: code for name, code in found.items() if code}
        return {"task_code": self._task_codes[parts]} if self._task_codes[parts] else {}

    @cached_property
    def model(self) -> dict[str, Any]:
        """Base weights, tokens, adapters and seed."""
        model = self.config.model
        return {
            "model": model_identity(model),
            "max_prompt_tokens": model.max_prompt_tokens,
            "max_new_tokens": self.config.new_tokens,
            "lora": dumped(self.config.lora),
            "seed": self.config.seed,
        }

    def data_seeded(self) -> RunConfig:
        """The configuration for stages that depend on rows and their seed alone; runs that share those share them."""
        return self.config.model_copy(update={"seed": self.config.data_seed})

    @cached_property
    def annotator(self) -> Choice:
        """Who annotates, and why."""
        names, may_lack_key = [task.name for task in self.tasks], self.rows.may_lack
        return choose_annotator(self.config, names, written_tasks(self.splits), may_lack_key=may_lack_key)

    @cached_property
    def annotator_code(self) -> dict[str, str]:
        """Hash of the code of an annotator that another package brings; empty for rewardlab's own."""
        return with_unknown("annotator", *annotator_code(self.annotator.kind))

    def annotator_settings(self, ability: Ability, config: RunConfig | None = None) -> dict[str, Any]:
        """What the annotator's rationales or rankings depend on.

        Args:
            ability: What is asked of it; raises ConfigError where it cannot do that.
            config: The configuration under which it is asked; None is the run's.
        """
        kind = self.annotator.kind
        check_ability(kind, ability)
        return {
            "annotator": kind.name,
            "annotator_seed": self.config.data_seed,
            **kind.identity(config or self.config, ability),
            **({"annotator_code": self.annotator_code} if self.annotator_code else {}),
        }

    @property
    def names(self) -> str:
        return ", ".join(task.name for task in self.tasks)

    @property
    def slug(self) -> str:
        first, *others = (task.name for task in self.tasks)
        return slug_of(f"{first}-and-{len(others)}" if others else first)


def with_unknown(owner: str, known: Mapping[str, str], unknown: Mapping[str, str]) -> dict[str, str]:
    """Hashes of code by name; code without one gets a value that never comes again, and a line says so.

    All processes of a run call this, and get the same.
    """
    found = dict(known)
    for name, reason in unknown.items():
        logger.warning("%s %s: %s; the stages that use it run anew each time", owner, name, reason)
        found[name] = f"unknown {processes.gather(uuid4().hex)[0]}"
    return found


def dumped(section: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """A section as a part of a stage's identity.

    How often the stage stores its state is no part of it, nor is a later setting that is at its default.
    """
    idle = {name for name, default in section.later().items() if getattr(section, name) == default}
    values: dict[str, Any] = section.model_dump(mode="json", exclude={*STORING, *without, *idle})
    return values


def slug_of(text: str) -> str:
    """A text as part of a folder's name: letters, digits, dots and single dashes, at most 48."""
    kept = "".join(char if char.isalnum() or char in "-." else "-" for char in text.lower().replace("λ", "lam"))
    return "-".join(part for part in kept.split("-") if part)[:48] or "run"
