"""Run folders: whole files or none, one run per folder, and messages that say what differs and where."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rewardlab import outputs, provenance, runs
from rewardlab.disk import (
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)
from rewardlab.errors import RunFolderError
from rewardlab.runs import RunFolder, check_outputs, differing_keys, make_anew, renew_output
from rewardlab.training.trackers import RUN_ID

IDENTITY: dict[str, Any] = {"version": 1, "settings": {"lr": 0.1, "seed": 0}, "inputs": {"start": "abc"}}


@pytest.fixture(autouse=True)
def _no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_git", lambda *arguments: None)


def folder(path: Path, stage: str = "ppo", **settings: Any) -> RunFolder:
    identity = {**IDENTITY, "settings": {**IDENTITY["settings"], **settings}}
    return RunFolder(path / "run", stage, identity, {"ppo": {"lr": 0.1}})


def files(path: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in path.iterdir()}


class TestLife:
    def test_open_then_finish(self, tmp_path: Path) -> None:
        run = folder(tmp_path)
        assert not run.is_done
        run.open()
        assert not run.is_done
        run.append("metrics.jsonl", {"step": 1})
        run.append("metrics.jsonl", {"step": 2})
        run.finish({"loss": 0.5})
        assert run.is_done
        assert run.result() == {"loss": 0.5}
        assert set(files(run.path)) == {"config.json", "provenance.json", "metrics.jsonl", "result.json"}
        assert list(read_jsonl(run.path / "metrics.jsonl")) == [{"step": 1}, {"step": 2}]

    def test_config_holds_what_a_rerun_needs(self, tmp_path: Path) -> None:
        run = folder(tmp_path)
        run.open()
        stored = read_json(run.path / "config.json")
        assert stored == {
            "stage": "ppo",
            "fingerprint": run.fingerprint,
            "identity": IDENTITY,
            "config": {"ppo": {"lr": 0.1}},
        }

    def test_provenance_names_versions_and_command(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.argv", ["/somewhere/rewardlab", "ppo", "--seed", "3"])
        run = folder(tmp_path)
        run.open()
        stored = read_json(run.path / "provenance.json")
        assert stored["command"] == "rewardlab ppo --seed 3"
        assert {"torch", "transformers"} <= set(stored["packages"])
        assert stored["commit"] is None
        assert set(stored) == {"command", "started", "commit", "dirty", "python", "platform", "packages"}

    def test_checkpoints_go_when_the_stage_is_done(self, tmp_path: Path) -> None:
        run = folder(tmp_path)
        run.open()
        (run.path / "checkpoints").mkdir()
        (run.path / "checkpoints" / "step-000001.pt").touch()
        run.finish({})
        assert not (run.path / "checkpoints").exists()

    def test_the_stage_is_part_of_the_fingerprint_and_the_configuration_is_not(self, tmp_path: Path) -> None:
        same = RunFolder(tmp_path / "elsewhere", "ppo", IDENTITY, {"logging": "loud"})
        assert same.fingerprint == folder(tmp_path).fingerprint
        assert folder(tmp_path, "sft").fingerprint != folder(tmp_path).fingerprint
        assert folder(tmp_path, lr=0.2).fingerprint != folder(tmp_path).fingerprint

    def test_an_unfinished_run_can_be_opened_again(self, tmp_path: Path) -> None:
        folder(tmp_path).open()
        folder(tmp_path).open()
        assert not folder(tmp_path).is_done

    def test_the_result_of_another_run_is_not_taken_for_this_one(self, tmp_path: Path) -> None:
        first = folder(tmp_path)
        first.open()
        first.finish({})
        assert not folder(tmp_path, lr=0.2).is_done


class TestRefusal:
    def test_another_run_is_refused_with_the_keys_that_differ(self, tmp_path: Path) -> None:
        folder(tmp_path).open()
        before = files(tmp_path / "run")
        with pytest.raises(RunFolderError) as caught:
            folder(tmp_path, lr=0.2, seed=1).open()
        assert "differs in settings.lr, settings.seed)" in str(caught.value)
        assert str(tmp_path / "run") in str(caught.value)
        assert files(tmp_path / "run") == before

    def test_another_stage_is_refused(self, tmp_path: Path) -> None:
        folder(tmp_path).open()
        with pytest.raises(RunFolderError, match="its stage or code version"):
            folder(tmp_path, "sft").open()

    @pytest.mark.parametrize("name", ["notes.txt", "config.json"])
    def test_files_of_others_are_refused_and_kept(self, tmp_path: Path, name: str) -> None:
        """A model folder, too, has a config.json."""
        run = folder(tmp_path)
        run.path.mkdir()
        (run.path / name).write_text(json.dumps({"model_type": "llama"}))
        with pytest.raises(RunFolderError, match="no rewardlab run"):
            run.open()
        assert list(files(run.path)) == [name]

    @pytest.mark.parametrize(
        ("text", "others"),
        [
            *itertools.product(["[]", "", '{"stage"', "3"], ["provenance.json", "attempts.jsonl", "result.json", None]),
            ("{}", "provenance.json"),
            *((None, others) for others in ("provenance.json", "attempts.jsonl", "result.json", ".lock")),
        ],
    )
    def test_a_run_without_its_config_is_named_with_the_way_out(
        self, tmp_path: Path, text: str | None, others: str | None
    ) -> None:
        run = folder(tmp_path)
        run.path.mkdir()
        for name, content in (("config.json", text), (others, "{}")):
            if name and content is not None:
                (run.path / name).write_text(content)
        with pytest.raises(
            RunFolderError, match=r"run: config\.json is lost or damaged.*; --fresh moves the folder aside"
        ):
            run.check()
        assert not run.is_foreign

    @pytest.mark.parametrize("text", ["[]", "", "{}", None])
    def test_a_folder_with_the_fingerprint_in_its_name_gets_its_config_back(
        self, tmp_path: Path, text: str | None
    ) -> None:
        made = folder(tmp_path)
        run = RunFolder(tmp_path / f"agnews-rule-{made.fingerprint}", "ppo", IDENTITY, {})
        run.path.mkdir()
        (run.path / "checkpoint").write_text("precious")
        if text is not None:
            (run.path / "config.json").write_text(text)
        run.open()
        assert read_json(run.path / "config.json")["fingerprint"] == made.fingerprint
        assert (run.path / "checkpoint").read_text() == "precious"

    def test_files_of_others_beside_a_broken_config_are_kept(self, tmp_path: Path) -> None:
        run = folder(tmp_path)
        run.path.mkdir()
        for name in ("config.json", "weights.bin"):
            (run.path / name).write_text("")
        with pytest.raises(RunFolderError, match="no rewardlab run"):
            run.open()

    def test_a_file_in_the_folders_place_is_refused(self, tmp_path: Path) -> None:
        run = folder(tmp_path)
        run.path.write_text("mine")
        with pytest.raises(RunFolderError, match="no rewardlab run"):
            run.open()
        assert run.path.read_text() == "mine"

    def test_a_file_above_the_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "runs").write_text("mine")
        with pytest.raises(RunFolderError, match=r"cannot be written .* --runs"):
            folder(tmp_path / "runs").open()

    def test_an_empty_folder_will_do(self, tmp_path: Path) -> None:
        run = folder(tmp_path)
        run.path.mkdir()
        run.open()
        assert (run.path / "config.json").exists()


class TestOutputs:
    """A stage that wrote three rows, an adapter and a record for people."""

    def finished(self, tmp_path: Path) -> RunFolder:
        run = folder(tmp_path, "pairs")
        run.open()
        (run.path / "adapter").mkdir(exist_ok=True)
        (run.path / "adapter" / "weights").write_bytes(b"0123456789")
        (run.path / "pairs.jsonl").write_text('{"a": 1}\n{"a": 2}\n{"a": 3}')
        run.append("metrics.jsonl", {"step": 1})
        run.finish({"pairs": 3})
        return run

    def test_hashes_and_rows_are_stored(self, tmp_path: Path) -> None:
        run = self.finished(tmp_path)
        stored = read_json(run.result_path)["outputs"]
        assert list(stored) == ["adapter/weights", "metrics.jsonl", "pairs.jsonl"]
        digest = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"  # sha256sum of 0123456789
        assert stored["adapter/weights"] == {"sha256": digest, "bytes": 10}
        assert stored["pairs.jsonl"]["rows"] == 3
        check_outputs(run.path)
        assert run.result() == {"pairs": 3}

    @pytest.mark.parametrize(
        ("name", "content", "told"),
        [
            ("pairs.jsonl", b'{"a": 1}\n', "pairs.jsonl has 1 rows and had 3"),
            ("pairs.jsonl", b"", "pairs.jsonl has 0 rows and had 3"),
            ("pairs.jsonl", b'{"a": 1}\n{"a": 2}\n{"a": 4}', "pairs.jsonl changed"),
            ("adapter/weights", b"0123456798", "adapter/weights changed"),
            ("adapter/weights", b"01234", "adapter/weights has 5 bytes and had 10"),
            ("adapter/weights", None, "adapter/weights is missing"),
        ],
    )
    def test_a_changed_one_is_named_with_its_stage_and_the_way_out(
        self, tmp_path: Path, name: str, content: bytes | None, told: str
    ) -> None:
        run = self.finished(tmp_path)
        check_outputs(run.path)
        (run.path / name).unlink()
        if content is not None:
            (run.path / name).write_bytes(content)
        with pytest.raises(RunFolderError) as caught:
            check_outputs(run.path)
        assert f"{run.path}: changed since stage pairs was finished: {told}; " in str(caught.value)
        assert "`rewardlab pair-gen --fresh`, or remove the folder" in str(caught.value)
        others = [other for other in ("adapter/weights", "pairs.jsonl") if other != name]
        check_outputs(run.path, others)

    def test_a_folder_in_the_place_of_a_file_is_named(self, tmp_path: Path) -> None:
        run = self.finished(tmp_path)
        (run.path / "pairs.jsonl").unlink()
        (run.path / "pairs.jsonl").mkdir()
        with pytest.raises(RunFolderError, match=r"pairs\.jsonl is no file any more"):
            check_outputs(run.path)

    def test_records_for_people_may_be_removed_and_others_may_be_added(self, tmp_path: Path) -> None:
        run = self.finished(tmp_path)
        (run.path / "metrics.jsonl").unlink()
        for name in ("reviews.jsonl", "report/card.md", "tensorboard/events", "notes.txt"):
            (run.path / name).parent.mkdir(exist_ok=True)
            (run.path / name).write_text("later")
        check_outputs(run.path)

    @pytest.mark.parametrize("name", ["tensorboard/events", "wandb/offline-run-1/logs/debug.log", RUN_ID])
    def test_files_of_trackers_are_theirs(self, tmp_path: Path, name: str) -> None:
        """They are there before the stage has finished; who sent them to a server may remove them."""
        path = self.finished(tmp_path).path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("sent")
        run = self.finished(tmp_path)
        path.unlink()
        check_outputs(run.path)

    def test_what_was_replaced_on_purpose_is_whole(self, tmp_path: Path) -> None:
        run = self.finished(tmp_path)
        write_jsonl(run.path / "pairs.jsonl", [{"a": 9}])
        renew_output(run.path, "pairs.jsonl")
        check_outputs(run.path)
        assert run.result() == {"pairs": 3}
        stored = read_json(run.result_path)["outputs"]
        assert stored["pairs.jsonl"]["rows"] == 1
        assert list(stored) == ["adapter/weights", "metrics.jsonl", "pairs.jsonl"]

    def test_a_result_of_an_older_version_says_nothing_of_its_files(self, tmp_path: Path) -> None:
        run = self.finished(tmp_path)
        write_json(run.result_path, {"pairs": 3})
        (run.path / "pairs.jsonl").write_text("")
        check_outputs(run.path)

    @pytest.mark.parametrize(
        "text",
        [
            *("", "[]", "3", '{"a"', '{"outputs": 3}', '{"outputs": {"pairs.jsonl": 3}}'),
            '{"outputs": {"pairs.jsonl": 3, "metrics.jsonl": {}}}',
        ],
    )
    def test_a_damaged_result_is_named_with_the_way_out(self, tmp_path: Path, text: str) -> None:
        run = self.finished(tmp_path)
        run.result_path.write_text(text)
        with pytest.raises(
            RunFolderError, match=r"run/result\.json: .*`rewardlab pair-gen --fresh`, or remove the folder"
        ):
            check_outputs(run.path)

    def test_a_file_is_read_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run = self.finished(tmp_path)
        monkeypatch.setattr(outputs.hashlib, "sha256", lambda: pytest.fail("was read before"))
        check_outputs(run.path)


@pytest.mark.parametrize(
    ("stage", "command"),
    [
        ("annotate", "annotate"),
        ("sft", "sft"),
        ("pairs", "pair-gen"),
        ("rm", "rm train"),
        ("ppo", "ppo"),
        ("eval", "eval"),
        ("judge", "judge"),
    ],
)
def test_a_stage_is_made_anew_by_its_command(tmp_path: Path, stage: str, command: str) -> None:
    folder(tmp_path, stage).open()
    assert make_anew(tmp_path / "run").startswith(f"make it anew with `rewardlab {command} --fresh`, or remove")


@pytest.mark.parametrize("stage", ["samples", "card", "scored", "validate"])
def test_a_stage_that_others_make_is_made_anew_by_them(tmp_path: Path, stage: str) -> None:
    folder(tmp_path, stage).open()
    for path in (tmp_path / "run", tmp_path / "absent"):
        assert make_anew(path).startswith("make it anew with --fresh, or remove")


@pytest.mark.parametrize(
    ("left", "right", "keys"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c"]),
        ({"a": 1}, {"b": 1}, ["a", "b"]),
        ({"a": {"b": 1}}, {"a": None}, ["a"]),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a"]),
    ],
)
def test_differing_keys(left: Any, right: Any, keys: list[str]) -> None:
    assert sorted(differing_keys(left, right)) == keys


class TestTidy:
    """A process that is killed cannot clean up; the next one that comes to the folder does."""

    def test_parts_of_files_are_removed_once_their_process_is_gone(self, tmp_path: Path) -> None:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        folder = RunFolder(tmp_path / "run", "sft", {"seed": 1})
        folder.open()
        dead, alive = (folder.path / f"result.json.part-{number}" for number in (gone.pid, os.getpid()))
        other, huge = folder.path / "metrics.part-one.jsonl", folder.path / f"result.json.part-{10**30}"
        for path in (dead, alive, other, huge):
            path.write_text("{")
        folder.open()
        assert [path.exists() for path in (dead, alive, other, huge)] == [False, True, True, True]

    def test_a_part_may_go_while_it_is_looked_at(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = RunFolder(tmp_path / "run", "sft", {"seed": 1})
        folder.open()
        part = folder.path / "result.json.part-1"
        part.write_text("{")
        monkeypatch.setattr(runs, "_is_running", lambda process: bool(part.unlink()))
        folder.tidy()

    def test_checkpoints_are_removed_when_the_stage_is_done_and_not_before(self, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path / "run", "sft", {"seed": 1})
        folder.open()
        checkpoint = folder.path / "checkpoints" / "checkpoint-9"
        checkpoint.mkdir(parents=True)
        folder.tidy()
        assert checkpoint.is_dir()
        folder.finish({})
        checkpoint.mkdir(parents=True)
        folder.tidy()
        assert not checkpoint.exists()
        assert folder.is_done
