"""Reward models of somebody's own pairs: folders and files of preferences, held-out parts, tasks or none, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewardlab.cli import main as cli
from rewardlab.disk import read_json, write_jsonl
from rewardlab.errors import DataError
from rewardlab.pairs.files import read_folder, read_pairs
from rewardlab.pairs.foreign import Folder, adopt_pairs, look_into
from rewardlab.types import Pair
from tests.support.models import tiny_llama

END = "\n\n The answer is: "


def pair(number: int, task: str = "mr", **more: Any) -> Pair:
    texts = (f"it is good {number}{END}positive", f"it was bad {number}{END}negative")
    made = Pair(task, f"{number}", "label", "rationale", f"the film {number}", *texts, "positive", "negative",
                "positive", "me", "m")  # fmt: skip
    return replace(made, **more)


def folder_of(path: Path, train: list[Pair], held_out: list[Pair] | None = None) -> Path:
    write_jsonl(path / "pairs.jsonl", [each.to_json() for each in train])
    if held_out is not None:
        write_jsonl(path / "held_out.jsonl", [each.to_json() for each in held_out])
    return path


class TestFolders:
    def test_what_is_held_out_stays_held_out(self, tmp_path: Path) -> None:
        source = folder_of(tmp_path / "own", [pair(n) for n in range(8)], [pair(n) for n in (7, 8, 9)])
        found = look_into(source)
        assert found == Folder(source, "label", "rationale", ("mr",), 8, True)
        manifest = adopt_pairs(found, 0.5, 0, balance_length=False, into=tmp_path / "made")
        train, held_out = read_folder(tmp_path / "made")
        assert [each.id for each in train] == [str(n) for n in range(8)]
        assert [each.id for each in held_out] == ["8", "9"]  # the prompt of 7 is trained on
        assert manifest["held_out_outcomes"]["trained_prompt"] == 1

    @pytest.mark.parametrize("held_out", [None, []])
    def test_where_nothing_is_held_out_a_share_of_the_prompts_is(
        self, tmp_path: Path, held_out: list[Pair] | None
    ) -> None:
        twice = [replace(pair(n), chosen=f"{text} {n}{END}positive") for n in range(20) for text in ("fine", "nice")]
        source = folder_of(tmp_path / "own", twice, held_out)
        manifest = adopt_pairs(look_into(source), 0.1, 0, balance_length=False, into=tmp_path / "made")
        train, unseen = read_folder(tmp_path / "made")
        # 10 % of 20 prompts with two pairs each, which stay together
        assert (len(train), len(unseen), manifest["held_out_pairs"]) == (36, 4, 4)
        assert not {each.prompt for each in train} & {each.prompt for each in unseen}
        assert read_pairs(source / "pairs.jsonl") == twice

    def test_pairs_of_no_task(self, tmp_path: Path) -> None:
        nobody = [pair(n, "imported", chosen_label=None, rejected_label=None, gold_label=None) for n in range(3)]
        assert look_into(folder_of(tmp_path, nobody)).tasks == ()

    def test_nothing_left_to_train_on(self, tmp_path: Path) -> None:
        turned = replace(pair(0), chosen=pair(0).rejected, rejected=pair(0).chosen,
                         chosen_label="negative", rejected_label="positive")  # fmt: skip
        found = look_into(folder_of(tmp_path / "own", [pair(0), turned]))
        with pytest.raises(DataError, match=r"not one training pair is left .*2 contradicted"):
            adopt_pairs(found, 0.0, 0, balance_length=False, into=tmp_path / "made")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def train(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command, up to the pairs, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)
    small = ("rm.epochs=1", "rm.batch=8", "rm.sft_samples=16", "lora.rank=2", "model.max_new_tokens=64")
    return [
        "rm",
        "train",
        f"--model={model}",
        "--dtype=float32",
        "--source=bundled",
        *(f"--set={each}" for each in small),
        "--pairs",
    ]


def preferences(count: int) -> list[dict[str, str]]:
    return [{"prompt": f"is {n} good", "chosen": f"yes {n}", "rejected": f"no {n} is bad"} for n in range(count)]


def the_model(root: Path = Path("runs")) -> Path:
    (found,) = (root / "rm").iterdir()
    return found


class TestTraining:
    def test_a_file_of_preferences_from_the_base_model(
        self, train: list[str], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        write_jsonl(Path("theirs.jsonl"), preferences(20))
        assert cli.run([*train, "theirs.jsonl", "--held-out", "0.2", "--tracker", "none"]) == 0
        result = read_json(the_model() / "result.json")
        assert (result["kind"], result["sft_adapter"], result["pairs"]) == ("ranked", None, 16)
        assert result["accuracy"]["held_out_ranked"]["imported"]["n"] == 4
        assert result["accuracy"]["policy_sampled"] == {}
        assert "held_out_ranked  imported" in capsys.readouterr().out
        assert "pairs of no task: quantiles and z-scores are those of the pairs' own responses" in caplog.text
        assert len(read_json(the_model() / "sft_scores.json")["scores"]) == 16
        assert len(read_json(the_model() / "trained_prompts.json")) == 16
        assert {path.name for path in Path("runs").iterdir()} == {"pairs", "rm"}
        assert cli.run(["rm", "report", str(the_model())]) == 0
        assert "| held-out ranked pairs | imported | ranked RM |" in capsys.readouterr().out

    def test_without_held_out_pairs_it_says_that_nothing_is_known(
        self, train: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_jsonl(Path("theirs.jsonl"), preferences(8))
        assert cli.run([*train, "theirs.jsonl", "--held-out", "0", "--tracker", "none"]) == 0
        assert "no pair is held out, so its accuracy" in capsys.readouterr().out

    def test_pairs_of_a_task_start_from_its_sft_model(
        self, train: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder_of(Path("own"), [pair(n) for n in range(10)])
        assert cli.run([*train, "own", "--dry-run", "--annotator", "template"]) == 0
        out = capsys.readouterr().out
        assert "1. [to run] annotate mr" in out
        assert "SFT w. rationale" in out
        assert "answers of sft-rationale to validation rows of mr" in out
        assert "label pairs of own" in out
        assert "label reward model on label pairs of own" in out
        assert not Path("runs").exists()

    def test_the_same_pairs_are_the_same_model(self, train: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """Its place is no part of a folder's identity; what it holds and what is held out is."""

        def planned(*arguments: str) -> str:
            assert cli.run([*train, *arguments, "--dry-run", "--annotator", "template"]) == 0
            lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
            return next(line for line in lines if line.startswith("runs/rm/")).rsplit("-", 1)[-1]

        for place in ("own", "elsewhere/own"):
            folder_of(Path(place), [pair(n) for n in range(10)])
        first = planned("own")
        assert first == planned("elsewhere/own")
        assert first != planned("own", "--held-out", "0.3")
        folder_of(Path("own"), [pair(n) for n in range(10)], [pair(11)])
        second = planned("own")
        assert second != first
        assert second == planned("own", "--held-out", "0.3")


class TestBadInput:
    @pytest.mark.parametrize(
        ("train_pairs", "arguments", "said"),
        [
            ([], [], "there is not one pair"),
            ([pair(0), pair(1, kind="ranked")], [], "holds pairs of the kinds label, ranked"),
            ([pair(0), pair(1, format="label")], [], "holds pairs of the answer formats rationale, label"),
            ([pair(0, "no-such-task")], [], "holds pairs of no-such-task; expected known tasks"),
            ([pair(0), pair(1, "imported")], [], "holds pairs of mr, imported; expected known tasks"),
            ([pair(0)], ["--kind", "ranked"], "holds label pairs, and --kind says ranked; leave --kind out"),
            ([pair(0)], ["--task", "sst2"], "holds pairs of mr, and --task says otherwise"),
            ([pair(0)], ["--limit", "3"], "with --pairs use --set rm.max_pairs=N"),
            ([pair(0, "imported")], ["--set", "init=sft"], "the pairs belong to no task, so there is no sft model"),
        ],
    )
    def test_one_line_and_exit_code_2(
        self,
        train: list[str],
        capsys: pytest.CaptureFixture[str],
        train_pairs: list[Pair],
        arguments: list[str],
        said: str,
    ) -> None:
        folder_of(Path("own"), train_pairs)
        assert cli.run([*train, "own", *arguments]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1

    def test_no_folder_at_all(self, train: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run([*train, "absent"]) == 2
        assert "absent: no pairs.jsonl; expected a folder made by" in capsys.readouterr().err

    def test_a_row_that_is_no_pair(self, tmp_path: Path) -> None:
        row = pair(0).to_json()
        del row["task"]
        write_jsonl(tmp_path / "pairs.jsonl", [pair(1).to_json(), {**row, "score": 1}])
        with pytest.raises(DataError, match=r"pairs.jsonl row 2: not a pair, found no task, 'score'; expected"):
            look_into(tmp_path)

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"chosen": None}, r"chosen = None \(input should be a valid string\)"),
            ({"prompt": 5}, "prompt = 5 "),
            ({"kind": "foo"}, r"kind = 'foo' \(input should be 'label', 'ranked' or 'rationale'\)"),
            ({"format": "foo"}, "format = 'foo' "),
            ({"chosen_label": ["a"]}, r"chosen_label = \['a'\] .*valid number\); expected"),
            ({"gold_label": True, "id": 7}, "id = 7 .*, gold_label = True "),
        ],
    )
    def test_values_of_another_type(self, tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
        write_jsonl(tmp_path / "pairs.jsonl", [pair(1).to_json(), {**pair(2).to_json(), **wrong}])
        with pytest.raises(DataError, match=rf"pairs.jsonl row 2: not a pair, found {said}"):
            read_folder(tmp_path)

    def test_values_come_back_as_they_were(self, tmp_path: Path) -> None:
        numbers = pair(0, "stsb", chosen_label=2.5, rejected_label=None, gold_label=3.0)
        write_jsonl(tmp_path / "pairs.jsonl", [numbers.to_json()])
        assert read_folder(tmp_path) == ([numbers], [])
