"""What ``rewardlab reward list`` and ``show`` print."""

from __future__ import annotations

from collections.abc import Mapping

from rewardlab.errors import UnknownNameError
from rewardlab.rewards import RewardEntry, find_reward, rewards
from rewardlab.rewards.expression import FUNCTIONS
from rewardlab.rewards.plan import LAMBDA_HELP, MIXED

LANGUAGE: Mapping[str, str] = {
    "mixed": f"{MIXED.format(r2='r2')} (RLLR eq. 4); needs {LAMBDA_HELP}",
    "lam": f"lambda as a number: {LAMBDA_HELP}",
    "step": "the training step, from 1; for grpo, ppo, reinforce, rloo",
    "progress": "share of the training that was done before the step, from 0; for grpo, ppo, reinforce, rloo",
    "r2": "the reward model that --r2 names (default: ranked)",
    **{name: f"{function.form}: {function.meaning}" for name, function in FUNCTIONS.items()},
}
"""Words of the expression language that are no rewards."""

EXAMPLES = (
    "rule",
    "mixed",
    "min(label, 5) + 0.3 * rationale + rule",
    "gate(rule > 0, ranked, -1) - 0.1 * length",
    "gz(rule) + gz(rationale)",
)


def overview() -> str:
    """All rewards and words of the language, one a line."""
    entries = {name: rewards.get(name).description for name in rewards.names()}
    width = max(map(len, (*entries, *LANGUAGE))) + 2
    lines = ["Rewards"]
    lines += [f"  {name:<{width}}{text}" for name, text in entries.items()]
    lines += ["", "In expressions, with + - * / ( ) < <= > >= == != and or not"]
    compared = {name: text for name, text in LANGUAGE.items() if name in FUNCTIONS and FUNCTIONS[name].compares}
    lines += [f"  {name:<{width}}{text}" for name, text in LANGUAGE.items() if name not in compared]
    lines += ["", "Comparing the responses to one prompt, for methods that sample several"]
    lines += [f"  {name:<{width}}{text}" for name, text in compared.items()]
    lines += ["", "Your own: package.module:callable, in quotes with the rest of the expression", "", "Examples"]
    lines += [f"  --reward {example!r}" for example in EXAMPLES]
    return "\n".join(lines)


def details(name: str) -> str:
    """One reward or word, with what it needs; raises UnknownNameError with the nearest names."""
    if name in LANGUAGE:
        return f"{name}: {LANGUAGE[name]}"
    try:
        entry = find_reward(name)
    except UnknownNameError as error:
        raise UnknownNameError("reward", name, {*rewards.names(), *LANGUAGE}) from error
    return "\n".join([f"{entry.name}: {entry.description}", *_needs(entry)])


def _needs(entry: RewardEntry) -> list[str]:
    gold = "yes: rows without a label are refused" if entry.needs_gold else "no"
    model = f"trained on {entry.pair_kind} pairs" if entry.pair_kind else "none"
    return [f"  gold labels   {gold}", f"  reward model  {model}"]
