"""From an expression to its reward: what it needs, known before any model loads, and the reward that it stands for.

``min(label, lam) + ranked`` is RLLR's eq. 4, also called ``mixed``. ``step``, ``progress`` and a lambda that holds a
mean move while a policy is trained: :meth:`ExpressionReward.at` gives the reward at a place of training. Each named
reward is asked once per batch. A response gets no score when a part that its value depends on has none. The grammar
stands in ``expression``, how values are computed in ``evaluate`` and ``groups``, lambda in ``calibration``, what moves
in ``moving``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

from rewardlab.code_identity import code_hashes
from rewardlab.config import RewardConfig
from rewardlab.errors import ConfigError, RewardlabError, TrainingError, UnknownNameError
from rewardlab.rewards.calibration import CAPPED, Lambda, parse_lambda, resolve_lambda
from rewardlab.rewards.context import RewardContext
from rewardlab.rewards.evaluate import Batch, Unscored, Value, check_bounds, finite, resolve, terms_of, values
from rewardlab.rewards.expression import (
    RESERVED,
    Call,
    Name,
    Node,
    fail,
    group_operator,
    number,
    parse,
    rewrite,
    walk,
)
from rewardlab.rewards.moving import MULTIPLIER, TIMES, Constant, Moment, Target
from rewardlab.rewards.registry import RewardEntry, find_reward, rewards
from rewardlab.types import PAIR_KINDS, AnswerFormat, Example, PairKind, Reward, Score

MIXED = "min(label, lam) + {r2}"
"""RLLR eq. 4: r1 + r2 where r1 < lambda, else lambda + r2."""
CONSTRAINED = "lam * label + {r2}"
"""``mixed`` where lambda is a multiplier."""

LAMBDA_HELP = (
    "--lambda 5 (raw scale of the label RM), --lambda q90 (its quantile on SFT samples), --lambda 1.5z, or "
    "--lambda auto:5 (a multiplier that holds its mean at 5)"
)


@dataclass(frozen=True, slots=True)
class RewardPlan:
    """What an expression needs, known before any model loads.

    Attributes:
        expression: As typed.
        names: Rewards that are asked for scores, in order of appearance.
        pair_kinds: Reward models that must exist: asked for scores, or for their stored quantiles.
        needs_gold: True when a named reward reads gold labels.
        needs_lambda: True when ``lam`` occurs, in ``mixed`` or by itself.
        needs_prompt: True when a named reward reads the task's fields.
        columns: Name -> fields that a task must have for that reward.
        lam: Lambda as asked for.
        code: Name -> hash of the code behind it, of rewards that are not rewardlab's own.
        unknown_code: Name -> why its code has no hash.
        tree: The expression with ``mixed`` and ``r2`` written out.
        moving: Names in it whose values exist in training alone: ``step``, ``progress``, a lambda that holds a mean.
        needs_shares: True when a named reward weighs by the shares of gold labels among the prompts.
        formats: Name -> answer formats that this reward needs one of.
        needs_rubric: True when an annotator grades the responses by the rubric of the run.
    """

    expression: str
    names: tuple[str, ...]
    pair_kinds: frozenset[PairKind]
    needs_gold: bool
    needs_lambda: bool
    needs_prompt: bool
    columns: Mapping[str, tuple[str, ...]]
    lam: Lambda | None
    code: Mapping[str, str]
    unknown_code: Mapping[str, str]
    tree: Node
    moving: tuple[str, ...] = ()
    needs_shares: bool = False
    formats: Mapping[str, tuple[AnswerFormat, ...]] = field(default_factory=dict)
    needs_rubric: bool = False

    @property
    def needs_groups(self) -> bool:
        """True when it compares the responses to one prompt, so that each call must get all of them."""
        return group_operator(self.tree) is not None


def plan_reward(config: RewardConfig) -> RewardPlan:
    """Read an expression and check all that can be checked without a model.

    Raises:
        ExpressionError: It cannot be read, names an unknown reward or none, or clips to bounds that cross; with the
            column.
        ConfigError: Lambda is missing, not used, or none.
    """
    is_target = config.lam is not None and parse_lambda(config.lam).is_target
    tree = _written_out(parse(config.expression), (CONSTRAINED if is_target else MIXED).format(r2=config.r2), config.r2)
    entries = {name: _entry(config.expression, name, column) for name, column in _scored_names(tree)}
    needs_lambda = any(isinstance(node, Name) and node.name == "lam" for node in walk(tree))
    lam = _lambda(config, needs_lambda)
    is_known = lam is not None and lam.kind == "raw" and not lam.is_target
    check_bounds(config.expression, tree, lam.value if lam is not None and is_known else None, None)
    kinds: set[PairKind] = {entry.pair_kind for entry in entries.values() if entry.pair_kind}
    kinds.update(_calibrated(config.expression, tree))
    if not entries:
        fail(
            config.expression, 1, "names no reward, so every response would get the same score; write rule, or another"
        )
    if is_target and CAPPED not in entries:
        raise ConfigError(
            f"--lambda {config.lam} holds the mean of {CAPPED}, and reward {config.expression!r} does not ask for it; "
            f"write it into the expression, as in lam * {CAPPED} + ranked"
        )
    if lam is not None and lam.kind != "raw":
        kinds.add(CAPPED)
    code, unknown_code = code_hashes({entry.name: entry.code_hash for entry in entries.values()})
    return RewardPlan(
        expression=config.expression,
        names=tuple(entries),
        pair_kinds=frozenset(kinds),
        needs_gold=any(entry.needs_gold for entry in entries.values()),
        needs_lambda=needs_lambda,
        needs_prompt=any(entry.needs_prompt for entry in entries.values()),
        columns={entry.name: entry.columns for entry in entries.values() if entry.columns},
        lam=lam,
        code=code,
        unknown_code=unknown_code,
        tree=tree,
        moving=tuple(_moving(tree, is_target)),
        needs_shares=any(entry.needs_shares for entry in entries.values()),
        formats={entry.name: entry.formats for entry in entries.values() if entry.formats},
        needs_rubric=any(entry.needs_rubric for entry in entries.values()),
    )


def refuse_groups(plan: RewardPlan, method: str, instead: Sequence[str] = ("grpo", "rloo", "reinforce")) -> None:
    """Refuse group operators for a training method that samples one response to a prompt.

    Args:
        plan: What the expression needs.
        method: The method's name.
        instead: Methods that sample several.
    Raises:
        ExpressionError: With the column of the first group operator.
    """
    call = group_operator(plan.tree)
    if call is None:
        return
    *others, last = instead
    named = f"{', '.join(others)} or {last}" if others else last
    fail(
        plan.expression,
        call.column,
        f"{call.function} compares the responses to one prompt, and {method} samples one; "
        f"use {named} with samples >= 2, or leave {call.function} out",
    )


def refuse_moving(plan: RewardPlan, where: str) -> None:
    """Refuse an expression that moves while a policy is trained, for a use that is no such training.

    Args:
        plan: What the expression needs.
        where: What uses it, as the message begins.
    Raises:
        ExpressionError: With the column of the first name that moves.
        ConfigError: Lambda is a multiplier.
    """
    for node in walk(plan.tree):
        if isinstance(node, Name) and node.name in TIMES:
            fail(
                plan.expression,
                node.column,
                f"{node.name} changes while a policy is trained, and {where} has no step; put a number in its place",
            )
    if plan.moving:
        raise ConfigError(
            f"--lambda auto: is a multiplier that moves while a policy is trained, and {where} does not train one; "
            "give a number"
        )


class ExpressionReward:
    """The reward an expression stands for; see :class:`rewardlab.types.Reward`.

    Attributes:
        name: The expression as typed.
        needs_gold: True when a part reads gold labels.
        needs_prompt: True when a part reads the task's fields.
        needs_groups: True when it compares the responses to one prompt: those of one call with equal task and id.
        needs_shares: True when a part weighs by the shares of gold labels among the prompts.
        lam: Lambda on the raw scale, logits; None when the expression has none, or it is a multiplier.
        target: What lambda holds where it is a multiplier; None otherwise.
        moving: Names that :meth:`at` gives a value; a reward with some cannot be asked before.
    """

    def __init__(self, plan: RewardPlan, parts: Mapping[str, Reward], context: RewardContext) -> None:
        self.name = plan.expression
        self.needs_gold = plan.needs_gold
        self.needs_prompt = plan.needs_prompt
        self.needs_groups, self.needs_shares = plan.needs_groups, plan.needs_shares
        value = None if plan.lam is None else resolve_lambda(plan.lam, context)
        is_target = plan.lam is not None and plan.lam.is_target
        self.target = Target(CAPPED, value, context.spread(CAPPED)) if is_target and value is not None else None
        self.lam = None if is_target else value
        self.moving = plan.moving
        check_bounds(plan.expression, plan.tree, self.lam, context)
        self._parts = dict(parts)
        self._terms = [(sign, str(term), resolve(term, self.lam, context)) for sign, term in terms_of(plan.tree)]

    def at(self, moment: Moment) -> ExpressionReward:
        """The reward at a place of training; itself where nothing in it moves."""
        if not self.moving:
            return self
        now, known = copy(self), moment.values()
        now._parts = {**self._parts, **{name: Constant(name, known[name]) for name in self.moving}}
        now.moving = ()
        return now

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        """Score each response.

        Raises:
            TrainingError: A part raised, naming reward and example, or returned the wrong number of scores.
        """
        assert not self.moving, "at() gives step, progress and multiplier their values"
        asked = {name: _ask(name, part, examples, responses) for name, part in self._parts.items()}
        batch = Batch([(example.task, example.id) for example in examples], asked)
        terms = [(sign, text, values(node, batch)) for sign, text, node in self._terms]
        return [
            _total(
                {name: scores[place] for name, scores in asked.items()},
                [(sign, text, column[place]) for sign, text, column in terms],
            )
            for place in range(len(responses))
        ]


def build_reward(
    config: RewardConfig, context: RewardContext | None = None, *, is_training: bool = False
) -> ExpressionReward:
    """Build the reward of a configuration.

    Args:
        config: Expression, lambda, r2.
        context: Reward models; None is enough for expressions without learned rewards.
        is_training: The reward may move: it is asked by way of :meth:`ExpressionReward.at`.
    Raises:
        ExpressionError, ConfigError: As :func:`plan_reward`; ExpressionError also for bounds of ``clip`` that cross
            once lambda and quantiles are known, ConfigError also for a reward model that is missing.
    """
    plan = plan_reward(config)
    if not is_training:
        refuse_moving(plan, "this use")
    given = context or RewardContext(reading=config.reading)
    parts = {name: find_reward(name).build(given) for name in plan.names}
    for name, part in parts.items():
        if part.needs_gold and not find_reward(name).needs_gold:
            raise ConfigError(f"reward {name!r} reads gold labels and its entry says it does not; set needs_gold=True")
    return ExpressionReward(plan, parts, given)


def _written_out(tree: Node, mixed: str, r2: PairKind) -> Node:
    """The tree with ``mixed`` and ``r2`` written out, in the columns where they stand."""

    def change(node: Node) -> Node | None:
        match node:
            case Name(name="mixed"):
                return replace(parse(mixed), column=node.column)
            case Name(name="r2"):
                return replace(node, name=r2)
        return None

    return rewrite(tree, change)


def _scored_names(tree: Node) -> Iterator[tuple[str, int]]:
    """Name and column of the rewards that are asked for scores, left to right; what ``q`` and ``z`` read is stored."""
    if isinstance(tree, Name) and tree.name not in (MULTIPLIER, *TIMES):
        yield tree.name, tree.column
    if not (isinstance(tree, Call) and tree.function in ("q", "z")):
        for operand in tree.operands:
            yield from _scored_names(operand)


def _moving(tree: Node, is_target: bool) -> Iterator[str]:
    """Names that have no value outside training."""
    present = {node.name for node in walk(tree) if isinstance(node, Name)}
    yield from (name for name in (*TIMES, *((MULTIPLIER,) if is_target else ())) if name in present)


def _entry(expression: str, name: str, column: int) -> RewardEntry:
    try:
        return find_reward(name)
    except UnknownNameError:
        fail(expression, column, str(UnknownNameError("reward", name, {*rewards.names(), *RESERVED})))


def _calibrated(expression: str, tree: Node) -> Iterator[PairKind]:
    """Reward models whose stored scores ``q`` and ``z`` read."""
    for call in walk(tree):
        if not isinstance(call, Call) or call.function not in ("q", "z"):
            continue
        model, argument = call.operands
        kind = next((kind for kind in PAIR_KINDS if isinstance(model, Name) and model.name == kind), None)
        if kind is None:
            fail(expression, call.column, f"{call.function} reads a reward model: {', '.join(PAIR_KINDS)}")
        value = number(argument)
        if value is None or (call.function == "q" and not 0 <= value <= 100):
            wanted = "a number from 0 to 100" if call.function == "q" else "a number"
            fail(expression, argument.column, f"the second argument of {call.function} is {wanted}")
        yield kind


def _lambda(config: RewardConfig, needed: bool) -> Lambda | None:
    if needed and config.lam is None:
        raise ConfigError(f"reward {config.expression!r} needs lambda: add {LAMBDA_HELP}")
    if config.lam is None:
        return None
    lam = parse_lambda(config.lam)
    if not needed:
        raise ConfigError(
            f"--lambda {config.lam} is given, but reward {config.expression!r} uses neither mixed nor lam; "
            "leave --lambda out or use --reward mixed"
        )
    return lam


def _total(parts: Mapping[str, Score], terms: Sequence[tuple[int, str, Value]]) -> Score:
    """The score of one response from what its rewards say and the terms of the expression: sign, text and value."""
    raw = {name: part.score for name, part in parts.items()}
    prices = [part.cost_usd for part in parts.values() if part.cost_usd is not None]
    cost = sum(prices) if prices else None
    answer = next((part.answer for part in parts.values() if part.answer is not None), None)
    summed: dict[str, float] = {}
    for sign, text, value in terms:
        if isinstance(value, Unscored):
            return Score(None, raw, {}, answer, value.reason, cost)
        name = text if sign == 1 else f"-({text})"
        summed[name] = summed.get(name, 0.0) + sign * value
    total = finite(sum(summed.values()))
    if isinstance(total, Unscored):
        return Score(None, raw, {}, answer, total.reason, cost)
    reason = "; ".join(f"{name}: {part.reason}" for name, part in parts.items() if part.reason)
    return Score(total, raw, summed, answer, reason, cost)


def _ask(name: str, part: Reward, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
    try:
        scores = part(examples, responses)
    except RewardlabError:
        raise
    except Exception as error:
        place = _culprit(part, examples, responses)
        said = "; ".join([str(error), *getattr(error, "__notes__", [])])
        raise TrainingError(f"reward {name!r} raised {type(error).__name__} on {place}: {said}") from error
    if len(scores) != len(responses):
        raise TrainingError(f"reward {name!r} returned {len(scores)} scores for {len(responses)} responses")
    return scores


def _culprit(part: Reward, examples: Sequence[Example], responses: Sequence[str]) -> str:
    """Which example makes ``part`` raise when it stands alone."""
    for example, response in zip(examples, responses, strict=False):
        try:
            part([example], [response])
        except Exception:
            return f"task {example.task} example {example.id}"
    return f"a batch of {len(responses)} (no single example does)"
