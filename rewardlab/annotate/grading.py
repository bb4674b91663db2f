"""The reward ``rubric``: an annotator grades each response by a written rubric, a batch at a time.

What is asked, read, kept and paid is an annotator's: journal, limits, retries, budget and batches are those of
``[annotate]``. A response without a grade has no score: one that was refused, cut, withheld, or whose grade cannot
be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rewardlab import processes
from rewardlab.annotate.base import Annotation, Annotator, GradeRequest, Resources
from rewardlab.annotate.registry import Choice, check_ability, choose_annotator
from rewardlab.annotate.rubrics import Rubric
from rewardlab.config import RunConfig
from rewardlab.errors import ConfigError
from rewardlab.types import Example, Score

if TYPE_CHECKING:
    from rewardlab.annotate.money import Purse

T = TypeVar("T")
RUBRIC = "rubric"
Note = Callable[[list[str]], None]
"""Keeps the keys of new requests."""


class RubricReward:
    """A reward: the share of the rubric's scale that an annotator gives, 0 to 1.

    Args:
        annotator: Who grades.
        rubric: By what.
        asked: Keys of the requests that an interrupted run made; what they cost is counted.
        note: Told the keys of further ones.
    Raises:
        AnnotationError: When called, where asking stopped: the budget is used up, the endpoint fails again and again.
    """

    name = RUBRIC
    needs_gold = False

    def __init__(
        self,
        annotator: Annotator,
        rubric: Rubric,
        asked: Collection[str] = (),
        note: Note = lambda keys: None,
    ) -> None:
        self.annotator = annotator
        self.rubric = rubric
        self._asked = set(asked)
        self._note = note
        annotator.remember(processes.share(sorted(self._asked)))

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        """Score each response; all are asked for at once. See :class:`rewardlab.types.Reward`."""
        requests = [self._request(example, text) for example, text in zip(examples, responses, strict=True)]
        answers = self.annotator.grade_many(requests) if requests else []
        new = list(dict.fromkeys(answer.key for answer in answers if answer.key not in self._asked))
        self._asked.update(new)
        if new:
            self._note(new)
        return [self._score(answer) for answer in answers]

    def spent(self) -> dict[str, Any]:
        """What a stage's result says of it: its requests, each once, and what they cost; all processes call this."""
        keys = {key for asked in processes.gather(self._asked) for key in asked}
        return {"annotator_calls": len(keys), "spent": _summed(processes.gather(self.annotator.spent()))}

    def _request(self, example: Example, response: str) -> GradeRequest:
        ask = partial(self.rubric.request, response=response)
        return GradeRequest(example, response, ask, self.rubric.lowest, self.rubric.highest)

    def _score(self, answer: Annotation) -> Score:
        cost = self.annotator.price_usd(answer)
        if answer.outcome not in ("answered", "truncated"):
            return Score(None, {RUBRIC: None}, reason=f"{answer.outcome}: {answer.reason}", cost_usd=cost)
        grade = self.rubric.read(answer.text, is_cut=answer.outcome == "truncated")
        if grade.share is None:
            cut = "cut at rubric.max_tokens: " if answer.outcome == "truncated" else ""
            return Score(None, {RUBRIC: None}, reason=cut + grade.reason, cost_usd=cost)
        return Score(grade.share, {RUBRIC: grade.share}, {RUBRIC: grade.share}, reason=grade.reason, cost_usd=cost)


def grader_config(config: RunConfig) -> RunConfig:
    """The configuration with the grader in the place of the annotator, for it is asked in the same way."""
    section = config.rubric
    own = {
        "annotator": section.annotator,
        "model": section.model or config.annotate.model,
        "base_url": section.base_url or config.annotate.base_url,
        "temperature": section.temperature,
        "max_new_tokens": section.max_tokens,
    }
    return config.model_copy(update={"annotate": config.annotate.model_copy(update=own)})


def part_of_process(config: RunConfig, purse: Purse | None) -> RunConfig:
    """The configuration with this process's part of the rates, and of what is left of the budget.

    Args:
        config: Of the whole run.
        purse: What this process's command has spent, which its part of the budget comes on top of.
    """
    count, annotate = processes.count(), config.annotate
    own: dict[str, Any] = {
        name: max(1, value // count)
        for name in ("requests_per_minute", "tokens_per_minute", "concurrency")
        if (value := getattr(annotate, name)) is not None
    }
    if annotate.budget_usd is not None:
        spent = 0.0 if purse is None else purse.committed_usd
        left = annotate.budget_usd - max(processes.gather(spent))  # the main process may have paid for annotations
        own["budget_usd"] = spent + max(0.0, left) / count
    return config.model_copy(update={"annotate": annotate.model_copy(update=own)})


def choose_grader(config: RunConfig, tasks: Collection[str], *, may_lack_key: bool = False) -> Choice:
    """Who grades answers to these tasks.

    Args:
        config: The run's configuration.
        tasks: Names of the tasks.
        may_lack_key: For a plan that is only shown.
    Raises:
        InputError: Nobody can, or the one that was asked for cannot work here.
    """
    choice = choose_annotator(grader_config(config), tasks, may_lack_key=may_lack_key)
    try:
        check_ability(choice.kind, "grade")
    except ConfigError as error:
        raise ConfigError(f"reward rubric: {error} (rubric.annotator = {config.rubric.annotator!r})") from error
    return choice


def rubric_identity(config: RunConfig, kind: type[Annotator]) -> dict[str, Any]:
    """What the grades of an annotator depend on, JSON-ready, beside seed and code; enters fingerprints.

    Raises:
        ConfigError: The rubric cannot be used.
    """
    rubric = Rubric.load(config.rubric)
    own = {"annotator": kind.name, **kind.identity(grader_config(config), "grade")}
    return {**own, "template": rubric.version, "scale": config.rubric.scale}


def rubric_reward(
    config: RunConfig,
    tasks: Collection[str],
    journals: Path,
    purse: Purse | None = None,
    asked: Collection[str] = (),
    note: Note = lambda keys: None,
) -> RubricReward:
    """Make the reward; all processes of a run call this.

    Args:
        config: The run's configuration.
        tasks: Names of the tasks whose answers are graded.
        journals: Folder of the journals.
        purse: What the command spends.
        asked, note: As of :class:`RubricReward`.
    Raises:
        InputError: As :func:`choose_grader`, and for a rubric that cannot be used.
    """
    kind, rubric = choose_grader(config, tasks).kind, Rubric.load(config.rubric)
    given = Resources(part_of_process(grader_config(config), purse), journals, {}, purse)
    return RubricReward(kind.build(given), rubric, asked, note)


def _summed(spent: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What several processes spent, together; what is no number is that of the first."""
    each = list(spent)
    if len(each) == 1:
        return dict(each[0])
    totals: Counter[str] = Counter()
    for one in each:
        totals.update({name: value for name, value in one.items() if isinstance(value, int | float)})
    return {**each[0], **totals}
