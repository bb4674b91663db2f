"""What a node of a Ray cluster does with a stage of a suite: it plans the same cells, finds the stage and builds it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rewardlab import processes
from rewardlab.errors import RewardlabError
from rewardlab.logs import show_log
from rewardlab.models.names import cache_folder
from rewardlab.pipeline.attempts import NODE
from rewardlab.pipeline.stage import Stage
from rewardlab.suites.depot import Call, Copy
from rewardlab.suites.known import Find
from rewardlab.suites.run import attempt
from rewardlab.suites.worker import make_runner, say

SCRATCH = "REWARDLAB_SCRATCH"
"""Environment variable of a node: where it keeps run folders of its own, even if it sees those of the command."""

STORAGE = ".storage"
"""File in the runs folder with a random name, the same for all machines that share it."""

Plan = Callable[[Path, Callable[[Stage], None]], Find]
"""Plans a suite: from its folder of runs, and what brings the folder of a stage there."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a node needs to build stages of a suite; the same for all of them.

    Attributes:
        plan: Plans the suite again.
        root: Where run folders live on the command's machine; absolute.
        storage: What the file STORAGE in there says, by which a node sees that it has the same storage.
        folder: The command's current folder, for rewards and tasks of the user's.
        typed: The user's command line, which the folders will name.
        environment: Variables for a node that has none of these names.
    """

    plan: Plan
    root: Path
    storage: str
    folder: Path
    typed: tuple[str, ...]
    environment: Mapping[str, str]


_PLANS: dict[tuple[Path, str], Find] = {}
"""What this process has planned, by runs folder and its name: Ray gives a process one stage after the other."""


def build_on_node(order: Order, name: str, head: str, owner: str, node: str, call: Call) -> str | None:
    """Build one stage; returns None, or the line that says why it failed.

    Args:
        order: The suite.
        name: Fingerprint of the stage.
        head: How lines about it begin.
        owner: Names this attempt.
        node: What this node is called.
        call: Calls a method of the command's :class:`~rewardlab.suites.depot.Depot`.
    """
    _settle(order, node)
    here = _own_root(order)
    copy = None if here is None else Copy(call, order.root, here)
    runner = make_runner(order.root if here is None else here)
    try:
        stage = _find(order, name, runner.root, copy)
        if stage is None:
            return (
                f"{node} plans no such stage: its rewardlab, rows, own code, or model.dtype = auto differ from the "
                "command's machine; install the same there, and set model.dtype where processors differ"
            )
        if copy is None:
            return attempt(runner, stage, head)
        for needed in stage.chain()[:-1]:
            copy.fetch(needed)
        with copy.building(stage, owner, say):
            return attempt(runner, stage, head)
    except RewardlabError as error:
        return " ".join(str(error).splitlines())


def _settle(order: Order, node: str) -> None:
    """Make this process what a worker on the command's machine would be."""
    for variable, value in order.environment.items():
        os.environ.setdefault(variable, value)
    os.environ[NODE] = node
    processes.wait_passively()
    sys.argv = ["rewardlab", *order.typed]
    show_log()
    if order.folder.is_dir():
        os.chdir(order.folder)
        if str(order.folder) not in sys.path:
            sys.path.insert(0, str(order.folder))


def _own_root(order: Order) -> Path | None:
    """Where this node keeps run folders; None where it sees those of the command."""
    if scratch := os.environ.get(SCRATCH):
        return Path(scratch)
    return None if storage_of(order.root) == order.storage else cache_folder() / "ray" / order.storage


def storage_of(root: Path) -> str | None:
    """The name that a runs folder was given; None where it has none, or is not there."""
    try:
        return (root / STORAGE).read_text(encoding="utf-8")
    except OSError:
        return None


def _find(order: Order, name: str, root: Path, copy: Copy | None) -> Stage | None:
    key = root, order.storage
    if key not in _PLANS:
        _PLANS[key] = order.plan(root, (lambda stage: None) if copy is None else copy.fetch)
    return _PLANS[key](name)
