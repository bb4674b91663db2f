"""The whole chain on the embedded model, as typed: what it leaves behind, that it adds up, repeats and goes on.

Nothing is compared with recorded numbers: sampled tokens differ between processors. Two runs on one machine are
compared with each other instead, number by number, and every derived number with what it is derived from.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rewardlab.cli import main as cli
from rewardlab.disk import read_json, read_jsonl
from rewardlab.lab.rescored_log import RescoreRequest
from rewardlab.lab.rescored_log import run as rescored
from rewardlab.lab.response_logs import Log
from rewardlab.training.learner import Learner
from rewardlab.training.methods import methods

pytestmark = pytest.mark.slow

LAM = 5.0
STEPS, BATCH, TEST_ROWS = 4, 8, 16
SIZES = {
    "data.labelled": 32,
    "data.prompts": 32,
    "data.validation": 16,
    "data.test": TEST_ROWS,
    "pairs.held_out": 8,
    "pairs.samples": 2,
    "sft.epochs": 1,
    "sft.batch": 16,
    "rm.epochs": 1,
    "rm.batch": 16,
    "rm.sft_samples": 16,
    "ppo.steps": STEPS,
    "ppo.batch": BATCH,
    "ppo.micro_batch": 4,
    "ppo.minibatches": 1,
    "ppo.ppo_epochs": 1,
    "ppo.checkpoint_every": 2,
    "model.max_new_tokens": 24,
}
COMMAND = ["ppo", "--reward", "mixed", "--lambda", str(int(LAM)), *(f"--set={key}={n}" for key, n in SIZES.items())]
STAGES = {"annotate": 1, "sft": 1, "samples": 2, "pairs": 2, "rm": 2, "ppo": 1}
LEFT_BEHIND = {
    "annotate": {"rationales.jsonl", "manifest.json"},
    "sft": {"adapter", "metrics.jsonl"},
    "samples": {"sampled.jsonl"},
    "pairs": {"pairs.jsonl", "held_out.jsonl", "manifest.json"},
    "rm": {"adapter", "metrics.jsonl", "sft_scores.json"},
    "ppo": {"adapter", "metrics.jsonl", "samples.jsonl"},
    "eval": {"predictions.jsonl", "answers.json"},
}


@dataclass
class Lab:
    """A folder in which commands are typed."""

    folder: Path
    said: list[str]

    def type(self, *arguments: str) -> int:
        """Run one command line; what it says stands in ``said``."""
        self.said.clear()
        return cli.run(list(arguments))

    def only(self, kind: str) -> Path:
        """The one run of that stage."""
        (path,) = (path for path in (self.folder / "runs" / kind).iterdir() if ".before-" not in path.name)
        return path


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The chain, run once in an empty folder without network."""
    folder, said = tmp_path_factory.mktemp("lab"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("REWARDLAB_DATA", raising=False)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("REWARDLAB_CACHE", str(folder / "cache"))
        patch.setattr("rewardlab.lab.execution.say", said.append)
        made = Lab(folder, said)
        assert made.type(*COMMAND) == 0
        yield made


@pytest.fixture(scope="module")
def evaluated(lab: Lab) -> Path:
    """The evaluation of the chain's policy."""
    assert lab.type("eval", "--run", str(lab.only("ppo").relative_to(lab.folder))) == 0
    return lab.only("eval")


def content(folder: Path) -> dict[str, str]:
    """Relative path -> hash of every file of a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def measured(folder: Path) -> list[dict[str, Any]]:
    """The metrics of a run without its times."""
    rows = read_jsonl(folder / "metrics.jsonl")
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def samples(folder: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(folder / "samples.jsonl"))


class TestWhatIsLeftBehind:
    def test_every_stage_ran_once_and_left_its_files(self, lab: Lab) -> None:
        for kind, count in STAGES.items():
            folders = list((lab.folder / "runs" / kind).iterdir())
            assert len(folders) == count, kind
            for folder in folders:
                found = {path.name for path in folder.iterdir()}
                assert LEFT_BEHIND[kind] | {"config.json", "provenance.json", "result.json"} <= found
                assert "checkpoints" not in found

    def test_the_resolved_configuration_is_stored_with_the_policy(self, lab: Lab) -> None:
        stored = read_json(lab.only("ppo") / "config.json")["config"]
        assert (stored["reward"]["expression"], stored["reward"]["lam"]) == ("mixed", "5")
        assert (stored["ppo"]["steps"], stored["sft"]["epochs"]) == (STEPS, 1.0)

    def test_nothing_lies_outside_runs_and_cache(self, lab: Lab) -> None:
        assert {path.name for path in lab.folder.iterdir()} <= {"runs", "cache"}

    def test_every_policy_and_reward_model_stands_on_the_same_weights(self, lab: Lab) -> None:
        (ppo,) = {read_json(lab.only("ppo") / "result.json")["trunk_sha256"]}
        models = {read_json(path / "result.json")["trunk"] for path in (lab.folder / "runs/rm").iterdir()}
        assert models == {ppo}


class TestLedger:
    def test_every_prompt_of_every_step_is_there_once(self, lab: Lab) -> None:
        rows = samples(lab.only("ppo"))
        assert [row["step"] for row in rows] == [step for step in range(1, STEPS + 1) for _ in range(BATCH)]
        assert len({row["id"] for row in rows}) == STEPS * BATCH  # one pass over the 32 prompts

    def test_each_score_is_eq_4_of_its_parts(self, lab: Lab) -> None:
        for row in samples(lab.only("ppo")):
            label, ranked = row["parts"]["label"], row["parts"]["ranked"]
            assert row["score"] == pytest.approx(min(label, LAM) + ranked, abs=1e-6)
            assert sum(row["terms"].values()) == pytest.approx(row["score"], abs=1e-9)

    def test_its_own_expression_gives_it_its_own_scores_bit_by_bit(self, lab: Lab) -> None:
        found = rescored(RescoreRequest(Log(lab.only("ppo"))))
        assert (found.new, found.rescored.lam, found.rescored.computed) == ("mixed", LAM, ())
        stored = samples(lab.only("ppo"))
        assert [score.score for score in found.rescored.scores] == [row["score"] for row in stored]
        assert [dict(score.terms) for score in found.rescored.scores] == [row["terms"] for row in stored]

    def test_a_quantile_is_that_of_the_reward_model_beside_it(self, lab: Lab) -> None:
        found = rescored(RescoreRequest(Log(lab.only("ppo")), lam="q100"))
        (label,) = [
            path for path in (lab.folder / "runs/rm").iterdir() if read_json(path / "result.json")["kind"] == "label"
        ]
        assert found.rescored.lam == max(read_json(label / "sft_scores.json")["scores"])

    def test_each_total_is_score_and_kl_and_penalty(self, lab: Lab) -> None:
        for row in samples(lab.only("ppo")):
            assert row["total"] == pytest.approx(sum(row["shaped"].values()), abs=1e-5)

    def test_the_log_is_the_mean_of_the_ledger(self, lab: Lab) -> None:
        rows = samples(lab.only("ppo"))
        for line in measured(lab.only("ppo")):
            of_step = [row for row in rows if row["step"] == line["step"]]
            for key, name in (
                ("reward/score", "score"),
                ("reward/total", "total"),
                ("reward/gold_accuracy", "correct"),
            ):
                assert line[key] == pytest.approx(sum(row[name] for row in of_step) / BATCH, abs=1e-9)
            label = sum(row["parts"]["label"] for row in of_step) / BATCH
            assert line["reward/part/label"] == pytest.approx(label, abs=1e-9)

    def test_the_first_step_starts_at_the_reference(self, lab: Lab) -> None:
        first = measured(lab.only("ppo"))[0]
        assert first["policy/kl"] == 0.0
        assert first["policy/ratio_max"] == pytest.approx(1.0, abs=1e-6)


class TestCache:
    def test_the_second_call_runs_nothing_and_touches_nothing(self, lab: Lab) -> None:
        before = {path: path.stat().st_mtime_ns for path in (lab.folder / "runs").rglob("*") if path.is_file()}
        assert lab.type(*COMMAND) == 0
        assert len(lab.said) == sum(STAGES.values())
        assert all(": done before, " in line for line in lab.said)
        assert before == {path: path.stat().st_mtime_ns for path in (lab.folder / "runs").rglob("*") if path.is_file()}

    def test_another_lambda_runs_ppo_alone(self, lab: Lab) -> None:
        assert lab.type(*COMMAND, "--set=reward.lam=q50", "--set=ppo.steps=1", "--out", "q50") == 0
        stages = [line for line in lab.said if line.startswith("[")]  # the others say what its reward models can judge
        assert [": done before, " in line for line in stages] == [*[True] * (sum(STAGES.values()) - 1), False, False]
        lam = read_json(lab.folder / "q50" / "result.json")["lambda"]
        label = next(path for path in (lab.folder / "runs/rm").iterdir() if "-label-" in path.name)
        scores = sorted(read_json(label / "sft_scores.json")["scores"])
        assert scores[len(scores) // 2 - 1] <= lam <= scores[len(scores) // 2]

    def test_a_fresh_start_in_another_place_gives_the_same_numbers(self, lab: Lab) -> None:
        """Every stage anew, not PPO alone."""
        assert lab.type(*COMMAND, "--runs", "again") == 0
        assert not any("done before" in line for line in lab.said)
        again = lab.folder / "again" / lab.only("ppo").relative_to(lab.folder / "runs")
        assert measured(again) == measured(lab.only("ppo"))
        assert samples(again) == samples(lab.only("ppo"))
        assert content(again / "adapter") == content(lab.only("ppo") / "adapter")

    def test_fresh_keeps_the_old_run(self, lab: Lab) -> None:
        old = content(lab.only("ppo"))
        assert lab.type(*COMMAND, "--fresh") == 0
        (aside,) = (path for path in (lab.folder / "runs/ppo").iterdir() if ".before-" in path.name)
        assert content(aside) == old
        assert content(lab.only("ppo") / "adapter") == content(aside / "adapter")


def test_an_interrupted_run_goes_on_to_the_same_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped inside step 4, after the checkpoint of step 2: step 3 is run a second time, and counted once."""
    real: Callable[..., Any] = Learner.update
    steps: list[int] = []

    def update(self: Learner, chunks: Any, targets: Any, step: int, kl_coef: float) -> Any:
        steps.append(step + 1)
        if steps == [1, 2, 3, 4]:
            raise KeyboardInterrupt
        return real(self, chunks, targets, step, kl_coef)

    monkeypatch.setattr(Learner, "update", update)
    assert lab.type(*COMMAND, "--out", "stopped") == 130
    stopped = lab.folder / "stopped"
    assert not (stopped / "result.json").exists()
    assert not (stopped / "adapter").exists()
    assert lab.type(*COMMAND, "--out", "stopped") == 0
    assert steps == [1, 2, 3, 4, 3, 4]
    assert measured(stopped) == measured(lab.only("ppo"))
    assert samples(stopped) == samples(lab.only("ppo"))
    assert content(stopped / "adapter") == content(lab.only("ppo") / "adapter")


class TestEvaluation:
    def test_only_the_evaluation_runs(self, lab: Lab, evaluated: Path) -> None:
        assert lab.type("eval", "--run", str(lab.only("ppo").relative_to(lab.folder))) == 0
        assert all(": done before, " in line for line in lab.said)
        assert {path.name for path in evaluated.iterdir()} >= LEFT_BEHIND["eval"]

    def test_every_test_row_is_answered_under_both_decodings(self, evaluated: Path) -> None:
        rows = list(read_jsonl(evaluated / "predictions.jsonl"))
        for decoding in ("sampled", "greedy"):
            ids = [row["id"] for row in rows if row["decoding"] == decoding]
            assert len(ids) == len(set(ids)) == TEST_ROWS

    def test_the_numbers_are_those_of_the_predictions(self, evaluated: Path) -> None:
        rows = list(read_jsonl(evaluated / "predictions.jsonl"))
        result = read_json(evaluated / "result.json")["columns"]["sandbox-sentiment"]
        for decoding, cell in result.items():
            right = [row["answer"] == row["gold"] for row in rows if row["decoding"] == decoding]
            accuracy = cell["metrics"]["accuracy"]
            assert accuracy["value"] == sum(right) / TEST_ROWS
            assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]

    def test_the_cost_is_that_of_the_stages_behind_it(self, lab: Lab, evaluated: Path) -> None:
        """32 labelled rows were read, by SFT and by pairs alike; the label RM and PPO read no others."""
        cost = read_json(evaluated / "result.json")["cost"]
        assert cost["gold_labels"] == SIZES["data.labelled"]
        assert cost["annotator_calls"] >= 2 * SIZES["data.labelled"]
        charged = [stage["seconds"] for stage in cost["stages"].values()]
        assert cost["seconds"] == pytest.approx(sum(charged), abs=0.051)  # it is rounded to 0.1
        for kind in ("sft", "ppo"):
            assert read_json(lab.only(kind) / "result.json")["stage_device_seconds"] in charged

    def test_ppo_with_no_steps_is_the_sft_row(self, lab: Lab) -> None:
        assert lab.type(*COMMAND, "--set=ppo.steps=0", "--out", "none") == 0
        for run in ("none", str(lab.only("sft").relative_to(lab.folder))):
            assert lab.type("eval", "--run", run, "--out", f"{Path(run).parts[0]}-eval") == 0
        left, right = (list(read_jsonl(lab.folder / f"{name}-eval/predictions.jsonl")) for name in ("none", "runs"))
        assert left == right

    def test_the_comparison_is_written_in_every_format(
        self, lab: Lab, evaluated: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert lab.type("compare", str(evaluated), "--out", "table") == 0
        names = {path.suffix for path in (lab.folder / "table").iterdir()}
        assert {".md", ".tex", ".csv", ".svg"} <= names
        assert "RLLR-mixed" in capsys.readouterr().out
        path = next((lab.folder / "table").glob("*.csv"))
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        result = read_json(evaluated / "result.json")["columns"]["sandbox-sentiment"]
        for decoding in ("sampled", "greedy"):
            (row,) = (row for row in rows if decoding in row.values())
            accuracy = result[decoding]["metrics"]["accuracy"]["value"]
            assert any(_is_close(cell, accuracy) for cell in row.values())

    def test_a_run_whose_inputs_changed_is_refused(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        raised = replace(methods.get("ppo"), version=methods.get("ppo").version + 1)
        monkeypatch.setitem(methods._entries, "ppo", raised)
        assert lab.type("eval", "--run", str(lab.only("ppo").relative_to(lab.folder))) == 2


def _is_close(text: str, number: float) -> bool:
    try:
        return abs(float(text) - number) < 1e-3
    except ValueError:
        return False
