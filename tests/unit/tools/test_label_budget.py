"""Figure, sentences and claims of the label-budget study, from made-up results with known numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from experiments.tools import label_budget
from experiments.tools.label_budget import main, read_budget, read_study, study_findings
from rewardlab.disk import read_json, write_json
from rewardlab.errors import InputError
from rewardlab.suites.file import load_suite
from tests.support.runs import answers_with, eval_folder

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"
ITEMS = 200
SUITE = """name = "{name}"
seeds = [0, 1, 2]
settings = {{ "data.labelled" = {labels} }}
[[method]]
name = "SFT w. rationale"
stage = "sft"
[[method]]
name = "RLLR"
stage = "ppo"
[[method]]
name = "PPO on prompts"
stage = "ppo"
[[claim]]
id = "C11"
says = "RLLR beats SFT"
better = "RLLR"
than = "SFT w. rationale"
decoding = "greedy"
"""
RIGHT = {
    20: {"SFT w. rationale": (100, 101, 102), "RLLR": (101, 100, 102), "PPO on prompts": (190, 191, 190)},
    50: {"SFT w. rationale": (120, 121, 119), "RLLR": (170, 172, 171), "PPO on prompts": (190, 190, 191)},
}
"""Labels a task -> method -> right answers of 200 in each seed, in both tasks."""
STEPS = {20: {"RLLR": (0, 5, 0), "PPO on prompts": (0, 0, 0)}, 50: {"RLLR": (10, 0, 15), "PPO on prompts": (5, 5, 5)}}
"""Labels a task -> method -> step of the policy that each seed evaluated."""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Suites and results: RLLR gains 25 points at 50 labels alone; PPO reads 300 further labels of each task."""
    for labels, methods in RIGHT.items():
        name = f"budget-{labels}-toy"
        (tmp_path / f"{name}.toml").write_text(SUITE.format(name=name, labels=labels))
        for method, rights in methods.items():
            for seed, right in enumerate(rights):
                columns = {column: {d: answers_with(right, ITEMS) for d in ("sampled", "greedy")} for column in "ab"}
                gold = 2 * (labels + 300 * (method == "PPO on prompts"))
                place = (
                    tmp_path / "results" / name / f"seed-{seed}" / "run-files" / "eval" / f"{method}-{labels}-{seed}"
                )
                start = "base" if method == "SFT w. rationale" else "sft-rationale"
                eval_folder(
                    place,
                    method=method,
                    start=start,
                    seed=seed,
                    columns=columns,
                    cost=(gold, 0, 1.0),
                    format="rationale",
                )
                step = 0 if start == "base" else STEPS[labels][method][seed]
                stored = read_json(place / "result.json")
                write_json(place / "result.json", {**stored, "policy": {"checkpoint": "best", "step": step}})
    return tmp_path


def folders(study: Path) -> list[Path]:
    return sorted((study / "results").iterdir())


def write_study(study: Path, out: str = "out") -> list[Path]:
    return label_budget.write_study(read_study(folders(study), study, resamples=200), study / out)


def test_sentences_follow_from_the_numbers(study: Path) -> None:
    write_study(study)
    text = (study / "out" / "label-budget.md").read_text()
    assert (
        "Significantly more accurate than SFT w. rationale on the same labels: with 20 labels a task, no method; with "
        "50 labels a task, RLLR." in text
    )
    assert "* 20 labels a task: highest is " in text
    assert re.search(r"\* 50 labels a task: highest is RLLR with 85\.5 \[.*\]; SFT w. rationale has 60\.0 \[", text)
    assert re.search(r"50 labels a task: significantly better than SFT w. rationale: .*RLLR \(\+25\.5 points \[", text)
    assert re.search(r"20 labels a task: not significantly different from SFT w. rationale: RLLR \(0\.0 points", text)
    assert "corrected over all 4 comparisons of the study" in text
    assert "One seed" not in text


def test_a_method_that_reads_more_labels_answers_no_question_about_this_budget(study: Path) -> None:
    """PPO on prompts has the highest accuracy everywhere, with 320 and 350 labels a task."""
    write_study(study)
    text = (study / "out" / "label-budget.md").read_text()
    answer = text.split("\n\n")[2]
    assert answer.startswith("Significantly more accurate")
    assert "PPO on prompts" not in answer
    assert "highest is PPO" not in text
    assert re.search(r"\| PPO on prompts \| 320 \| 95\.2 .* \| 350 \| 95\.2 ", text)


def test_it_says_how_many_runs_kept_their_start(study: Path) -> None:
    """Of SFT, whose start is the base model, and of what read further labels, the sentence says nothing."""
    write_study(study)
    text = (study / "out" / "label-budget.md").read_text()
    assert "was evaluated: 2 of 3 with 20 labels a task and 1 of 3 with 50 labels a task." in text
    assert re.search(r"\| SFT w. rationale \| 20 \| .* \| – \| 50 \| .* \| – \|\n", text)
    assert re.search(r"\| RLLR \| 20 \| .* \| 2 of 3 \| 50 \| .* \| 1 of 3 \|\n", text)
    assert re.search(r"\| PPO on prompts \| 320 \| .* \| 3 of 3 \| 350 \| .* \| 0 of 3 \|\n", text)


def test_readme_gets_figure_answer_and_what_further_labels_give(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    (study / "README.md").write_text("# Mine\n\n## What came out\n\nBy hand.\n")
    names = [f"results/budget-{labels}-toy" for labels in RIGHT]
    assert main([*names, "--out", "results/all", "--readme", "README.md", "--suites", "."]) == 0
    text = (study / "README.md").read_text()
    assert text.startswith("# Mine\n\n## What came out\n\n<!-- results, made by: ")
    assert "made by: python -m experiments.tools.label_budget results/budget-20-toy " in text
    assert text.endswith("<!-- end of results -->\n\nBy hand.\n")
    assert "](results/all/label-budget.svg)" in text
    assert "**Significantly more accurate than SFT w. rationale on the same labels: with 20 labels a task, no" in text
    further = r"\* 50 labels a task and 300 more that SFT w. rationale did not read: PPO on prompts \(\+35\.2 points \["
    assert re.search(further, text)
    assert "RLLR (" not in text


def test_the_figure_has_a_line_a_method_and_a_panel_a_task(study: Path) -> None:
    file, *_ = write_study(study)
    svg = file.read_text()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    for name in (*RIGHT[20], "a", "b", "gold labels read, a task"):
        assert name in texts
    assert texts.count("20") == 2  # ticks of both panels; 50 is a tick of accuracy too
    assert texts.count("50") >= 2
    again = write_study(study, "again")[0]
    assert again.read_text() == svg


def test_where_the_points_lie(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedy accuracy in percent over labels read, moved aside by at most a few per cent; intervals around it."""
    from matplotlib.axes import Axes

    drawn: list[tuple[list[float], list[float]]] = []
    plot = Axes.plot

    def seen(self: Axes, x: list[float], y: list[float], **more: object) -> object:
        drawn.append((x, y))
        return plot(self, x, y, **more)

    monkeypatch.setattr(Axes, "plot", seen)
    write_study(study)
    assert len(drawn) == 6
    expected = {(20, 50): (50.5, 60.0), (320, 350): (95 + 1 / 6, 95 + 1 / 6)}
    found = [(x, y) for x, y in drawn if y == pytest.approx([50.5, 60.0]) or y == pytest.approx([95 + 1 / 6] * 2)]
    for x, y in found:
        labels = next(each for each in expected if x == pytest.approx(each, rel=0.05))
        assert y == pytest.approx(expected[labels])
    assert len(found) == 4


def test_claims_of_all_budgets_are_one_family(study: Path) -> None:
    write_study(study)
    stored = [read_json(folder / "claims.json") for folder in folders(study)]
    assert [each["suite"] for each in stored] == ["budget-20-toy", "budget-50-toy"]
    assert [each["seeds"] for each in stored] == [[0, 1, 2]] * 2
    (first,), (second,) = (each["claims"] for each in stored)
    assert (first["family"], first["verdict"]) == (2, "undecided")
    assert (second["family"], second["verdict"]) == (2, "holds")
    assert second["size"]["value"] == pytest.approx(25.5)
    alone = study_findings([read_budget(folders(study)[1], study, 200)])[0][0]
    assert alone.estimate is not None
    assert alone.estimate.low > second["size"]["low"]


def test_one_seed_is_said_to_be_one(study: Path) -> None:
    for folder in folders(study):
        for seed in (1, 2):
            (folder / f"seed-{seed}").rename(study / f"{folder.name}-{seed}")
    write_study(study)
    text = (study / "out" / "label-budget.md").read_text()
    assert "One seed: intervals are over test items, of these runs and not of others." in text
    assert "(1 seed, interval over items)" in text


def test_what_cannot_be_read_is_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="no folder seed-"):
        read_budget(study / "out", study)
    first = folders(study)[0]
    with pytest.raises(InputError, match="have the same label budget"):
        read_study([first, first], study)
    (study / "budget-20-toy.toml").write_text(SUITE.format(name="budget-20-toy", labels='"many"'))
    assert main([str(first), "--out", str(study / "out"), "--suites", str(study)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: suite budget-20-toy sets no data.labelled; expected a number")
    assert len(told.splitlines()) == 1


class TestSuites:
    """The four files differ in the label budget, and in how often the reward models pass over their pairs."""

    def test_only_labels_and_passes_differ(self) -> None:
        suites = {n: load_suite(EXPERIMENTS / f"budget-{n}-sandbox.toml") for n in (20, 50, 150, 500)}
        for labels, suite in suites.items():
            assert suite.settings["data.labelled"] == labels
            rest = {key: value for key, value in suite.settings.items() if key not in ("data.labelled", "rm.epochs")}
            assert rest == {k: v for k, v in suites[150].settings.items() if k not in ("data.labelled", "rm.epochs")}
            same = ("method", "claim", "seeds", "against", "grid", "convention", "budget")
            assert all(getattr(suite, name) == getattr(suites[150], name) for name in same)

    def test_reward_models_of_fewer_pairs_take_no_more_steps(self) -> None:
        """The head of the files names these numbers."""
        steps = []
        for labels in (20, 50, 150, 500):
            settings = load_suite(EXPERIMENTS / f"budget-{labels}-sandbox.toml").settings
            an_epoch = -(-2 * labels // settings["rm.batch"])  # a pair a row, two tasks
            steps.append(an_epoch * settings["rm.epochs"])
        assert steps == [126, 126, 190, 252]

    def test_one_stopping_rule(self) -> None:
        settings = load_suite(EXPERIMENTS / "budget-150-sandbox.toml").settings
        patience = {key: value for key, value in settings.items() if key.endswith(".patience")}
        assert patience == {"sft.patience": 3, "ppo.patience": 6, "dpo.patience": 6, "raft.patience": 3}
        assert {value for key, value in settings.items() if key.endswith("validation_rows")} == {100}

    def test_settings_are_chosen_on_seeds_that_are_not_reported(self) -> None:
        tuning, study = (load_suite(EXPERIMENTS / f"budget-{name}-sandbox.toml") for name in ("tuning", "150"))
        assert tuning.only_grid
        assert not set(tuning.grid_seeds) & set(study.seeds)
        tried = {method.name for method in tuning.method}
        assert {method.name for method in study.method} - tried == {"SFT w. rationale, prompts' labels too"}
