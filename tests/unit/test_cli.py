"""The command line: bad input is one line and exit code 2 with nothing written; a dry run writes nothing either."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rewardlab.cli import main as cli
from rewardlab.config_loading import load_config
from rewardlab.errors import RewardlabError
from rewardlab.pipeline import Pipeline
from rewardlab.runs import read_json, write_json
from tests.support.models import tiny_llama

MIXED = ("ppo", "--reward", "mixed", "--lambda", "5")
SMALL = tuple(f"--set=data.{part}=8" for part in ("labelled", "prompts", "validation", "test"))


@dataclass
class Outcome:
    """What one command line left behind."""

    code: int
    out: str
    err: str

    @property
    def problem(self) -> str:
        """The one line that bad input gets."""
        assert self.code == 2, self.err
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("error: ")
        assert self.err.endswith("\n")
        return self.err.removeprefix("error: ").rstrip("\n")


Command = Callable[..., Outcome]


@pytest.fixture
def rewardlab(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Command:
    """Runs one command line in an empty folder, without network, keys or data."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in ("REWARDLAB_DATA", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for module in ("rewardlab.tasks.hub", "rewardlab.models.names"):
        monkeypatch.setattr(f"{module}.offline_reason", lambda: "no route to the hub")

    def run(*arguments: str) -> Outcome:
        code = cli.run(list(arguments))
        return Outcome(code, *capfd.readouterr())

    return run


def written() -> list[str]:
    """Everything below the current folder."""
    return sorted(str(path) for path in Path().rglob("*"))


@pytest.fixture
def trained(rewardlab: Command) -> str:
    """Folder of a PPO run that counts as finished."""
    pipeline = Pipeline(load_config({"init": "base", "data.test": 4, "data.prompts": 4}), Path("runs"))
    folder = pipeline.ppo().folder(Path("runs"))
    folder.open()
    folder.finish({})
    return str(folder.path)


class TestEvaluationOfARun:
    @pytest.mark.parametrize("option", [("--model", "smollm2-135m-q4"), ("--set", "model.name=smollm2-135m-q4")])
    def test_another_model_is_refused(self, rewardlab: Command, trained: str, option: tuple[str, str]) -> None:
        said = rewardlab("eval", "--run", trained, *option).problem
        assert said == (f"--model smollm2-135m-q4: the run {trained} was trained on sandbox-tiny; leave --model out")

    def test_another_configuration_is_refused(self, rewardlab: Command, trained: str) -> None:
        Path("mine.toml").write_text("seed = 3\n")
        said = rewardlab("eval", "--run", trained, "--config", "mine.toml").problem
        assert said == "--config mine.toml: --run brings its own configuration; change it with --set"

    def test_its_own_model_may_be_named(self, rewardlab: Command, trained: str) -> None:
        """And a rewardlab.toml of the folder, which holds defaults for training, is not read."""
        Path("rewardlab.toml").write_text("seed = 3\n[model]\nname = 'absent'\n")
        done = rewardlab("eval", "--run", trained, "--model", "sandbox-tiny", "--dry-run")
        assert done.code == 0, done.err
        assert f"[done] PPO on rule (sandbox-sentiment)\n   {trained}" in done.out
        assert '"seed": 0,' in done.out


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("ppo", "--task", "agnwes"), ["unknown task 'agnwes'", "did you mean agnews?"]),
            (("ppo", "--task", "mr,sandbox-sentimant"), ["'sandbox-sentimant'", "sandbox-sentiment"]),
            (("ppo", "--task", ","), ["names no task"]),
            (("ppo", "--task", "absent.toml"), ["absent.toml", "cannot be read"]),
            (("ppo", "--reward", "rule + lable"), ["column 8", "unknown reward 'lable'", "did you mean label"]),
            (("ppo", "--reward", "min(label, 5"), ["'min(label, 5'", "column 4", "never closed"]),
            (("ppo", "--reward", "rule +"), ["'rule +'", "column 7", "found the end"]),
            (("ppo", "--reward", "rule if rule"), ["column 6"]),
            (("ppo", "--reward", "mixed", "--lambda", "five"), ["--lambda 'five'", "(5)", "(q90)", "(1.5z)"]),
            (("ppo", "--reward", "mixed", "--lambda", "q101"), ["--lambda 'q101'", "q0 to q100"]),
            (("ppo", "--reward", "mixed", "--lambda", "nan"), ["--lambda 'nan'"]),
            (("ppo", "--reward", "mixed"), ["'mixed' needs lambda"]),
            (("ppo", "--lambda", "5"), ["--lambda 5", "'rule'", "neither mixed nor lam"]),
            (("ppo", "--reward", "mixed", "--lambda", "5", "--r2", "gold"), ["reward.r2", "'gold'"]),
            (("ppo", "--model", "./absent"), ["model './absent'", "no such folder"]),
            (("ppo", "--model", "sandbox-tinny"), ["'sandbox-tinny'", "no route to the hub", "sandbox-tiny"]),
            (("ppo", "--device", "gpu"), ["--device 'gpu'", "cuda:1"]),
            (("ppo", "--dtype", "float16"), ["model.dtype", "'float16'", "'bfloat16'"]),
            (("ppo", "--set", "ppo.clip=1", "--seed", "-1"), ["ppo.clip", "seed", "-1"]),
            (("ppo", "--set", "ppo.clip_ratio"), ["expected key=value"]),
            (("ppo", "--set", "ppo=3"), ["ppo", "found 3"]),
            (("ppo", "--config", "absent.toml"), ["absent.toml"]),
            (("ppo", "--init", "sft-rationale", "--format", "label"), ["--init sft-rationale", "--format rationale"]),
            (("sft", "--rationales", "--format", "label"), ["--rationales needs --format rationale"]),
            (("pair-gen", "--task", "agnews", "--annotator", "openai"), ["OPENAI_API_KEY is not set"]),
            (("pair-gen", "--task", "agnews", "--annotator", "sandbox"), ["--annotator sandbox", "agnews"]),
            (("annotate", "--annotator", "local"), ["--annotator local", "annotate.model"]),
            (("rm", "report", "absent"), ["absent: no finished reward model", "rewardlab rm train"]),
            (("annotate", "--batch", "now"), ["Invalid value for '--batch': 'now' is not one of 'submit', 'status'"]),
            (("pair-gen", "--annotator", "gpt"), ["annotate.annotator", "'gpt'"]),
            (("pair-gen", "--task", "agnews", "--source", "hub"), ["agnews", "no route to the hub", "--data DIR"]),
            (("pair-gen", "--task", "agnews", "--source", "local"), ["agnews", "--data DIR", "REWARDLAB_DATA"]),
            (("pair-gen", "--task", "agnews", "--data", "absent"), ["--data absent", "no such folder"]),
            (("eval", "--run", "absent"), ["absent: no finished run"]),
            (("compare",), ["no runs given"]),
            (("compare", "absent"), ["absent"]),
            (("suite", "run", "absent.toml"), ["absent.toml"]),
            (("tasks", "show", "agnwes"), ["did you mean agnews?"]),
            (("reward", "show", "lable"), ["did you mean label"]),
            (("nosuch",), ["No such command 'nosuch'. See rewardlab --help."]),
            (("ppo", "--stepz", "3"), ["No such option: --stepz"]),
            (("ppo", "--steps", "few"), ["'--steps'", "valid integer"]),
            (("ppo", "--format", "poem"), ["'--format'", "'poem'", "judgement"]),
            (("rm", "train", "--kind", "best"), ["'--kind'", "'best'", "ranked"]),
            (("ppo", "--task"), ["'--task' requires an argument"]),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_is_one_line_and_writes_nothing(
        self, rewardlab: Command, arguments: tuple[str, ...], said: list[str]
    ) -> None:
        found = rewardlab(*arguments).problem
        for text in said:
            assert text in found
        assert written() == []

    @pytest.mark.parametrize(
        "arguments",
        [
            ("ppo", "--task", "agnwes"),
            ("ppo", "--reward", "rule +"),
            ("ppo", "--lambda", "5"),
            ("ppo", "--model", "sandbox-tinny"),
            ("pair-gen", "--task", "agnews", "--annotator", "openai"),
            ("pair-gen", "--task", "agnews", "--source", "hub"),
        ],
    )
    def test_a_dry_run_says_the_same(self, rewardlab: Command, arguments: tuple[str, ...]) -> None:
        assert rewardlab(*arguments, "--dry-run").problem == rewardlab(*arguments).problem

    def test_several_wrong_settings_are_still_one_line(self, rewardlab: Command) -> None:
        found = rewardlab("ppo", "--set=ppo.lr=-1", "--set=rm.epochs=x", "--source", "moon").problem
        assert all(key in found for key in ("ppo.lr", "rm.epochs", "data.source"))

    def test_a_model_folder_that_is_none(self, rewardlab: Command) -> None:
        Path("mine").mkdir()
        assert "model folder mine: found no config.json" in rewardlab("ppo", "--model", "mine").problem
        Path("mine/config.json").write_text("{}")
        assert "found no weights" in rewardlab("ppo", "--model", "mine").problem
        assert written() == ["mine", "mine/config.json"]

    def test_a_model_that_breaks_on_reading_is_one_line_too(self, rewardlab: Command) -> None:
        tiny_llama(Path("mine"))
        Path("mine/model.safetensors").write_bytes(b"not weights")
        done = rewardlab("ppo", "--model", "mine", "--init", "base", *SMALL)
        assert done.code == 2
        assert "Traceback" not in done.err
        assert "mine" in done.err.splitlines()[-1]

    def test_a_row_without_its_field_is_named_by_file_and_line(self, rewardlab: Command) -> None:
        Path("data/agnews").mkdir(parents=True)
        rows = [{"id": str(number), "text": f"row {number}", "label": "Sports"} for number in range(12)]
        del rows[4]["text"]
        Path("data/agnews/train.jsonl").write_text("\n".join(map(json.dumps, rows)))
        before = written()
        found = rewardlab("pair-gen", "--task", "agnews", "--data", "data").problem
        assert "data/agnews/train.jsonl line 5: no field 'text'" in found
        assert written() == before

    def test_gold_labels_that_a_rule_would_need(self, rewardlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        from dataclasses import replace

        from rewardlab.pipeline import rows

        real = rows.load_splits

        def without_gold(*arguments: object, **options: object) -> object:
            splits = real(*arguments, **options)  # type: ignore[arg-type]
            return replace(splits, prompts=[replace(example, label=None) for example in splits.prompts])

        monkeypatch.setattr(rows, "load_splits", without_gold)
        assert "8 of the 8 PPO prompts" in rewardlab("ppo", "--reward", "rule", *SMALL).problem
        assert rewardlab("ppo", "--reward", "label", "--dry-run", *SMALL).code == 0

    @pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry"])
    def test_an_out_folder_that_holds_another_run(self, rewardlab: Command, dry: tuple[str, ...]) -> None:
        write_json(Path("mine/config.json"), {"stage": "ppo", "fingerprint": "0" * 12, "identity": {}})
        found = rewardlab(*MIXED, "--out", "mine", *dry).problem
        assert found.startswith("mine: holds another run (differs in ")
        assert written() == ["mine", "mine/config.json"]

    @pytest.mark.parametrize("fresh", [(), ("--fresh",)], ids=["plain", "fresh"])
    def test_an_out_folder_with_files_of_others(self, rewardlab: Command, fresh: tuple[str, ...]) -> None:
        Path("mine").mkdir()
        Path("mine/config.json").write_text('{"model_type": "llama"}')
        assert "mine: holds files that are no rewardlab run" in rewardlab(*MIXED, "--out", "mine", *fresh).problem
        assert written() == ["mine", "mine/config.json"]

    def test_out_given_a_file(self, rewardlab: Command) -> None:
        Path("mine").write_text("precious")
        assert "mine: holds files that are no rewardlab run" in rewardlab(*MIXED, "--out", "mine").problem
        assert Path("mine").read_text() == "precious"

    def test_runs_given_a_file(self, rewardlab: Command) -> None:
        Path("mine").write_text("precious")
        done = rewardlab("annotate", "--runs", "mine", *SMALL)
        assert done.code == 2
        assert "cannot be written (Not a directory); choose another --runs" in done.err.splitlines()[-1]

    @pytest.mark.parametrize("stored", ["{}", '{"config": 3}', '{"config": {"colour": "red"}}', "[]"])
    def test_a_run_folder_of_another_program(self, rewardlab: Command, stored: str) -> None:
        Path("mine").mkdir()
        Path("mine/config.json").write_text(stored)
        Path("mine/result.json").write_text("{}")
        assert rewardlab("eval", "--run", "mine").problem.startswith("mine: ")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('name = "x"\n', "method: field required"),
            ('name = "x"\n[[method]]\nstage = "dance"\n', "method.0.stage"),
            ('name = "x"\nseeds = []\n[[method]]\nstage = "base"\n', "seeds"),
            ('name = "x"\n[[method]]\nstage = "ppo"\nsettings = { "ppo.clip" = 1 }\n', "ppo.clip"),
            ('name = "x"\n[[method]]\nstage = "ppo"\nsettings = { "reward.lam" = 5 }\n', "neither mixed nor lam"),
            ("name = [\n", "not valid TOML"),
        ],
    )
    def test_a_broken_suite(self, rewardlab: Command, text: str, said: str) -> None:
        Path("suite.toml").write_text(text)
        assert said in rewardlab("suite", "run", "suite.toml").problem
        assert written() == ["suite.toml"]


class TestDryRun:
    def test_prints_plan_and_configuration_and_writes_nothing(self, rewardlab: Command) -> None:
        done = rewardlab(*MIXED, "--dry-run", "--seed", "3", *SMALL)
        assert (done.code, done.err) == (0, "")
        plan, _, configuration = done.out.partition("\nresolved configuration:\n")
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


class TestExitCodes:
    def test_version(self, rewardlab: Command) -> None:
        from rewardlab import __version__

        assert rewardlab("--version") == Outcome(0, f"rewardlab {__version__}\n", "")

    @pytest.mark.parametrize("arguments", [(), ("rm",), ("reward",), ("suite",)])
    def test_nothing_to_do_shows_the_help(self, rewardlab: Command, arguments: tuple[str, ...]) -> None:
        done = rewardlab(*arguments)
        assert done.code == 2
        assert done.err.startswith("Usage: rewardlab")

    def test_help_is_success(self, rewardlab: Command) -> None:
        done = rewardlab("ppo", "--help")
        assert (done.code, done.err) == (0, "")
        assert "--lambda" in done.out

    @pytest.fixture
    def failing(self, rewardlab: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], Outcome]:
        """Runs ``annotate`` while its stage raises."""

        def run(error: BaseException, *arguments: str) -> Outcome:
            def broken(*given: object) -> None:
                raise error

            monkeypatch.setattr("rewardlab.pipeline.work.supervised.annotate", broken)
            return rewardlab("annotate", *SMALL, *arguments)

        return run

    def test_interrupted(self, failing: Callable[..., Outcome]) -> None:
        done = failing(KeyboardInterrupt())
        assert done.code == 130
        assert done.err.splitlines()[-1] == "interrupted; the same command goes on where it stopped"
        assert "Traceback" not in done.err
        folder = next(Path("runs/annotate").iterdir())
        assert (folder / "config.json").exists()
        assert not (folder / "result.json").exists()

    def test_failed(self, failing: Callable[..., Outcome]) -> None:
        done = failing(RewardlabError("the oracle\nis silent"))
        assert (done.code, done.err.splitlines()[-1]) == (1, "error: the oracle is silent")

    def test_debug_shows_where(self, rewardlab: Command) -> None:
        with pytest.raises(RewardlabError, match="agnwes"):
            rewardlab("--debug", "ppo", "--task", "agnwes")

    def test_bugs_crash_loudly(self, failing: Callable[..., Outcome]) -> None:
        with pytest.raises(ZeroDivisionError):
            failing(ZeroDivisionError())

    def test_the_console_script_leaves_with_the_code(self, rewardlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["rewardlab", "tasks", "show", "agnwes"])
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        assert leaving.value.code == 2


class TestAnnotate:
    """The one stage that needs no torch, run for real."""

    def test_runs_once_and_says_where(self, rewardlab: Command) -> None:
        first = rewardlab("annotate", *SMALL)
        assert first.code == 0
        path = Path(first.out.strip().removeprefix("rationales: "))
        assert len(path.read_text().splitlines()) == 2 * (8 + 8)  # right and wrong; labelled and validation rows
        assert "the sandbox's oracle knows the truth" in first.err
        again = rewardlab("annotate", *SMALL)
        assert (again.code, again.out) == (0, first.out)
        assert "done before" in again.err

    def test_fresh_keeps_the_old_folder(self, rewardlab: Command) -> None:
        rewardlab("annotate", "--out", "mine", *SMALL)
        old = read_json(Path("mine/provenance.json"))
        assert rewardlab("annotate", "--out", "mine", "--fresh", *SMALL).code == 0
        aside = next(Path().glob("mine.before-*"))
        assert read_json(aside / "provenance.json") == old
        assert Path("mine/result.json").exists()

    def test_out_refuses_another_question(self, rewardlab: Command) -> None:
        rewardlab("annotate", "--out", "mine", *SMALL)
        found = rewardlab("annotate", "--out", "mine", *SMALL, "--limit", "3").problem
        assert "differs in settings.limit)" in found

    def test_the_bundled_sample_is_used_and_named_when_nothing_else_is_there(self, rewardlab: Command) -> None:
        done = rewardlab("pair-gen", "--task", "agnews", "--limit", "6")
        assert done.code == 0, done.err
        manifest = read_json(next(Path("runs/pairs").iterdir()) / "manifest.json")
        assert manifest["source"]["agnews"]["kind"] == "bundled"
        assert "no route to the hub" in manifest["source"]["agnews"]["note"]
        assert "with bundled" in done.err
        assert "OPENAI_API_KEY" in done.err


def test_a_model_folder_works_in_place_of_a_name(rewardlab: Command, tmp_path: Path) -> None:
    model = tiny_llama(tmp_path / "model")
    done = rewardlab("sft", "--model", str(model), "--dry-run", *SMALL)
    assert done.code == 0
    assert "model" in done.out.splitlines()[2]
