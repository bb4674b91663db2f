"""A damaged file of a finished stage is one line that names the folder and says what to do, whatever reads it.

The stages are made without training: what is damaged must be found before a model is loaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardlab.cli.main import run
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.disk import read_json, write_json
from rewardlab.errors import RunFolderError
from rewardlab.judge.contests import read_contests
from rewardlab.outputs import describe_outputs
from rewardlab.pipeline import Pipeline, Runner, Stage
from rewardlab.types import Example
from tests.support.runs import both, eval_folder

ROOT = Path("runs")
SMALL = {f"data.{part}": 8 for part in ("labelled", "prompts", "validation", "test")}
OPTIONS = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
MIXED = ["ppo", "--reward", "mixed", "--lambda", "5", "--tracker", "none", *OPTIONS]

DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "garbage": lambda whole: b"\xff\x00\xfe not\n" * 3,
    "another type": lambda whole: b"[1, 2]\n",
    "another object": lambda whole: b"{}\n",
    "two bytes": lambda whole: whole[:-2] + bytes(byte ^ 1 for byte in whole[-2:]),
    "missing": lambda whole: None,
    "a folder": lambda whole: None,
}

OUTPUTS = {
    "annotate": ["rationales.jsonl", "manifest.json"],
    "sft": ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"],
    "samples": ["sampled.jsonl"],
    "pairs": ["pairs.jsonl", "held_out.jsonl"],
    "rm": ["adapter/adapter_model.safetensors", "adapter/head.safetensors", "sft_scores.json", "sft_samples.jsonl"],
    "ppo": ["adapter/adapter_model.safetensors", "adapter-best/adapter_model.safetensors"],
}
READERS: dict[str, tuple[list[str], str | None]] = {
    "annotate": (["sft", "--rationales", "--tracker", "none", *OPTIONS], "sft"),
    "sft": (["ppo", "--reward", "rule", "--tracker", "none", *OPTIONS], None),
    "samples": (["pair-gen", "--kind", "ranked", *OPTIONS], "pairs"),
    "pairs": (["rm", "train", "--kind", "label", "--tracker", "none", *OPTIONS], "rm"),
    "rm": (MIXED, "ppo"),
    "ppo": (["eval", "--run", "PPO"], None),
}
"""Stage -> a command that reads it, and whose folders have to go for that."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stages behind PPO on the mixed reward, all done, with texts in the place of weights."""
    place = tmp_path_factory.mktemp("world")
    for stage in mixed().train().chain():
        folder = stage.folder(place / ROOT)
        folder.open()
        for name in OUTPUTS[stage.kind]:
            (folder.path / name).parent.mkdir(exist_ok=True)
            (folder.path / name).write_text('{"a": 1}\n{"a": 2}\n')
        folder.finish({"stage_seconds": 1.0, "stage_device_seconds": 1.0})
    return place


def mixed() -> Pipeline:
    return Pipeline(load_config({**SMALL, "reward.expression": "mixed", "reward.lam": "5"}, NO_FILE), ROOT)


@pytest.fixture(autouse=True)
def _copy(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)
    shutil.copytree(world / ROOT, tmp_path / ROOT)
    monkeypatch.chdir(tmp_path)


def damage(path: Path, kind: str) -> None:
    whole = path.read_bytes()
    path.unlink()
    if (left := DAMAGE[kind](whole)) is not None:
        path.write_bytes(left)
    if kind == "a folder":
        path.mkdir()


def folder_of(kind: str) -> Path:
    """The stage's folder; of pairs and reward models that of label pairs."""
    return sorted((ROOT / kind).iterdir())[0]


def problem_of(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of a command that is refused; what is no bad input raises."""
    capsys.readouterr()
    code = run([str(folder_of("ppo")) if word == "PPO" else word for word in command])
    told = capsys.readouterr()
    lines = told.err.strip().splitlines()
    assert code == 2, (command, told)
    assert lines[-1].startswith("error: ")
    return lines[-1]


@pytest.mark.parametrize(
    ("stage", "name", "kind"),
    [(stage, names[0], kind) for stage, names in OUTPUTS.items() for kind in DAMAGE]
    + [(stage, name, "two bytes") for stage, names in OUTPUTS.items() for name in names[1:]],
)
def test_what_the_next_stage_would_read(stage: str, name: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder, (command, rerun) = folder_of(stage), READERS[stage]
    damage(folder / name, kind)
    if rerun:
        shutil.rmtree(ROOT / rerun)
    line = problem_of(command, capsys)
    assert f"{folder}: changed since stage {stage} was finished: {name} " in line
    assert "--fresh" in line


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind not in ("missing", "two bytes")])
@pytest.mark.parametrize("stage", OUTPUTS)
def test_the_result_of_a_stage(stage: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder, (command, rerun) = folder_of(stage), READERS[stage]
    damage(folder / "result.json", kind)
    if rerun:
        shutil.rmtree(ROOT / rerun)
    line = problem_of(command, capsys)
    assert folder.name in line or folder.name.rpartition("-")[2] in line
    assert "--fresh" in line or "again" in line


@pytest.mark.parametrize(("stage", "name"), [(stage, names[-1]) for stage, names in OUTPUTS.items()])
def test_the_goal_itself_when_it_is_done(stage: str, name: str) -> None:
    """The same command again does not say "done before" of a damaged folder."""
    damage(folder_of(stage) / name, "cut")
    goal = next(each for each in mixed().train().chain() if each.folder(ROOT).path == folder_of(stage))
    with pytest.raises(RunFolderError, match=f"stage {stage} was finished: {name} has"):
        Runner(ROOT, lambda line: None).execute(goal)


@pytest.mark.parametrize("kind", ["cut", "two bytes", "a folder"])
@pytest.mark.parametrize("command", [["rm", "report"], ["rm", "calibrate"], ["rm", "sweep", "--r2", "RM"]])
def test_commands_on_a_reward_model(command: list[str], kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = folder_of("rm")
    damage(model / "sft_scores.json", kind)
    words = [str(model) if word == "RM" else word for word in command]
    line = problem_of([*words[:2], str(model), *words[2:]], capsys)
    assert f"{model}: changed since stage rm was finished: sft_scores.json " in line


@pytest.mark.parametrize("kind", ["empty", "cut", "garbage", "another type", "missing", "a folder"])
@pytest.mark.parametrize("name", ["config.json", "result.json"])
def test_an_evaluation_is_left_out_with_the_way_out(name: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = eval_folder(Path("evals/one"), columns={"toy": both(3, 3, 4)})
    write_json(folder / "result.json", {**read_json(folder / "result.json"), "outputs": describe_outputs(folder)})
    damage(folder / name, kind)
    line = problem_of(["compare", str(folder)], capsys)
    assert f"{folder}: left out" in line
    assert "--fresh" in line or "again" in line


def test_answers_of_an_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    """One answer of a column is another, and all is well formed."""
    folder = eval_folder(Path("evals/one"), columns={"toy": both(3, 3, 4)})
    write_json(folder / "result.json", {**read_json(folder / "result.json"), "outputs": describe_outputs(folder)})
    text = (folder / "answers.json").read_text()
    (folder / "answers.json").write_text(text.replace('"answers": ["no"', '"answers": ["yes"', 1))
    line = problem_of(["compare", str(folder)], capsys)
    assert "changed since stage eval was finished: answers.json has " in line


def test_responses_that_a_judge_reads() -> None:
    """Answers are whole, and of the texts beside them two lines are gone."""
    folders = [eval_folder(Path("evals", name), columns={"toy": both(3, 3, 4)}) for name in ("one", "two")]
    rows = {str(number): Example(str(number), "toy", {}, label) for number, label in enumerate(("no", "yes") * 2)}
    examples = {"toy": {f"{int(id):04d}": row for id, row in rows.items()}}
    for folder in folders:
        write_json(folder / "result.json", {**read_json(folder / "result.json"), "outputs": describe_outputs(folder)})
    assert len(read_contests(*folders, examples, "greedy")) == 4
    lines = (folders[1] / "predictions.jsonl").read_text().splitlines(keepends=True)
    (folders[1] / "predictions.jsonl").write_text("".join(lines[:-2]))
    with pytest.raises(RunFolderError, match=r"two: changed since .*: predictions.jsonl has 6 rows and had 8"):
        read_contests(*folders, examples, "greedy")


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", [".lock", "attempts.jsonl", "made.jsonl"])
def test_an_unfinished_stage(name: str, kind: str, tmp_path: Path) -> None:
    """It goes on, or says in a line of ours what to remove."""

    def make(work: object) -> dict[str, object]:
        stage.folder(ROOT).append("made.jsonl", {"a": 1})
        return {}

    stage = Stage("sft", "a stage", "a-stage", {}, {}, make)
    folder = stage.folder(ROOT)
    folder.open()
    (folder.path / name).write_text('{"seconds": 5.0}\n')
    damage(folder.path / name, kind)
    told = ""
    try:
        Runner(ROOT, lambda line: None).execute(stage)
    except RunFolderError as error:
        told = str(error)
    assert folder.is_done or (name in told and "remove" in told)
