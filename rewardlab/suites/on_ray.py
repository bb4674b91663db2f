"""Stages of a suite as tasks of a Ray cluster, each with its processors, its GPU and its memory.

Ray is asked where a task can run and told of nodes that are lost. What may run next, and in which order, is the
scheduler's (``scheduler.py``); what a node does is in ``on_node.py``.
"""

from __future__ import annotations

import os
import socket
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from rewardlab.disk import write_atomic
from rewardlab.errors import InputError
from rewardlab.pipeline.kinds import stage_kinds
from rewardlab.pipeline.runner import Say
from rewardlab.pipeline.stage import Stage
from rewardlab.suites.depot import Depot
from rewardlab.suites.jobs import THREADS, bytes_needed
from rewardlab.suites.on_node import STORAGE, Order, Plan, build_on_node, storage_of
from rewardlab.suites.run import Ended, sigterm_as_interrupt
from rewardlab.suites.scheduler import Job

AUTO = "auto"
POLL_S = 0.5
"""Seconds until Ctrl-C is noticed at the latest, and between two looks at the cluster's nodes."""
REACH_S = 10.0
"""Seconds until a head that does not answer is taken for none."""
STOP_S = 20.0
"""Seconds that stages have to end when the suite is stopped."""
ATTEMPTS = 3
"""How often a stage is begun whose node or process is lost, the first time included."""
GIVEN = ("REWARDLAB_DATA", "HF_HUB_OFFLINE", "REWARDLAB_PRODUCTS")
"""Environment variables of the command for nodes that have none of their own; keys are not among them."""
RESOURCES = ("CPU", "GPU", "memory")

Amounts = Mapping[str, float]
"""Resource, as Ray calls it -> how much; memory in bytes."""


def check_ray(address: str) -> None:
    """Refuse what Ray cannot be asked for.

    Raises:
        InputError: Ray is not installed, or the address is none of a head, but of a client or of jobs.
    """
    if find_spec("ray") is None:
        raise InputError("--ray: Ray is not installed; run `pip install 'rewardlab[ray]'`")
    host, _, port = address.rpartition(":")
    if address != AUTO and ("://" in address or not host or not port.isdecimal()):
        raise InputError(
            f"--ray {address}: expected {AUTO} or HOST:PORT; run the command on a machine of the cluster, its head say"
        )


@dataclass(slots=True)
class _Running:
    """A job on the cluster, and how often it was begun."""

    job: Job
    needs: Amounts
    owner: str
    attempt: int = 1
    folder: Path = field(default_factory=Path)


class RayPlaces:
    """The nodes of a Ray cluster that runs already.

    Args:
        address: ``auto`` for the cluster that this machine is part of, or HOST:PORT of its head.
        plan: Plans the suite again, on a node.
        root: Where run folders live.
        say: Told of nodes that come and go, and of stages that begin again.
        shows_stages: What nodes say of their stages is shown on standard error.
    """

    is_one_process = False

    def __init__(self, address: str, plan: Plan, root: Path, say: Say, *, shows_stages: bool = True) -> None:
        check_ray(address)
        self._address, self._say, self._shows_stages = address, say, shows_stages
        self._order = _order(plan, root.absolute())
        self._running: dict[Any, _Running] = {}
        self._refused: list[Ended] = []
        self._nodes: dict[str, Amounts] = {}

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.enter_context(redirect_stdout(sys.stderr))  # what Ray prints is no result
            is_ours = _connect(self._address, opened, shows_stages=self._shows_stages)
            opened.enter_context(sigterm_as_interrupt())  # Ray would exit at once
            if not is_ours:  # else its end stops them; Ray 2.60 can abort where a task is cancelled as it is placed
                opened.callback(self._stop)
            self._depot = _start_depot(self._order.root)
            self._look()
            self._open = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def has_room(self, stage: Stage) -> bool:
        """Whether the nodes together have what it needs; true too for what none will ever have, which is refused."""
        needs = self._needs(stage)
        if self._lack(needs):
            return True
        taken = [running.needs for running in self._running.values()]
        return all(
            sum(each.get(name, 0) for each in taken) + amount <= sum(node.get(name, 0) for node in self._nodes.values())
            for name, amount in needs.items()
        )

    def start(self, job: Job) -> None:
        """Hand it to Ray."""
        needs = self._needs(job.stage)
        if lack := self._lack(needs):
            self._refused.append((job, lack))
            return
        self._submit(_Running(job, needs, _new_name(), folder=job.stage.folder(self._order.root).path))

    def wait(self) -> Sequence[Ended]:
        """The jobs that ended; one whose node is lost begins again."""
        import ray

        if self._refused:
            refused, self._refused = self._refused, []
            return refused
        ready, _ = ray.wait(list(self._running), timeout=POLL_S)
        self._look()
        found = [self._outcome(self._running.pop(each), each) for each in ready]
        return [ended for ended in found if ended is not None]

    def _outcome(self, running: _Running, task: Any) -> Ended | None:
        """What came of a task; None when it was begun again."""
        import ray

        try:
            return running.job, ray.get(task)
        except ray.exceptions.RayTaskError as error:  # of our own code on the node
            return running.job, " ".join(f"{type(error.cause).__name__}: {error.cause}".splitlines())
        except ray.exceptions.RayError as error:
            return self._lost(running, type(error).__name__.removesuffix("Error"))

    def _lost(self, running: _Running, how: str) -> Ended | None:
        import ray

        ray.get(self._depot.unlock.remote(running.folder))
        lost = "its node was lost" if how == "NodeDied" else f"its process was lost ({how})"
        if running.attempt == ATTEMPTS:
            return running.job, f"{lost}, {ATTEMPTS} times"
        if lack := self._lack(running.needs):
            return running.job, f"{lost}, and {lack}"
        self._say(f"{running.job.head}: {lost}, begins again from its checkpoint")
        self._submit(_Running(running.job, running.needs, _new_name(), running.attempt + 1, running.folder))
        return None

    def _submit(self, running: _Running) -> None:
        import ray

        needs = running.needs
        task = ray.remote(_task).options(
            num_cpus=needs["CPU"],
            num_gpus=needs.get("GPU", 0),
            memory=needs.get("memory") or None,
            max_retries=0,  # we begin it again ourselves, and say so
            name=running.job.stage.title,
        )
        job = running.job
        self._running[task.remote(self._order, job.stage.fingerprint, job.head, running.owner, self._depot)] = running

    def _needs(self, stage: Stage) -> Amounts:
        """Threads as processors, a GPU for a model where the cluster has some, else the memory that is known."""
        has_gpus = any(node.get("GPU") for node in self._nodes.values())
        needs: dict[str, float] = {"CPU": float(os.environ.get(THREADS) or 1)}
        device = stage.config.get("model", {}).get("device", "auto")
        if stage_kinds()[stage.kind].asks_model and (device.startswith("cuda") or (device == "auto" and has_gpus)):
            return {**needs, "GPU": 1.0}
        return {**needs, "memory": float(bytes_needed(stage.config) or 0)}

    def _lack(self, needs: Amounts) -> str:
        """Why no node can have a stage; empty where one can."""
        if any(all(node.get(name, 0) >= amount for name, amount in needs.items()) for node in self._nodes.values()):
            return ""
        return f"no node of the cluster has {_told(needs)}; there are {self._board()}"

    def _look(self) -> None:
        """See which nodes there are, and tell when that changed."""
        import ray

        alive = [node for node in ray.nodes() if node["Alive"]]
        found = {node["NodeID"]: node for node in alive}
        if found.keys() == self._nodes.keys():
            return
        self._nodes = {mark: node["Resources"] for mark, node in found.items()}
        self._names = {mark: _name(node) for mark, node in found.items()}
        self._say(f"Ray cluster {self._address}: {self._board()}")

    def _board(self) -> str:
        """Every node that can build stages, and what it has."""
        able = [f"{self._names[mark]} ({_told(node)})" for mark, node in self._nodes.items() if node.get("CPU")]
        return f"{len(able)} node{'s' if len(able) != 1 else ''}{': ' if able else ''}{', '.join(able)}"

    def _stop(self) -> None:
        """Stop what still runs, and wait until it has."""
        import ray

        tasks = list(self._running)
        for task in tasks:
            ray.cancel(task, force=True)
        if tasks:
            ray.wait(tasks, num_returns=len(tasks), timeout=STOP_S)


def _task(order: Order, name: str, head: str, owner: str, depot: Any) -> str | None:
    """What runs on a node."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    node = next((_name(node) for node in ray.nodes() if node["NodeID"] == own), own)

    def call(method: str, *arguments: Any, **named: Any) -> Any:
        return ray.get(getattr(depot, method).remote(*arguments, **named))

    return build_on_node(order, name, f"{head} on {node}", owner, node, call)


def _order(plan: Plan, root: Path) -> Order:
    root.mkdir(parents=True, exist_ok=True)
    storage = storage_of(root)
    if storage is None:
        storage = _new_name()
        write_atomic(root / STORAGE, storage)
    given = {name: os.environ[name] for name in GIVEN if name in os.environ}
    return Order(plan, root, storage, Path.cwd(), tuple(sys.argv[1:]), given)


def _connect(address: str, opened: ExitStack, *, shows_stages: bool) -> bool:
    """Join the cluster until ``opened`` is left; False where this process has joined it already.

    Raises:
        InputError: There is no cluster, or it has another version of Ray or of Python.
    """
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # progress of several stages looks alike
    import logging

    import ray

    if ray.is_initialized():
        return False
    try:
        if address != AUTO:  # Ray itself would go on trying for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), REACH_S).close()
        ray.init(address=address, log_to_driver=shows_stages, logging_level=logging.WARNING)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"--ray {address}: no cluster that can be used ({reason}); start one with `ray start --head` and "
            "`ray start --address HOST:PORT` on further machines"
        ) from error
    opened.callback(ray.shutdown)
    return True


def _start_depot(root: Path) -> Any:
    """The runs folder as an actor on this machine."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Depot).options(num_cpus=0, scheduling_strategy=here).remote(root)


def _name(node: Mapping[str, Any]) -> str:
    """What a node is called: by whoever started it, else as its machine is."""
    given, address, machine = (str(node[key]) for key in ("NodeName", "NodeManagerAddress", "NodeManagerHostname"))
    return machine if given == address else given


def _told(amounts: Amounts) -> str:
    """Amounts for people.

    >>> _told({"CPU": 2.0, "GPU": 0.0, "memory": 3 * 2**30})
    '2 CPU, 3.0 GiB'
    """
    parts = {name: amounts[name] for name in RESOURCES if amounts.get(name)}
    return ", ".join(f"{n / 2**30:.1f} GiB" if name == "memory" else f"{n:g} {name}" for name, n in parts.items())


def _new_name() -> str:
    return f"a{uuid.uuid4().hex}"
