"""``Lab``: one task, one model, one folder of runs, and everything that the commands do with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rewardlab.config import RunConfig
from rewardlab.config_loading import flattened
from rewardlab.errors import ConfigError, InputError
from rewardlab.lab import goals
from rewardlab.lab.asked import OPTIONS, RUNS, Asked, known
from rewardlab.lab.compared import Compared, Convention, compare
from rewardlab.lab.execution import checked_stage, counter, make_runner, quiet_libraries, say, say_nothing
from rewardlab.lab.finished import Run, folder_of
from rewardlab.lab.goals import Goal
from rewardlab.lab.own_reward import expression_of
from rewardlab.lab.stored import choice_settings, evaluation_goal, root_of
from rewardlab.pipeline.kinds import trained_kinds
from rewardlab.preference_config import SAMPLED
from rewardlab.section import Section
from rewardlab.tasks import resolve_tasks
from rewardlab.training.methods import methods
from rewardlab.types import AnswerFormat, Example, PairKind

if TYPE_CHECKING:
    import polars

    from rewardlab.lab.judged import Verdicts
    from rewardlab.reports.model_card import Exported

Part = Literal["labelled", "prompts", "validation", "test"]
GENERAL: Mapping[str, str] = {"keep": "keep_checkpoints", "lam": "reward.lam", "r2": "reward.r2"}
"""Names that belong to no section -> their dotted key; options and plain fields of the configuration come to them."""


class Lab:
    """Trains, evaluates and compares; every call is the command of that name, with the same folders.

    What was run before with the same settings, here or by a command, is read from its folder and not run twice.

    Args:
        runs: Where run folders live.
        task: Task, comma-separated tasks, a group, or a task file.
        model: Embedded name, hub id or local folder.
        seed: Of rows, initialisation and sampling.
        format: Answer format: rationale, label, judgement or confident.
        data: Folder of JSON Lines per task; default: ``$REWARDLAB_DATA``.
        source: Where rows come from: auto, local, hub or bundled.
        annotator: Who writes and ranks rationales: auto, or a name of ``rewardlab annotators``.
        device: auto, cpu, cuda, cuda:1 or mps.
        settings: Any setting of docs/settings.md: dotted key -> value, or sections.
        config: TOML file; default: ``rewardlab.toml`` in the current folder, if there is one.
        quiet: Show no progress on standard error.

    The calls below take settings of their own section by name, such as ``steps=30``; settings of the whole run, such as
    ``seed=1`` or ``init="base"``; and any other under its dotted key, as in ``**{"ppo.clip_ratio": 0.1}``.

    Raises:
        InputError: A setting or the task is unknown, or a value does not fit.

    Example:
        >>> import rewardlab as rl
        >>> lab = rl.Lab("runs", task="agnews", seed=1, settings={"ppo.steps": 20})
        >>> lab.config.ppo.steps, lab.config.seed
        (20, 1)
        >>> try:
        ...     rl.Lab(task="agnwes")
        ... except rl.RewardlabError as error:
        ...     print(error)
        unknown task 'agnwes'; did you mean agnews?
    """

    def __init__(
        self,
        runs: Path | str = RUNS,
        *,
        task: str | Path | None = None,
        model: str | Path | None = None,
        seed: int | None = None,
        format: AnswerFormat | None = None,
        data: Path | str | None = None,
        source: str | None = None,
        annotator: str | None = None,
        device: str | None = None,
        settings: Mapping[str, Any] | None = None,
        config: Path | str | None = None,
        quiet: bool = False,
    ) -> None:
        options: dict[str, Any] = {"task": _text(task), "model": _text(model), "seed": seed, "format": format}
        options |= {"device": device, "data": data, "source": source, "annotator": annotator}
        given = {**flattened(settings or {}), **known({OPTIONS[name]: value for name, value in options.items()})}
        self.runs = Path(runs)
        self.quiet = quiet
        self._asked = Asked(given, None if config is None else Path(config), self.runs)
        self.config = self._asked.config()
        resolve_tasks(self.config.task)
        quiet_libraries()

    def __repr__(self) -> str:
        config = self.config
        return f"Lab({str(self.runs)!r}, task={config.task!r}, model={config.model.name!r}, seed={config.seed})"

    def rows(self, part: Part = "labelled") -> list[Example]:
        """The rows of one part, of all tasks, as the runs of this lab read them.

        Raises:
            DataError: No source has the rows, or one of them does not fit the task.
            InputError: There is no such part.
        """
        from rewardlab.pipeline import Pipeline

        if part not in get_args(Part):
            raise InputError(f"Lab.rows: part = {part!r}; expected {', '.join(get_args(Part))}")

        splits = Pipeline(self.config, self.runs).splits.values()
        if part == "test":
            return [row for split in splits for rows in split.tests.values() for row in rows]
        return [row for split in splits for row in getattr(split, part)]

    def annotate(self, *, limit: int | None = None, **settings: Any) -> Run:
        """Write rationales for the right and a wrong label of each labelled row, ``limit`` of a task."""
        own = {**_settings("annotate", settings), **known({"annotate.limit": limit})}
        return self._run(goals.annotate_goal(self._asked, own))

    def sft(self, rationales: bool | None = None, *, limit: int | None = None, **settings: Any) -> Run:
        """Fine-tune on the labelled rows; ``rationales=False`` answers with the bare label. Settings: ``[sft]``."""
        own = {**_settings("sft", settings), **known({"data.labelled": limit})}
        return self._run(goals.sft_goal(self._asked, rationales, own))

    def pairs(self, kind: PairKind = "label", *, limit: int | None = None, **settings: Any) -> Run:
        """Make preference pairs: label, ranked or rationale. Settings: ``[pairs]``."""
        return self._run(goals.pairs_goal(self._asked, kind, _settings("pairs", settings), limit))

    def samples(self, **settings: Any) -> Run:
        """Draw answers of the SFT model to validation rows; ``.result["sampled"]`` has the kinds of their pairs.

        That is ``rewardlab pairs stats`` without a folder (RLLR figure 2): per task, the shares of rationale-sensitive,
        label-sensitive and malformed pairs. Settings: ``[pairs]``.
        """
        config = self._asked.config(_settings("pairs", settings))
        return self._run(Goal(config, lambda pipeline: pipeline.samples()))

    def import_pairs(
        self, file: Path | str, kind: PairKind = "ranked", *, held_out: float = 0.1, balance_length: bool = False
    ) -> Run:
        """Import preference data (prompt, chosen, rejected); arguments and errors as of ``rewardlab pairs import``."""
        _, stage = goals.import_goal(self._asked, Path(file), kind, held_out, balance_length)
        return Run(make_runner(self.runs, quiet=self.quiet).execute(stage).path)

    def reward_model(
        self,
        kind: PairKind | None = None,
        *,
        pairs: Run | Path | str | None = None,
        held_out: float = 0.1,
        limit: int | None = None,
        **settings: Any,
    ) -> Run:
        """Train a reward model on pairs of one kind (default: label). Settings: ``[rm]``.

        Args:
            kind: Of the pairs.
            pairs: Your own in their place: a folder of pairs, or a file of preferences.
            held_out: Share of the prompts of your own pairs to hold out, where none is.
            limit: Most rows a task that pairs are made from.
            settings: See the class.
        Raises:
            InputError: The pairs cannot be trained on, or ``limit`` was given for your own.
        """
        own = _settings("rm", settings)
        if pairs is None:
            return self._run(goals.reward_model_goal(self._asked, kind or "label", own, limit))
        if limit is not None:
            raise InputError("limit bounds the rows that pairs are made from; with pairs= use max_pairs=N")
        return self._run(goals.own_reward_model_goal(self._asked, folder_of(pairs), kind, held_out, own))

    def train(
        self,
        reward: str | Callable[..., Any] | None = None,
        method: str = "ppo",
        *,
        limit: int | None = None,
        **settings: Any,
    ) -> Run:
        """Train the policy; what is missing before it (SFT, pairs, reward models) runs first.

        Args:
            reward: An expression, or a function that is registered or could be; None: as configured. Methods that
                learn from pairs read it for ``pairs="sampled"`` alone.
            method: A training method (:func:`rewardlab.methods`).
            limit: Most prompts a task; of a method that learns from pairs, most rows that these are made from.
            settings: Of the method's section, such as ``steps``, ``lr``, ``batch`` and ``samples``, or ``pairs`` (a
                kind, or a run or folder of pairs); ``lam`` and ``r2`` of the reward ``mixed``; ``init``, ``preset``,
                ``keep`` (checkpoints; of raft its own setting, so ``keep_checkpoints`` there); see the class.
        Raises:
            InputError: The reward, the method or a setting is unknown, or they do not go together.
        """
        return self._run(self._training_goal(reward, method, limit, settings))

    def plan(
        self,
        reward: str | Callable[..., Any] | None = None,
        method: str = "ppo",
        *,
        limit: int | None = None,
        **settings: Any,
    ) -> polars.DataFrame:
        """What :meth:`train` would run, one row a stage: stage, title, state (done, to run), folder. Writes nothing."""
        import polars

        from rewardlab.disk import read_only
        from rewardlab.pipeline.runner import plan_rows

        with read_only():
            goal = self._training_goal(reward, method, limit, settings)
            stage = checked_stage(goal, self.runs)
            rows = plan_rows(make_runner(self.runs, quiet=True).plan(stage))
        return polars.DataFrame([{name: row[name] for name in ("stage", "title", "state", "folder")} for row in rows])

    def evaluate(
        self,
        run: Run | Path | str | None = None,
        *,
        task: str | Path | None = None,
        shots: int | None = None,
        best_of: int | None = None,
        reward: str | Callable[..., Any] | None = None,
        lam: str | float | None = None,
        limit: int | None = None,
        **settings: Any,
    ) -> Run:
        """Measure a trained run with sampled and greedy decoding, or the best of several answers to each row.

        The run's own configuration counts. Settings: ``[eval]``.

        Args:
            run: A run of sft or a training method; None: the base model.
            task: Other tasks than the run was trained on.
            shots: Solved examples in front of each prompt.
            best_of: Sample so many answers to each row and take the one with the best reward.
            reward: Expression or function that ``best_of`` chooses by.
            lam: Lambda of that expression.
            limit: Most test rows a column.
            settings: See the class.
        Raises:
            InputError: ``reward`` without ``best_of``, or ``best_of`` without a reward.
            RunFolderError: The folder is no finished run, or its inputs are not what they were.
        """
        expression = None if reward is None else expression_of(reward)
        chosen = choice_settings(best_of, expression, None if lam is None else str(lam))
        named = {"task": _text(task), "eval.shots": shots, "data.test": limit, **chosen}
        own = {**_settings("eval", settings), **known(named)}
        if run is None:
            return self._run(evaluation_goal(self._asked, None, own))
        folder = folder_of(run)
        root = root_of(folder, self.runs)
        return self._run(evaluation_goal(Asked({}, None, root), folder, own), root)

    def compare(
        self,
        *runs: Run | Path | str,
        against: str | Run | Sequence[str] | None = None,
        convention: Convention = "rllr",
        decoding: str | Sequence[str] | None = None,
    ) -> Compared:
        """Compare methods; trained runs that are not evaluated yet are evaluated first.

        Args:
            runs: Trained runs, evaluations, or folders of runs; none: all runs of this lab.
            against: Method or run that all others are compared with; see :func:`rewardlab.compare`.
            convention, decoding: See there.
        """
        named = [self._evaluated(run) for run in runs] or [self.runs]
        if isinstance(against, Run):
            evaluated = self._evaluated(against)
            named, against = [*named, evaluated], str(Run(evaluated).result["method"])
        return compare(*named, against=against, convention=convention, decoding=decoding)

    def judge(
        self,
        a: Run | Path | str,
        b: Run | Path | str,
        *,
        decoding: Literal["sampled", "greedy"] = "greedy",
        both_orders: bool = True,
        limit: int | None = None,
        annotator: str | None = None,
        **settings: Any,
    ) -> Verdicts:
        """Ask an annotator whose answers are better, of two runs; they are evaluated first if need be.

        Args:
            a, b: Trained runs or evaluations, on the same test items.
            decoding: Whose responses are read.
            both_orders: Ask twice about each item, and take verdicts that differ for a tie; else in a drawn order.
            limit: Most items of a column, drawn.
            annotator: Who judges; default: the runs' own.
            settings: Of ``[annotate]``; see the class.
        Raises:
            InputError: They share no item.
            AnnotationError: Too many requests failed.
        """
        from rewardlab.lab.judged import Verdicts, judging_config, one_evaluation
        from rewardlab.pipeline.stages.judge import judge_runs

        one, other = (one_evaluation(self._evaluated(run)) for run in (a, b))
        config = judging_config(one, {**_settings("annotate", settings), **known({"annotate.annotator": annotator})})
        told, count = (say_nothing, _uncounted) if self.quiet else (say, counter("judge"))
        found = judge_runs(one, other, config, self.runs, decoding, limit, told, count, both_orders=both_orders)
        return Verdicts(one, other, found)

    def export(
        self,
        run: Run | Path | str,
        to: Path | str,
        *,
        merge: bool = False,
        checkpoint: Literal["best", "last"] | None = None,
        dtype: str = "auto",
    ) -> Exported:
        """Store a policy as one adapter of its base model, or merged, with a model card, in the new folder ``to``.

        Arguments and errors as of :func:`rewardlab.lab.exported.export_policy`.
        """
        from rewardlab.lab.exported import export_policy

        return export_policy(folder_of(run), Path(to), merge=merge, checkpoint=checkpoint, dtype=dtype, root=self.runs)

    def doctor(self) -> polars.DataFrame:
        """Examine the model before PPO: ``rewardlab doctor``, one row a check.

        ``check``, ``outcome`` (passed, failed, skipped), ``found``, ``claim`` (what holds when it passes), ``advice``
        (what to do when it fails), ``seconds``.
        """
        import polars

        from rewardlab.doctor.examine import examine_model

        return polars.DataFrame(
            {
                "check": each.check.name,
                "outcome": each.finding.outcome,
                "found": each.finding.text,
                "claim": each.check.claim,
                "advice": each.check.advice,
                "seconds": each.seconds,
            }
            for each in examine_model(self.config, lambda verdict: None)
        )

    def _training_goal(
        self, reward: str | Callable[..., Any] | None, method: str, limit: int | None, settings: Mapping[str, Any]
    ) -> Goal:
        found = methods.get(method)
        rows = {"preference": "pairs.limit", "encoder": "data.labelled"}.get(found.family, "data.prompts")
        expression = None if reward is None else expression_of(reward)
        if expression and not found.trains_policy:
            raise ConfigError(f"train: {method} learns from gold labels and reads no reward; leave {expression!r} out")
        own = {**_settings(found.section_key, settings), **known({"reward.expression": expression, rows: limit})}
        goal = goals.training_goal(self._asked, method, own)
        if expression and found.family == "preference" and (pairs := found.section(goal.config).pairs) != SAMPLED:
            raise ConfigError(
                f"train: {method} learns from pairs, here {pairs}, and reads no reward; leave {expression!r} out, or "
                f"give pairs={SAMPLED!r}"
            )
        return goal

    def _evaluated(self, run: Run | Path | str) -> Path:
        """Folder of the evaluation of a trained run; of anything else its own."""
        from rewardlab.runs import stage_of

        folder = folder_of(run)
        return self.evaluate(folder).folder if stage_of(folder) in trained_kinds() else folder

    def _run(self, goal: Goal, root: Path | None = None) -> Run:
        root = root or self.runs
        stage = checked_stage(goal, root)
        return Run(make_runner(root, quiet=self.quiet).execute(stage).path)


def _settings(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name as dotted keys: of the section first, then of the whole run; what is unknown, of the section."""
    keys: dict[str, Any] = {}
    for name, value in given.items():
        general = {**GENERAL, **OPTIONS, **{plain: plain for plain in _plain_fields()}}
        is_own = name in _fields_of(section)
        key = name if "." in name else general[name] if name in general and not is_own else f"{section}.{name}"
        keys[key] = str(folder_of(value)) if isinstance(value, Run | Path) else value
    return keys


def _fields_of(section: str) -> frozenset[str]:
    """The settings of a section of the configuration, or of a training method that another package brings."""
    if section in RunConfig.model_fields:
        return frozenset(type(getattr(RunConfig(), section)).model_fields)
    return frozenset(methods.get(section.removeprefix("methods.")).config.model_fields)


def _plain_fields() -> frozenset[str]:
    """Settings of the whole run, which stand in no section."""
    return frozenset(name for name, value in RunConfig() if not isinstance(value, Section | dict))


def _text(value: str | Path | None) -> str | None:
    return None if value is None else str(value)


def _uncounted(what: str, done: int, total: int) -> None:
    """In place of a count that is shown."""
