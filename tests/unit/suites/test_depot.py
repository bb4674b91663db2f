"""Run folders that nodes fetch by hash and send back, without a cluster: the depot is called directly."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rewardlab.errors import RunFolderError
from rewardlab.pipeline.attempts import NODE
from rewardlab.pipeline.runner import Runner
from rewardlab.pipeline.stage import Stage
from rewardlab.suites import depot as module
from rewardlab.suites.depot import BLOCK, Copy, Depot
from rewardlab.suites.on_node import SCRATCH, STORAGE, Order, build_on_node
from tests.support.fake_suite import FakeSuite, find_in
from tests.support.waiting import until

STAGE = Stage("sft", "an SFT model", "made", {"n": 1}, {}, lambda work: {})
NAME = STAGE.path(Path()).as_posix()


@pytest.fixture(autouse=True)
def _no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewardlab.provenance._git", lambda *arguments: None)


class Calls:
    """Calls a depot as a node does, and remembers what was asked."""

    def __init__(self, root: Path) -> None:
        self.depot = Depot(root)
        self.asked: list[tuple[str, Any]] = []

    def __call__(self, method: str, *arguments: Any, **named: Any) -> Any:
        self.asked.append((method, arguments))
        return getattr(self.depot, method)(*arguments, **named)

    def files(self, method: str) -> list[str]:
        """The files that were read or written, in order."""
        place = {"read": 1, "write": 2}[method]
        return list(dict.fromkeys(arguments[place] for name, arguments in self.asked if name == method))


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    return Calls(tmp_path / "runs")


@pytest.fixture
def copy(calls: Calls, tmp_path: Path) -> Copy:
    return Copy(calls, tmp_path / "runs", tmp_path / "node")


def write(folder: Path, **files: bytes) -> None:
    for name, data in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class TestFetch:
    def test_what_is_there_with_its_hash_is_not_fetched_again(self, calls: Calls, copy: Copy, tmp_path: Path) -> None:
        there, here = tmp_path / "runs" / NAME, tmp_path / "node" / NAME
        large = bytes(range(256)) * (BLOCK // 256) + b"end"  # two pieces
        write(there, config_json=b"{}", adapter__a_bin=large, rows_jsonl=b"new")
        write(here, config_json=b"{}", rows_jsonl=b"old", left_txt=b"of an earlier attempt")
        copy.fetch(STAGE)
        assert calls.files("read") == ["adapter/a.bin", "rows.jsonl"]
        assert (here / "adapter" / "a.bin").read_bytes() == large
        assert (here / "rows.jsonl").read_bytes() == b"new"
        assert not (here / "left.txt").exists()
        calls.asked.clear()
        copy.fetch(STAGE)
        assert calls.files("read") == []

    def test_a_file_that_changes_on_its_way_is_refused(self, calls: Calls, copy: Copy, tmp_path: Path) -> None:
        write(tmp_path / "runs" / NAME, a_bin=b"right")
        read = calls.depot.read
        calls.depot.read = lambda *arguments: read(*arguments).replace(b"right", b"wrong")  # type: ignore[method-assign]
        with pytest.raises(RunFolderError, match=r"a\.bin: changed while it was fetched"):
            copy.fetch(STAGE)
        assert list((tmp_path / "node" / NAME).iterdir()) == []

    def test_nothing_is_made_for_a_stage_that_is_not_there(self, copy: Copy, tmp_path: Path) -> None:
        copy.fetch(STAGE)
        assert not (tmp_path / "node" / NAME).exists()


class TestBuilding:
    def test_everything_comes_back_the_result_last(self, calls: Calls, copy: Copy, tmp_path: Path) -> None:
        there, here = tmp_path / "runs" / NAME, tmp_path / "node" / NAME
        with copy.building(STAGE, "a1", pytest.fail):
            assert (here / "config.json").exists()  # the depot has opened the folder
            write(here, result_json=b"{}", a_bin=b"a", config_json=b"as the node sees it", empty_txt=b"")
            write(here, checkpoints__step=b"s", checkpoints__unfinished=b"half")
        written = calls.files("write")
        assert written[-2:] == ["checkpoints/step", "result.json"]
        assert {path.name for path in there.rglob("*") if path.is_file()} >= {
            "step",
            "result.json",
            "a.bin",
            "empty.txt",
        }
        assert b"sft" in (there / "config.json").read_bytes()
        assert not (there / "checkpoints" / "unfinished").exists()

    def test_a_checkpoint_is_sent_while_the_stage_works(
        self, copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "WATCH_S", 0.01)
        there, here = tmp_path / "runs" / NAME, tmp_path / "node" / NAME
        with copy.building(STAGE, "a1", pytest.fail):
            for number in (1, 2):
                write(here, metrics_jsonl=b"x" * number)
                (here / "checkpoints").mkdir(exist_ok=True)
                (here / "checkpoints" / f"step-{number}").write_bytes(b"s")
                (here / "checkpoints" / f"step-{number - 1}").unlink(missing_ok=True)
                until(lambda: {f.name for f in (there / "checkpoints").glob("*")} == {f"step-{number}"})  # noqa: B023
                assert (there / "metrics.jsonl").read_bytes() == b"x" * number

    def test_a_record_is_there_before_the_checkpoint_that_goes_on_behind_it(
        self, calls: Calls, copy: Copy, tmp_path: Path
    ) -> None:
        """A node may be lost between any two files: a checkpoint without its rows would be refused."""
        there, here = tmp_path / "runs" / NAME, tmp_path / "node" / NAME
        write_file, seen = calls.depot.write, []

        def spying(owner: str, name: str, file: str, *rest: Any, **named: Any) -> None:
            if file.startswith("checkpoints"):
                seen.append((there / "samples.jsonl").read_bytes())
            write_file(owner, name, file, *rest, **named)

        calls.depot.write = spying  # type: ignore[method-assign]
        with copy.building(STAGE, "a1", pytest.fail):
            write(here, samples_jsonl=b"row", checkpoints__step=b"s")
        assert seen == [b"row"]

    def test_an_attempt_whose_node_was_taken_for_lost_can_write_no_more(
        self, calls: Calls, copy: Copy, tmp_path: Path
    ) -> None:
        """Its node was only cut off, and comes back while another attempt is at it."""
        folder = STAGE.folder(tmp_path / "runs")

        def build() -> None:
            with copy.building(STAGE, "a1", pytest.fail):
                calls.depot.unlock(folder.path)
                assert calls.depot.lock(folder, "a2")
                write(tmp_path / "node" / NAME, a_bin=b"late")

        with pytest.raises(RunFolderError, match="another attempt has this stage now"):
            build()
        assert not Depot(tmp_path / "runs").lock(folder, "b")  # it was not let go of by the first one
        assert not (folder.path / "a.bin").exists()

    def test_another_command_is_waited_for(
        self, calls: Calls, copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "WAIT_S", 0.0)
        other, folder, said = Depot(tmp_path / "runs"), STAGE.folder(tmp_path / "runs"), []
        assert other.lock(folder, "b")

        def say(line: str) -> None:
            said.append(line)
            other.unlock(folder.path)

        with copy.building(STAGE, "a1", say):
            assert not other.lock(folder, "b")
        assert said == [f"{folder.path}: another command is building it, waiting"]
        assert other.lock(folder, "b")


class TestNode:
    @pytest.fixture(autouse=True)
    def _own_process(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A node changes its process, which is the test's here."""
        monkeypatch.chdir(tmp_path)
        for variable in (NODE, "OMP_WAIT_POLICY", "KMP_BLOCKTIME"):
            monkeypatch.setenv(variable, "")
        for name in ("argv", "path"):
            monkeypatch.setattr(sys, name, list(getattr(sys, name)))

    @pytest.fixture
    def suite(self, tmp_path: Path) -> FakeSuite:
        (tmp_path / "runs").mkdir()
        return FakeSuite(tmp_path / "runs")

    def build(self, suite: FakeSuite, storage: str, stage: Stage, calls: Calls) -> str | None:
        order = Order(
            plan=lambda root, fetch: find_in(suite, root, fetch),
            root=suite.root,
            storage=storage,
            folder=Path.cwd(),
            typed=(),
            environment={},
        )
        return build_on_node(order, stage.fingerprint, "head", "a1", "left", calls)

    def test_it_builds_into_the_folder_that_it_shares(self, suite: FakeSuite, calls: Calls) -> None:
        (suite.root / STORAGE).write_text("shared")
        stage = suite.cell("A", 0).chain()[0]
        assert self.build(suite, "shared", stage, calls) is None
        assert stage.folder(suite.root).is_done
        assert calls.asked == []

    @pytest.mark.parametrize("has_scratch", [True, False])
    def test_it_fetches_and_sends_with_a_folder_of_its_own(
        self, suite: FakeSuite, calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_scratch: bool
    ) -> None:
        """It was given one, or what lies at the path of the command's runs is not the command's storage."""
        (suite.root / STORAGE).write_text("another")
        monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv(SCRATCH, str(tmp_path / "own") if has_scratch else "")
        here = tmp_path / "own" if has_scratch else tmp_path / "cache" / "ray" / "the-command's"
        first, second = suite.cell("A", 0).chain()[:2]
        Runner(suite.root).build(first, "here")
        assert self.build(suite, "the-command's", second, calls) is None
        assert second.folder(suite.root).is_done
        assert first.folder(here).is_done
        assert second.folder(suite.root).result() == second.folder(here).result()

    def test_a_stage_that_it_does_not_plan_is_named_as_such(self, suite: FakeSuite, calls: Calls) -> None:
        (suite.root / STORAGE).write_text("shared")
        error = self.build(suite, "shared", STAGE, calls)
        assert error is not None
        assert error.startswith("left plans no such stage: its rewardlab, rows, own code, or model.dtype = auto differ")
