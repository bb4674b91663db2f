"""What the stages do when they run: load what they need, call the library, return the result to be stored.

Every function imports what it needs, so that a plan can be made without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import pstdev
from typing import TYPE_CHECKING, Any, Literal

from rewardlab import processes
from rewardlab.config import RunConfig
from rewardlab.evaluation.cost import gold_read
from rewardlab.pipeline.stage import HELD_OUT, SampledPart, Work
from rewardlab.runs import read_json, read_jsonl, write_jsonl
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import STOP_STRINGS, tasks
from rewardlab.types import PAIR_KINDS, Example, PairKind

if TYPE_CHECKING:
    from rewardlab.annotate.preview import Preview
    from rewardlab.evaluation.asking import Questions
    from rewardlab.evaluation.few_shot import Demonstration
    from rewardlab.evaluation.predict import Decoding, Generate
    from rewardlab.models import Trunk
    from rewardlab.pairs.sampled import SampleAnswers

ADAPTER = "adapter"
TrainingPart = Literal["labelled", "prompts"]
Part = Literal["labelled", "prompts", "validation"]


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


def annotate(job: Work, config: RunConfig, splits: Mapping[str, Splits], journals: Path) -> dict[str, Any]:
    """Stage ``annotate``."""
    from rewardlab.annotate.stage import run_annotate

    return run_annotate(job.folder, config, splits, journals, job.report)


def preview_rationales(config: RunConfig, splits: Mapping[str, Splits], journals: Path) -> Preview | None:
    """What stage ``annotate`` will ask."""
    from rewardlab.annotate.preview import preview_rationales

    return preview_rationales(config, splits, journals)


def preview_pairs(config: RunConfig, kind: PairKind, splits: Mapping[str, Splits], journals: Path) -> Preview | None:
    """What stage ``pairs`` will ask; label pairs ask nobody."""
    from rewardlab.annotate.preview import preview_rankings
    from rewardlab.pairs.stage import candidates

    if kind == "label":
        return None
    rows = candidates(splits, config)
    return preview_rankings(config, [*rows.train, *rows.held_out], journals)


def sft(job: Work, config: RunConfig, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Stage ``sft``."""
    from rewardlab.training.sft import train_sft

    rationales = gold_rationales(job.inputs["annotate"]) if "annotate" in job.inputs else None
    rows = [example for part in config.sft.parts for example in _rows(splits, part)]
    result = train_sft(job.folder, config, rows, rationales, job.recorder)
    return {**result, "gold": _gold(splits, *config.sft.parts)}


def pairs(job: Work, config: RunConfig, kind: PairKind, splits: Mapping[str, Splits], journals: Path) -> dict[str, Any]:
    """Stage ``pairs``."""
    from rewardlab.pairs.stage import run_pairs

    if kind == "label":
        source = job.inputs.get("annotate")
        rationales = source / "rationales.jsonl" if source else None
        result = run_pairs(job.folder, config, kind, splits, rationales, progress=job.report)
        return {**result, "gold": _gold(splits, "labelled", limit=config.pairs.limit)}
    from rewardlab.annotate.bundled import written_answers_first, written_tasks
    from rewardlab.annotate.choose import build_annotator, choose_annotator

    choice = choose_annotator(config.annotate, config.model, list(splits), written_tasks(splits))
    shared = config.model_copy(update={"seed": config.data.seed})
    weighed = {name: split.labelled for name, split in splits.items()}
    annotator = build_annotator(choice.name, shared, journals, weighed)
    sample_answers = _drawn_answers([path for name, path in job.inputs.items() if name.startswith("samples_")])
    if choice.name == "bundled":
        sample_answers = written_answers_first(sample_answers)
    return run_pairs(
        job.folder, config, kind, splits, None, sample_answers=sample_answers, annotator=annotator, progress=job.report
    )


def samples(job: Work, config: RunConfig, splits: Mapping[str, Splits], part: SampledPart) -> dict[str, Any]:
    """Stage ``samples``."""
    from rewardlab.pairs.sampled import sampled_answers
    from rewardlab.pairs.summary import answers_by_task, sampled_kinds
    from rewardlab.tasks.task import parse_response

    asked = _sampled_rows(config, splits, part)
    sample_answers = _answers_of(_trunk(config, job.inputs), config)
    drawn = sampled_answers(job.folder, asked, config.pairs.samples, sample_answers, job.report)
    rows = [
        {"task": example.task, "labels": [parse_response(example, text).value for text in texts]}
        for example, texts in zip(asked, drawn, strict=True)
    ]
    return {"sampled": sampled_kinds(answers_by_task(rows)), "gold": {}}


def reward_model(job: Work, config: RunConfig, kind: PairKind, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Stage ``rm``."""
    from rewardlab.pairs.files import read_pairs
    from rewardlab.pairs.sampled import SAMPLED_FILE, read_sampled
    from rewardlab.training.reward_model import train_reward_model
    from rewardlab.training.rm_evaluation import SampledAnswer
    from rewardlab.training.stored_samples import write_samples

    drawn = read_sampled(job.inputs["samples"] / SAMPLED_FILE) if "samples" in job.inputs else {}
    asked = _sampled_rows(config, splits, "validation")
    samples = [SampledAnswer(example, tuple(drawn[example.task, example.id])) for example in asked]
    if processes.is_main():
        write_samples(job.folder.path, samples)
    held_out = {
        name: read_pairs(path / "held_out.jsonl") for name, path in job.inputs.items() if name.startswith(HELD_OUT)
    }
    trained_on = read_pairs(job.inputs["pairs"] / "pairs.jsonl")
    adapter = job.inputs["start"] / ADAPTER if "start" in job.inputs else None
    rows = [example for split in splits.values() for example in (*split.labelled, *split.validation)]
    return train_reward_model(
        job.folder, config, kind, adapter, trained_on, held_out, samples, job.recorder, examples=rows
    )


def _sampled_rows(config: RunConfig, splits: Mapping[str, Splits], part: SampledPart) -> list[Example]:
    """The rows that the start model answers: those that pairs are made from, or held out for them."""
    if part == "labelled":
        return [example for split in splits.values() for example in split.labelled[: config.pairs.limit]]
    return [example for split in splits.values() for example in split.validation[: config.pairs.held_out]]


def card(job: Work, method: str, seed: int) -> dict[str, Any]:
    """Stage ``card``: report.json, report.md and report.png, and what became of each pair."""
    from rewardlab.evaluation.pair_measures import JUDGED_FILE
    from rewardlab.evaluation.report_card import judged_card
    from rewardlab.reports.report_card import write_cards

    folders = [path for name, path in job.inputs.items() if name.startswith(HELD_OUT)]
    found, judged = judged_card(job.inputs["model"], folders)
    write_jsonl(job.folder.path / JUDGED_FILE, judged)
    write_cards({str(found["kind"]): found}, job.folder.path)
    return {"method": method, "seed": seed, "kind": found["kind"], "sets": found["sets"]}


def ppo(job: Work, config: RunConfig, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Stage ``ppo``."""
    from rewardlab.models.scoring import add_scorers
    from rewardlab.rewards import Ledger, RewardContext, build_reward
    from rewardlab.training.ppo import PPOTrainer
    from rewardlab.training.progress import FolderRecorder, Several

    trunk = _trunk(config, job.inputs)
    folders = {name.removeprefix("rm_"): path for name, path in job.inputs.items() if name.startswith("rm_")}
    loaded = add_scorers(trunk, folders, config.ppo.micro_batch)
    context = RewardContext(loaded.scorers, loaded.sft_scores, config.reward.reading)
    reward = build_reward(config.reward, context)
    kind = _critic_kind(config, folders)
    trainer = PPOTrainer(
        trunk,
        reward,
        [example for part in config.ppo.parts for example in _rows(splits, part)],
        config,
        Several(FolderRecorder(job.folder), job.recorder),
        Ledger(job.folder.append),
        job.folder.path,
        value_start=folders[kind] / ADAPTER if kind else None,
        value_scale=(pstdev(loaded.sft_scores[kind]) or 1.0) if kind and config.ppo.normalise_scores else 1.0,
        lam=reward.lam,
        validation=_rows(splits, "validation", config.ppo.validation_rows),
    )
    result = trainer.train()
    gold = _gold_of_prompts(splits, config, result.steps) if reward.needs_gold else {}
    watched = _hacking(job.folder.path, config.reward.expression) if processes.is_main() else {}
    return {**result.to_json(), "reward": config.reward.expression, "lambda": reward.lam, "gold": gold, **watched}


def _gold_of_prompts(splits: Mapping[str, Splits], config: RunConfig, steps: int) -> dict[str, int]:
    """The gold labels that a reward has read after so many steps, as :func:`_gold` counts them."""
    from rewardlab.training.budget import prompts_of

    parts = {part: _rows(splits, part) for part in config.ppo.parts}
    everything = [example for rows in parts.values() for example in rows]
    read = {(e.task, e.id) for e in prompts_of(everything, steps, config.ppo.batch, config.seed)}
    seen = {part: [e for e in rows if (e.task, e.id) in read] for part, rows in parts.items()}
    return {pool: n for part, rows in seen.items() for pool, n in gold_read(part, rows).items()}


def _hacking(folder: Path, name: str) -> dict[str, Any]:
    """What the alarm for reward hacking says of a run; ``judged`` is False without gold labels or with few steps."""
    from rewardlab.evaluation.hacking import can_judge, find_alarm, series_of
    from rewardlab.reports.hacking import write_chart
    from rewardlab.rewards.ledger import LEDGER_FILE

    ledger = folder / LEDGER_FILE
    series = series_of(read_jsonl(ledger) if ledger.exists() else ())
    alarm = find_alarm(series)
    write_chart(folder, alarm, name)
    return {"hacking": {"judged": can_judge(len(series.steps)), "alarm": alarm.to_json() if alarm else None}}


def _critic_kind(config: RunConfig, folders: Mapping[str, Path]) -> str | None:
    """The reward model that an adapter critic starts from: the label RM where the reward has one, else another.

    The same rule for every learned reward, so that two of them differ in the reward alone. The rule reward has no
    reward model; its critic starts at zero.
    """
    if config.ppo.value != "adapter" or config.ppo.value_init != "rm":
        return None
    return next((kind for kind in ("label", *PAIR_KINDS) if kind in folders), None)


def evaluate(job: Work, config: RunConfig, splits: Mapping[str, Splits], facts: Facts) -> dict[str, Any]:
    """Stage ``eval``."""
    from rewardlab.evaluation.answers import PREDICTIONS_FILE, write_answers
    from rewardlab.evaluation.asking import Questions
    from rewardlab.evaluation.predict import evaluate as measure

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


def gold_rationales(folder: Path) -> dict[tuple[str, str], str]:
    """(task, id) -> the usable rationale for the gold label, of the rows that are trained on."""
    return {
        (row["task"], row["id"]): row["rationale"]
        for row in read_jsonl(folder / "rationales.jsonl")
        if row["split"] != "validation" and row["is_gold"] and row["outcome"] == "answered"
    }


def _rows(splits: Mapping[str, Splits], part: Part, limit: int | None = None) -> list[Example]:
    """The rows of one part, of all tasks; ``limit`` of each at most."""
    return [example for split in splits.values() for example in getattr(split, part)[:limit]]


def _gold(splits: Mapping[str, Splits], *parts: TrainingPart, limit: int | None = None) -> dict[str, int]:
    """The gold labels that a stage reads of these parts, as its result says."""
    return {pool: n for part in parts for pool, n in gold_read(part, _rows(splits, part, limit)).items()}


def _trunk(config: RunConfig, inputs: Mapping[str, Path]) -> Trunk:
    """The trunk with the SFT adapter merged, or the base model when there is no start."""
    from rewardlab.models import load_trunk

    return load_trunk(config.model, inputs["start"] / ADAPTER if "start" in inputs else None)


def _evaluated(config: RunConfig, inputs: Mapping[str, Path]) -> tuple[Trunk, str | None]:
    """The model that is evaluated and the role it answers in."""
    from rewardlab.models import load_trunk
    from rewardlab.training.rollout import POLICY
    from rewardlab.training.validation import BEST_ADAPTER

    if "model" not in inputs:
        return load_trunk(config.model), None
    if read_json(inputs["model"] / "config.json")["stage"] == "sft":
        return load_trunk(config.model, inputs["model"] / ADAPTER), None
    trunk = _trunk(config, inputs)
    trunk.roles.load(POLICY, inputs["model"] / (BEST_ADAPTER if config.eval.checkpoint == "best" else ADAPTER))
    return trunk, POLICY


def _answers_of(trunk: Trunk, config: RunConfig) -> SampleAnswers:
    """Draws several answers per example from the start model, at temperature 1."""
    from rewardlab.models import SamplingConfig, row_key, sample

    sampling = SamplingConfig(config.new_tokens, 1.0, STOP_STRINGS[config.format], config.eval.batch)

    def sample_answers(examples: Sequence[Example], count: int) -> list[list[str]]:
        prompts = [trunk.codec.prompt_ids(example) for example in examples for _ in range(count)]
        keys = [row_key(config.seed, "pairs", e.task, e.id, number) for e in examples for number in range(count)]
        texts = [item.text for item in sample(trunk, prompts, keys, sampling, None)]
        return [texts[first : first + count] for first in range(0, len(texts), count)]

    return sample_answers


def _drawn_answers(folders: Sequence[Path]) -> SampleAnswers:
    """Gives the answers that stages ``samples`` have drawn."""
    from rewardlab.pairs.sampled import SAMPLED_FILE, read_sampled

    drawn = {key: found for folder in folders for key, found in read_sampled(folder / SAMPLED_FILE).items()}
    return lambda examples, count: [drawn[example.task, example.id][:count] for example in examples]


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
