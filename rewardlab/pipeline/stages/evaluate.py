"""Stages ``eval`` and ``validate``: answers of a trained policy or the base model to test or validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.config import RunConfig
from rewardlab.disk import write_jsonl
from rewardlab.errors import ConfigError
from rewardlab.evaluation.cost import Cost
from rewardlab.pipeline.context import Context, dumped, slug_of
from rewardlab.pipeline.stage import Stage, Work
from rewardlab.pipeline.stages.annotate import annotate_stage
from rewardlab.pipeline.stages.scored import read_candidates, rows_to_answer, scored_stage
from rewardlab.pipeline.stages.shared import Policy, evaluated_model, gold_rationales, policy_of, warn_of_long_labels
from rewardlab.preference_config import SAMPLED
from rewardlab.runs import read_result
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import STOP_STRINGS, tasks
from rewardlab.training.methods import methods
from rewardlab.types import PAIR_KINDS, Example

if TYPE_CHECKING:
    from rewardlab.evaluation.asking import Questions
    from rewardlab.evaluation.few_shot import Demonstration
    from rewardlab.evaluation.predict import Decoding, Generate, Guess
    from rewardlab.models import Trunk


SPENT = (
    *("steps", "updates", "tokens", "responses", "forward", "backward", "device_seconds"),
    *("prompts", "prompts_order", "even_groups"),
)
"""What a training run spent, as its evaluation repeats it."""
NOT_IN_VALIDATION = ("batch", "shots", "best_of", "best_of_reward", "best_of_lam", "hosted", "chain_of_thought")
"""Settings that choosing among settings does not read."""
ROWS_A_BUDGET = 8
"""Rows that share a drawn response budget (``eval.least_new_tokens``): the batch of PPO-NLU's published script."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a row of a table says of its method, beside the measurements.

    ``budget`` is what training spent, of :data:`SPENT`.
    ``start_accuracy`` is the policy's own before its first update, greedy on validation rows; None where it was not
    measured.
    """

    method: str
    start: str
    reward: str | None
    model_run: str | None
    cost: Mapping[str, Any]
    budget: Mapping[str, Any]
    start_accuracy: float | None = None


def eval_stage(context: Context, trained: Stage | None, method: str | None = None) -> Stage:
    """Evaluation of a trained stage, or of the base model when there is none."""
    config, shots = context.config, context.config.eval.shots
    check_reasoning(config)
    rows = context.data("tests", "labelled") if shots else context.data("tests")
    inputs = {"model": trained, **start_of(trained)} if trained else {}
    if shots and config.format == "rationale":
        inputs["annotate"] = annotate_stage(context)
    if config.eval.best_of is not None:
        inputs["scored"] = scored_stage(_choosing(context), trained, config.eval.best_of)
    name = method or method_title(config, trained)
    # which checkpoint is no setting of the base model, and how many rows are generated together is none of a policy's
    asked = dumped(config.eval, without=("batch", "hosted") if trained else ("batch", "hosted", "checkpoint"))
    return context.stage(
        "eval",
        f"evaluate {name} on {context.names}",
        f"{context.slug}-{slug_of(name)}",
        {**rows, **context.task_code("quality"), **context.model, "eval": asked, "method": name},
        inputs,
        lambda job: evaluate(job, config, context.splits, facts_of(context, trained, name, inputs.get("scored"))),
    )


def check_reasoning(config: RunConfig) -> None:
    """Refuse reasoning in a format that has no room for it; raises ConfigError."""
    if config.eval.chain_of_thought and config.format != "rationale":
        raise ConfigError(f"eval.chain_of_thought needs --format rationale, found --format {config.format}")


def _choosing(context: Context) -> Context:
    """The configuration with the reward that the best answer is chosen by.

    Raises:
        ConfigError: No such reward is given, or solved examples are asked for too.
    """
    config = context.config
    if config.eval.best_of_reward is None:
        raise ConfigError(
            f"eval.best_of = {config.eval.best_of} needs a reward to choose by: --reward label, or eval.best_of_reward"
        )
    if config.eval.shots:
        raise ConfigError("eval.best_of chooses among zero-shot answers; leave --shots out")
    chosen = {"expression": config.eval.best_of_reward, "lam": config.eval.best_of_lam}
    reward = config.reward.model_copy(update=chosen)
    return Context(config.model_copy(update={"reward": reward}), context.root, context.rows)


def validate_stage(context: Context, trained: Stage) -> Stage:
    """Greedy answers of a trained stage to the validation rows, for choosing settings; reads no test row."""
    config = context.config
    return context.stage(
        "validate",
        f"validate {trained.title}",
        trained.slug,
        {
            **context.data("validation"),
            **context.task_code("quality"),
            **context.model,
            "eval": dumped(config.eval, without=NOT_IN_VALIDATION),
        },
        {"model": trained, **start_of(trained)},
        lambda job: validate(job, config, context.splits),
    )


def method_title(config: RunConfig, trained: Stage | None) -> str:
    """The name a table gives to what was evaluated: what was trained, and what its answers were chosen by."""
    if config.eval.best_of is None:
        return _trained_title(config, trained)
    lam = "" if config.eval.best_of_lam is None else f" (λ={config.eval.best_of_lam})"
    expression = config.eval.best_of_reward or ""
    judge = f"{expression} RM" if expression in PAIR_KINDS else expression
    chosen = f"best of {config.eval.best_of}, {judge}{lam}"
    if trained is not None and trained.kind == "sft" and config.eval.checkpoint == "best":
        is_usual_start = trained.settings["rationales"] == (config.format == "rationale")
        return chosen if is_usual_start else f"{_trained_title(config, trained)}, {chosen}"
    return f"{_trained_title(config, trained)}, {chosen}"


def _trained_title(config: RunConfig, trained: Stage | None) -> str:
    """The name a table gives to what was trained."""
    if trained is None:
        return prompting_title(config)
    last = " (last policy)" if config.eval.checkpoint == "last" else ""
    if trained.kind == "sft":
        return ("SFT w. rationale" if trained.settings["rationales"] else "SFT") + last
    method, reward = methods.get(trained.kind), config.reward
    if method.family == "preference":
        section = method.section(config)
        return f"{section.loss_title or method.title} on {section.pairs_title(reward.expression)}{last}"
    known = {"rule": "PPO-rule", "ranked": "RLHF", "label": "RLLR", "mixed": f"RLLR-mixed (λ={reward.lam})"}
    if trained.kind == "ppo" and reward.expression in known:
        return known[reward.expression] + last
    lam = "" if reward.lam is None else f" (λ={reward.lam})"
    return f"{method.title} on {reward.expression}{lam if trained.kind != 'ppo' else ''}{last}"


def prompting_title(config: RunConfig) -> str:
    """How a model was asked that nobody trained here."""
    asked = "zero-shot" if config.eval.shots == 0 else f"{config.eval.shots}-shot"
    return f"{asked} CoT" if config.eval.chain_of_thought else asked


def start_of(trained: Stage) -> dict[str, Stage]:
    """The model that a trained stage started from, as an input."""
    return {"start": trained.inputs["start"]} if "start" in trained.inputs else {}


def facts_of(context: Context, trained: Stage | None, method: str, scored: Stage | None = None) -> Facts:
    """What the evaluation's row says of the method behind it; ``scored`` are the answers that it chooses from."""
    config, chain = context.config, trained.chain(measuring=False) if trained else []
    results = context.results([*chain, *(scored.chain(measuring=False) if scored else [])])
    if shots := config.eval.shots:
        asks = config.format == "rationale" and not any(stage.kind == "annotate" for stage in chain)
        shown = {f"labelled/{task.name}": shots for task in context.tasks}
        results[f"shots-{context.slug}"] = {
            "gold": shown,
            "annotator_calls": shots * len(shown) if asks else 0,
            "stage_device_seconds": 0.0,
        }
    folder = trained.folder(context.root) if trained else None
    is_after_start = trained is not None and trained.kind != "sft"
    result = folder.result() if folder and is_after_start else {}
    return Facts(
        method=method,
        start=config.start if is_after_start else "base",
        reward=_chosen_by(config) or (_reward_text(config) if trained and _reads_reward(config, trained) else None),
        model_run=str(folder.path) if folder else None,
        cost=Cost.of(results).to_json(),
        budget={name: result[name] for name in SPENT if name in result},
        start_accuracy=start_accuracy_of(result),
    )


def start_accuracy_of(result: Mapping[str, Any]) -> float | None:
    """What a training run measured on validation rows before its first update; None where it measured nothing."""
    start = (result.get("validation") or {}).get("start") or {}
    return start.get("accuracy")


def _reads_reward(config: RunConfig, trained: Stage) -> bool:
    """Whether a reward stands behind a trained run: not behind SFT, nor behind pairs without scores."""
    if trained.kind == "sft":
        return False
    method = methods.get(trained.kind)
    return method.family != "preference" or method.section(config).pairs == SAMPLED


def _chosen_by(config: RunConfig) -> str | None:
    """The reward that answers are chosen by; None where they are not."""
    if config.eval.best_of is None:
        return None
    lam = "" if config.eval.best_of_lam is None else f", λ={config.eval.best_of_lam}"
    return f"best of {config.eval.best_of} by {config.eval.best_of_reward}{lam}"


def _reward_text(config: RunConfig) -> str:
    reward = config.reward
    return reward.expression if reward.lam is None else f"{reward.expression}, λ={reward.lam}, r2={reward.r2}"


def evaluate(job: Work, config: RunConfig, splits: Mapping[str, Splits], facts: Facts) -> dict[str, Any]:
    """Do it."""
    from rewardlab.evaluation.answers import PREDICTIONS_FILE, write_answers
    from rewardlab.evaluation.asking import Questions
    from rewardlab.evaluation.predict import evaluate as measure

    warn_of_long_labels(config, splits)
    if "scored" in job.inputs:
        return _evaluate_best(job, config, splits, facts)
    trunk, role = evaluated_model(config, job.inputs)
    policy = _policy(job, config)
    shots = demonstrations(config, splits, job.inputs) if config.eval.shots else {}
    longest = trunk.context and trunk.context - config.new_tokens
    questions = Questions(trunk.codec, longest, shots, reasons=config.eval.chain_of_thought)
    generate = generator_of(job, config, facts.method, trunk, role, questions)
    columns = {column: rows for split in splits.values() for column, rows in split.tests.items()}
    guess = guess_of(config)
    found = measure(columns, generate, bootstrap=config.eval.bootstrap, prompt=questions.text, guess=guess)
    questions.warn()
    write_jsonl(job.folder.path / PREDICTIONS_FILE, (row.to_json() for row in found.rows))
    write_answers(job.folder.path, found.rows)
    asked = {"shots": config.eval.shots, "asked": questions.counts()}
    evaluated = {"policy": None if policy is None else policy.to_json()}
    return {**asdict(facts), "seed": config.seed, "columns": found.columns, **asked, **evaluated}


def _evaluate_best(job: Work, config: RunConfig, splits: Mapping[str, Splits], facts: Facts) -> dict[str, Any]:
    """The best of several sampled answers to each row; there is no greedy one to choose."""
    from rewardlab.evaluation.answers import PREDICTIONS_FILE, write_answers
    from rewardlab.evaluation.predict import GeneratedText
    from rewardlab.evaluation.predict import evaluate as measure
    from rewardlab.training.scored_samples import best_of

    rows, candidates = rows_to_answer(splits), read_candidates(job.inputs["scored"])
    places = [best_of(own) for own in candidates]
    chosen = [own[best[0] if best else 0] for own, best in zip(candidates, places, strict=True)]
    answers = iter(GeneratedText(best.text, best.is_finished) for best in chosen)

    def generate(examples: Sequence[Example], decoding: Decoding) -> list[GeneratedText]:
        return [next(answers) for _ in examples]  # the columns are read in the order in which they were answered

    columns = {column: found for split in splits.values() for column, found in split.tests.items()}
    found = measure(columns, generate, bootstrap=config.eval.bootstrap, decodings=("sampled",), guess=guess_of(config))
    write_jsonl(job.folder.path / PREDICTIONS_FILE, (row.to_json() for row in found.rows))
    write_answers(job.folder.path, found.rows)
    policy = _policy(job, config)
    return {
        **asdict(facts),
        "seed": config.seed,
        "columns": found.columns,
        "shots": 0,
        "best_of": {
            "samples": config.eval.best_of,
            "rows": len(rows),
            "unscored": sum(not each for each in places),
            "tokens": read_result(job.inputs["scored"])["tokens"],
        },
        "policy": None if policy is None else policy.to_json(),
    }


def validate(job: Work, config: RunConfig, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Greedy answers to the validation rows, and the main metric of each task."""
    from rewardlab.evaluation.asking import Questions
    from rewardlab.evaluation.predict import evaluate as measure

    trunk, role = evaluated_model(config, job.inputs)
    questions = Questions(trunk.codec, trunk.context and trunk.context - config.new_tokens, {})
    generate = generator_of(job, config, "validation", trunk, role, questions)
    rows = {name: split.validation for name, split in splits.items()}
    guess = guess_of(config)
    found = measure(rows, generate, bootstrap=config.eval.bootstrap, decodings=("greedy",), guess=guess)
    columns = {name: column["greedy"] for name, column in found.columns.items()}
    scores = {name: column["metrics"][tasks.get(name).metrics[0]]["value"] for name, column in columns.items()}
    return {"seed": config.seed, "scores": scores, "columns": columns}


def generator_of(
    job: Work, config: RunConfig, title: str, trunk: Trunk, role: str | None, questions: Questions
) -> Generate:
    """Answers questions with the evaluated model; the same row gets the same draw in every run of a seed."""
    from rewardlab.evaluation.predict import GeneratedText
    from rewardlab.models import SamplingConfig, row_key, sample
    from rewardlab.models.sampler import budget_of
    from rewardlab.training.fitting import sampling_batch

    least, most = config.eval.least_new_tokens, config.new_tokens

    def generate(examples: Sequence[Example], decoding: Decoding) -> list[GeneratedText]:
        def report(done: int) -> None:
            job.report(f"{title} {decoding}", done, len(examples))

        report(0)
        keys = [row_key(config.seed, "eval", example.task, example.id) for example in examples]
        budgets = [budget_of(least, most, config.seed, decoding, row // ROWS_A_BUDGET) for row in range(len(examples))]
        asked = [questions.ids(example) for example in examples]
        batch = sampling_batch(config, trunk, max(map(len, asked), default=None))
        temperature = 1.0 if decoding == "sampled" else 0.0
        sampling = SamplingConfig(most, temperature, STOP_STRINGS[config.format], batch)
        drawn = sample(trunk, asked, keys, sampling, role, budgets, report)
        return [GeneratedText(item.text, item.is_finished) for item in drawn]

    return generate


def guess_of(config: RunConfig) -> Guess | None:
    """What stands in for an answer that cannot be read: nothing, or a draw of the run's seed."""
    from rewardlab.evaluation.predict import random_answer

    return partial(random_answer, config.seed) if config.eval.unreadable == "random" else None


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


def demonstrations(
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
