"""What a reward expression needs, found without torch and before any model loads: :func:`plan_reward`."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rewardlab.code_identity import code_hashes
from rewardlab.config import RewardConfig
from rewardlab.errors import ConfigError, UnknownNameError
from rewardlab.rewards.calibration import CAPPED, Lambda, parse_lambda
from rewardlab.rewards.evaluate import check_bounds
from rewardlab.rewards.registry import RewardEntry, find_reward, rewards
from rewardlab.rewards.syntax import RESERVED, fail, function_name, number, parse
from rewardlab.types import PAIR_KINDS, PairKind

MIXED = "min(label, lam) + {r2}"
"""RLLR eq. 4: r1 + r2 where r1 < lambda, else lambda + r2."""

LAMBDA_HELP = "--lambda 5 (raw scale of the label RM), --lambda q90 (its quantile on SFT samples) or --lambda 1.5z"


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
    tree: ast.expr = field(repr=False, compare=False)


def plan_reward(config: RewardConfig) -> RewardPlan:
    """Read an expression and check all that can be checked without a model.

    Raises:
        ExpressionError: It cannot be read, names an unknown reward or none, or clips to bounds that cross; with the
            column.
        ConfigError: Lambda is missing, not used, or none.
    """
    tree = _Expand(config.r2).visit(parse(config.expression))
    names = _scored_names(tree)
    entries = [_entry(config.expression, name, column) for name, column in names.items()]
    needs_lambda = any(isinstance(node, ast.Name) and node.id == "lam" for node in ast.walk(tree))
    lam = _lambda(config, needs_lambda)
    check_bounds(config.expression, tree, lam.value if lam is not None and lam.kind == "raw" else None, None)
    kinds: set[PairKind] = {entry.pair_kind for entry in entries if entry.pair_kind}
    kinds.update(_calibrated(config.expression, tree))
    if not names:
        fail(
            config.expression, 1, "names no reward, so every response would get the same score; write rule, or another"
        )
    if lam is not None and lam.kind != "raw":
        kinds.add(CAPPED)
    code, unknown_code = code_hashes({entry.name: entry.code_hash for entry in entries})
    return RewardPlan(
        expression=config.expression,
        names=tuple(names),
        pair_kinds=frozenset(kinds),
        needs_gold=any(entry.needs_gold for entry in entries),
        needs_lambda=needs_lambda,
        needs_prompt=any(entry.needs_prompt for entry in entries),
        columns={entry.name: entry.columns for entry in entries if entry.columns},
        lam=lam,
        code=code,
        unknown_code=unknown_code,
        tree=tree,
    )


class _Expand(ast.NodeTransformer):
    """Write out ``mixed`` and ``r2``."""

    def __init__(self, r2: PairKind) -> None:
        self._r2 = r2

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id == "mixed":
            return parse(MIXED.format(r2=self._r2))
        return ast.copy_location(ast.Name(self._r2, ast.Load()), node) if node.id == "r2" else node


def _scored_names(tree: ast.expr) -> dict[str, int]:
    """Name -> column of the rewards that are asked, left to right."""
    skipped = {id(call.func) for call in _calls(tree)}
    skipped |= {id(call.args[0]) for call in _calls(tree) if function_name(call) in ("q", "z")}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in skipped]
    names: dict[str, int] = {}
    for node in sorted(found, key=lambda node: node.col_offset):
        names.setdefault(node.id, node.col_offset)
    names.pop("lam", None)
    return names


def _calls(tree: ast.expr) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _entry(expression: str, name: str, column: int) -> RewardEntry:
    try:
        return find_reward(name)
    except UnknownNameError:
        fail(expression, column, str(UnknownNameError("reward", name, {*rewards.names(), *RESERVED})))


def _calibrated(expression: str, tree: ast.expr) -> Iterator[PairKind]:
    """Reward models whose stored scores ``q`` and ``z`` read."""
    for call in _calls(tree):
        if function_name(call) not in ("q", "z"):
            continue
        model, argument = call.args
        kind = next((kind for kind in PAIR_KINDS if isinstance(model, ast.Name) and model.id == kind), None)
        if kind is None:
            fail(expression, call.col_offset, f"{function_name(call)} reads a reward model: {', '.join(PAIR_KINDS)}")
        value = number(argument)
        if value is None or (function_name(call) == "q" and not 0 <= value <= 100):
            wanted = "a number from 0 to 100" if function_name(call) == "q" else "a number"
            fail(expression, argument.col_offset, f"the second argument of {function_name(call)} is {wanted}")
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
