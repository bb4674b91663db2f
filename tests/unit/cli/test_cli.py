"""The command line: which configuration a trained run is evaluated under, exit codes, and one stage run for real."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardlab.cli import main as cli
from rewardlab.config_loading import load_config
from rewardlab.disk import read_json
from rewardlab.errors import RewardlabError
from rewardlab.pipeline import Pipeline
from tests.support.commands import SMALL, Command, Outcome
from tests.support.models import tiny_llama


@pytest.fixture
def trained(rewardlab: Command) -> str:
    """Folder of a PPO run that counts as finished."""
    pipeline = Pipeline(load_config({"init": "base", "data.test": 4, "data.prompts": 4}), Path("runs"))
    folder = pipeline.train().folder(Path("runs"))
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

            monkeypatch.setattr("rewardlab.pipeline.stages.annotate.annotate", broken)
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
        assert "the sandbox's oracle has the truth" in first.err
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
