"""A suite on a Ray cluster of two nodes on this machine: order, failures, lost processes and nodes, and its end."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rewardlab.disk import read_json, read_jsonl
from rewardlab.pipeline.runner import Runner
from tests.support.fake_suite import FakeSuite
from tests.support.ray_cluster import ROOT, RayCluster
from tests.support.waiting import PATIENCE_S, is_alive, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install -e '.[ray]'"),
    pytest.mark.skipif(
        "REWARDLAB_CLUSTER" not in os.environ, reason="starts Ray clusters, which takes minutes: REWARDLAB_CLUSTER=1"
    ),
]
REWARD = '''
import time
from pathlib import Path

HERE = Path(__file__).parent

def waits(examples, responses):
    """The length of a response; in the second step of a run somebody has to say go first."""
    calls = HERE / "calls"
    calls.touch()
    with calls.open("a") as file:
        file.write("x")
    while calls.stat().st_size == 2 and not (HERE / "go").exists():
        time.sleep(0.05)
    return [float(len(response)) for response in responses]
'''
SUITE = """
name = "tiny"

[settings]
format = "label"
"data.labelled" = 8
"data.prompts" = 8
"data.validation" = 8
"data.test" = 8
"model.max_new_tokens" = 4
"sft.epochs" = 1
"ppo.steps" = 3
"ppo.batch" = 4
"ppo.lr" = 1e-2

[[method]]
name = "SFT"
stage = "sft"
rationales = false

[[method]]
name = "PPO, length"
stage = "ppo"
settings = { "reward.expression" = "own:waits" }
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REWARDLAB_DATA", raising=False)
        patch.setenv("REWARDLAB_CACHE", str(folder / "cache"))
        made = RayCluster(folder / "log")
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def two_nodes(cluster: RayCluster) -> Iterator[RayCluster]:
    """Nodes that share the runs folder, started anew since a test may kill one."""
    with cluster.nodes(left=None, right=None):
        yield cluster


@pytest.fixture
def suite(tmp_path: Path) -> FakeSuite:
    (tmp_path / "runs").mkdir()
    return FakeSuite(tmp_path / "runs")


def start(suite: FakeSuite, cluster: RayCluster) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.fake_suite", str(suite.root), cluster.address],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_stages_run_side_by_side_and_failures_and_lost_processes_are_kept_apart(
    suite: FakeSuite, two_nodes: RayCluster
) -> None:
    """The two SFT models wait for each other to begin, so one node of one processor could not have built both."""
    suite.tell("sft-0", "wait-for sft-1")
    suite.tell("sft-1", "wait-for sft-0")
    suite.tell("ppo-A-0", "fail")
    suite.tell("ppo-B-0", "crash")
    suite.tell("ppo-B-1", "print")
    process = start(suite, two_nodes)
    said, shown = process.communicate(timeout=PATIENCE_S)
    assert json.loads(said) == {
        "A, toy, tiny, seed 0": "stage ppo-A-0: ValueError: ppo-A-0 is broken",
        "B, toy, tiny, seed 0": "stage ppo-B-0: its process was lost (WorkerCrashed), 3 times",
    }
    begun = suite.built()
    assert {slug: begun.count(slug) for slug in begun} == {
        **dict.fromkeys(["shared", "sft-0", "sft-1", "ppo-A-0", "ppo-A-1", "ppo-B-1", "eval-A-1", "eval-B-1"], 1),
        "ppo-B-0": 3,
    }
    assert "2 nodes: " in shown
    nodes = {row["node"] for file in suite.root.glob("*/*/attempts.jsonl") for row in read_jsonl(file) if "node" in row}
    assert nodes == {"left", "right"}
    assert "sft-0, seed 0 on left ..." in shown or "sft-0, seed 0 on right ..." in shown


def finished(suite: FakeSuite) -> dict[str, str]:
    """Slug of each finished stage -> its fingerprint."""
    return dict(result.parent.name.rsplit("-", 1) for result in suite.root.glob("*/*/result.json"))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_runs_on_after_the_command_and_the_next_one_goes_on(
    suite: FakeSuite, two_nodes: RayCluster, ending: signal.Signals, tmp_path: Path
) -> None:
    """The second command builds what is missing and nothing else: then there is what an uninterrupted run leaves."""
    suite.tell("ppo-A-0", "wait")
    suite.tell("ppo-B-1", "wait")
    process = start(suite, two_nodes)
    try:
        until(lambda: {"ppo-A-0", "ppo-B-1"} & set(suite.built()))
        workers = [int(each) for each in suite.processes()]
        process.send_signal(ending)
        _, shown = process.communicate(timeout=PATIENCE_S)
        until(lambda: not any(map(is_alive, workers)))
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -(signal.SIGKILL if ending is signal.SIGKILL else signal.SIGINT), shown
    began, before = len(suite.built()), finished(suite)
    assert "shared" in before
    (suite.root / "go").touch()
    again = start(suite, two_nodes)
    assert json.loads(again.communicate(timeout=PATIENCE_S)[0]) == {}
    uninterrupted = FakeSuite(tmp_path / "uninterrupted")
    uninterrupted.root.mkdir()
    here = Runner(uninterrupted.root)
    for cell in uninterrupted.cells():
        here.execute(cell.goals[0])
    assert finished(suite) == finished(uninterrupted)
    assert len(finished(suite)) == 1 + 2 + 4 + 4
    assert set(suite.built()[began:]) == {*finished(suite)} - {*before}


def test_a_stage_that_no_node_can_have_fails_with_what_there_is(suite: FakeSuite, two_nodes: RayCluster) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "3")
        said, _ = start(suite, two_nodes).communicate(timeout=PATIENCE_S)
    why = set(json.loads(said).values())
    assert len(why) == 1
    assert "no node of the cluster has 3 CPU" in why.pop()
    assert suite.built() == []


@pytest.fixture(scope="module", params=["shared", "fetched"])
def killed(cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A real suite, run in one process (``alone``), and on two nodes of which one is killed in PPO's second step.

    The nodes share the runs folder, or have one each, of which the killed one's is lost too.
    """
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "own.py").write_text(REWARD)
    (folder / "tiny.toml").write_text(SUITE)
    (folder / "go").touch()
    command = [sys.executable, "-m", "rewardlab", "suite", "run", "tiny.toml", "--runs"]
    own = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "REWARDLAB_CACHE": str(folder / "cache")}
    environment = {name: value for name, value in os.environ.items() if name != "REWARDLAB_DATA"} | own
    arguments: dict[str, Any] = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL}
    subprocess.run([*command, "alone", "--jobs", "1"], check=True, **arguments)
    (folder / "calls").rename(folder / "calls-alone")
    (folder / "go").unlink()
    is_fetched = request.param == "fetched"
    folders = {name: folder / name if is_fetched else None for name in ("left", "right")}
    with cluster.nodes(**folders), (folder / "shown").open("w") as shown:
        process = subprocess.Popen([*command, "lost", "--ray", cluster.address], stderr=shown, **arguments)
        try:
            until(lambda: _size(folder / "calls") == 2 or process.poll() is not None)
            until(lambda: any((folder / "lost").glob("ppo/*/checkpoints/step-*.pt")))  # sent by its node
            places = [folder / name for name in (folders if is_fetched else ["lost"])]
            [attempts] = [file for place in places for file in place.glob("ppo/*/attempts.jsonl")]
            cluster.kill(next(row["node"] for row in read_jsonl(attempts)))
            if is_fetched:
                shutil.rmtree(attempts.parents[2])
            (folder / "go").touch()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait()
    return folder


class TestKilledNode:
    def test_the_tables_are_equal_but_for_their_seconds(self, killed: Path) -> None:
        def table(where: str) -> list[dict[str, str]]:
            with (killed / where / "tiny" / "table.csv").open(encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            return [{name: value for name, value in row.items() if "seconds" not in name} for row in rows]

        assert len(table("alone")) >= 2
        assert {"method", "value"} <= set(table("alone")[0])
        assert table("lost") == table("alone")

    def test_so_are_weights_and_answers_bit_by_bit(self, killed: Path) -> None:
        outputs = {
            where: {
                f"{path.parent.name}/{name}": each["sha256"]
                for path in (killed / where).glob("*/*/result.json")
                for name, each in read_json(path)["outputs"].items()
                if name.endswith((".safetensors", "predictions.jsonl"))
            }
            for where in ("alone", "lost")
        }
        assert len(outputs["alone"]) >= 4
        assert outputs["lost"] == outputs["alone"]

    def test_the_stage_went_on_from_its_checkpoint_on_the_other_node(self, killed: Path) -> None:
        [attempts] = (killed / "lost").glob("ppo/*/attempts.jsonl")
        nodes = [row["node"] for row in read_jsonl(attempts) if "node" in row]
        assert sorted(nodes) == ["left", "right"]
        assert "its node was lost, begins again from its checkpoint" in (killed / "shown").read_text()
        # the second step was asked for twice; a run from its beginning would have asked for the first one again too
        assert _size(killed / "calls") == _size(killed / "calls-alone") + 1


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
