"""Code that a suite file brings along: what runs as soon as the suite is planned, and is not rewardlab's.

Found without running any of it, so that it can be named before.
"""

from __future__ import annotations

from collections.abc import Iterator

from rewardlab.errors import ExpressionError
from rewardlab.rewards.expression import Name, parse, walk
from rewardlab.suites.file import Suite, grids_by_place, settings_by_place
from rewardlab.tasks import separate_tasks

REWARD, TASKS, TRUST = "reward.expression", ("task", "start_task"), "model.trust_remote_code"
"""Settings whose values name code."""


def own_code(suite: Suite) -> list[str]:
    """A line for each piece of code, each once: what it is, and where the file names it."""
    found: dict[str, list[str]] = {}
    for code, place in _named(suite):
        found.setdefault(code, []).append(place)
    return [f"{code} ({', '.join(dict.fromkeys(places))})" for code, places in found.items()]


def _named(suite: Suite) -> Iterator[tuple[str, str]]:
    """(code, place), in the order of the file."""
    for task in [*suite.tasks, *suite.unseen, *suite.unseen.values()]:
        yield from ((f"task {file}", "a task of the suite") for file in _python_tasks(task))
    for place, settings in settings_by_place(suite):
        for key, value in settings.items():
            yield from ((code, place) for code in _of_setting(key, value))
    for place, grid in grids_by_place(suite):
        for key, values in grid.items():
            yield from ((code, place) for value in values for code in _of_setting(key, value))


def _of_setting(key: str, value: object) -> Iterator[str]:
    if key == REWARD:
        yield from (f"reward {name}" for name in _references(str(value)))
    elif key in TASKS:
        yield from (f"task {file}" for file in _python_tasks(str(value)))
    elif key == TRUST and value is True:
        yield "code that comes with the model"


def _python_tasks(spec: str) -> list[str]:
    return [name for name in separate_tasks(spec) if name.endswith(".py")]


def _references(expression: str) -> list[str]:
    """``package.module:callable`` in a reward expression; none in one that cannot be read, which runs nothing."""
    try:
        tree = parse(expression)
    except ExpressionError:
        return []
    return [node.name for node in walk(tree) if isinstance(node, Name) and ":" in node.name]
