"""``rewardlab submit`` as typed: which run answers which file, and what is in the ZIP file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from rewardlab.disk import read_json, write_json
from rewardlab.errors import InputError
from rewardlab.evaluation.submission import GLUE
from rewardlab.lab.submitted import choose_runs
from rewardlab.types import Label
from tests.support.commands import SMALL, Command
from tests.support.models import tiny_bert, tiny_llama

PAIRS = [{"idx": number, "premise": f"the film {number}", "hypothesis": "it is good"} for number in (2, 0, 1)]
"""The hub's columns, out of order."""


def rows(name: str, found: Sequence[Mapping[str, object]]) -> None:
    Path("official").mkdir(exist_ok=True)
    Path("official", f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in found), encoding="utf-8")


def text_of(name: str) -> list[str]:
    with zipfile.ZipFile("glue.zip") as archive:
        return archive.read(name).decode().splitlines()


@pytest.mark.slow
def test_runs_answer_the_files_of_their_tasks(rewardlab: Command) -> None:
    bert, llama = tiny_bert(Path("bert"), ["the", "film", "is", "good"]), tiny_llama(Path("llama"))
    small = (*SMALL, "--source", "bundled", "--tracker", "none", "--dtype", "float32")
    fitted = rewardlab("encoder", "--task", "mnli", "--model", str(bert), "--set=encoder.epochs=1", *small)
    assert fitted.code == 0, fitted.err
    tuned = rewardlab("sft", "--no-rationales", "--task", "sst2", "--model", str(llama), "--epochs", "1", *small)
    assert tuned.code == 0, tuned.err
    for name in ("MNLI-m", "MNLI-mm", "AX"):
        rows(name, PAIRS)
    rows("SST-2", [{"idx": 0, "sentence": "good"}, {"idx": 1, "text": "bad"}])
    typed = ("submit", "--suite", "glue", "--runs", "runs", "--data", "official", "--partial")
    done = rewardlab(*typed)
    assert done.code == 0, done.err
    assert "submission: glue.zip (4 of 11 files; checked, not whole)" in done.out
    assert [line.split("\t")[0] for line in text_of("AX.tsv")] == ["index", "0", "1", "2"]
    assert text_of("AX.tsv") == text_of("MNLI-m.tsv")
    assert {line.split("\t")[1] for line in text_of("SST-2.tsv")[1:]} <= {"0", "1"}
    folders = sorted(Path("runs", "submit").iterdir())
    assert len(folders) == 4
    unreadable = sum(read_json(folder / "result.json")["unreadable"] for folder in folders)
    assert f"SST-2.tsv: {unreadable} answers could not be read" in done.out or unreadable == 0
    again = rewardlab(*typed)
    assert again.err.count("done before") == 4 + 4, "each file and the run behind it"
    whole = rewardlab(*typed[:-1])
    assert whole.problem.startswith("no run answers CoLA.tsv (cola), MRPC.tsv (mrpc), ")
    assert "--partial" in whole.problem


def run_of(place: str, task: str, stage: str = "sft") -> Path:
    """The folder of a finished run, as far as it is looked at here."""
    write_json(Path(place) / "config.json", {"stage": stage, "config": {"task": task}})
    write_json(Path(place) / "result.json", {})
    return Path(place)


@pytest.mark.usefixtures("rewardlab")
class TestWhoAnswers:
    def test_a_run_of_several_tasks_answers_them_all_and_the_diagnostics(self) -> None:
        both = run_of("runs/ppo/both", "mnli,rte", "ppo")
        files = [file for file in GLUE if file.task in ("mnli", "rte")]
        assert choose_runs(files, [both]) == dict.fromkeys(("MNLI-m.tsv", "MNLI-mm.tsv", "RTE.tsv", "AX.tsv"), both)
        assert choose_runs(files, [Path("runs")]) == choose_runs(files, [both, both])

    def test_two_runs_of_one_task_are_refused(self) -> None:
        runs = [run_of("runs/sft/one", "rte"), run_of("runs/ppo/two", "rte", "ppo")]
        with pytest.raises(
            InputError, match=r"several runs were trained on one task \(rte: runs/sft/one, runs/ppo/two"
        ):
            choose_runs([file for file in GLUE if file.task == "rte"], runs)

    def test_a_folder_without_a_trained_run_is_refused(self) -> None:
        run_of("runs/eval/one", "rte", "eval")
        with pytest.raises(InputError, match="--runs runs: no finished run of sft, encoder or another training method"):
            choose_runs(GLUE, [Path("runs")])


def test_a_file_of_random_answers_is_checked_and_others_are_told(rewardlab: Command) -> None:
    labels: dict[str, Label] = {str(number): number % 2 for number in range(146)}
    lines = ["index\tprediction", *(f"{index}\t{label}" for index, label in labels.items())]
    Path("WNLI.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    typed = ("submit", "--suite", "glue", "--answers", "WNLI.tsv", "--partial")
    assert "(1 of 11 files; checked, not whole)" in rewardlab(*typed).out
    assert text_of("WNLI.tsv") == lines
    assert "CoLA.tsv: missing" in rewardlab("submit", "--suite", "glue", "--check", "glue.zip").err
    assert rewardlab("submit", "--suite", "glue", "--check", "glue.zip", "--partial").code == 0
    Path("Wnli.tsv").write_text("", encoding="utf-8")
    strange = rewardlab("submit", "--suite", "glue", "--answers", "Wnli.tsv")
    assert strange.problem.startswith("--answers Wnli.tsv: expected files called CoLA.tsv")
    assert "give --runs RUN" in rewardlab("submit", "--suite", "superglue").problem


def answers(name: str, labels: Mapping[int, object]) -> None:
    lines = ["index\tprediction", *(f"{index}\t{said}" for index, said in labels.items())]
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")


class TestFilesMadeElsewhere:
    TYPED = ("submit", "--suite", "glue", "--data", "official", "--partial")

    def pair(self, number: int, label: object) -> dict[str, object]:
        return {"idx": number, "sentence1": "a", "sentence2": "b", "label": label}

    def test_labelled_rows_score_them_as_they_score_runs(self, rewardlab: Command) -> None:
        """MRPC: two true positives, a false one, a missed one and a true negative, F1 4/6; STS-B: a line that falls."""
        rows("MRPC", [self.pair(number, label) for number, label in enumerate([1, 1, 1, 0, 0])])
        answers("MRPC.tsv", {0: 1, 1: 1, 2: 0, 3: 1, 4: 0})
        rows("STS-B", [self.pair(number, score) for number, score in enumerate([0.0, 1.0, 2.0])])
        answers("STS-B.tsv", {2: 0.5, 1: 2.5, 0: 4.5})
        done = rewardlab(*self.TYPED, "--answers", "MRPC.tsv", "--answers", "STS-B.tsv")
        assert done.code == 0, done.err
        assert "MRPC.tsv: F1 66.7, acc. 60.0" in done.out
        assert "STS-B.tsv: Pearson -100.0, Spearman -100.0" in done.out
        assert "score:" not in done.out
        limited = rewardlab(*self.TYPED, "--answers", "MRPC.tsv", "--limit", "5")
        assert "MRPC.tsv:" not in limited.out

    def test_rows_without_labels_or_none_at_all_score_nothing(self, rewardlab: Command) -> None:
        answers("MRPC.tsv", {0: 1})
        answers("RTE.tsv", {0: "entailment"})
        rows("MRPC", [self.pair(0, -1), self.pair(1, -1)])
        done = rewardlab(*self.TYPED, "--answers", "MRPC.tsv", "--answers", "RTE.tsv")
        assert done.code == 0, done.err
        assert "(2 of 11 files; checked, not whole)" in done.out
        assert "acc." not in done.out

    def test_answers_to_other_rows_are_refused(self, rewardlab: Command) -> None:
        """Answers to the test rows beside labelled validation rows: indices meet by chance."""
        rows("MRPC", [self.pair(number, 1) for number in (0, 1, 7)])
        answers("MRPC.tsv", dict.fromkeys((0, 1, 2, 3), 1))
        done = rewardlab(*self.TYPED, "--answers", "MRPC.tsv")
        assert done.code == 2
        found = "no answer to 1 of 3 labelled rows of official/MRPC.jsonl, and 2 answers to none of them, such as idx 7"
        assert done.problem.startswith(f"MRPC.tsv: {found}")
        assert not Path("glue.zip").exists()
