"""Collecting runs, the page, and ``rewardlab compare``: complete, damaged, mixed and missing folders."""

from __future__ import annotations

import re
from pathlib import Path

import polars
import pytest
import typer
from typer.testing import CliRunner

from rewardlab.cli.compare import compare
from rewardlab.comparison.difference_text import gain_row, of_these_runs, p_value_note, sentence, sentences
from rewardlab.comparison.differences import Gain, default_against, find_baseline, gains, splits
from rewardlab.comparison.evaluations import load_eval
from rewardlab.comparison.numbers import p_number, p_text, points
from rewardlab.comparison.paired import Comparison, Effect, PairedTest, SeedItems
from rewardlab.comparison.runs import collect
from rewardlab.comparison.statistics import Estimate
from rewardlab.comparison.table import build_table
from rewardlab.disk import read_json, write_json
from rewardlab.errors import InputError
from rewardlab.evaluation.answers import ANSWERS_FILE
from rewardlab.intervals import Spread
from rewardlab.reports.page import write_report
from tests.support.runs import both, eval_folder, pairs_folder, ppo_folder, reward_model_folder

LOGS = [{"reward/score": 0.1 * step, "reward/gold_accuracy": 0.7, "policy/kl": 0.01 * step} for step in range(4)]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs: a baseline, a trained method with its PPO run, both evaluated."""
    trained = ppo_folder(tmp_path / "ppo" / "rllr-0", [{**log, "reward/lambda_saturation": 0.2} for log in LOGS])
    eval_folder(tmp_path / "eval" / "sft-0", columns={"toy": both(70, 80, 200)})
    eval_folder(
        tmp_path / "eval" / "rllr-0",
        method="RLLR",
        reward="label",
        model_run=trained,
        columns={"toy": both(120, 110, 200)},
    )
    return tmp_path


def test_a_folder_of_runs_stands_for_its_evaluations(runs: Path) -> None:
    found = collect([runs])
    assert [run.key.method for run in found.runs] == ["RLLR", "SFT w. rationale"]
    assert found.warnings == []


def of_model(path: Path, name: str, sha256: str) -> Path:
    """An evaluation of a base model that is a folder, as its ``config.json`` names it."""
    made = eval_folder(path, columns={"toy": both(70, 80, 200)}, seed=int(path.name), model=name)
    stored = read_json(made / "config.json")
    write_json(made / "config.json", {**stored, "identity": {"settings": {"model": {"sha256": sha256}}}})
    return made


def test_a_model_folder_is_one_model_from_wherever_it_was_named(tmp_path: Path) -> None:
    names = ("model", "/home/me/moved/model", "../moved/copy")
    runs = [of_model(tmp_path / str(number), name, "c58d81fd" * 2) for number, name in enumerate(names)]
    assert {run.key.model for run in collect(runs).runs} == {"model"}
    assert len({run.key for run in collect(runs).runs}) == 1


def test_two_model_folders_of_one_name_are_two_models(tmp_path: Path) -> None:
    runs = [of_model(tmp_path / str(number), "model", sha256) for number, sha256 in enumerate(("aa11bb22", "cc33dd44"))]
    assert [run.key.model for run in collect(runs).runs] == ["model (aa11bb)", "model (cc33dd)"]


def test_a_hub_id_keeps_its_owner(tmp_path: Path) -> None:
    made = eval_folder(tmp_path / "a", columns={"toy": both(70, 80, 200)}, model="owner/small")
    assert [run.key.model for run in collect([made]).runs] == ["owner/small"]


def test_a_trained_run_stands_for_its_evaluation(runs: Path) -> None:
    found = collect([runs / "ppo" / "rllr-0", runs / "eval" / "rllr-0"])
    assert [run.path.name for run in found.runs] == ["rllr-0"]
    assert found.runs[0].model_run == runs / "ppo" / "rllr-0"


def test_a_damaged_folder_is_named_and_left_out(runs: Path) -> None:
    damaged = eval_folder(runs / "eval" / "torn-0", method="RLHF", columns={"toy": both(1, 1, 4)})
    (damaged / ANSWERS_FILE).unlink()
    lines = (damaged / "predictions.jsonl").read_text().splitlines()
    (damaged / "predictions.jsonl").write_text("\n".join(lines[:-1]))
    found = collect([runs])
    assert len(found.runs) == 2
    assert "torn-0: left out" in found.warnings[0]
    assert "3 predictions, result.json says 4" in found.warnings[0]
    (damaged / "result.json").unlink()
    assert "result.json" in collect([runs]).warnings[0]
    (damaged / "result.json").write_text("[]")
    assert "torn-0: left out" in collect([runs]).warnings[0]


def test_an_unevaluated_run_says_what_to_do(runs: Path) -> None:
    lonely = ppo_folder(runs / "ppo" / "lonely", LOGS)
    found = collect([runs / "eval" / "sft-0", lonely])
    assert f"{lonely}: left out, no evaluation of it was found beside it" in found.warnings[0]


def test_nothing_to_compare_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder") as caught:
        collect([tmp_path / "nowhere"])
    assert caught.value.exit_code == 2


def test_mixed_code_versions_are_pointed_out(runs: Path) -> None:
    eval_folder(runs / "eval" / "new-0", method="RLHF", commit="b" * 40, columns={"toy": both(1, 1, 200)})
    (warning,) = collect([runs]).warnings
    assert "code versions are mixed: 0.1.0 aaaaaaaaa (2 runs), 0.1.0 bbbbbbbbb (1 runs)" in warning


def test_a_cell_measured_twice_is_pointed_out(runs: Path) -> None:
    eval_folder(runs / "eval" / "sft-again", columns={"toy": both(10, 10, 200)})
    found = collect([runs])
    assert any("measured in" in warning and "the second is used" in warning for warning in found.warnings)
    baseline = build_table(found.runs).row("sft w. rationale")
    assert baseline is not None
    assert baseline.scores["toy", "greedy"].value == pytest.approx(10 / 200)
    assert [run.path.name for run in baseline.runs] == ["sft-again"]  # what is not shown costs nothing


def test_a_run_that_is_replaced_in_one_cell_alone_stays(runs: Path) -> None:
    eval_folder(runs / "eval" / "a-both", method="both", columns={"toy": both(1, 1, 9), "more": both(1, 1, 9)})
    eval_folder(runs / "eval" / "b-toy", method="both", columns={"toy": both(2, 2, 9)})
    row = build_table(collect([runs]).runs).row("both")
    assert row is not None
    assert [run.path.name for run in row.runs] == ["a-both", "b-toy"]


def test_gains_are_told_in_plain_sentences(runs: Path) -> None:
    table = build_table(collect([runs]).runs)
    sampled, greedy = gains(table)
    told = r"RLLR is significantly better than SFT w\. rationale by 25\.0 points \[\d+\.\d, \d+\.\d\], p < 0\.001, "
    assert re.fullmatch(
        told + r"on toy, sampled decoding \(1 seed, interval over items: of these runs, not of other seeds\)\.",
        sentence(sampled),
    )
    assert greedy.estimate is not None
    assert greedy.estimate.value == pytest.approx(0.15)
    note = p_value_note([sampled, greedy])
    assert "new test items, these seeds as given." in note
    assert "corrected over all 2 comparisons together (Holm)" in note


def test_what_one_reason_keeps_apart_is_told_once(tmp_path: Path) -> None:
    for method, seed in (("SFT w. rationale", 0), ("RLLR", 4), ("RLHF", 5)):
        columns = {column: both(100, 120, 200) for column in ("toy", "other")}
        eval_folder(tmp_path / method, method=method, seed=seed, columns=columns)
    found = gains(build_table(collect([tmp_path]).runs, resamples=50))
    assert len(found) == 12
    where = "are not compared on toy, other, average, sampled and greedy decoding: they share no seed"
    assert sentences(found) == [
        f"RLHF and SFT w. rationale {where} (seed 5 against seed 0); run the same.",
        f"RLLR and SFT w. rationale {where} (seed 4 against seed 0); run the same.",
    ]
    assert p_value_note(found) == ""
    assert sentences(found[1:2])[0].startswith("RLHF and SFT w. rationale are not compared on ")
    apart = [gain for gain in found if (gain.column, gain.decoding) != ("toy", "greedy")]
    assert "on toy, sampled decoding; other, sampled decoding; " in sentences(apart)[0]


def test_methods_are_compared_with_what_is_named_each_pair_once(runs: Path) -> None:
    eval_folder(runs / "eval" / "rlhf-0", method="RLHF", reward="ranked", columns={"toy": both(90, 90, 200)})
    table = build_table(collect([runs]).runs, decodings=("greedy",))
    pairs = [(gain.method, gain.baseline) for gain in gains(table, ("rlhf", "SFT w. rationale"))]
    assert pairs == [("SFT w. rationale", "RLHF"), ("RLLR", "RLHF"), ("RLLR", "SFT w. rationale")]
    with pytest.raises(InputError, match=r"no method 'DPO' .* found: SFT w\. rationale, RLHF, RLLR"):
        gains(table, ("DPO",))


def test_methods_are_compared_within_their_base_model(runs: Path) -> None:
    for name, method in (("sft", "SFT w. rationale"), ("rlhf", "RLHF")):
        eval_folder(runs / "eval" / f"{name}-l", method=method, model="large", columns={"toy": both(90, 90, 200)})
    table = build_table(collect([runs]).runs, decodings=("greedy",))
    assert [(gain.method, gain.baseline) for gain in gains(table)] == [
        ("RLLR (tiny)", "SFT w. rationale (tiny)"),
        ("RLHF (large)", "SFT w. rationale (large)"),
    ]
    assert default_against(table) == ["SFT w. rationale"]
    assert find_baseline(table).name == "SFT w. rationale (tiny)"
    named = gains(table, ("SFT w. rationale (tiny)",))
    assert {gain.method for gain in named} == {"RLLR (tiny)", "RLHF (large)", "SFT w. rationale (large)"}


def test_without_the_usual_baseline_the_first_row_is_taken(runs: Path) -> None:
    table = build_table(collect([runs / "eval" / "rllr-0"]).runs)
    assert default_against(table) == []
    eval_folder(runs / "eval" / "other", method="RLHF", columns={"toy": both(9, 9, 200)})
    table = build_table(collect([runs / "eval" / "rllr-0", runs / "eval" / "other"]).runs)
    assert default_against(table) == ["RLHF"]
    assert default_against(table, ("DPO", "rllr")) == ["rllr"]


def test_sentences_for_worse_noise_and_unpaired() -> None:
    def told(value: float, low: float, high: float, p: float) -> str:
        found = Estimate(value, low, high, 0.0, 5, "seeds and items")
        return sentence(Gain("A", "toy", "greedy", Comparison(found, PairedTest(p / 20, p, 20))))

    covered = "(5 seeds, interval over seeds and items)."
    assert told(-0.021, -0.034, -0.008, 0.002) == (
        "A is significantly worse than SFT w. rationale by 2.1 points [0.8, 3.4], p = 0.002, on toy, greedy decoding "
        f"{covered}"
    )
    level = "A and SFT w. rationale do not differ significantly on toy, greedy decoding:"
    assert told(0.01, -0.01, 0.03, 0.6) == f"{level} +1.0 points [−1.0, +3.0], p = 0.600 {covered}"
    assert sentence(Gain("A", "toy", "greedy", None, "other items")) == (
        "A and SFT w. rationale are not compared on toy, greedy decoding: other items."
    )
    assert [points(value) for value in (0.0123, -0.0123, 0.0001)] == ["+1.2", "−1.2", "0.0"]


def test_a_line_of_the_file_of_differences() -> None:
    found = Estimate(0.02, 0.01, 0.03, 0.005, 5, "seeds and items", Spread(0.0, 99, seeds=0.01**2, seed_df=4))
    test = PairedTest(0.004, 0.012, 3, (SeedItems(0, 7, 2), SeedItems(1, 5, 4)), Effect("h", 0.25))
    line = gain_row(Gain("A", "toy", "greedy", Comparison(found, test), formats=("rationale", "label")))
    told = line.pop("sentence")
    assert told.startswith(
        "A answers in format rationale, SFT w. rationale in label. The difference, which is not of the"
    )
    # its own 95 % interval: t(0.975, 4) = 2.776445
    assert (line.pop("low_alone"), line.pop("high_alone")) == pytest.approx((-0.00776445, 0.04776445), abs=1e-7)
    assert line == {
        "method": "A", "baseline": "SFT w. rationale", "column": "toy", "decoding": "greedy",
        "verdict": "formats differ", "formats": "rationale / label",
        "difference": 0.02, "low": 0.01, "high": 0.03, "sd": 0.005, "seeds": 5, "interval_over": "seeds and items",
        "p_holm": 0.012, "family": 3, "effect": "h", "effect_value": 0.25, "effect_size": "small",
        "won_and_lost": "seed 0: 7 to 2; seed 1: 5 to 4",
    }  # fmt: skip
    bare = gain_row(Gain("A", "toy", "greedy", Comparison(found, PairedTest(0.2, 0.2))))
    assert (bare["formats"], bare["won_and_lost"], bare["effect"], bare["family"]) == (None, None, None, 1)
    lacking = gain_row(Gain("A", "toy", "greedy", None, "other items"))
    assert list(lacking) == list(bare)
    known = {name: value for name, value in lacking.items() if value is not None}
    assert known == {
        "method": "A", "baseline": "SFT w. rationale", "column": "toy", "decoding": "greedy",
        "verdict": "not compared",
        "sentence": "A and SFT w. rationale are not compared on toy, greedy decoding: other items.",
    }  # fmt: skip


def test_p_values_are_printed_on_their_side_of_five_per_cent() -> None:
    printed = {0.00099: "< 0.001", 0.001: "0.001", 0.0478: "0.048", 0.04996: "0.0500", 0.05: "0.050", 0.2: "0.200"}
    assert {p: p_number(p) for p in printed} == printed
    assert [p_text(p) for p in (0.00099, 0.001, 0.2)] == ["p < 0.001", "p = 0.001", "p = 0.200"]


def test_one_seed_among_several_sizes_is_told() -> None:
    one, five = (Estimate(0.1, 0.0, 0.2, None, 1, "items"), Estimate(0.1, 0.0, 0.2, 0.1, 5, "seeds and items"))
    assert of_these_runs([five, one]) == " (one seed: of these runs, not of other seeds)"
    assert of_these_runs([five]) == ""


def test_a_gain_splits_into_sharpening_and_the_rest(runs: Path) -> None:
    table = build_table(collect([runs]).runs)
    (split,) = splits(table, find_baseline(table))
    # sampled 60 against 35, baseline greedy 40: gain 25 = 5 sharpening + 20 more; greedy 55 against 40
    numbers = [split.sampled.value, split.sharpening.value, split.rest.value, split.greedy.value]
    assert numbers == pytest.approx([0.25, 0.05, 0.20, 0.15])


def test_other_test_items_are_not_paired(runs: Path) -> None:
    eval_folder(
        runs / "eval" / "other", method="RLHF", reward="ranked", columns={"toy": both(9, 9, 20)},
        ids=[f"x{number}" for number in range(20)],
    )  # fmt: skip
    table = build_table(collect([runs]).runs)
    told = [sentence(gain) for gain in gains(table) if gain.method == "RLHF"]
    assert "test items differ (220 ids are in one of them only" in told[0]
    assert [split.method for split in splits(table, find_baseline(table))] == ["RLLR"]


def test_the_page_shows_every_section(runs: Path) -> None:
    page = write_report(
        runs / "report",
        [runs],
        [runs / "ppo" / "rllr-0"],
        [reward_model_folder(runs / "rm" / "label-0", "label", 0.9)],
        [pairs_folder(runs / "pairs" / "p", "toy", 0.8, 50)],
        {
            "sft": [(runs / "eval" / "sft-0", 1.0), (runs / "eval" / "sft-1", 0.5)],
            "ppo": [(runs / "ppo" / "rllr-0", 2.5)],
        },
        command="make demo",
    )
    text = page.read_text()
    expected = ["table.md", "table.tex", "table.csv", "differences.csv", "measures.csv", "report.html", "report.md"]
    assert sorted(path.name for path in page.parent.iterdir()) == sorted([*expected, "report_figures"])
    pictures = ["forest", "reward_curves", "lambda_saturation", "pair_kinds", "accuracy_kl", "accuracy_cost"]
    pictures += ["label_shares_0", "hacking"]
    drawn = sorted(path.name for path in (page.parent / "report_figures").iterdir())
    assert drawn == sorted(f"{name}.{kind}" for name in pictures for kind in ("svg", "pdf"))
    linked = re.findall(r"\]\((report_figures/[^)]*)\)", text)
    assert sorted(linked) == [f"report_figures/{name}" for name in drawn]
    assert "* RLLR is significantly better than SFT w. rationale on toy: +25.0 points [" in text
    assert "<summary>All 2 comparisons, column by column, with their tests</summary>" in text
    (line,) = [line for line in text.splitlines() if "| RLLR | SFT w. rationale | toy | sampled |" in line]
    # 120 right against 70 of 200; h of 0.6 against 0.35: 2 (asin 0.7746 - asin 0.5916) = 0.506
    size, p, *others = line.strip("| ").split(" | ")[4:]
    assert size.startswith("**+25.0** [+1")
    assert (p, others) == ("< 0.001", ["h = 0.51, medium", "seed 0: 50 to 0"])
    assert polars.read_csv(page.with_name("differences.csv"))["effect_value"][0] == pytest.approx(0.506, abs=5e-4)
    assert "| RLLR | toy | +25.0 [" in text
    assert "* toy: 80.0 % rationale-sensitive of 50 pairs" in text
    assert "| held-out label-sensitive pairs | toy | label RM | 90.0 [85.0, 95.0] | 50.0 | 55.0 | 80 | 1 |" in text
    assert "| total | 4.0 |" in text
    assert "[rllr-0](<../eval/rllr-0>)" in text
    assert "Made by `make demo`." in text


def test_a_page_without_optional_parts_says_so(runs: Path) -> None:
    text = write_report(runs / "report", [runs / "eval" / "rllr-0"]).read_text()
    for line in ("No PPO run was given.", "No run uses λ.", "No reward model was given.", "Not recorded."):
        assert line in text
    assert "Not available: no method 'SFT w. rationale' among the runs" in text


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    application.command()(compare)
    return application


def test_compare_prints_the_table_and_writes_files(runs: Path, app: typer.Typer) -> None:
    done = CliRunner().invoke(app, [str(runs), "--out", str(runs / "out")], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert "RLLR" in done.output
    assert "60.0" in done.output
    written = {path.name for path in (runs / "out").iterdir()}
    tables = {"table.md", "table.tex", "table.csv", "differences.csv", "measures.csv"}
    assert written == {*tables, *(f"{name}.{kind}" for name in ("forest", "reward_curves") for kind in ("svg", "pdf"))}
    assert "RLLR is significantly better than SFT w. rationale by 25.0 points" in " ".join(done.output.split())
    lines = polars.read_csv(runs / "out" / "differences.csv")
    assert lines["verdict"].to_list() == ["better", "better"]
    # sampled: 120 right against 70 on the same 200 items, the same ones first: 50 won, none lost, 2 / 2^50
    assert lines["won_and_lost"].to_list()[0] == "seed 0: 50 to 0"
    assert lines["difference"].to_list() == pytest.approx([0.25, 0.15])
    assert lines["effect_size"].to_list() == ["medium", "small"]


def test_many_differences_are_told_in_short(runs: Path, app: typer.Typer) -> None:
    for place in range(6):
        eval_folder(runs / "eval" / f"m{place}", method=f"M{place}", columns={"toy": both(70, 80, 200)})
    said = " ".join(CliRunner().invoke(app, [str(runs)]).stdout.split())
    assert "RLLR is significantly better than SFT w. rationale on toy: +25.0 points [" in said
    assert "Not significantly different from SFT w. rationale on toy: M0 (sampled and greedy); M1" in said
    assert "All 14 comparisons, column by column, are in differences.csv of --out FOLDER." in said
    assert "do not differ significantly" not in said


def test_compare_writes_the_page(runs: Path, app: typer.Typer) -> None:
    page = runs / "new" / "page.html"
    done = CliRunner().invoke(app, [str(runs / "eval"), "--html", str(page)], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert f"written: {page}" in done.output
    assert sorted(path.name for path in page.parent.iterdir()) == ["page.html", "page_figures"]
    assert {path.suffix for path in (page.parent / "page_figures").iterdir()} == {".pdf"}
    assert 'href="../ppo/rllr-0/config.json"' in page.read_text()


def test_compare_takes_one_run_and_one_decoding(runs: Path, app: typer.Typer) -> None:
    done = CliRunner().invoke(app, [str(runs / "eval" / "sft-0"), "--decoding", "greedy"], env={"COLUMNS": "160"})
    assert done.exit_code == 0
    assert "greedy" in done.output
    assert "sampled" not in done.output


def test_compare_without_runs_is_bad_input(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, [])
    assert isinstance(done.exception, InputError)
    assert str(done.exception).startswith("compare: no runs given")


def test_an_evaluation_keeps_what_the_row_needs(runs: Path) -> None:
    run = load_eval(runs / "eval" / "rllr-0")
    assert (run.key.method, run.key.start, run.key.reward, run.seed) == ("RLLR", "sft-rationale", "label", 0)
    assert run.cost.totals() == {"gold_labels": 100, "annotator_calls": 200, "seconds": 30.0}
    assert run.version == "0.1.0 aaaaaaaaa"
    assert run.cells["toy", "greedy"].metrics == ("accuracy",)
    assert len(run.cells["toy", "greedy"].ids) == 200
