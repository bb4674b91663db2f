"""What the stages ``eval`` and ``validate`` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.config import RunConfig
from rewardlab.pipeline.stage import Work
from rewardlab.pipeline.work.shared import Policy, gold_rationales, policy_of, start_trunk, warn_of_long_labels
from rewardlab.runs import read_json, write_jsonl
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import STOP_STRINGS, tasks
from rewardlab.types import Example

if TYPE_CHECKING:
    from rewardlab.evaluation.asking import Questions
    from rewardlab.evaluation.few_shot import Demonstration
    from rewardlab.evaluation.predict import Decoding, Generate, Guess
    from rewardlab.models import Trunk


ROWS_A_BUDGET = 8
"""Rows that share a drawn response budget (``eval.least_new_tokens``): the batch of PPO-NLU's published script."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a row of a table says of its method, beside the measurements.

    ``budget`` is what PPO spent: steps, updates, tokens, device_seconds, prompts and the fingerprint of their order.
    ``start_accuracy`` is PPO's own before its first update, greedy on validation rows; None where it was not measured.
    """

    method: str
    start: str
    reward: str | None
    model_run: str | None
    cost: Mapping[str, Any]
    budget: Mapping[str, Any]
    start_accuracy: float | None = None


def evaluate(job: Work, config: RunConfig, splits: Mapping[str, Splits], facts: Facts) -> dict[str, Any]:
    """Stage ``eval``."""
    from rewardlab.evaluation.answers import PREDICTIONS_FILE, write_answers
    from rewardlab.evaluation.asking import Questions
    from rewardlab.evaluation.predict import evaluate as measure

    warn_of_long_labels(config, splits)
    trunk, role = _evaluated(config, job.inputs)
    policy = _policy(job, config)
    shots = _demonstrations(config, splits, job.inputs) if config.eval.shots else {}
    questions = Questions(trunk.codec, trunk.context and trunk.context - config.new_tokens, shots)
    generate = _generator(job, config, facts.method, trunk, role, questions)
    columns = {column: rows for split in splits.values() for column, rows in split.tests.items()}
    guess = _guess(config)
    found = measure(columns, generate, bootstrap=config.eval.bootstrap, prompt=questions.text, guess=guess)
    questions.warn()
    write_jsonl(job.folder.path / PREDICTIONS_FILE, (row.to_json() for row in found.rows))
    write_answers(job.folder.path, found.rows)
    asked = {"shots": config.eval.shots, "asked": questions.counts()}
    evaluated = {"policy": None if policy is None else policy.to_json()}
    return {**asdict(facts), "seed": config.seed, "columns": found.columns, **asked, **evaluated}


def validate(job: Work, config: RunConfig, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Stage ``validate``: greedy answers to the validation rows, and the main metric of each task."""
    from rewardlab.evaluation.asking import Questions
    from rewardlab.evaluation.predict import evaluate as measure

    trunk, role = _evaluated(config, job.inputs)
    questions = Questions(trunk.codec, trunk.context and trunk.context - config.new_tokens, {})
    generate = _generator(job, config, "validation", trunk, role, questions)
    rows = {name: split.validation for name, split in splits.items()}
    guess = _guess(config)
    found = measure(rows, generate, bootstrap=config.eval.bootstrap, decodings=("greedy",), guess=guess)
    columns = {name: column["greedy"] for name, column in found.columns.items()}
    scores = {name: column["metrics"][tasks.get(name).metrics[0]]["value"] for name, column in columns.items()}
    return {"seed": config.seed, "scores": scores, "columns": columns}


def _generator(
    job: Work, config: RunConfig, title: str, trunk: Trunk, role: str | None, questions: Questions
) -> Generate:
    """Answers questions with the evaluated model; the same row gets the same draw in every run of a seed."""
    from rewardlab.evaluation.predict import GeneratedText
    from rewardlab.models import SamplingConfig, row_key, sample
    from rewardlab.models.sampler import budget_of

    least, most = config.eval.least_new_tokens, config.new_tokens

    def generate(examples: Sequence[Example], decoding: Decoding) -> list[GeneratedText]:
        job.report(f"{title} {decoding}", 0, len(examples))
        sampling = SamplingConfig(
            most, 1.0 if decoding == "sampled" else 0.0, STOP_STRINGS[config.format], config.eval.batch
        )
        keys = [row_key(config.seed, "eval", example.task, example.id) for example in examples]
        budgets = [budget_of(least, most, config.seed, decoding, row // ROWS_A_BUDGET) for row in range(len(examples))]
        drawn = sample(trunk, [questions.ids(example) for example in examples], keys, sampling, role, budgets)
        return [GeneratedText(item.text, item.is_finished) for item in drawn]

    return generate


def _guess(config: RunConfig) -> Guess | None:
    """What stands in for an answer that cannot be read: nothing, or a draw of the run's seed."""
    from rewardlab.evaluation.predict import random_answer

    return partial(random_answer, config.seed) if config.eval.unreadable == "random" else None


def _evaluated(config: RunConfig, inputs: Mapping[str, Path]) -> tuple[Trunk, str | None]:
    """The model that is evaluated and the role it answers in."""
    from rewardlab.models import load_trunk
    from rewardlab.training.rollout import POLICY

    if "model" not in inputs:
        return load_trunk(config.model), None
    if read_json(inputs["model"] / "config.json")["stage"] == "sft":
        return load_trunk(config.model, policy_of(inputs["model"], config.eval.checkpoint).adapter), None
    trunk = start_trunk(config, inputs)
    trunk.roles.load(POLICY, policy_of(inputs["model"], config.eval.checkpoint).adapter)
    return trunk, POLICY


def _policy(job: Work, config: RunConfig) -> Policy | None:
    """What is evaluated of a trained run; says so where it is not what was asked for."""
    if "model" not in job.inputs:
        return None
    found = policy_of(job.inputs["model"], config.eval.checkpoint)
    if found.checkpoint == "last" != config.eval.checkpoint:
        job.say(
            "  the run measured no validation rows, so there is no best policy: the last one is evaluated "
            "(ppo.validate_every or sft.validation_rows is 0, or the tasks have no validation rows)"
        )
    return found


def _demonstrations(
    config: RunConfig, splits: Mapping[str, Splits], inputs: Mapping[str, Path]
) -> dict[str, list[Demonstration]]:
    """Solved examples per task, from the labelled rows."""
    from rewardlab.evaluation.few_shot import Demonstration, choose_demonstrations

    rationales = gold_rationales(inputs["annotate"]) if "annotate" in inputs else {}
    return {
        name: choose_demonstrations(
            tasks.get(name),
            [Demonstration(example, rationales.get((name, example.id), "")) for example in split.labelled],
            config.eval.shots,
            config.seed,
        )
        for name, split in splits.items()
    }
