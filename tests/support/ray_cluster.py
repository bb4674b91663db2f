"""A Ray cluster on this machine, as a program: a head that builds nothing, and nodes of one processor to be killed.

It prints the head's address. Each line on standard input is ``add NAME [FOLDER]``, a node that keeps its run folders in
FOLDER if one is given, or ``kill NAME``; each is answered by a line. At the end of its input everything ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class RayCluster:
    """The program, started and spoken to."""

    def __init__(self, log: Path) -> None:
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.ray_cluster"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
            )
        self.address = self._answer()

    @contextmanager
    def nodes(self, **folders: Path | None) -> Iterator[None]:
        """Nodes by name, each with a folder of its own for runs, or none; those that are left are ended."""
        for name, folder in folders.items():
            self.add(name, folder)
        try:
            yield
        finally:
            for name in folders:
                self.kill(name)

    def add(self, name: str, folder: Path | None = None) -> None:
        """Start a node."""
        self._ask(f"add {name} {folder or ''}")

    def kill(self, name: str) -> None:
        """End a node and all its processes, as when its machine is switched off; one that is gone stays so."""
        self._ask(f"kill {name}")

    def end(self) -> None:
        """End the cluster."""
        self._process.communicate(timeout=300)

    def _ask(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        assert self._answer() == line.split()[1]

    def _answer(self) -> str:
        """The next line that begins with the mark of an answer; Ray may print others."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("> "):
                return line[2:].strip()
        raise AssertionError("the cluster's program has ended")


def patiently(start: Callable[[], Any], tries: int = 5) -> Any:
    """Ray gives a node 30 seconds to start, which a busy machine may not keep."""
    for _ in range(tries - 1):
        with suppress(Exception):
            return start()
    return start()


def main() -> None:
    """The program."""
    from ray.cluster_utils import Cluster

    cluster = patiently(
        lambda: Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    )
    nodes: dict[str, Any] = {}
    print("> " + cluster.address, flush=True)
    for line in sys.stdin:
        what, name, *rest = line.split()
        if what == "add":
            environment = {"REWARDLAB_SCRATCH": rest[0]} if rest else {}
            nodes[name] = patiently(
                partial(cluster.add_node, wait=False, num_cpus=1, node_name=name, env_vars=environment)
            )
        elif name in nodes:
            cluster.remove_node(nodes.pop(name), allow_graceful=False)
        print("> " + name, flush=True)
    for node in nodes.values():
        cluster.remove_node(node)
    cluster.remove_node(cluster.head_node)


if __name__ == "__main__":
    main()
