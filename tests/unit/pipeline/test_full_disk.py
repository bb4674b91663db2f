"""A full disk: one line that says what is safe, nothing half written left over, and the same command goes on."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from rewardlab import disk, runs
from rewardlab.disk import full_disk, is_disk_full, read_jsonl, whole_file
from rewardlab.errors import RunFolderError
from rewardlab.runs import RunFolder
from tests.support.commands import Command
from tests.support.models import tiny_llama

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
SHORT = ("--tracker", "none", "--task", "sst2", "--format", "label", "--source", "bundled", "--dtype", "float32",
         "--model", "mine", "--set=model.max_new_tokens=6")  # fmt: skip
PPO = ("ppo", "--init", "base", "--reward", "rule", "--set=ppo.steps=2", "--set=ppo.batch=2", "--set=ppo.micro_batch=2",
       "--set=ppo.validation_rows=2")  # fmt: skip
SFT = ("sft", "--set=sft.epochs=1", "--set=sft.batch=4", "--set=sft.checkpoint_every=1", "--set=sft.validation_rows=0")
Fail = Callable[[pytest.MonkeyPatch], None]


class Nth:
    """Goes in the place of a function, and fails at its ``call``-th call, having written a part of a file."""

    def __init__(self, target: str, call: int, error: Exception = FULL) -> None:
        self.target, self.call, self.error = target, call, error

    def __call__(self, patch: pytest.MonkeyPatch) -> None:
        import pkgutil

        original, calls = pkgutil.resolve_name(self.target.replace(":", ".")), []

        def failing(*arguments: Any, **named: Any) -> Any:
            calls.append(1)
            if len(calls) != self.call:
                return original(*arguments, **named)
            for each in arguments:
                if isinstance(each, Path) and each.parent.is_dir() and "part" in each.name:
                    each.write_bytes(b"half")
                elif hasattr(each, "write"):
                    each.write(b"half")
            raise self.error

        patch.setattr(self.target, failing)


def of_result(patch: pytest.MonkeyPatch) -> None:
    """The result does not fit."""
    original = runs.write_json

    def failing(path: Path, value: Any) -> None:
        if path.name == "result.json":
            raise FULL
        original(path, value)

    patch.setattr(runs, "write_json", failing)


def of_torch_by_path(patch: pytest.MonkeyPatch) -> None:
    """transformers has torch write to a path: its error is a number of bytes, and says nothing of the disk."""
    from rewardlab.training import trl_checkpoint

    patch.setattr(trl_checkpoint, "full_disk", lambda folder: FULL if folder.is_dir() else None)
    Nth("torch.save", 5, RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 640 vs 598"))(patch)


RUST = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
FAULTS: dict[str, tuple[tuple[str, ...], Fail, str]] = {
    "ppo, first checkpoint": (PPO, Nth("torch.save", 1), "finished stages are whole, what it had not stored"),
    "ppo, second checkpoint": (PPO, Nth("torch.save", 2), "its checkpoints (step-000001.pt) are whole"),
    "ppo, adapter": (PPO, Nth("rewardlab.models.roles.save_file", 1, RUST), "are whole"),
    "ppo, result": (PPO, of_result, "its checkpoints (step-000001.pt, step-000002.pt) are whole"),
    # a checkpoint of SFT has three files from torch.save: optimiser, schedule, generators
    "sft, second checkpoint": (SFT, Nth("torch.save", 5), "its checkpoints (checkpoint-1) are whole"),
    "sft, by torch alone": (SFT, of_torch_by_path, "its checkpoints (checkpoint-1) are whole"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_line_and_the_same_command_goes_on(rewardlab: Command, name: str) -> None:
    command, fail, said = FAULTS[name]
    tiny_llama(Path("mine"))
    with pytest.MonkeyPatch.context() as patch:
        fail(patch)
        done = rewardlab(*command, *SHORT)
    assert done.code == 2, done.err
    last = done.err.splitlines()[-1]
    assert last.startswith(f"error: runs/{command[0]}/")
    assert ": the disk is full; " in last
    assert said in last
    assert "Make room, and the same command goes on" in last
    assert "Traceback" not in done.err
    left = [path.name for path in Path("runs").rglob("*")]
    assert not [each for each in left if ".part-" in each or each == "unfinished"], left
    assert "checkpoint-2" not in left
    again = rewardlab(*command, *SHORT)
    assert again.code == 0, again.err
    (folder,) = Path("runs", command[0]).iterdir()
    steps = [row["step"] for row in read_jsonl(folder / "metrics.jsonl")]
    assert steps == sorted(set(steps)), steps


def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "ppo", {})
    folder.append("metrics.jsonl", {"step": 1})
    size = (tmp_path / "metrics.jsonl").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, limits[1]))  # five bytes of the line fit
    try:
        with pytest.raises(OSError, match=r"metrics\.jsonl") as caught:
            folder.append("metrics.jsonl", {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert (tmp_path / "metrics.jsonl").stat().st_size == size
    folder.append("metrics.jsonl", {"step": 3})
    assert [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [1, 3]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    path.write_text("old")

    def write() -> None:
        with whole_file(path) as part:
            part.write_text("half of the n")
            raise FULL

    with pytest.raises(OSError, match="No space"):
        write()
    assert [each.name for each in tmp_path.iterdir()] == ["adapter.safetensors"]
    assert path.read_text() == "old"


def test_a_full_disk_is_known_whoever_tells_of_it() -> None:
    assert is_disk_full(FULL)
    assert is_disk_full(OSError(errno.EDQUOT, "quota"))
    assert is_disk_full(RUST)
    wrapped = RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos 64 vs 0")
    assert not is_disk_full(wrapped)
    wrapped.__context__ = FULL
    assert is_disk_full(wrapped)
    assert not is_disk_full(PermissionError(errno.EACCES, "Permission denied"))


def test_torch_tells_of_it_by_an_error_that_is_known(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full, which every write finds full")
    with pytest.raises((OSError, RuntimeError)) as caught, open("/dev/full", "wb", buffering=0) as file:
        torch.save({"a": torch.zeros(1000)}, file)
    assert is_disk_full(caught.value)


def test_a_disk_is_full_when_a_megabyte_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full, which every write finds full")
    assert full_disk(tmp_path) is None
    assert full_disk(tmp_path / "missing") is None
    monkeypatch.setattr(disk, "TemporaryFile", lambda **_: os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", 0))
    found = full_disk(tmp_path)
    assert found is not None
    assert found.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_the_journal_says_that_answers_are_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rewardlab.annotate import journal
    from rewardlab.errors import RewardlabError

    kept = journal.Journal(tmp_path / "openai.jsonl")
    kept.append("one", {"text": "a"})

    def full(*_: object) -> int:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "write", full)
        with pytest.raises(RewardlabError, match="No space left on device") as caught:
            kept.append("two", {"text": "b"})
    assert "answers in it are safe" in str(caught.value)
    assert caught.value.exit_code == 2
    kept.append("three", {"text": "c"})
    assert list(journal.Journal(tmp_path / "openai.jsonl")) == ["one", "three"]


def test_any_other_command_says_it_in_one_line(rewardlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from rewardlab.cli import tasks

    def full(*_: object) -> list[str]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "cache/rows.arrow")

    monkeypatch.setattr(tasks, "describe", full)
    found = rewardlab("tasks", "show", "mr").problem
    assert found == "cache/rows.arrow: the disk is full; finished runs are whole. Make room and run the command again"


def test_any_other_command_knows_it_from_a_library_too(rewardlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from rewardlab.cli import tasks

    def full(*_: object) -> list[str]:
        raise RUST

    monkeypatch.setattr(tasks, "describe", full)
    assert rewardlab("tasks", "show", "mr").problem.startswith("the disk is full; finished runs are whole")


def test_a_stage_says_other_troubles_as_before(tmp_path: Path) -> None:
    from rewardlab.pipeline.runner import _writing_into

    folder = RunFolder(tmp_path, "ppo", {})
    with pytest.raises(RunFolderError, match="Permission denied"), _writing_into(folder):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "x"))
    with pytest.raises(ValueError, match="a bug"), _writing_into(folder):
        raise ValueError("a bug")
