"""``rewardlab dpo`` as typed: its plan, its chain of stages on the embedded model, what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rewardlab.cli import main as cli
from rewardlab.config_loading import load_config
from rewardlab.disk import read_json, read_jsonl
from rewardlab.errors import ConfigError
from rewardlab.pipeline import Pipeline
from tests.support.commands import Command, Outcome, written

SIZES = {
    "data.labelled": 24,
    "data.validation": 8,
    "data.test": 8,
    "pairs.held_out": 4,
    "pairs.samples": 4,
    "sft.epochs": 1,
    "sft.batch": 8,
    "dpo.steps": 2,
    "dpo.batch": 8,
    "model.max_new_tokens": 24,
}
SMALL = ("--tracker", "none", *(f"--set={key}={value}" for key, value in SIZES.items()))
BARE = ("--task", "sst2", "--format", "label", "--init", "base", "--source", "bundled", "--model", "smollm2-135m-q4")


def titles(planned: Outcome) -> list[str]:
    """What a plan will run."""
    assert planned.code == 0, planned.err
    lines = planned.out.split("\n\n")[0].splitlines()
    return [line.split("] ", 1)[1].split(" with sandbox")[0] for line in lines if "[to run]" in line]


RATIONALES = ["annotate sandbox-sentiment", "SFT w. rationale of sandbox-tiny on sandbox-sentiment"]


class TestPlan:
    def test_label_pairs_need_rationales_and_a_start(self, rewardlab: Command) -> None:
        planned = rewardlab("dpo", "--pairs", "label", "--dry-run", *SMALL)
        pairs = "label pairs of sandbox-sentiment"
        assert titles(planned) == [*RATIONALES, pairs, f"DPO on {pairs}"]
        assert written() == []

    def test_ranked_pairs_need_answers_of_the_start(self, rewardlab: Command) -> None:
        planned = titles(rewardlab("dpo", "--pairs", "ranked", "--loss", "ipo", "--dry-run", *SMALL))
        assert planned[-1] == "IPO on ranked pairs of sandbox-sentiment"
        assert [title.split(" to ")[-1] for title in planned[2:4]] == [
            "labelled rows of sandbox-sentiment",
            "validation rows of sandbox-sentiment",
        ]

    def test_sampled_pairs_need_what_the_reward_needs(self, rewardlab: Command) -> None:
        """The rule needs nothing beside the answers; a reward model is trained before they are scored."""
        start = "4 answers of sft-rationale to labelled rows of sandbox-sentiment"
        pairs = "pairs of sft-rationale's answers by {} (sandbox-sentiment)"
        by_rule = titles(rewardlab("dpo", "--pairs", "sampled", "--dry-run", *SMALL))
        assert by_rule == [*RATIONALES, start, pairs.format("rule"), f"DPO on {pairs.format('rule')}"]
        by_model = titles(rewardlab("dpo", "--pairs", "sampled", "--reward", "label", "--dry-run", *SMALL))
        assert by_model[-3:-1] == ["label reward model on sandbox-sentiment", pairs.format("label")]
        assert start in by_model

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (["--pairs", "nowhere"], "pairs = nowhere: there is no such folder; expected label, ranked, rationale, "),
            (["--loss", "dpo"], "dpo.loss: input should be 'sigmoid', 'ipo', 'robust' or 'hinge', found 'dpo'"),
            (["--loss", "robust", "--flip-rate", "0.5"], "dpo.flip_rate: input should be less than 0.5"),
            (["--flip-rate", "0.1"], "flip_rate = 0.1 is for loss = robust alone, and loss = sigmoid"),
            (["--beta", "0"], "dpo.beta"),
        ],
    )
    def test_bad_input_is_one_line(self, rewardlab: Command, arguments: list[str], problem: str) -> None:
        assert problem in rewardlab("dpo", *arguments, "--dry-run").problem

    def test_other_settings_are_another_run_and_other_places_are_not(self, rewardlab: Command) -> None:
        def folder(*arguments: str) -> str:
            planned = rewardlab("dpo", "--dry-run", *SMALL, *arguments)
            return planned.out.split("\n\n")[0].splitlines()[-1].strip()

        usual = folder()
        assert folder("--set=dpo.checkpoint_every=1") == usual
        for change in ("--beta=0.2", "--lr=1e-4", "--loss=hinge", "--epochs=2", "--seed=1", "--pairs=ranked"):
            assert folder(change) != usual


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which robust DPO on label pairs was typed."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("REWARDLAB_DATA", raising=False)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("REWARDLAB_CACHE", str(folder / "cache"))
        assert cli.run(["dpo", "--pairs", "label", "--loss", "robust", *SMALL]) == 0
        yield folder


def only(lab: Path, kind: str, part: str = "") -> Path:
    """The one run of a stage whose folder's name holds ``part``."""
    (path,) = (path for path in (lab / "runs" / kind).iterdir() if part in path.name)
    return path


def label_pairs(lab: Path) -> Path:
    """The label pairs that were made there; a copy that was taken over has a longer name."""
    return min((lab / "runs" / "pairs").glob("sandbox-sentiment-label-*"), key=lambda path: len(path.name))


@pytest.mark.slow
class TestChain:
    def test_it_leaves_a_policy_and_says_what_it_took_into_account(self, lab: Path) -> None:
        run = only(lab, "dpo", "robust")
        result = read_json(run / "result.json")
        assert (run / "adapter" / "adapter_model.safetensors").is_file()
        assert (run / "adapter-best" / "adapter_model.safetensors").is_file()
        assert result["steps"] == 2
        assert result["trained_on"] == "label"
        pairs = list(read_jsonl(label_pairs(lab) / "pairs.jsonl"))
        assert result["flip_rate"] == {"rate": 0.0, "count": len(pairs), "source": "the sandbox's truth"}
        assert [row["step"] for row in read_jsonl(run / "validation.jsonl")] == [0, 1, 2]
        assert len(list(read_jsonl(run / "metrics.jsonl"))) == 2

    def test_it_is_evaluated_under_its_name(self, lab: Path) -> None:
        assert cli.run(["eval", "--run", str(only(lab, "dpo", "robust"))]) == 0
        row = read_json(only(lab, "eval", "robust") / "result.json")
        assert row["method"] == "robust DPO on label pairs"
        assert row["reward"] is None
        assert row["start"] == "sft-rationale"
        assert row["budget"]["updates"] == 2
        assert row["cost"]["gold_labels"] == 24

    def test_it_is_exported_under_its_name(self, lab: Path) -> None:
        assert cli.run(["export", str(only(lab, "dpo", "robust")), "--to", "exported"]) == 0
        assert "robust DPO on label pairs" in (lab / "exported" / "README.md").read_text(encoding="utf-8")

    def test_it_is_cached(self, lab: Path) -> None:
        before = (only(lab, "dpo", "robust") / "result.json").stat().st_mtime_ns
        assert cli.run(["dpo", "--pairs", "label", "--loss", "robust", *SMALL]) == 0
        assert (only(lab, "dpo", "robust") / "result.json").stat().st_mtime_ns == before

    def test_it_learns_from_its_own_answers(self, lab: Path) -> None:
        """By the rule a right answer is preferred to a wrong or unreadable one, or a wrong to an unreadable one."""
        assert cli.run(["dpo", "--pairs", "sampled", *SMALL]) == 0
        folder = only(lab, "pairs", "sampled")
        pairs = list(read_jsonl(folder / "pairs.jsonl"))
        assert pairs
        drawn = {row["id"]: row["responses"] for row in read_jsonl(only(lab, "samples", "labelled") / "sampled.jsonl")}

        def worth(pair: dict[str, Any], label: str | None) -> int:
            return -1 if label is None else int(label == pair["gold_label"])

        for pair in pairs:
            assert {pair["chosen"], pair["rejected"]} <= set(drawn[pair["id"]])
            assert worth(pair, pair["chosen_label"]) > worth(pair, pair["rejected_label"])
        result = read_json(folder / "result.json")
        assert result["gold"] == {"labelled/sandbox-sentiment": 24}
        assert sum(result["outcomes"].values()) == 24
        assert read_json(only(lab, "dpo", "sampled") / "result.json")["steps"] == 2

    def test_it_takes_a_folder_of_pairs(self, lab: Path) -> None:
        folder = label_pairs(lab)
        assert cli.run(["dpo", "--pairs", str(folder), "--format", "rationale", *SMALL]) == 0
        run = only(lab, "dpo", folder.name)
        assert read_json(run / "config.json")["config"]["dpo"]["pairs"] == str(folder)
        count = len(list(read_jsonl(folder / "pairs.jsonl")))
        assert len(list(read_jsonl(only(lab, "pairs", folder.name + "-label") / "pairs.jsonl"))) == count

    def test_pairs_of_another_format_or_task_are_refused(self, lab: Path) -> None:
        """On the command line the format is that of the pairs; a suite's settings may say otherwise."""
        folder = label_pairs(lab)
        with pytest.raises(ConfigError, match=r"its responses have the format rationale; give --format rationale"):
            Pipeline(load_config({"dpo.pairs": str(folder), "format": "label"}), lab / "runs").train("dpo")
        with pytest.raises(ConfigError, match=r"holds pairs of sandbox-sentiment; give --task sandbox-sentiment"):
            Pipeline(load_config({"dpo.pairs": str(folder), "task": "sandbox-topic"}), lab / "runs").train("dpo")
