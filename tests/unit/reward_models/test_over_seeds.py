"""Report cards over seeds: accuracy and paired differences by hand, what can be compared, and what is said of it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rewardlab.claims.claim import Claim
from rewardlab.claims.findings import findings
from rewardlab.claims.measures import Evidence
from rewardlab.comparison.table import AVERAGE, build_table
from rewardlab.disk import write_json, write_jsonl
from rewardlab.errors import InputError
from rewardlab.reports.page import write_report
from rewardlab.reports.sections.cards import (
    accuracy_grid,
    best_grid,
    card_sections,
    card_tables,
    differences_of,
    sentence,
)
from rewardlab.reward_models.over_seeds import Cards, card_rows, difference_rows, load_cards
from tests.support.runs import both, eval_folder

Margins = dict[str, list[float]]
"""Task -> margin of each pair; pair n is of row n // 2."""
SET = "held_out_label"


def card_folder(
    path: Path,
    method: str,
    kind: str,
    seed: int,
    sets: dict[str, Margins],
    folders: str = "a",
    texts: str = "",
    model: str = "tiny",
) -> Path:
    """A card by hand; ``folders`` marks the pairs it was judged on, ``texts`` their texts."""
    lines = [
        {"set": name, "task": task, "id": f"{n // 2}", "pair": f"{name}{n}{texts}", "margin": margin}
        for name, tasks in sets.items()
        for task, margins in tasks.items()
        for n, margin in enumerate(margins)
    ]
    known = {"label_only": 0.5, "length_only": None}
    stored = {name: {"tasks": dict.fromkeys(tasks, known)} for name, tasks in sets.items()}
    inputs = {"model": f"{method}-{seed}", "held_out_label": "same", "held_out_ranked": f"{folders}{seed}"}
    config = {"stage": "card", "identity": {"inputs": inputs}, "config": {"model": {"name": model}}}
    write_json(path / "config.json", config)
    write_json(path / "result.json", {"method": method, "kind": kind, "seed": seed, "sets": stored})
    write_jsonl(path / "judged.jsonl", lines)
    return path


RIGHT, WRONG, TIE = 1.5, -0.5, 0.0
LABEL = {0: [RIGHT] * 4, 1: [RIGHT, RIGHT, RIGHT, WRONG], 2: [RIGHT] * 4}
RANKED = {0: [RIGHT, WRONG, RIGHT, WRONG], 1: [WRONG, WRONG, RIGHT, TIE], 2: [WRONG, WRONG, WRONG, RIGHT]}


def two_methods(root: Path) -> Cards:
    """Accuracies of the label RM 1, 0.75, 1; of the ranked RM 0.5, 0.375, 0.25."""
    made = [
        card_folder(root / f"{kind}-{seed}", f"{kind} RM", kind, seed, {SET: {"toy": margins}})
        for kind, by_seed in (("label", LABEL), ("ranked", RANKED))
        for seed, margins in by_seed.items()
    ]
    return load_cards(made)


class TestNumbers:
    def test_accuracy_is_the_mean_over_seeds_with_ties_as_half(self, tmp_path: Path) -> None:
        cards = two_methods(tmp_path)
        label, ranked = (cards.accuracy(name, SET, "toy") for name in ("label RM", "ranked RM"))
        assert label is not None
        assert ranked is not None
        assert label.value == pytest.approx((1 + 0.75 + 1) / 3)
        assert ranked.value == pytest.approx((0.5 + 0.375 + 0.25) / 3)
        assert (label.seeds, label.basis) == (3, "seeds and items")

    def test_a_difference_is_paired_by_seed(self, tmp_path: Path) -> None:
        found = two_methods(tmp_path).difference("label RM", "ranked RM", SET, "toy").estimate
        assert found is not None
        differences = [0.5, 0.375, 0.75]
        mean = sum(differences) / 3
        sd = math.sqrt(sum((each - mean) ** 2 for each in differences) / 2)
        assert found.value == pytest.approx(mean)
        assert found.sd == pytest.approx(sd)
        # Student's t on 2 degrees of freedom: 4.3027; rows add to the variance over seeds, and never take from it
        assert found.spread is not None
        assert found.spread.half_width(0.05) >= 4.3026 * sd / math.sqrt(3)
        assert (found.low, found.high) == (-1.0, 1.0)  # which is more than a difference of shares can be

    def test_rows_are_drawn_and_not_pairs(self, tmp_path: Path) -> None:
        """One seed: both pairs of a row stand and fall together, so half of right pairs can become none or all."""
        card_folder(tmp_path / "one", "label RM", "label", 0, {SET: {"toy": [RIGHT, RIGHT, WRONG, WRONG] * 10}})
        rows = load_cards([tmp_path / "one"]).accuracy("label RM", SET, "toy")
        assert rows is not None
        assert (rows.value, rows.basis) == (0.5, "items")
        # 20 rows: 0.25 / 19 and one row more, 1/400: se 0.1251; t on 19 degrees of freedom is 2.093
        assert rows.high - rows.value == pytest.approx(2.093 * 0.1251, rel=0.08)
        card_folder(tmp_path / "two", "label RM", "label", 0, {SET: {"toy": [RIGHT, WRONG] * 20}})
        even = load_cards([tmp_path / "two"]).accuracy("label RM", SET, "toy")
        assert even is not None
        # one row more alone, 1/20 of a point to each side
        assert (even.low, even.high) == pytest.approx((0.5 - 2.093 / 20, 0.5 + 2.093 / 20), abs=1e-4)

    def test_the_average_is_over_tasks_not_pairs(self, tmp_path: Path) -> None:
        sets = {SET: {"one": [RIGHT] * 8, "two": [WRONG, WRONG]}}
        cards = load_cards([card_folder(tmp_path / "a", "label RM", "label", 0, sets)])
        assert cards.columns == ["one", "two", AVERAGE]
        found = cards.accuracy("label RM", SET, AVERAGE)
        assert found is not None
        assert found.value == 0.5

    def test_baselines_and_counts(self, tmp_path: Path) -> None:
        cards = two_methods(tmp_path)
        assert cards.baseline("label RM", SET, "label_only") == 0.5
        assert cards.baseline("label RM", SET, "length_only") is None
        assert cards.pair_count("label RM", SET) == 4


class TestBestOfFour:
    def folders(self, root: Path) -> list[Path]:
        """Rows of the label RM: 1, 1/2 and 1, 0; the ranked RM's card is from before there were such rows."""
        made = []
        for seed, won in enumerate([(1.0, 0.5), (1.0, 0.0)]):
            made.append(card_folder(root / f"l{seed}", "label RM", "label", seed, {SET: {"toy": [RIGHT] * 4}}))
            lines = [{"task": "toy", "id": f"{row}", "answers": "x", "won": each} for row, each in enumerate(won)]
            write_jsonl(made[-1] / "best_of_4.jsonl", lines)
        return [*made, card_folder(root / "r", "ranked RM", "ranked", 0, {SET: {"toy": [RIGHT] * 4}})]

    def test_the_mean_over_seeds_stands_beside_chance(self, tmp_path: Path) -> None:
        cards = load_cards(self.folders(tmp_path))
        found = cards.best_of_four("label RM", "toy")
        assert found is not None
        assert (found.value, found.seeds, cards.best_count("label RM")) == (pytest.approx((0.75 + 0.5) / 2), 2, 2)
        assert cards.best_of_four("ranked RM", "toy") is None
        grid = best_grid(cards)
        assert grid is not None
        assert [heading.title for heading in grid.headings] == ["reward model", "toy", "chance", "rows", "seeds"]
        assert [[cell.text for cell in line] for line in grid.rows] == [["label RM", "62.5", "25.0", "2", "2"]]
        [row] = [row for row in card_rows(cards) if row["test_set"] == "best_of_4"]
        assert (row["method"], row["column"], row["value"]) == ("label RM", "toy", found.value)

    def test_a_report_has_the_table_where_there_are_such_rows(self, tmp_path: Path) -> None:
        first = self.folders(tmp_path)
        assert "Best of four answers" in str(card_sections(load_cards(first)))
        assert "Best of four answers (chance 25)" in card_tables(load_cards(first))
        assert "Best of four" not in str(card_sections(load_cards(first[2:]))) + card_tables(load_cards(first[2:]))


class TestWhatIsCompared:
    def test_a_label_model_with_the_others_on_the_same_folders(self, tmp_path: Path) -> None:
        """Two weights of the oracle: the label RM of one is not held against the ranked RM of the other."""
        made = [
            card_folder(tmp_path / f"{kind}{w}", f"{kind} RM, w = {w}", kind, 0, {SET: {"toy": [RIGHT]}}, f"w{w}")
            for w in (0, 1)
            for kind in ("label", "ranked", "rationale")
        ]
        expected = [(f"label RM, w = {w}", f"{kind} RM, w = {w}") for w in (0, 1) for kind in ("ranked", "rationale")]
        assert load_cards(made).rivals() == expected

    @pytest.mark.parametrize(
        ("second", "reason"),
        [
            ({"seed": 0, "texts": "other"}, "different pairs"),
            ({"seed": 7}, "share no seed"),
            ({"seed": 0, "sets": {"policy_sampled": {"toy": [RIGHT]}}}, "not judged on such pairs"),
        ],
    )
    def test_what_cannot_be_paired_is_not_compared(
        self, tmp_path: Path, second: dict[str, object], reason: str
    ) -> None:
        first = card_folder(tmp_path / "a", "label RM", "label", 0, {SET: {"toy": [RIGHT]}})
        given = {"sets": {SET: {"toy": [RIGHT]}}, **second}
        other = card_folder(tmp_path / "b", "ranked RM", "ranked", **given)  # type: ignore[arg-type]  # by case
        found = load_cards([first, other]).difference("label RM", "ranked RM", SET, "toy")
        assert found.estimate is None
        assert reason in found.reason
        assert f"are not compared on held-out label-sensitive pairs, toy: {found.reason}" in sentence(found)

    def test_tasks_of_one_seed_in_cards_of_their_own_count_together(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As a suite of tasks = ["one", "two"] makes them; the ranked RM of the second task is missing."""
        made = [
            card_folder(tmp_path / f"{kind} {task}", f"{kind} RM", kind, 0, {SET: {task: margins}}, folders=task)
            for kind, task, margins in (
                ("label", "one", [RIGHT] * 4),
                ("label", "two", [RIGHT, WRONG]),
                ("ranked", "one", [WRONG] * 4),
            )
        ]
        cards = load_cards(made)
        found = {column: cards.accuracy("label RM", SET, column) for column in cards.columns}
        assert {column: each.value for column, each in found.items() if each} == {"one": 1.0, "two": 0.5, AVERAGE: 0.75}
        assert cards.accuracy("ranked RM", SET, "two") is None
        assert [source.name for source in (run.path for run in cards.folders("label RM"))] == ["label one", "label two"]
        assert cards.rivals() == [("label RM", "ranked RM")]
        compared = cards.difference("label RM", "ranked RM", SET, "one").estimate
        assert compared is not None
        assert compared.value == 1.0
        assert caplog.text == ""
        assert list(load_cards([*made, made[0]]).methods)
        assert "label RM, seed 0, held_out_label of one: judged in" in caplog.text

    def test_base_models_are_rows_of_their_own(self, tmp_path: Path) -> None:
        made = [
            card_folder(tmp_path / f"{kind} {model}", f"{kind} RM", kind, 0, {SET: {"toy": margins}}, model=model)
            for model, label in (("tiny", RIGHT), ("large", WRONG))
            for kind, margins in (("label", [label] * 4), ("ranked", [WRONG] * 4))
        ]
        cards = load_cards(made)
        assert [[cell.text for cell in row[:2]] for row in accuracy_grid(cards, SET).rows] == [
            ["label RM (tiny)", "100.0"],
            ["ranked RM (tiny)", "0.0"],
            ["label RM (large)", "0.0"],
            ["ranked RM (large)", "0.0"],
        ]
        rivals = [(f"label RM ({model})", f"ranked RM ({model})") for model in ("tiny", "large")]
        assert cards.rivals() == rivals
        about = {"id": "C8", "says": "-", "better": "label RM", "than": "ranked RM", "column": "toy"}
        claim = Claim.model_validate({**about, "measure": "rm accuracy"})
        measured = findings([claim], Evidence(build_table([]), cards=cards))
        assert [(each.model, each.estimate.value) for each in measured if each.estimate] == [
            ("tiny", 100.0),
            ("large", 0.0),
        ]

    def test_a_broken_card_is_left_out_and_named(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        whole = card_folder(tmp_path / "a", "label RM", "label", 0, {SET: {"toy": [RIGHT]}})
        write_json(tmp_path / "b" / "result.json", {"method": "x"})
        assert list(load_cards([whole, tmp_path / "b"]).methods) == ["label RM"]
        assert "not a finished report card" in caplog.text


class TestPrinted:
    def test_one_line_a_reward_model_best_bold(self, tmp_path: Path) -> None:
        grid = accuracy_grid(two_methods(tmp_path), SET)
        assert [heading.title for heading in grid.headings] == [
            "reward model", "toy", "label-only", "length-only", "pairs", "seeds"
        ]  # fmt: skip
        assert [[cell.text for cell in row] for row in grid.rows] == [
            ["label RM", "91.7", "50.0", "–", "4", "3"],
            ["ranked RM", "37.5", "50.0", "–", "4", "3"],
        ]
        assert [row[1].mark for row in grid.rows] == ["best", "second"]
        assert [source.path.name for source in grid.rows[0][0].sources] == ["label-0", "label-1", "label-2"]

    def test_a_set_that_a_model_was_not_judged_on(self, tmp_path: Path) -> None:
        made = [
            card_folder(tmp_path / "a", "label RM", "label", 0, {SET: {"toy": [RIGHT]}}),
            card_folder(tmp_path / "b", "ranked RM", "ranked", 0, {"held_out_ranked": {"toy": [RIGHT]}}),
        ]
        cards = load_cards(made)
        assert [row[0].text for row in accuracy_grid(cards, "held_out_ranked").rows] == ["ranked RM"]
        assert cards.sets == [SET, "held_out_ranked"]

    def test_sentences_say_the_difference_and_its_interval(self, tmp_path: Path) -> None:
        made = [
            card_folder(tmp_path / f"{kind}{seed}", f"{kind} RM", kind, seed, {SET: {"toy": [margin] * 40}})
            for kind, margin in (("label", RIGHT), ("ranked", WRONG))
            for seed in range(3)
        ]
        (found,) = differences_of(load_cards(made))
        where = "on held-out label-sensitive pairs, toy"
        covered = "(3 seeds, interval over seeds and items)."
        told = "label RM and ranked RM differ significantly"
        # 20 rows that all agree: one row more, 1/400, and what rounding hides between 3 seeds, 1/400 / 12 / 3
        # half-width: the root of 2.0930^2 / 400 + 4.3027^2 / 14400 = 0.1106
        assert sentence(found) == f"{told} {where}: +100.0 points [+88.9, +100.0], p < 0.001 {covered}"
        (few,) = differences_of(two_methods(tmp_path))  # two rows
        assert sentence(few).startswith(f"label RM and ranked RM do not differ significantly {where}: +54.2 points [−")

    def test_differences_are_corrected_together(self, tmp_path: Path) -> None:
        """One difference without a doubt and one of nothing: each is widened to its own step of Holm's procedure."""
        made = [
            card_folder(tmp_path / f"{kind}{n}", f"{kind} RM", kind, n, {SET: {"toy": [margin] * 40}})
            for kind, margin in (("label", RIGHT), ("ranked", WRONG), ("rationale", RIGHT))
            for n in range(3)
        ]
        ranked, rationale = differences_of(load_cards(made))
        assert ranked.estimate is not None
        assert rationale.estimate is not None
        assert (ranked.family, ranked.estimate.level, rationale.estimate.level) == (2, 0.025, 0.05)
        # 2.4334^2 / 400 for rows and 6.2053^2 / 14400 for rounding: a half-width of 0.1322
        assert ranked.estimate.low == pytest.approx(1 - 0.1322, abs=1e-4)
        assert (ranked.p_holm < 0.05, rationale.p_holm) == (True, 1.0)

    def test_sections_and_lines_of_the_files(self, tmp_path: Path) -> None:
        cards = two_methods(tmp_path)
        assert [section.title for section in card_sections(cards)] == [
            "Reward models on held-out pairs",
            "Which reward model ranks better",
        ]
        assert card_sections(Cards([])) == []
        (label, ranked), (difference,) = card_rows(cards), difference_rows(differences_of(cards))
        assert (label["method"], label["value"], label["label_only"]) == ("label RM", pytest.approx(2.75 / 3), 0.5)
        assert (ranked["kind"], ranked["test_set"], ranked["column"]) == ("ranked", SET, "toy")
        assert difference["value"] == pytest.approx(1.625 / 3)


class TestPage:
    def test_a_page_of_cards_alone(self, tmp_path: Path) -> None:
        """No evaluation: tables of reward models, differences, and the files of both; the page links to the cards."""
        runs = [run.path for run in two_methods(tmp_path / "runs" / "card").runs]
        times = {"report card": [(runs[0], 2.0)]}
        page = write_report(tmp_path / "report", [], timings=times, card_runs=runs, command="made by hand")
        text, html = page.read_text(), page.with_suffix(".html").read_text()
        assert "| label RM | **91.7** ± 14.4 [" in text
        assert (
            "* label RM and ranked RM do not differ significantly on held-out label-sensitive pairs, toy: +54.2" in text
        )
        assert "[label-0](<../runs/card/label-0>)" in text
        assert "No pairs were sampled" in text
        assert "The answer" not in text
        assert 'href="#run-0"' in html
        assert "label RM, seed 0" in html
        found = {path.name for path in page.parent.iterdir()}
        assert found == {
            "report.md", "report.html", "table.csv", "reward_model_differences.csv", "report_figures"
        }  # fmt: skip

    def test_cards_beside_evaluations(self, tmp_path: Path) -> None:
        runs = [run.path for run in two_methods(tmp_path / "runs" / "card").runs]
        eval_folder(tmp_path / "runs" / "eval" / "a", columns={"toy": both(9, 9, 20)})
        page = write_report(tmp_path / "report", [tmp_path / "runs" / "eval"], card_runs=runs)
        text = page.read_text()
        assert "## The answer" in text
        assert "## Reward models on held-out pairs" in text
        assert "## Reward models\n" not in text  # the shorter table, for those without a card
        assert {"table.csv", "reward_models.csv"} <= {path.name for path in page.parent.iterdir()}
        assert (page.parent / "reward_models.csv").read_text().startswith("method,kind,test_set,column,value,low,high")

    def test_neither_evaluations_nor_cards(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no evaluation to compare"):
            write_report(tmp_path / "report", [])
