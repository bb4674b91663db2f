"""Which annotator a run uses, and why; and how it is built."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rewardlab.annotate.access import local_model
from rewardlab.annotate.base import Annotator
from rewardlab.annotate.journal import Journal
from rewardlab.config import TINY_MODEL, AnnotateConfig, ModelConfig, RunConfig
from rewardlab.errors import InputError
from rewardlab.types import Example

if TYPE_CHECKING:
    from rewardlab.annotate.money import Purse

AnnotatorName = Literal["openai", "local", "bundled", "template", "sandbox"]


@dataclass(frozen=True, slots=True)
class Choice:
    """An annotator and the reason it was chosen; the reason is one line for the user."""

    name: AnnotatorName
    reason: str


def choose_annotator(
    config: AnnotateConfig,
    model: ModelConfig,
    tasks: Sequence[str],
    written: Collection[str] = (),
    *,
    may_lack_key: bool = False,
) -> Choice:
    """The annotator that the configuration names, or the best one available.

    ``auto`` takes the oracle where every task is a sandbox task (it knows the truth and costs nothing), else
    ``openai`` when its key is set, else ``local`` when a real model is configured, else ``bundled`` where something
    was written for the rows of every task, else ``template``.

    Args:
        config: ``annotator`` and ``model`` are read.
        model: The run's own model, the local annotator's default.
        tasks: Names of the tasks to annotate.
        written: Those whose rows come from the bundled sample and were written for (``bundled.written_tasks``).
        may_lack_key: For a plan that is only shown: the key of a hosted model may be missing.
    Raises:
        InputError: The annotator that was asked for cannot work here, or batches are asked of one that has none.
    """
    if config.annotator == "openai" and not may_lack_key:
        _check_key()
    choice = _choice(config, model, tasks, written)
    if config.batch and choice.name != "openai":
        raise InputError(
            f"--batch {config.batch}: only hosted models are asked in batches, and this run would ask {choice.name} "
            f"({choice.reason}); add --annotator openai, or leave --batch"
        )
    return choice


def build_annotator(
    name: AnnotatorName,
    config: RunConfig,
    journals: Path,
    rows: Mapping[str, Sequence[Example]],
    purse: Purse | None = None,
) -> Annotator:
    """Build an annotator.

    Args:
        name: What :func:`choose_annotator` said.
        config: The run's configuration.
        journals: Folder of the journals; ``openai`` and ``local`` keep one there.
        rows: Task name -> rows over which ``template`` weighs words, which fills in for ``bundled``.
        purse: What the command spends, whose budget ``openai`` keeps to; None is what this annotator spends.
    Raises:
        InputError: No key, or no model.
    """
    if name == "bundled":
        from rewardlab.annotate.bundled import BundledAnnotator

        return BundledAnnotator(rows)
    if name == "template":
        from rewardlab.annotate.template import TemplateAnnotator

        return TemplateAnnotator(rows)
    if name == "sandbox":
        return _sandbox(config)
    journal = Journal(journals / f"{name}.jsonl")
    if name == "openai":
        from rewardlab.annotate.hosted import OpenAIAnnotator

        return OpenAIAnnotator(config.annotate, journal, purse)
    from rewardlab.annotate.local import LocalAnnotator

    return LocalAnnotator(config, journal)


def _choice(config: AnnotateConfig, model: ModelConfig, tasks: Sequence[str], written: Collection[str]) -> Choice:
    if config.annotator == "auto":
        return _best(config, model, tasks, written)
    if config.annotator == "sandbox":
        _check_sandbox(tasks)
    if config.annotator == "local":
        local_model(config, model)
    if config.annotator == "bundled":
        _check_written(tasks, written)
    return Choice(config.annotator, f"asked for by annotate.annotator = {config.annotator!r}")


def _best(config: AnnotateConfig, model: ModelConfig, tasks: Sequence[str], written: Collection[str]) -> Choice:
    from rewardlab.annotate.access import KEY_VARIABLE

    if _all_sandbox(tasks):
        return Choice("sandbox", "the sandbox's oracle knows the truth about its own tasks")
    if os.environ.get(KEY_VARIABLE, "").strip():
        return Choice("openai", f"{KEY_VARIABLE} is set")
    if (name := config.model or model.name) != TINY_MODEL:
        return Choice("local", f"no {KEY_VARIABLE}; the model {name} can annotate on this machine")
    if set(tasks) <= set(written):
        return Choice("bundled", f"no {KEY_VARIABLE}; rationales were written for rows of the bundled sample")
    return Choice(
        "template",
        f"no {KEY_VARIABLE} and no model but the embedded one: rationales are filled-in sentences, for trying out only",
    )


def _check_key() -> None:
    from rewardlab.annotate.access import api_key

    api_key()


def _check_sandbox(tasks: Sequence[str]) -> None:
    if not _all_sandbox(tasks):
        raise InputError(
            f"--annotator sandbox: the oracle knows nothing about {', '.join(tasks)}; "
            "choose openai, local or template, or a sandbox task"
        )


def _check_written(tasks: Sequence[str], written: Collection[str]) -> None:
    bare = [name for name in tasks if name not in written]
    if bare:
        raise InputError(
            f"--annotator bundled: nothing was written for the rows of {', '.join(bare)}; "
            "add --source bundled for a task of RLLR, or choose openai, local or template"
        )


def _all_sandbox(tasks: Sequence[str]) -> bool:
    from rewardlab.sandbox import SANDBOX_TASKS

    return all(name in SANDBOX_TASKS for name in tasks)


def _sandbox(config: RunConfig) -> Annotator:
    from rewardlab.annotate.oracle import SandboxAnnotator
    from rewardlab.sandbox import OracleAnnotator

    section = config.annotate
    oracle = OracleAnnotator(
        refusal_rate=section.refusal_rate,
        mismatch_rate=section.mismatch_rate,
        weight=section.oracle_weight,
        seed=config.seed,
    )
    return SandboxAnnotator(oracle)
