"""What the stages ``eval`` and ``validate`` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.config import RunConfig
from rewardlab.pipeline.stage import Work
from rewardlab.pipeline.work.shared import ADAPTER, gold_rationales, start_trunk, warn_of_long_labels
from rewardlab.runs import read_json, write_jsonl
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import STOP_STRINGS, tasks
from rewardlab.types import Example

if TYPE_CHECKING:
    from rewardlab.evaluation.asking import Questions
    from rewardlab.evaluation.few_shot import Demonstration
    from rewardlab.evaluation.predict import Decoding, Generate
    from rewardlab.models import Trunk


@dataclass(frozen=True, slots=True)
class Facts:
    """What a row of a table says of its method, beside the measurements.

    ``budget`` is what PPO spent: steps, updates, tokens, device_seconds, prompts and the fingerprint of their order.
    """

    method: str
    start: str
    reward: str | None
    model_run: str | None
    cost: Mapping[str, Any]
    budget: Mapping[str, Any]


def evaluate(job: Work, config: RunConfig, splits: Mapping[str, Splits], facts: Facts) -> dict[str, Any]:
    """Stage ``eval``."""
    from rewardlab.evaluation.answers import PREDICTIONS_FILE, write_answers
    from rewardlab.evaluation.asking import Questions
    from rewardlab.evaluation.predict import evaluate as measure

    warn_of_long_labels(config, splits)
    trunk, role = _evaluated(config, job.inputs)
    shots = _demonstrations(config, splits, job.inputs) if config.eval.shots else {}
    questions = Questions(trunk.codec, trunk.context and trunk.context - config.new_tokens, shots)
    generate = _generator(job, config, facts.method, trunk, role, questions)
    columns = {column: rows for split in splits.values() for column, rows in split.tests.items()}
    found = measure(columns, generate, bootstrap=config.eval.bootstrap, prompt=questions.text)
    questions.warn()
    write_jsonl(job.folder.path / PREDICTIONS_FILE, (row.to_json() for row in found.rows))
    write_answers(job.folder.path, found.rows)
    asked = {"shots": config.eval.shots, "asked": questions.counts()}
    return {**asdict(facts), "seed": config.seed, "columns": found.columns, **asked}


def validate(job: Work, config: RunConfig, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Stage ``validate``: greedy answers to the validation rows, and the main metric of each task."""
    from rewardlab.evaluation.asking import Questions
    from rewardlab.evaluation.predict import evaluate as measure

    trunk, role = _evaluated(config, job.inputs)
    questions = Questions(trunk.codec, trunk.context and trunk.context - config.new_tokens, {})
    generate = _generator(job, config, "validation", trunk, role, questions)
    rows = {name: split.validation for name, split in splits.items()}
    found = measure(rows, generate, bootstrap=config.eval.bootstrap, decodings=("greedy",))
    columns = {name: column["greedy"] for name, column in found.columns.items()}
    scores = {name: column["metrics"][tasks.get(name).metrics[0]]["value"] for name, column in columns.items()}
    return {"seed": config.seed, "scores": scores, "columns": columns}


def _generator(
    job: Work, config: RunConfig, title: str, trunk: Trunk, role: str | None, questions: Questions
) -> Generate:
    """Answers questions with the evaluated model; the same row gets the same draw in every run of a seed."""
    from rewardlab.evaluation.predict import GeneratedText
    from rewardlab.models import SamplingConfig, row_key, sample

    def generate(examples: Sequence[Example], decoding: Decoding) -> list[GeneratedText]:
        job.report(f"{title} {decoding}", 0, len(examples))
        sampling = SamplingConfig(
            config.new_tokens, 1.0 if decoding == "sampled" else 0.0, STOP_STRINGS[config.format], config.eval.batch
        )
        keys = [row_key(config.seed, "eval", example.task, example.id) for example in examples]
        drawn = sample(trunk, [questions.ids(example) for example in examples], keys, sampling, role)
        return [GeneratedText(item.text, item.is_finished) for item in drawn]

    return generate


def _evaluated(config: RunConfig, inputs: Mapping[str, Path]) -> tuple[Trunk, str | None]:
    """The model that is evaluated and the role it answers in."""
    from rewardlab.models import load_trunk
    from rewardlab.training.rollout import POLICY
    from rewardlab.training.validation import BEST_ADAPTER

    if "model" not in inputs:
        return load_trunk(config.model), None
    if read_json(inputs["model"] / "config.json")["stage"] == "sft":
        return load_trunk(config.model, inputs["model"] / ADAPTER), None
    trunk = start_trunk(config, inputs)
    trunk.roles.load(POLICY, inputs["model"] / (BEST_ADAPTER if config.eval.checkpoint == "best" else ADAPTER))
    return trunk, POLICY


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
