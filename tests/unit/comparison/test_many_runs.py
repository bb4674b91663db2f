"""A thousand runs: answers read without their texts, and damaged, foreign or unequal folders kept apart."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rewardlab.comparison.difference_text import sentence
from rewardlab.comparison.differences import gains
from rewardlab.comparison.evaluations import load_eval
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import build_table
from rewardlab.errors import DataError, InputError
from rewardlab.evaluation.answers import ANSWERS_FILE, PREDICTIONS_FILE, read_answers, write_answers
from rewardlab.evaluation.predict import Prediction
from tests.support.runs import LABELS, both, eval_folder, ppo_folder

ITEMS = 200
METHODS, SEEDS, TASKS = 5, 4, 5


def _edit(folder: Path, name: str, change: dict[str, Any]) -> None:
    stored = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**stored, **change}))


def _prediction(id: str, decoding: str, answer: str | None) -> Prediction:
    facts = {"prompt": "?", "response": "!", "strict": answer, "is_correct": answer == "yes", "quality": None}
    return Prediction(
        column="toy", task="toy", id=id, decoding=decoding, answer=answer, gold="yes",
        is_malformed=answer is None, finished=True, **facts,
    )  # type: ignore[arg-type]  # facts and decoding are of several kinds  # fmt: skip


def test_answers_are_stored_without_their_texts_and_sorted(tmp_path: Path) -> None:
    rows = [_prediction("b", "sampled", None), _prediction("a", "sampled", "yes"), _prediction("a", "greedy", "no")]
    write_answers(tmp_path, rows)
    found = read_answers(tmp_path)
    assert set(found) == {("toy", "sampled"), ("toy", "greedy")}
    assert found["toy", "sampled"].ids == ("a", "b")
    assert found["toy", "sampled"].answers == ("yes", None)
    assert found["toy", "greedy"].gold == ("yes",)


def test_both_files_say_the_same(tmp_path: Path) -> None:
    folder = eval_folder(tmp_path / "run", columns={"toy": both(3, 7, 10)})
    compact = read_answers(folder)
    (folder / ANSWERS_FILE).unlink()
    assert read_answers(folder) == compact
    assert compact["toy", "greedy"].answers[5:8] == ("yes", "no", "no")  # 7 right: gold alternates no and yes


def test_torn_answers_are_refused(tmp_path: Path) -> None:
    folder = eval_folder(tmp_path / "run", columns={"toy": both(3, 7, 10)})
    stored = json.loads((folder / ANSWERS_FILE).read_text())
    stored["toy"]["greedy"]["answers"].pop()
    (folder / ANSWERS_FILE).write_text(json.dumps(stored))
    with pytest.raises(DataError, match="columns of unequal length"):
        load_eval(folder)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ({"result.json": None}, "result.json"),
        ({"config.json": "{"}, "config.json: expected a JSON file"),
        ({"config.json": None}, "config.json: expected a JSON file"),
        ({"result.json": "[]"}, "result.json: found [], expected an object"),
        ({"result.json": '{"method": "A"}'}, "not a complete evaluation"),
        ({ANSWERS_FILE: "{"}, "expected a JSON file"),
        ({ANSWERS_FILE: "[]"}, "not a complete evaluation"),
        ({ANSWERS_FILE: None, PREDICTIONS_FILE: None}, "expected a readable JSON Lines file"),
        ({ANSWERS_FILE: None, PREDICTIONS_FILE: ""}, "0 predictions, result.json says 200"),
        ({ANSWERS_FILE: None, PREDICTIONS_FILE: "{"}, "not JSON"),
        ({"answers": "maybe"}, "found maybe; expected one of no, yes"),
        ({"answers": ["list"]}, "not a complete evaluation"),
        ({"metric": "accurracy"}, "unknown metric 'accurracy'"),
        ({"metric": "pearson"}, "metric pearson needs a numeric task"),
        ({"result": {"columns": {}}}, "no column was measured"),
        ({"result": {"method": 5}}, "found 5, expected a name"),
        ({"result": {"reward": {"rule": 1}}}, "found {'rule': 1}, expected a name"),
        ({"result": {"cost": {"stages": {"sft": {"gold": [1], "calls": 0, "seconds": 1}}}}}, "not a complete"),
        ({"result": {"cost": {"stages": {"sft": {"calls": 0, "seconds": 1}}}}}, "'gold'"),
        ({"result": {"budget": {"updates": None}}}, "not a complete evaluation"),
        ({"cell": {"metrics": {}}}, "toy: no metric was measured"),
        ({"cell": {"numeric_range": [0]}}, "not a complete evaluation"),
        ({"ids": 7}, "toy greedy: an id is no text"),
    ],
)
def test_a_damaged_folder_is_named_and_the_rest_compared(tmp_path: Path, damage: dict[str, Any], told: str) -> None:
    eval_folder(tmp_path / "good", columns={"toy": both(100, 120, ITEMS)})
    folder = eval_folder(tmp_path / "bad", method="RLHF", columns={"toy": both(100, 120, ITEMS)})
    for name, text in damage.items():
        if name in ("answers", "ids"):
            stored = json.loads((folder / ANSWERS_FILE).read_text())
            stored["toy"]["greedy"][name][7] = text
            (folder / ANSWERS_FILE).write_text(json.dumps(stored))
        elif name in ("metric", "cell"):
            result = json.loads((folder / "result.json").read_text())
            result["columns"]["toy"]["greedy"] |= {"metrics": {text: {}}} if name == "metric" else text
            _edit(folder, "result.json", {"columns": result["columns"]})
        elif name == "result":
            _edit(folder, "result.json", text)
        elif text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text)
    assert [run.path.name for run in collect([tmp_path]).runs] == ["good"]
    found = collect([tmp_path / "good", folder])
    assert [run.path.name for run in found.runs] == ["good"]
    (warning,) = found.warnings
    assert warning.startswith(f"{folder}: left out, ")
    assert told in warning
    assert len(build_table(found.runs, resamples=50).rows) == 1


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    cell = {"greedy": ([1.0, 2.0, 3.0], [1.0, float("nan"), None])}
    folder = eval_folder(tmp_path / "run", columns={"toy": cell}, metrics=("pearson",), scale=(0, 5))
    with pytest.raises(DataError, match="not a finite number"):
        load_eval(folder)


def test_a_column_of_another_label_set_is_left_out(tmp_path: Path) -> None:
    eval_folder(tmp_path / "a", columns={"toy": both(1, 2, 4)})
    scale = {"greedy": ([1.0, 2.0, 3.0], [1.0, 2.0, None])}
    eval_folder(tmp_path / "b", method="B", columns={"toy": scale}, metrics=("pearson",), scale=(0, 5))
    (warning,) = (found := collect([tmp_path])).warnings
    assert "column toy has numbers from 0 to 5, others the labels no, yes" in warning
    assert [run.path.name for run in found.runs] == ["a"]


def test_no_usable_run_names_every_folder(tmp_path: Path) -> None:
    for name in "ab":
        (eval_folder(tmp_path / name, columns={"toy": both(1, 2, 4)}) / "result.json").unlink()
    with pytest.raises(InputError, match=r"no evaluation to compare.*a: left out.*b: left out"):
        collect([tmp_path])
    with pytest.raises(InputError, match="holds no evaluation"):
        collect([_empty(tmp_path)])


def _empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_tasks_seeds_and_missing_cells_make_one_table(tmp_path: Path) -> None:
    for method, seed, columns in (
        ("SFT w. rationale", 0, "ab"), ("SFT w. rationale", 1, "ab"), ("RLLR", 0, "ab"), ("RLLR", 1, "a"),
        ("RLHF", 7, "a"),
    ):  # fmt: skip
        right = {"SFT w. rationale": 100, "RLLR": 150, "RLHF": 120}[method]
        cells = {column: both(right, right, ITEMS) for column in columns}
        eval_folder(tmp_path / f"{method}-{seed}", method=method, seed=seed, columns=cells)
    table = build_table(collect([tmp_path]).runs, decodings=("greedy",), resamples=50)
    told = {(gain.method, gain.column): gain for gain in gains(table)}
    assert set(told) == {("RLLR", "a"), ("RLLR", "b"), ("RLHF", "a")}
    seeds = {column: gain.estimate.seeds for (_, column), gain in told.items() if gain.estimate is not None}
    assert seeds == {"a": 2, "b": 1}
    assert ": they share no seed (seed 7 against seeds 0, 1); run the same." in sentence(told["RLHF", "a"])
    rllr = table.row("RLLR")
    assert rllr is not None
    assert ("average", "greedy") not in rllr.scores  # its columns have other seeds


def test_a_thousand_named_runs_look_through_their_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rewardlab.comparison.runs as module

    trained = [ppo_folder(tmp_path / "ppo" / f"p{n}", []) for n in range(30)]
    for n, run in enumerate(trained):
        eval_folder(tmp_path / "eval" / f"e{n}", method=f"M{n}", model_run=run, columns={"toy": both(1, 1, 4)})
    read: list[Path] = []
    original = module.read_json

    def counting(path: Path) -> Any:
        read.append(path)
        return original(path)

    monkeypatch.setattr(module, "read_json", counting)
    assert len(collect(trained).runs) == 30
    assert len(read) < 10 * 30  # not 30 * 30


def test_a_hundred_runs_are_compared_without_torch_and_each_file_is_read_once(tmp_path: Path) -> None:
    """Each run is one task with 200 items under two decodings. ``experiments/bench/speed.py`` times a comparison."""
    rng = random.Random(0)
    for method in range(METHODS):
        for seed in range(SEEDS):
            for task in range(TASKS):
                cell = {decoding: _answers(rng, 0.6 + 0.05 * method) for decoding in ("sampled", "greedy")}
                where = tmp_path / f"{method}-{seed}-{task}"
                eval_folder(where, method=f"method {method}", seed=seed, columns={f"task {task}": cell})
    code = (
        "import json, sys; from collections import Counter; from pathlib import Path; opened = Counter();"
        "sys.addaudithook(lambda event, given: event == 'open' and opened.update([str(given[0])]));"
        "from rewardlab.comparison.runs import collect;"
        "from rewardlab.comparison.differences import default_against, gains;"
        "from rewardlab.reports.page import write_page; from rewardlab.reports.report import Report;"
        "from rewardlab.comparison.markdown import to_markdown; from rewardlab.comparison.table import build_table;"
        "table = build_table(collect([Path(sys.argv[1])]).runs);"
        "found = gains(table, default_against(table)); text = to_markdown(table);"
        "place = Path(sys.argv[1]) / 'report.html'; write_page(place, Report(place.parent, table, found));"
        "times = [count for path, count in opened.items() if path.endswith(sys.argv[2])];"
        "print(len(found), text.count('method '), len(times), max(times), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), ANSWERS_FILE],
        check=False, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    compared, named, files, most, loaded = done.stdout.split()
    assert (int(compared), int(named)) == ((METHODS - 1) * (TASKS + 1) * 2, METHODS + 1)
    assert (int(files), int(most), loaded) == (METHODS * SEEDS * TASKS, 1, "False")


def _answers(rng: random.Random, share: float) -> tuple[list[str], list[str | None]]:
    gold = [LABELS[number % 2] for number in range(ITEMS)]
    return gold, [label if rng.random() < share else rng.choice([*LABELS, None]) for label in gold]
