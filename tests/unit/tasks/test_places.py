"""A task file is found from everywhere: by commands that read a folder, from another folder, in a moved project."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import rewardlab as package
from rewardlab.config_loading import load_config
from rewardlab.disk import read_json, write_json
from rewardlab.errors import InputError
from rewardlab.pipeline import Pipeline
from rewardlab.tasks import resolve_tasks, separate_tasks, tasks
from rewardlab.tasks.places import load_tasks_of, located, named_files, spec_of
from tests.support.commands import Command
from tests.support.models import tiny_llama

TICKETS = Path(__file__).parents[2] / "data" / "tickets"
SMALL = [f"--set=data.{part}" for part in ("labelled=8", "prompts=8", "validation=2")]
FILE = "tickets/tickets.toml"


def forget() -> None:
    """What a new process begins with: no task of a file."""
    for name in [name for name in tasks.names() if (place := tasks.place(name)) and place.name == "task file"]:
        del tasks._entries[name]
        del tasks._places[name]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    tasks.names()
    yield
    forget()


@pytest.fixture
def project(rewardlab: Command) -> Path:
    """The current folder, with a task file below it, named by a relative path."""
    shutil.copytree(TICKETS, "tickets")
    return Path.cwd()


def make_pairs(rewardlab: Command) -> Path:
    done = rewardlab("pair-gen", "--task", FILE, "--annotator", "template", *SMALL)
    assert done.code == 0, done.err
    forget()
    [folder] = Path("runs/pairs").iterdir()
    return folder


class TestPairs:
    def test_stats_know_the_task(self, rewardlab: Command, project: Path) -> None:
        folder = make_pairs(rewardlab)
        done = rewardlab("pairs", "stats", str(folder))
        assert (done.code, done.err) == (0, "")
        assert "| tickets | label |" in done.out

    def test_the_label_only_scorer_sees_the_words_of_the_task(
        self, rewardlab: Command, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From another folder, where the relative path leads nowhere."""
        folder = make_pairs(rewardlab).resolve()
        monkeypatch.chdir("/")
        assert rewardlab("pairs", "stats", str(folder)).code == 0
        assert tasks.get("tickets").labels == ("bug", "question", "praise")

    def test_a_file_that_is_gone_is_one_line_that_names_both_places(
        self, rewardlab: Command, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = make_pairs(rewardlab).resolve()
        Path("tickets").rename("away")
        monkeypatch.chdir("away")
        told = rewardlab("pairs", "stats", str(folder)).problem
        assert told == (
            f"{folder}: its task file is not at {project}/away/{FILE} and not at {project}/{FILE}, where it lay beside "
            "the run; put it back, or move the file and the runs together"
        )
        resolve_tasks("tickets.toml")  # known by other means, it is not missed
        assert rewardlab("pairs", "stats", str(folder)).code == 0

    def test_training_on_a_folder_stores_the_file_and_not_the_name(self, rewardlab: Command, project: Path) -> None:
        folder = make_pairs(rewardlab)
        model = tiny_llama(Path("model"))
        told = rewardlab("rm", "train", "--pairs", str(folder), "--model", str(model), *SMALL, "--dry-run")
        assert told.code == 0, told.err
        assert f'"task": "{FILE}"' in told.out


class TestConfig:
    def test_a_run_belongs_to_the_file_of_its_own_copy(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Beside the run comes before the path as it was written."""
        run = Path("runs/sft/a")
        write_json(run / "config.json", {"config": {"task": FILE}, "places": {FILE: f"../../../{FILE}"}})
        shutil.copytree(project, project.parent / "copy")
        monkeypatch.chdir(project.parent / "copy")
        assert located({"task": FILE}, Path("runs/sft/a"))["task"] == FILE
        assert located({"task": f"mr,{FILE}"}, project / run)["task"] == f"mr,{project / FILE}"

    def test_runs_that_were_moved_alone_find_the_file_as_it_was_named(self, project: Path) -> None:
        run = Path("archive/deep/er/runs/sft/a")
        write_json(run / "config.json", {"places": {FILE: f"../../../{FILE}"}})
        assert located({"task": FILE, "start_task": f"{FILE},mr"}, run) == {"task": FILE, "start_task": f"{FILE},mr"}

    def test_folders_of_rows_and_of_a_model_move_too(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("rows", "model", "sandbox-tiny"):
            Path(name).mkdir()
        config = {"data": {"dir": "rows"}, "model": {"name": "./model"}, "annotate": {"model": "gpt-5"}, "task": "mr"}
        assert named_files(config) == ["rows", "./model"]
        assert named_files({"model": {"name": "sandbox-tiny"}}) == []
        places = {"rows": "../../../rows", "./model": "../../../model"}
        write_json(Path("runs/sft/a/config.json"), {"config": config, "places": places})
        Path("elsewhere").mkdir()
        monkeypatch.chdir("elsewhere")
        found = located(config, project / "runs/sft/a")
        assert found["data"] == {"dir": str(project / "rows")}
        assert found["model"] == {"name": str(project / "model")}
        assert found["annotate"] == {"model": "gpt-5"}

    def test_a_folder_that_no_stage_wrote_names_no_file(self, project: Path) -> None:
        load_tasks_of(Path(), ["nobody"])
        write_json(Path("config.json"), ["not", "ours"])
        load_tasks_of(Path(), ["nobody"])

    def test_what_a_known_task_is_called(self, project: Path) -> None:
        resolve_tasks(FILE)
        assert (spec_of("tickets"), spec_of("mr")) == (FILE, "mr")

    def test_fingerprints_do_not_depend_on_the_place(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = tiny_llama(Path("model"))
        assert model.is_dir()

        def made(task: str, model: str) -> list[str]:
            forget()
            config = load_config({"task": task, "format": "label", "model.name": model, "data.labelled": 8})
            goal = Pipeline(config, Path("runs")).train()
            return [stage.folder(Path("runs")).path.name for stage in goal.chain()]

        here = made(FILE, "model")
        assert made(f"./{FILE}", "./model") == made(str(project / FILE), str(project / "model")) == here
        shutil.copytree(project, project.parent / "copy")
        monkeypatch.chdir(project.parent / "copy" / "tickets")
        assert made("tickets.toml", "../model") == here


@pytest.fixture
def trained(rewardlab: Command, project: Path) -> Path:
    """An SFT run and PPO from it, on a model of the project's own."""
    tiny_llama(Path("model"))
    what = ["--task", FILE, "--format", "label", "--model", "./model", "--dtype", "float32", "--tracker", "none"]
    tiny = ["--set=lora.rank=2", "--set=sft.epochs=0.1", "--set=ppo.steps=1", "--set=ppo.batch=4", *SMALL]
    done = rewardlab("ppo", "--reward", "rule", *what, *tiny)
    assert done.code == 0, done.err
    forget()
    [run] = Path("runs/ppo").iterdir()
    return run


def test_eval_works_from_elsewhere_and_after_the_project_was_moved(
    rewardlab: Command, trained: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    plan = rewardlab("eval", "--run", str(project / trained), "--dry-run")
    assert plan.code == 0, plan.err
    assert plan.out.count("[done]") == 2  # SFT and PPO are found where they lie, and not made again below /
    assert f"[to run] evaluate PPO-rule on tickets\n   {project}/runs/eval/" in plan.out
    moved = project.parent / "moved"
    project.rename(moved)
    monkeypatch.chdir(moved.parent)
    forget()
    done = rewardlab("eval", "--run", f"moved/{trained}")
    assert done.code == 0, done.err
    assert {path.name for path in (moved / "runs").iterdir()} == {"sft", "ppo", "eval"}
    monkeypatch.chdir(moved)
    forget()
    again = rewardlab("eval", "--run", str(trained))
    assert again.err.count("done before") == 3, again.err
    [evaluated] = Path("runs/eval").iterdir()
    assert read_json(evaluated / "config.json")["places"] == {
        "moved/" + FILE: f"../../../{FILE}",
        "moved/model": "../../../model",
    }


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT 0.21
def test_reward_models_are_looked_at_from_elsewhere(
    rewardlab: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_llama(Path("model"))
    what = ["--task", FILE, "--format", "label", "--model", "./model", "--dtype", "float32", "--tracker", "none"]
    small = ["pairs.held_out=2", "pairs.samples=2", "rm.epochs=1", "rm.sft_samples=16", "lora.rank=2", "sft.epochs=0.1"]
    made = rewardlab("rm", "train", *what, *SMALL, *(f"--set={each}" for each in small))
    assert made.code == 0, made.err
    [model] = [path.resolve() for path in Path("runs/rm").iterdir()]
    monkeypatch.chdir("/")
    for command in (["report", str(model)], ["calibrate", str(model)], ["sweep", str(model), "--r2", str(model)]):
        forget()
        done = rewardlab("rm", *command)
        assert done.code == 0, (command, done.err)
        assert "tickets" in tasks


def test_a_reward_for_trl_takes_a_task_file(project: Path) -> None:
    function = package.as_trl_reward("rule", FILE, format="label")
    assert function(prompts=["?"] * 2, completions=["bug", "praise"], label=["bug", "bug"]) == [1.0, 0.0]
    with pytest.raises(InputError, match=r"task file tickets/none\.toml: no such file"):
        package.as_trl_reward("rule", "tickets/none.toml")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("tickets/none.toml", "task file tickets/none.toml: no such file"),
        ("tickets/none", "task tickets/none: no such file"),
        ("tikets.tml", "task tikets.tml: no such file"),
        ("~/none.toml", "none.toml: no such file"),
        ("tickets", "task tickets: is a folder; name its task file, such as tickets/tickets.toml"),
        ("tickets/train.jsonl", "task tickets/train.jsonl: expected a task file, which ends in .toml or .py"),
        ("tickts", "unknown task 'tickts'"),
    ],
)
def test_what_is_no_task_file(rewardlab: Command, project: Path, spec: str, told: str) -> None:
    for command in (["tasks", "show", spec], ["sft", "--task", spec, "--dry-run"]):
        assert told in rewardlab(*command).problem


def test_rows_of_a_task_that_nobody_declares_ask_for_its_file(rewardlab: Command, project: Path) -> None:
    folder = make_pairs(rewardlab)
    Path("mine").mkdir()
    for name in ("pairs.jsonl", "held_out.jsonl"):
        shutil.copy(folder / name, f"mine/{name}")
    assert "holds pairs of tickets; expected known tasks" in rewardlab("rm", "train", "--pairs", "mine").problem
    told = rewardlab("pairs", "stats", "mine").problem
    assert told == "mine: task tickets is not known here (`rewardlab tasks`); name its file with --task"
    assert rewardlab("pairs", "stats", "mine", "--task", FILE).code == 0


def test_a_path_with_a_comma_names_one_file(project: Path) -> None:
    (project / "bugs,wishes").mkdir()
    shutil.copy(project / FILE, project / "bugs,wishes/a,b.toml")
    named = "bugs,wishes/a,b.toml"
    assert separate_tasks(f"mr, {named},sst2") == ["mr", named, "sst2"]
    assert separate_tasks(f"{named},{FILE}") == [named, FILE]
    assert separate_tasks("bugs,wishes/gone.toml") == ["bugs", "wishes/gone.toml"]


@pytest.mark.parametrize(
    "arguments", [("tasks", "show", "{}"), ("eval", "--run", "./{}"), ("sft", "--task=mr,{}.toml")]
)
def test_a_name_that_no_file_can_have_is_one_line(rewardlab: Command, arguments: tuple[str, ...]) -> None:
    done = rewardlab(*(argument.format("a" * 400) for argument in arguments))
    assert done.code == 2
    assert "File name too long" in done.err
    assert len(done.err.splitlines()) == 1
    assert "Traceback" not in done.err
