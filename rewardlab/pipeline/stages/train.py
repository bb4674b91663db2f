"""Stages of training methods that sample while they train: ``ppo``, ``grpo``, ``rloo``, ``reinforce``, plug-ins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rewardlab import processes
from rewardlab.config import RunConfig
from rewardlab.disk import read_jsonl
from rewardlab.errors import ConfigError, InputError
from rewardlab.evaluation.cost import gold_read
from rewardlab.online_config import Balance, CriticConfig, OnlineConfig
from rewardlab.pipeline.context import Context, dumped, slug_of
from rewardlab.pipeline.stage import Stage, Work
from rewardlab.pipeline.stages.annotate import annotate_stage
from rewardlab.pipeline.stages.reward_model import reward_model_stage
from rewardlab.pipeline.stages.rubric import preview_grades, refuse_batches, rubric_of, spent_on
from rewardlab.pipeline.stages.sft import start_input
from rewardlab.pipeline.stages.shared import gold_of, gold_rationales, rows_of, start_trunk, warn_of_long_labels
from rewardlab.raft_config import RaftConfig
from rewardlab.rewards.context import RewardContext
from rewardlab.rewards.plan import ExpressionReward, refuse_groups, refuse_moving
from rewardlab.rewards.trl_functions import GIVEN, check_columns
from rewardlab.runs import ADAPTER
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import tasks
from rewardlab.training.methods import TrainingMethod
from rewardlab.types import PAIR_KINDS, Example

if TYPE_CHECKING:
    from rewardlab.annotate.grading import RubricReward
    from rewardlab.models import Trunk
    from rewardlab.training.sampling_server import SamplingServer

Train = Callable[[Work, TrainingMethod, RunConfig, Mapping[str, Splits]], dict[str, Any]]
"""Does the work of a stage that is trained on a reward."""


class PromptSection(Protocol):
    """What the settings of every method that is trained on a reward have."""

    @property
    def parts(self) -> tuple[Literal["labelled", "prompts"], ...]:
        """The parts of the data whose prompts it reads."""
        ...


def online_stage(context: Context, method: TrainingMethod, work: Train | None = None) -> Stage:
    """Training on the configured reward, from models of the run's own tasks or of ``start_task``.

    Args:
        context: The configuration.
        method: What trains.
        work: Does it; None: the loop of methods that sample while they train.
    """
    config, section = context.config, method.section(context.config)
    method.check(config)
    if section.samples < 2:
        refuse_groups(context.reward, method.name)
    if method.family != "online":
        refuse_moving(context.reward, method.name)
    check_reward(context, section.parts)
    _check_balance(context, method, section)
    refuse_shards(method)
    refuse_batches(context, method.name)
    models = {f"rm_{kind}": reward_model_stage(context.behind, kind) for kind in sorted(context.reward.pair_kinds)}
    mixes = _mixes_sft(section)
    written = {"annotate": annotate_stage(context)} if mixes and config.format == "rationale" else {}
    return context.stage(
        method.name,
        f"{method.title} on {config.reward.expression} ({context.names})",
        f"{context.slug}-{slug_of(config.reward.expression)}",
        {
            **context.data(*dict.fromkeys((*section.parts, *(("labelled",) if mixes else ()))), "validation"),
            **context.model,
            method.name: dumped(section),
            **({"sft_loss": {"version": 2, "words": config.sft.words}} if mixes else {}),
            **_sampler_settings(config, method),
            **context.reward_settings(),
            **({"method_code": code} if (code := context.method_code(method)) else {}),
        },
        {**start_input(context.behind), **models, **written},
        lambda job: (work or train)(job, method, config, context.splits),
        lambda: preview_grades(
            context,
            lambda: [example for part in section.parts for example in rows_of(context.splits, part)],
            partial(_responses, section),
        ),
        check=lambda: _check_server(config, method),
    )


def _check_server(config: RunConfig, method: TrainingMethod) -> None:
    """Ask the server that is to draw the responses, before hours of SFT and reward models; raises InputError."""
    if _has_server(config, method):
        from rewardlab.training.sampling_server import served_model

        served_model(config.sampler)


def _has_server(config: RunConfig, method: TrainingMethod) -> bool:
    """Whether a server draws the responses of this method."""
    return config.sampler.url is not None and method.family == "online"


def _sampler_settings(config: RunConfig, method: TrainingMethod) -> dict[str, Any]:
    """What a stage whose responses a server draws depends on beside the rest; where that server is does not matter.

    Raises:
        ConfigError: A setting cannot be had with a server.
    """
    if not _has_server(config, method):
        return {}
    if config.lora.bias != "none":
        raise ConfigError(
            f"lora.bias = {config.lora.bias!r}: servers apply adapters without biases; give --set lora.bias=none, or "
            "leave --sampler out"
        )
    return {"sampler": {"cap": config.sampler.cap}}


def _responses(section: PromptSection, prompts: int) -> int:
    """Responses of all steps, or rounds; where a budget limits the steps, those of one pass over the prompts."""
    from rewardlab.training.schedule import UNBOUNDED, steps_of

    if isinstance(section, RaftConfig):
        return section.rounds * section.samples * min(prompts, section.prompts or prompts)
    if not isinstance(section, OnlineConfig):
        return prompts
    steps = steps_of(section, prompts)
    return prompts * section.samples if steps == UNBOUNDED else steps * section.prompts * section.samples


def refuse_shards(method: TrainingMethod) -> None:
    """Refuse a launcher that cuts weights into pieces; raises ConfigError."""
    if processes.is_sharded():
        raise ConfigError(
            f"{method.title} keeps the whole trunk in every process and cannot use FSDP or DeepSpeed; launch it with a "
            "configuration of several GPUs without them, such as experiments/accelerate/gpus.yaml"
        )


def check_reward(context: Context, parts: Sequence[str]) -> None:
    """Refuse a reward that reads columns or gold labels which the rows of these parts lack; raises InputError.

    Raises:
        ConfigError: The answer format does not have what a reward reads.
    """
    for name, formats in context.reward.formats.items():
        if context.config.format not in formats:
            raise ConfigError(
                f"reward {name!r} reads what answers of --format {context.config.format} do not state; expected "
                f"--format {' or '.join(formats)}"
            )
    for task in context.tasks:
        for name, wanted in context.reward.columns.items():
            check_columns(name, wanted, (*GIVEN, *task.fields))
    if not context.reward.needs_gold:
        return
    for name, split in context.splits.items():
        rows = [example for part in parts for example in getattr(split, part)]
        bare = sum(example.label is None for example in rows)
        if bare:
            raise InputError(
                f"reward {context.config.reward.expression!r} reads gold labels, and {bare} of the {len(rows)} "
                f"training prompts of {name} have none; use a learned reward or label the rows"
            )


def _mixes_sft(section: PromptSection) -> bool:
    """Whether gold answers of labelled rows are learned from in every step."""
    return getattr(section, "sft_coef", 0.0) > 0


def is_balanced(section: PromptSection) -> bool:
    """Whether batches are drawn by gold label."""
    return getattr(section, "balance", "none") == "label"


def _check_balance(context: Context, method: TrainingMethod, section: PromptSection) -> None:
    """Refuse balanced batches of prompts without labels; raises InputError."""
    if not is_balanced(section):
        return
    for name, split in context.splits.items():
        rows = [example for part in section.parts for example in getattr(split, part)]
        bare = sum(not isinstance(example.label, str) for example in rows)
        if tasks.get(name).multi_label:
            raise InputError(
                f"{method.section_key}.balance = label draws prompts by their one gold label, and {name} has several a "
                "row; use the reward rule_balanced"
            )
        if bare:
            raise InputError(
                f"{method.section_key}.balance = label draws prompts by their gold label, and {bare} of the "
                f"{len(rows)} training prompts of {name} have none or a number; leave it out or label the rows"
            )


def train(job: Work, method: TrainingMethod, config: RunConfig, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Do it."""
    from rewardlab.rewards import Ledger
    from rewardlab.training.loop import OnlineTrainer
    from rewardlab.training.progress import FolderRecorder, Several

    warn_of_long_labels(config, splits)
    section: OnlineConfig = method.section(config)
    drawing = _server(config, job)  # before the model loads, which takes longer
    trunk = start_trunk(config, job.inputs)
    prompts = [example for part in section.parts for example in rows_of(splits, part)]
    judges = judges_of(job, config, trunk, section.micro_batch, prompts)
    with drawing(trunk) as server:
        trainer = OnlineTrainer(
            method,
            trunk,
            judges.reward,
            prompts,
            config,
            Several(FolderRecorder(job.folder), job.recorder),
            Ledger(job.folder.append),
            job.folder.path,
            critic_start=_critic_start(section, judges.folders, judges.context),
            lam=judges.reward.lam,
            validation=rows_of(splits, "validation", section.validation_rows),
            gold=rows_of(splits, "labelled") if _mixes_sft(section) else (),
            rationales=gold_rationales(job.inputs["annotate"]) if "annotate" in job.inputs else None,
            server=server,
        )
        result = trainer.train()
    gold = gold_of_prompts(
        splits, section, config.seed, result.steps, section.prompts, knows_all=judges.knows_all(section)
    )
    found = {**result.to_json(), **judges.result(job, config, section, gold, result.fall)}
    learned = gold_of(splits, "labelled") if _mixes_sft(section) else {}
    return {**found, **_even_groups(job.folder.path), "gold": {**found["gold"], **learned}}


def _server(config: RunConfig, job: Work) -> Callable[[Trunk], AbstractContextManager[SamplingServer | None]]:
    """What makes, of a trunk, the server that draws the responses, found to be up; of none where they are drawn here.

    Raises:
        InputError: It does not answer, or has another model.
    """
    if config.sampler.url is None:
        return lambda trunk: nullcontext()
    from rewardlab.training.sampling_server import SamplingServer, served_model

    base = served_model(config.sampler)
    job.say(f"  responses are drawn by {config.sampler.url} ({base})")
    return lambda trunk: SamplingServer(config.sampler, base, trunk, job.folder.path)


def _even_groups(run: Path) -> dict[str, float]:
    """Share of groups whose scores are all equal, mean over steps, for tables; empty where nothing was grouped."""
    from rewardlab.training.progress import METRICS_FILE

    share = "group/even_share"
    if not processes.is_main():  # which alone writes the file, and the result
        return {}
    rows = read_jsonl(run / METRICS_FILE) if (run / METRICS_FILE).exists() else ()
    shares = {int(row["step"]): float(row[share]) for row in rows if share in row}
    return {"even_groups": fmean(shares.values())} if shares else {}


@dataclass(frozen=True, slots=True)
class Judges:
    """The reward of a run, and what it is made of.

    Attributes:
        reward: The expression.
        context: Its reward models.
        folders: Pair kind -> their folders.
        lines: What they can and cannot judge, for people.
        rubric: Who grades by a rubric, where the reward asks for it.
    """

    reward: ExpressionReward
    context: RewardContext
    folders: Mapping[str, Path]
    lines: Sequence[str]
    rubric: RubricReward | None = None

    def result(
        self,
        job: Work,
        config: RunConfig,
        section: PromptSection,
        gold: Mapping[str, int],
        fall: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        """What the result of a trained run says of its reward.

        Args:
            job, config, section: The run.
            gold: Gold labels that belong to the prompts read; counted where the reward or the batches read them.
            fall: The alarm for a fall of validation accuracy.
        """
        expression, reads_gold = config.reward.expression, self.reward.needs_gold or is_balanced(section)
        watched = _hacking(job.folder.path, expression, fall) if processes.is_main() else {}
        shared = {"reward": expression, "lambda": self.reward.lam, "reward_models": list(self.lines)}
        return {**shared, "gold": dict(gold) if reads_gold else {}, **watched, **spent_on(self.rubric)}

    def knows_all(self, section: PromptSection) -> bool:
        """Whether a run reads the gold labels of all its prompts, however few of them it asks."""
        return is_balanced(section) or self.reward.needs_shares


def judges_of(job: Work, config: RunConfig, trunk: Trunk, batch: int, prompts: Sequence[Example]) -> Judges:
    """Build the configured reward, its reward models on the trunk; says what they can judge.

    Args:
        job, config: The run.
        trunk: Carries the reward models.
        batch: Responses that a reward model reads at a time.
        prompts: All that are asked in the run, for rewards that weigh labels by their shares.
    """
    from rewardlab.models.scoring import add_scorers
    from rewardlab.reward_models.doubts import reward_model_lines
    from rewardlab.rewards import build_reward, label_shares

    folders = {name.removeprefix("rm_"): path for name, path in job.inputs.items() if name.startswith("rm_")}
    loaded = add_scorers(trunk, folders, batch)
    rubric, reading = rubric_of(job, config, prompts), config.reward.reading
    context = RewardContext(loaded.scorers, loaded.sft_scores, reading, label_shares(prompts), rubric)
    reward = build_reward(config.reward, context, is_training=True)
    lines = reward_model_lines(folders, config.reward.expression, needs_gold=reward.needs_gold)
    for line in lines:
        job.say(f"  {line}")
    return Judges(reward, context, folders, lines, rubric)


def _critic_start(section: OnlineConfig, folders: Mapping[str, Path], context: RewardContext) -> Any:
    """The reward model that an adapter critic starts from: the label RM where the reward has one, else another.

    The same rule for every learned reward, so that two of them differ in the reward alone. The rule reward has no
    reward model; its critic starts at zero. Scores themselves are normalised by what they are in the run; the critic
    needs a start before the first of them, and gets what its reward model gave on SFT samples.
    """
    from rewardlab.training.actor import CriticStart

    if not isinstance(section, CriticConfig) or section.value != "adapter" or section.value_init != "rm":
        return None
    kind = next((kind for kind in ("label", *PAIR_KINDS) if kind in folders), None)
    if kind is None:
        return None
    folder = folders[kind] / ADAPTER
    if not section.normalise_scores:
        return CriticStart(folder)
    return CriticStart(folder, context.spread(kind) or 1.0, context.zscore(kind, 0.0))


def gold_of_prompts(
    splits: Mapping[str, Splits],
    section: PromptSection,
    seed: int,
    steps: int,
    prompts: int,
    *,
    knows_all: bool = False,
) -> dict[str, int]:
    """The gold labels of the prompts of so many steps, by the part of the data they belong to.

    Args:
        splits: The rows.
        section: Which of them are prompts.
        seed, steps, prompts: Of their order, and how many were read.
        knows_all: True where labels are balanced or weighed by their shares, for which all of them are read.
    """
    from rewardlab.training.budget import prompts_of

    parts = {part: rows_of(splits, part) for part in section.parts}
    everything = [example for rows in parts.values() for example in rows]
    balance: Balance = "label" if is_balanced(section) else "none"
    read = {
        (e.task, e.id) for e in (everything if knows_all else prompts_of(everything, steps, prompts, seed, balance))
    }
    seen = {part: [e for e in rows if (e.task, e.id) in read] for part, rows in parts.items()}
    return {pool: n for part, rows in seen.items() for pool, n in gold_read(part, rows).items()}


def _hacking(folder: Path, name: str, fall: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the alarm for reward hacking says of a run; ``judged`` is False without gold labels or with few steps."""
    from rewardlab.evaluation.hacking import can_judge, find_alarm, series_of
    from rewardlab.reports.sections.hacking import write_chart
    from rewardlab.rewards.ledger import LEDGER_FILE
    from rewardlab.training.decline import Fall

    ledger = folder / LEDGER_FILE
    series = series_of(read_jsonl(ledger) if ledger.exists() else ())
    alarm = find_alarm(series)
    write_chart(folder, alarm, name, Fall(**fall) if fall else None)
    return {"hacking": {"judged": can_judge(len(series.steps)), "alarm": alarm.to_json() if alarm else None}}
