"""Figure, sentences, tables and claims of the label-budget study, from made-up results with known numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.tools import label_budget
from experiments.tools.label_budget import main
from experiments.tools.label_budget_study import (
    differences,
    read_budget,
    read_study,
    shared_checkpoints,
    study_findings,
)
from rewardlab.claims.claim import Claim
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
name = "SFT on prompts"
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
SFT = "SFT w. rationale"
MORE, LABELS = (196, 196, 196), "Labels on prompts"
RIGHT = {
    20: {
        SFT: (100, 101, 102),
        "RLLR": (101, 100, 102),
        "PPO on prompts": (190, 191, 190),
        "SFT on prompts": MORE,
        LABELS: MORE,
    },
    50: {
        SFT: (120, 121, 119),
        "RLLR": (170, 172, 171),
        "PPO on prompts": (190, 190, 191),
        "SFT on prompts": MORE,
        LABELS: MORE,
    },
}
"""Labels a task -> method -> right answers of 200 in each seed, in both tasks; one answers in another format."""
STEPS = {20: {"RLLR": (0, 5, 0), "PPO on prompts": (0, 0, 0)}, 50: {"RLLR": (10, 0, 15), "PPO on prompts": (5, 5, 5)}}
"""Labels a task -> method -> step of the policy that each seed evaluated."""
OWN_ANSWERS = {20: ((0.4, 0.3), (0.6, 0.45)), 50: ((0.7, 0.6), (0.9, 0.8))}
"""Labels a task -> value and low end for each task, the label RM's accuracy on own answers."""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Suites and results: RLLR gains 25 points at 50 labels alone; two methods read 300 further labels of each task."""
    for labels, methods in RIGHT.items():
        name = f"budget-{labels}-toy"
        (tmp_path / f"{name}.toml").write_text(SUITE.format(name=name, labels=labels))
        for method, rights in methods.items():
            for seed, right in enumerate(rights):
                made = tmp_path / "results" / name / f"seed-{seed}" / "run-files"
                evaluation(made, method, labels, seed, right)
                reward_model(made, OWN_ANSWERS[labels])
    return tmp_path


def evaluation(made: Path, method: str, labels: int, seed: int, right: int) -> None:
    """An evaluation, and the run that it evaluated with what validation rows said of it."""
    columns = {column: {d: answers_with(right, ITEMS) for d in ("sampled", "greedy")} for column in "ab"}
    gold = 2 * (labels + 300 * method.endswith("on prompts"))
    step = STEPS[labels].get(method, (None,) * 3)[seed]
    eval_folder(
        made / "eval" / f"{method}-{labels}-{seed}",
        method=method,
        start="base" if step is None else "sft-rationale",
        seed=seed,
        columns=columns,
        cost=(gold, 12, 1.0),
        format="label" if method == LABELS else "rationale",
        model_run=None if step is None else Path("runs") / "ppo" / method,
    )
    measured = {"start": {"step": 0, "accuracy": 0.8}, "best": {"step": step}, "last": {"accuracy": 0.75 + 0.01 * seed}}
    write_json(made / "ppo" / method / "result.json", {"validation": measured})


def reward_model(made: Path, own: Sequence[tuple[float, float]]) -> None:
    """A label RM: 90 and 80 % of held-out pairs."""
    accuracy: dict[str, Any] = {
        "held_out_label": {"a": {"value": 0.9, "low": 0.85}, "b": {"value": 0.8, "low": 0.75}},
        "policy_sampled": {name: {"value": v, "low": low} for name, (v, low) in zip("ab", own, strict=True)},
    }
    write_json(made / "rm" / "label" / "result.json", {"kind": "label", "accuracy": accuracy})


def folders(study: Path) -> list[Path]:
    return sorted((study / "results").iterdir())


def write_study(study: Path, out: str = "out") -> list[Path]:
    return label_budget.write_study(read_study(folders(study), study, resamples=200), study / out)


def page(study: Path) -> str:
    write_study(study)
    return (study / "out" / "label-budget.md").read_text()


def test_sentences_follow_from_the_numbers(study: Path) -> None:
    text = page(study)
    assert (
        "**Shown to be more accurate than SFT w. rationale on the same labels: with 20 labels a task, no method; with "
        "50 labels a task, RLLR. With more labels: with 20 and 50 labels a task, SFT on prompts and PPO on prompts.**"
    ) in text
    assert "All 8 are corrected together (Holm)" in text
    assert re.search(
        r"there may still be one: the intervals reach up to \+\d+\.\d points \(RLLR, 20 labels a task\)\.", text
    )
    assert "less accurate" not in text
    assert "planned seeds" not in text
    assert "One seed" not in text
    assert "Measured with tiny on a and b, 3 seeds, greedy decoding." in text


def test_a_method_that_is_worse_is_named(study: Path) -> None:
    for seed in range(3):
        evaluation(study / "results" / "budget-50-toy" / f"seed-{seed}" / "run-files", "RLLR", 50, seed, 60 + seed)
    text = page(study)
    assert "on the same labels: with 20 and 50 labels a task, no method. With more" in text
    assert (
        "Shown to be less accurate than SFT w. rationale on the same labels: with 20 labels a task, no method; with 50 "
        "labels a task, RLLR." in text
    )


def test_the_widest_interval_is_told(study: Path) -> None:
    for seed, right in enumerate((130, 111, 121)):
        evaluation(study / "results" / "budget-50-toy" / f"seed-{seed}" / "run-files", "RLLR", 50, seed, right)
    assert re.search(r"the intervals reach up to \+\d+\.\d points \(RLLR, 50 labels a task\)\.", page(study))


def test_a_method_that_reads_more_labels_is_compared_with_sft_on_the_same_ones_too(study: Path) -> None:
    text = page(study)
    more = "* PPO on prompts minus "
    assert re.search(
        re.escape(f"{more}SFT w. rationale (300 further labels a task), points: +44.7 [") + ".*with 20; .*with 50", text
    )
    assert re.search(re.escape(f"{more}SFT on prompts (the same labels), points: −2.8 [") + ".*−2.8 .*with 50", text)
    assert "SFT on prompts minus PPO" not in text
    assert f"{LABELS} minus" not in text
    assert re.search(rf"\| 20 \| {LABELS} \| 320 \| .* \| another answer format \|", text)
    found = differences(read_study(folders(study), study, resamples=200))
    assert [(each.row.name, each.base.name) for each in found[:4]] == [
        ("SFT on prompts", SFT),
        ("RLLR", SFT),
        ("PPO on prompts", SFT),
        ("PPO on prompts", "SFT on prompts"),
    ]


def test_it_says_how_many_runs_ended_as_their_start(study: Path) -> None:
    """SFT, whose start is the base model, and what read further labels are not counted in the sentence."""
    text = page(study)
    assert "chosen SFT's epoch too: 2 of 3 with 20 and 1 of 3 with 50 labels a task." in text
    lines = {tuple(line.split(" | ")[:2]): line.split(" | ")[2:] for line in text.splitlines() if " | " in line}
    assert lines["| 20", SFT][-2:] == ["–", "– |"]
    assert lines["| 20", "RLLR"][-2:] == ["2 of 3", "80.0 → 76.0 |"]
    assert lines["| 50", "RLLR"][-2:] == ["1 of 3", "80.0 → 76.0 |"]
    assert lines["| 20", "PPO on prompts"][-2:] == ["3 of 3", "80.0 → 76.0 |"]
    assert lines["| 50", "PPO on prompts"][:3] == ["350", "6", "1"]  # labels, calls a task, seconds
    assert lines["| 50", "RLLR"][4].startswith("+25.5 [")


def test_the_reward_models_stand_beside_guessing(study: Path) -> None:
    text = page(study)
    assert "| 20 | label | 85.0 (80.0 to 90.0) | 50.0 (40.0 to 60.0) | 0 of 6 |" in text
    assert "| 50 | label | 85.0 (80.0 to 90.0) | 80.0 (70.0 to 90.0) | 6 of 6 |" in text
    assert "| 50 | ranked | – | – | 0 of 0 |" in text


def test_readme_gets_answer_and_sentences(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    (study / "README.md").write_text("# Mine\n\n## What came out\n\nBy hand.\n")
    names = [f"results/budget-{labels}-toy" for labels in RIGHT]
    assert main([*names, "--out", "results/all", "--readme", "README.md", "--suites", "."]) == 0
    text = (study / "README.md").read_text()
    assert text.startswith("# Mine\n\n## What came out\n\n<!-- results, made by: ")
    assert f"made by: python -m experiments.tools.label_budget {names[0]} {names[1]} --out results/all " in text
    assert text.endswith("<!-- end of results -->\n\nBy hand.\n")
    assert "](results/all/README.md)." in text
    assert "there may still be one" in text
    assert text.count("**Shown to be more accurate than SFT w. rationale on the same labels: with 20 labels a") == 1
    assert "* PPO on prompts minus SFT on prompts (the same labels), points: " in text


def test_the_figure_has_a_strip_a_method_and_a_column_a_budget(study: Path) -> None:
    file, *_ = write_study(study)
    svg = file.read_text()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    for name in (*RIGHT[20], "gold labels read, a task", "20 labels a task", "50 labels a task"):
        assert texts.count(name) == 1, name
    assert "Shown to be more accurate than SFT w. rationale on the same labels: RLLR (50 labels)" in texts
    again = write_study(study, "again")[0]
    assert again.read_text() == svg


def test_where_the_points_lie(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above: greedy accuracy over the labels that were read. Below: differences, a dot a seed, hollow for the start."""
    from matplotlib.axes import Axes

    drawn: list[tuple[list[float], list[float], str]] = []
    plot = Axes.plot

    def seen(self: Axes, x: list[float], y: list[float], *form: str, **more: Any) -> object:
        drawn.append((x, y, str(more.get("markerfacecolor", ""))))
        return plot(self, x, y, *form, **more)

    monkeypatch.setattr(Axes, "plot", seen)
    write_study(study)
    points = [(x, y) for x, y, _ in drawn if len(y) == 2]
    for x, y in [((20, 50), (50.5, 60.0)), ((320, 350), (95 + 1 / 6, 95 + 1 / 6)), ((320, 350), (98.0, 98.0))]:
        assert any(a == pytest.approx(x, rel=0.01) and b == pytest.approx(y) for a, b in points), (x, y)
    ties = [(x, y) for x, y in points if x[0] in (20, 50) and x[1] > 300]
    assert [y[0] for _, y in ties] == pytest.approx([50.5, 60.0] * 3)  # from SFT of the same budget
    seeds = [(x[0], face) for x, _, face in drawn if face]
    assert [x for x, _ in seeds] == pytest.approx([0.5, -0.5, 0.0, 25.0, 25.5, 26.0])
    assert [face == "#ffffff" for _, face in seeds] == [True, False, True, False, True, False]


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


def test_a_claim_about_one_checkpoint_says_so(study: Path) -> None:
    """RLLR is SFT itself in two seeds of three at 20 labels: equal rows there are no finding about rewards."""
    write_study(study)
    (first,), (second,) = (read_json(folder / "claims.json")["claims"] for folder in folders(study))
    assert first["note"] == "in 2 of 3 seeds both are one checkpoint, SFT's own"
    assert second["note"] == "in 1 of 3 seeds both are one checkpoint, SFT's own"
    budget = read_budget(folders(study)[0], study, 200)
    others = Claim(id="C1", says="it beats SFT on the same labels", better="PPO on prompts", than="SFT on prompts")
    assert shared_checkpoints(others, budget) == (0, 3)  # another SFT model than the one that PPO began from


def test_missing_seeds_are_said(study: Path) -> None:
    for folder in folders(study):
        for seed in (1, 2):
            (folder / f"seed-{seed}").rename(study / f"{folder.name}-{seed}")
    text = page(study)
    assert "**1 of 3 planned seeds: nothing here can be quoted.**" in text
    assert "One seed: intervals are over test items, of these runs and not of others." in text


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
