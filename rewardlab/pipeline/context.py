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
from rewardlab.annotate.access import endpoint, local_model_config
from rewardlab.annotate.bundled import written_tasks
from rewardlab.annotate.choose import choose_annotator
from rewardlab.annotate.hosted import DEFAULT_MODEL
from rewardlab.annotate.prompting import prompt_versions
from rewardlab.annotate.sampling import is_reasoning
from rewardlab.annotate.written import written_version
from rewardlab.code_identity import code_hashes
from rewardlab.config import RunConfig, fingerprint
from rewardlab.errors import ConfigError
from rewardlab.models.names import model_identity
from rewardlab.pipeline.rows import Rows
from rewardlab.pipeline.stage import Stage, Work, asks_nothing
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
    ) -> Stage:
        stored = self.config.model_dump(mode="json")
        return Stage(kind, title, slug, settings, inputs, run, config=stored, preview=preview)

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
            "tasks": {task.name: fingerprint(task.to_json()) for task in self.tasks},
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
    def annotator(self) -> dict[str, str]:
        choice = choose_annotator(
            self.config.annotate,
            self.config.model,
            [task.name for task in self.tasks],
            written_tasks(self.splits),
            may_lack_key=self.rows.may_lack,
        )
        return {"name": choice.name, "reason": choice.reason}

    def ranker_settings(self, config: RunConfig) -> dict[str, Any]:
        """The annotator of rankings."""
        weight = {"oracle_weight": config.annotate.oracle_weight} if self.annotator["name"] == "sandbox" else {}
        return {**self.annotator_settings, **weight}

    @property
    def annotator_settings(self) -> dict[str, Any]:
        """The annotator of rationales."""
        section = self.config.annotate
        settings: dict[str, Any] = {
            "annotator": self.annotator["name"],
            "annotator_seed": self.config.data_seed,
        }
        if self.annotator["name"] == "sandbox":
            return settings | {
                "refusal_rate": section.refusal_rate,
                "mismatch_rate": section.mismatch_rate,
            }
        if self.annotator["name"] == "bundled":
            return settings | {"written": written_version()}
        if self.annotator["name"] == "template":
            return settings
        return settings | {
            "prompts": prompt_versions(),
            **self._annotator_model,
            "temperature": section.temperature,
            "annotator_tokens": section.max_new_tokens,
            **({"extra_body": section.extra_body} if section.extra_body else {}),
        }

    @property
    def _annotator_model(self) -> dict[str, Any]:
        """Who answers: the weights of a local model, a hosted one by its name and where it is asked."""
        section, model = self.config.annotate, self.config.model
        if self.annotator["name"] == "local":
            return {"annotator_model": model_identity(local_model_config(section, model))}
        hosted = {"annotator_model": section.model, "endpoint": endpoint(section)}
        if is_reasoning(section, section.model or DEFAULT_MODEL):
            return {**hosted, "reasoning_tokens": section.reasoning_tokens}
        return hosted

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
