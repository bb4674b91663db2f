"""``Lab`` beside the commands: the same folders, nothing run twice, the same numbers; and what it refuses."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars
import pytest

import rewardlab as rl
from rewardlab.cli import main as cli
from rewardlab.disk import write_jsonl
from rewardlab.online_config import GRPOConfig
from rewardlab.rewards import rewards
from rewardlab.training.methods import TrainingMethod, methods
from tests.support.commands import Command

SMALL = {
    **{f"data.{part}": 16 for part in ("labelled", "prompts", "validation", "test")},
    "ppo.batch": 8,
    "ppo.micro_batch": 8,
    "sft.epochs": 1,
    "sft.batch": 8,
    "model.max_new_tokens": 8,
}
TYPED = ("--task", "sandbox-topic", "--format", "label", *(f"--set={key}={value}" for key, value in SMALL.items()))
PLANNED = re.compile(r"^\d+\. \[(.+)\] .*\n   (.+)$", re.MULTILINE)
"""State and folder of a stage, as ``--dry-run`` prints them."""


def small(**options: Any) -> rl.Lab:
    return rl.Lab("runs", task="sandbox-topic", format="label", settings=SMALL, quiet=True, **options)


class TestPlan:
    @pytest.mark.parametrize(
        ("typed", "called"),
        [
            (("ppo", "--reward", "rule", "--steps", "2", "--lr", "0.001"), {"reward": "rule", "steps": 2, "lr": 1e-3}),
            (("grpo", "--samples", "4", "--batch", "16"), {"method": "grpo", "samples": 4, "batch": 16}),
            (
                ("ppo", "--reward", "mixed", "--lambda", "q90", "--r2", "rationale", "--init", "base"),
                {"reward": "mixed", "lam": "q90", "r2": "rationale", "init": "base"},
            ),
            (("ppo", "--seed", "3", "--set=ppo.clip_ratio=0.1"), {"seed": 3, "ppo.clip_ratio": 0.1}),
            (("rloo", "--keep", "1", "--set=data.source=local"), {"method": "rloo", "keep": 1, "source": "local"}),
            (("reinforce", "--preset", "rllr"), {"method": "reinforce", "preset": "rllr"}),
            (
                ("dpo", "--pairs", "ranked", "--loss", "ipo", "--beta", "0.2", "--limit", "8", "--keep", "1"),
                {"method": "dpo", "pairs": "ranked", "loss": "ipo", "beta": 0.2, "limit": 8, "keep": 1},
            ),
            (
                ("dpo", "--pairs", "sampled", "--reward", "label", "--init", "base"),
                {"reward": "label", "method": "dpo", "pairs": "sampled", "init": "base"},
            ),
            (
                ("raft", "--reward", "rule", "--rounds", "2", "--samples", "4", "--threshold", "0.5", "--keep", "1"),
                {
                    "reward": "rule",
                    "method": "raft",
                    "rounds": 2,
                    "samples": 4,
                    "threshold": 0.5,
                    "keep_checkpoints": 1,
                },
            ),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_has_the_folders_of_the_command(
        self, rewardlab: Command, typed: tuple[str, ...], called: dict[str, Any]
    ) -> None:
        plan = small().plan(**called)
        printed = PLANNED.findall(rewardlab(*typed, *TYPED, "--dry-run").out)
        assert printed
        assert plan.select("state", "folder").rows() == printed
        assert not Path("runs").exists()

    def test_every_method_is_planned(self, rewardlab: Command) -> None:
        plans = {method.name: small().plan(method=method.name) for method in rl.methods()}
        assert {"ppo", "grpo", "rloo", "reinforce", "dpo", "raft"} <= set(plans)
        assert {name: plan["stage"][-1] for name, plan in plans.items()} == {name: name for name in plans}

    def test_own_pairs_say_their_task_format_and_start(self, rewardlab: Command) -> None:
        rows = [{"prompt": f"{number}?", "chosen": "a long one", "rejected": "no"} for number in range(20)]
        write_jsonl(Path("liked.jsonl"), rows)
        run = rl.Lab("runs", quiet=True).import_pairs("liked.jsonl")
        planned = PLANNED.findall(rewardlab("dpo", "--pairs", str(run.folder), "--dry-run").out)
        lab = rl.Lab("runs", quiet=True)
        assert lab.plan(method="dpo", pairs=run).select("state", "folder").rows() == planned
        assert lab.plan(method="dpo", pairs=run.folder)["stage"].to_list() == ["pairs", "dpo"]  # of no task: no SFT

        with pytest.raises(rl.InputError, match="holds pairs of no task, and --task says otherwise"):
            lab.plan(method="dpo", pairs=run, task="mr")

    def test_a_start_that_is_asked_for_counts_with_own_pairs(self, rewardlab: Command) -> None:
        ends = ("ok\n\n The answer is: positive", "ok\n\n The answer is: negative")
        pairs = [rl.Pair("mr", f"{n}", "label", "rationale", f"film {n}", *ends, "positive", "negative", "positive",
                         "me", "m") for n in range(8)]  # fmt: skip
        write_jsonl(Path("own/pairs.jsonl"), [pair.to_json() for pair in pairs])
        typed = ("dpo", "--pairs", "own", "--source", "bundled", "--model", "smollm2-135m-q4", "--dry-run")

        def stages(*more: str) -> list[str]:
            return [folder.split("/")[1] for _, folder in PLANNED.findall(rewardlab(*typed, *more).out)]

        assert stages() == ["annotate", "sft", "pairs", "dpo"]
        assert stages("--init", "base") == ["pairs", "dpo"]

    def test_what_is_called_for_stands_above_the_lab(self, rewardlab: Command) -> None:
        given = rl.Lab(task="sandbox-topic", seed=1, settings={"ppo": {"steps": 5}}, quiet=True)
        same = rl.Lab(task="sandbox-topic", seed=2, settings={"ppo.steps": 7}, quiet=True)
        assert given.plan(seed=2, steps=7)["folder"].to_list() == same.plan()["folder"].to_list()
        assert given.plan()["folder"].to_list() != same.plan()["folder"].to_list()
        assert small().plan(limit=8)["folder"][-1] == small().plan(**{"data.prompts": 8})["folder"][-1]
        assert small().plan(limit=8)["folder"][-1] != small().plan()["folder"][-1]

    def test_reads_the_file_that_commands_read(self, rewardlab: Command) -> None:
        Path("rewardlab.toml").write_text("seed = 7\n")
        assert rl.Lab(task="sandbox-topic").config.seed == 7
        assert rl.Lab(task="sandbox-topic", seed=1).config.seed == 1
        Path("other.toml").write_text("seed = 8\n")
        assert rl.Lab(task="sandbox-topic", config="other.toml").config.seed == 8


def test_a_method_of_another_package_takes_its_own_settings(
    rewardlab: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "_entries", dict(methods._entries))
    code = "rewardlab.training.advantages:grpo_targets"
    methods.add("toy", TrainingMethod("toy", "Toy", "a copy of GRPO", "online", GRPOConfig, code))
    plans = [small().plan("rule", method="toy", **named) for named in ({"samples": 8}, {"methods.toy.samples": 8}, {})]
    folders = [str(plan["folder"][-1]) for plan in plans]
    assert folders[0] == folders[1] != folders[2]
    assert Path(folders[0]).parent == Path("runs/toy")


FUNCTION = '''
def terse(examples, responses):
    """1 for short answers."""
    return [float(len(response) < {limit}) for response in responses]
'''


class TestFunction:
    @pytest.fixture(autouse=True)
    def _registry(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(rewards, "_entries", dict(rewards._entries))
        monkeypatch.setattr(rewards, "_places", dict(rewards._places))
        yield
        sys.modules.pop("my_own_terse", None)

    def folder(self, limit: int, monkeypatch: pytest.MonkeyPatch) -> str:
        """Where training on the function goes, written with this limit and loaded anew."""
        Path("my_own_terse.py").write_text(FUNCTION.format(limit=limit))
        monkeypatch.syspath_prepend(str(Path.cwd()))
        sys.modules.pop("my_own_terse", None)
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two versions may be as old as each other, to the second
        return str(small().plan(importlib.import_module("my_own_terse").terse)["folder"][-1])

    def test_is_trained_on_anew_when_its_code_changes(
        self, rewardlab: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, again = self.folder(20, monkeypatch), self.folder(20, monkeypatch)
        other = self.folder(30, monkeypatch)
        assert first == again != other
        assert Path(first).name.startswith("sandbox-topic-terse-")

    def test_a_lambda_is_refused_by_name(self, rewardlab: Command) -> None:
        with pytest.raises(rl.ConfigError, match=r"'<lambda>' cannot be used in expressions; choose an identifier"):
            small().plan(lambda examples, responses: [1.0] * len(responses))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: rl.Lab(task="agnwes"), "unknown task 'agnwes'; did you mean agnews?"),
        (lambda: rl.Lab(settings={"ppo.stepz": 3}), "unknown setting ppo.stepz = 3; did you mean ppo.steps?"),
        (lambda: rl.Lab(seed="many"), "seed: input should be a valid integer"),
        (lambda: small().train("rule", method="pppo"), "unknown training method 'pppo'"),
        (lambda: small().train("rule", stepz=3), "unknown setting ppo.stepz = 3; did you mean ppo.steps?"),
        (lambda: small().train("rule +"), "reward"),
        (lambda: small().train(3), "reward 3: expected an expression"),
        (lambda: small().train("mixed"), "needs lambda"),
        (lambda: small().train("rule", "dpo"), "dpo learns from pairs, here label, and reads no reward"),
        (lambda: small().train(method="dpo", pairs="nowhere"), "pairs = nowhere: there is no such folder"),
        (lambda: small().evaluate(reward="rule"), "chooses among several answers; give --best-of N"),
        (lambda: small().evaluate(best_of=4), "needs a reward to choose by"),
        (lambda: small().evaluate("nowhere"), "nowhere: no finished run"),
        (lambda: small().reward_model(pairs="pairs.csv", limit=3), "with pairs= use max_pairs=N"),
        (lambda: small().compare(), "runs: left out, no such folder"),
        (lambda: small().judge("a", "b"), "a: left out, no such folder"),
        (lambda: small().export("nowhere", "model"), "nowhere: no finished run"),
        (lambda: rl.compare(), "no runs given"),
        (lambda: rl.compare("runs", decoding="beam"), "unknown decoding 'beam'"),
        (lambda: rl.compare("runs", convention="glue"), "unknown convention 'glue'"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(rewardlab: Command, call: Any, said: str) -> None:
    with pytest.raises(rl.RewardlabError) as caught:
        call()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert list(Path().iterdir()) == []


def test_imported_pairs_lie_where_the_command_puts_them(rewardlab: Command) -> None:
    rows = [{"prompt": f"{number}?", "chosen": "a long one", "rejected": "no"} for number in range(20)]
    write_jsonl(Path("liked.jsonl"), rows)
    run = rl.Lab("runs", quiet=True).import_pairs("liked.jsonl", held_out=0.2)
    assert len(run.rows("pairs.jsonl")) + len(run.rows("held_out.jsonl")) == 20
    done = rewardlab("pairs", "import", "liked.jsonl", "--held-out", "0.2")
    assert f"done before, {run.folder}\n" in done.err


def test_the_best_of_several_answers_lies_where_the_command_puts_it(rewardlab: Command) -> None:
    run = small().evaluate(best_of=2, reward="min(rule, lam)", lam=0.5)
    assert run.result["best_of"]["samples"] == 2
    done = rewardlab("eval", "--best-of", "2", "--reward", "min(rule, lam)", "--lambda", "0.5", *TYPED)
    assert f"done before, {run.folder}\n" in done.err


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rl.Lab]:
    """A lab in a folder of its own, which is the current one as long as the fixture lives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("lab"))
        patch.setenv("REWARDLAB_CACHE", "cache")
        patch.delenv("REWARDLAB_DATA", raising=False)
        yield small()


@pytest.fixture(scope="module")
def trained(lab: rl.Lab) -> rl.Run:
    """One short training."""
    return lab.train("rule - 0.1 * length", steps=2)


@pytest.fixture(scope="module")
def compared(lab: rl.Lab, trained: rl.Run) -> rl.Compared:
    """It beside SFT."""
    return lab.compare(trained, lab.sft(), against="SFT")


@pytest.mark.slow
class TestChain:
    """One short training, evaluated and compared with SFT, run once."""

    def test_the_command_finds_what_python_has_run(
        self, trained: rl.Run, capfd: pytest.CaptureFixture[str], lab: rl.Lab
    ) -> None:
        before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}
        assert cli.run(["ppo", "--reward", "rule - 0.1 * length", "--steps", "2", *TYPED]) == 0
        assert f"done before, {trained.folder}\n" in capfd.readouterr().err
        assert lab.train("rule - 0.1 * length", steps=2).folder == trained.folder
        assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")} == before
        assert capfd.readouterr().err == ""  # the lab is quiet

    def test_python_finds_what_a_command_has_run(self, lab: rl.Lab, trained: rl.Run) -> None:
        assert cli.run(["ppo", "--reward", "rule", "--steps", "1", *TYPED]) == 0
        before = set(Path("runs/ppo").iterdir())
        assert len(before) >= 2
        assert lab.train("rule", steps=1).folder in before
        assert set(Path("runs/ppo").iterdir()) == before

    def test_samples_are_those_of_the_command(self, lab: rl.Lab, capfd: pytest.CaptureFixture[str]) -> None:
        assert cli.run(["pairs", "stats", *TYPED]) == 0
        before = set(Path("runs/samples").iterdir())
        run = lab.samples()
        assert before == {run.folder} == set(Path("runs/samples").iterdir())
        assert set(run.result["sampled"]) == {"sandbox-topic"}
        assert lab.samples(samples=3).result["sampled"]["sandbox-topic"]["n"] == 16 * 3  # pairs of three, each row
        assert run.result["sampled"]["sandbox-topic"]["n"] == 16 * 10

    def test_a_run_says_what_it_was(self, trained: rl.Run) -> None:
        assert (trained.stage, trained.result["steps"], trained.config.ppo.steps) == ("ppo", 2, 2)
        assert trained.config.reward.expression == "rule - 0.1 * length"
        assert trained.adapter.parent == trained.folder
        assert (trained.adapter / "adapter_model.safetensors").is_file()
        assert rl.Run(str(trained.folder)).folder == trained.folder

    def test_metrics_have_a_row_a_step(self, trained: rl.Run) -> None:
        assert trained.metrics["step"].to_list() == [1, 2]
        assert {"reward/score", "reward/part/rule", "reward/part/length", "policy/kl"} <= set(trained.metrics.columns)
        assert trained.metrics["reward/score"].null_count() == 0

    def test_samples_add_up_to_what_was_trained_on(self, trained: rl.Run) -> None:
        samples = trained.samples
        documented = set(re.findall(r"``([\w/]+)``", str(rl.Run.samples.__doc__))) - {"part/NAME", "term/TEXT"}
        assert documented <= set(samples.columns)
        assert len(samples) == 2 * SMALL["ppo.batch"]
        shaped = samples["shaped/score"] + samples["shaped/kl"] + samples["shaped/penalty"]
        assert (shaped - samples["total"]).abs().max() < 1e-3
        by_parts = samples["part/rule"] - 0.1 * samples["part/length"]
        assert (by_parts - samples["score"]).abs().max() < 1e-6
        assert set(samples["part/rule"]) <= {-1.0, 0.0, 1.0}

    def test_what_a_run_does_not_have_is_one_line(self, lab: rl.Lab, trained: rl.Run) -> None:
        with pytest.raises(rl.RunFolderError, match=r"a run of stage sft has no samples.jsonl; methods that sample"):
            _ = lab.sft().samples
        with pytest.raises(
            rl.RunFolderError,
            match=r"has no pairs.jsonl; its files of rows: attempts.jsonl, metrics.jsonl, samples.jsonl",
        ):
            trained.rows("pairs.jsonl")
        with pytest.raises(rl.RunFolderError, match="a run of stage eval has trained no policy"):
            _ = lab.evaluate(trained).adapter

    def test_predictions_have_a_row_an_item_and_decoding(self, lab: rl.Lab, trained: rl.Run) -> None:
        predictions = lab.evaluate(trained).predictions
        assert set(predictions["id"]) == {row.id for row in lab.rows("test")}
        assert len(predictions) == 2 * SMALL["data.test"]

    def test_the_frame_is_the_table_of_the_command(
        self, compared: rl.Compared, lab: rl.Lab, trained: rl.Run, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.run(["compare", str(trained.folder), str(lab.sft().folder), "--out", "table"]) == 0
        told = capfd.readouterr().out
        columns = ["method", "column", "decoding", "metric", "value", "low", "high", "gold_labels"]
        written = polars.read_csv("table/table.csv").select(columns)
        assert compared.frame().select(columns).rows() == written.rows()
        assert set(written["method"]) == {"SFT", "PPO on rule - 0.1 * length"}
        assert Path("table/table.md").read_text() == compared.markdown()
        assert Path("table/table.tex").read_text() == compared.latex()
        assert {gain.baseline for gain in compared.gains} == {"SFT"}
        assert "table/table.csv" in told

    def test_what_was_compared_was_evaluated_before(self, compared: rl.Compared) -> None:
        assert len(list(Path("runs/eval").iterdir())) == len(compared.runs) == 2

    def test_a_run_can_be_what_others_are_compared_with(self, lab: rl.Lab, trained: rl.Run) -> None:
        found = lab.compare(lab.sft(), against=trained)
        assert {gain.baseline for gain in found.gains} == {"PPO on rule - 0.1 * length"}

    def test_the_judge_reads_each_item(self, lab: rl.Lab, trained: rl.Run) -> None:
        verdicts = lab.judge(trained, lab.sft())
        assert set(verdicts.frame()["id"]) == {row.id for row in lab.rows("test")}
        assert set(verdicts.frame()["winner"]) <= {"a", "tie", "b"}
        ties = (verdicts.frame()["winner"] == "tie").mean()
        assert str(verdicts).startswith("all: win ")
        assert f"tie {100 * ties:.0f} %" in str(verdicts)
        assert verdicts.names == ("PPO on rule - 0.1 * length", "SFT")
        assert (verdicts.folder / "verdicts.jsonl").is_file()

    def test_a_policy_is_exported(self, lab: rl.Lab, trained: rl.Run) -> None:
        exported = lab.export(trained, "model")
        assert exported.folder == Path("model")
        assert {"README.md", "adapter_config.json", "adapter_model.safetensors"} <= {
            path.name for path in Path("model").iterdir()
        }
