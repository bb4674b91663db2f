"""Two rewards on the same answers: order, flipped winners, largest disagreements, and the command around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
from typer.testing import CliRunner

from rewardlab import intervals
from rewardlab.cli.reward import app
from rewardlab.errors import ConfigError, DataError
from rewardlab.evaluation.reward_difference import JudgedTwice, judge_twice, reward_difference
from rewardlab.types import Answer, Example, Score

SPORTS, BUSINESS = "Goals.\n\n The answer is: Sports", "Much more text here.\n\n The answer is: Business"


def judged(prompt: str, a: float | None, b: float | None, closeness: float | None = None) -> JudgedTwice:
    return JudgedTwice(Example("agnews", prompt, {}), "text", a, b, closeness)


def test_order_is_compared_by_rank() -> None:
    rows = [judged(str(n), a, b) for n, (a, b) in enumerate([(1, 10), (2, 1000), (30, 100), (40, 1e6)])]
    found = reward_difference(rows)
    assert found.spearman is not None
    # one swap of neighbours: 1 - 6 * (1 + 1) / (4 * 15); 5 pairs alike, 1 not, of 6
    assert found.spearman.value == pytest.approx(0.8)
    assert found.kendall == pytest.approx(4 / 6)
    assert [(row.place_a, row.place_b) for row in found.disagreements] == [
        (0.375, 0.625),
        (0.625, 0.375),
        (0.125, 0.125),
        (0.875, 0.875),
    ]
    assert found.disagreements[0].gap == pytest.approx(-0.25)


def test_rank_correlation_and_its_interval_on_many_answers() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=400)
    b = 0.6 * a + 0.8 * rng.normal(size=400)
    alone = reward_difference([judged(str(n), *pair) for n, pair in enumerate(zip(a, b, strict=True))]).spearman
    copied = reward_difference([judged(str(n // 4), a[n // 4], b[n // 4]) for n in range(400)]).spearman
    assert alone is not None
    assert copied is not None
    assert alone.value == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-9)
    # standard error about (1 - r^2) / sqrt(n) = 0.68 / 20
    assert (alone.high - alone.low) / 3.92 == pytest.approx(0.034, abs=0.006)
    assert copied.high - copied.low > 1.5 * (alone.high - alone.low)  # 100 prompts, however often each is answered


def test_winners_are_counted_within_prompts() -> None:
    rows = [
        judged("flip, a right", 1, 0, 1.0),
        judged("flip, a right", 0, 1, 0.0),
        judged("flip, b right", 1, 0, 0.0),
        judged("flip, b right", 0, 1, 1.0),
        judged("flip, gold silent", 1, 0, 1.0),
        judged("flip, gold silent", 0, 1, 1.0),
        judged("alike", 5, 9, 1.0),
        judged("alike", 4, 8, 0.0),
        judged("tied by one", 1, 2),
        judged("tied by one", 1, 3),
        judged("tied by both", 1, 3),
        judged("tied by both", 1, 3),
        judged("alone", 100, -100),
    ]
    winners = reward_difference(rows).winners
    assert (winners.prompts, winners.same, winners.flipped) == (6, 1, 3)
    assert (winners.one_ties, winners.both_tie) == (1, 1)
    assert winners.flip_share is not None
    assert winners.flip_share.value == pytest.approx(3 / 4)
    assert (winners.flips_with_gold, winners.a_right) == (2, 1)


def test_every_kind_of_pair_is_counted() -> None:
    """One prompt a pair; numbers worked by counting the lines below."""
    pairs = {
        # what a and b say of the first answer less the second, and the closeness of the two
        "flip, a right": [(1, -1, 1.0, 0.0), (-1, 1, 0.0, 1.0), (-0.25, 0.25, -2.5, -1.5)],
        "flip, b right": [(-1, 1, 1.0, 0.0)],
        "flip, gold silent": [(-1, 1, 1.0, 1.0), (-1, 1, None, 1.0), (-1, 1, 1.0, None)],
        "alike": [(-1, -1, 1.0, 0.0), (1, 1, 1.0, 0.0), (2, 1, 0.0, 1.0), (1, 1, None, None)],
        "tied by a": [(0, 1, 1.0, 0.0), (0, -1, 0.0, 1.0)],
        "tied by b": [(1, 0, 1.0, 0.0), (-1, 0, 1.0, 0.0), (-1, 0, None, None)],
        "tied by both": [(0, 0, 1.0, 0.0), (0, 0, None, None)],
    }
    rows = []
    for kind, found in pairs.items():
        for number, (a, b, first, second) in enumerate(found):
            rows += [judged(f"{kind} {number}", 10 + a, 10 + b, first), judged(f"{kind} {number}", 10, 10, second)]
    winners = reward_difference(rows).winners
    assert (winners.prompts, winners.same, winners.flipped) == (18, 4, 7)
    assert (winners.one_ties, winners.both_tie, winners.left_out) == (5, 2, 0)
    assert winners.flip_share is not None
    assert winners.flip_share.value == pytest.approx(7 / 11)
    assert (winners.flips_with_gold, winners.a_right) == (4, 3)


def test_prompts_with_very_many_answers_are_cut_and_counted() -> None:
    winners = reward_difference([judged("one", n, -n) for n in range(103)]).winners
    assert (winners.flipped, winners.left_out) == (100 * 99 // 2, 3)
    sizes = {"one": 101, "other": 102, "few": 2}
    rows = [judged(prompt, n, -n) for prompt, size in sizes.items() for n in range(size)]
    assert reward_difference(rows, resamples=20).winners.left_out == 1 + 2


def test_unscored_answers_are_counted_and_left_out() -> None:
    found = reward_difference([judged("1", None, 1), judged("1", 2, None), judged("1", 3, 3), judged("1", None, None)])
    assert (found.answers, found.unscored_a, found.unscored_b) == (1, 2, 2)
    assert found.spearman is None
    assert found.kendall is None
    more = reward_difference([judged("1", None, 1), *(judged("1", n, None) for n in range(3)), judged("1", 1, 1)])
    assert (more.answers, more.unscored_a, more.unscored_b) == (1, 1, 3)


def test_scores_that_differ_by_little_have_an_order() -> None:
    found = reward_difference([judged("1", 0.1, 0.3), judged("2", 0.2, 0.4)], resamples=20)
    assert found.spearman is not None
    assert (found.spearman.value, found.kendall) == (pytest.approx(1.0), pytest.approx(1.0))
    flat = reward_difference([judged("1", 0.1, 0.3), judged("2", 0.2, 0.3)])
    assert (flat.spearman, flat.kendall) == (None, None)


def test_a_constant_reward_has_no_order() -> None:
    found = reward_difference([judged("1", 1, 1), judged("1", 1, 2)])
    assert found.spearman is None
    assert found.winners.one_ties == 1


def test_nothing_scored_is_told_and_does_not_fail() -> None:
    found = reward_difference([judged("1", None, 1)])
    assert (found.answers, found.disagreements, found.winners.flip_share) == (0, [], None)


def test_closeness_is_read_off_the_parsed_answer() -> None:
    label, number = Example("agnews", "1", {}, "Sports"), Example("stsb", "2", {}, 4.0)
    read = [Score(1.0, answer=Answer("Sports")), Score(2.0, answer=Answer(2.5))]
    bare = [Score(0.5), Score(0.5)]
    found = judge_twice([label, number], ["", ""], bare, read)
    assert [row.closeness for row in found] == [1.0, -1.5]
    assert [(row.a, row.b) for row in found] == [(0.5, 1.0), (0.5, 2.0)]


def _invoke(*options: str) -> str:
    arguments = ["diff", "--task", "agnews", "--input", "answers.jsonl", *options]
    return CliRunner().invoke(app, arguments, catch_exceptions=False).stdout


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"id": "1", "response": SPORTS, "label": "Sports"},
        {"id": "1", "response": BUSINESS, "label": "Sports"},
        {"id": "2", "response": SPORTS, "label": "Business"},
        {"id": "2", "response": BUSINESS, "label": "Business"},
        {"response": "?", "label": "Sports"},
    ]
    Path("answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.usefixtures("answers")
def test_the_command_prints_a_page_and_writes_rows() -> None:
    text = _invoke("--a", "rule", "--b", "length", "--rows", "1", "--output", "rows.jsonl")
    assert text.startswith("5 answers; A = rule, B = length\nrank correlation: Spearman ")
    # prompt 1: rule prefers the short right one, length the long wrong one; prompt 2: both the long right one
    assert "2 pairs of 2 prompts; 1 alike, 1 flipped, 0 tied by one, 0 by both" in text
    assert "flipped among pairs that neither ties: 0.500 [" in text
    assert "1 flips have one answer closer to gold: A prefers it in 1, B in 0" in text
    assert text.splitlines()[-1].endswith("1, gold Sports: Goals. The answer is: Sports")
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    # a: 1 0 0 1 -1 -> places 0.8 0.4 0.4 0.8 0.1; b: 5 8 5 8 1 words -> 0.4 0.8 0.4 0.8 0.1
    assert [round(abs(row["place_a"] - row["place_b"]), 6) for row in rows] == [0.4, 0.4, 0.0, 0.0, 0.0]
    assert rows[0] == {
        "id": "1", "a": 1.0, "b": 0.05, "place_a": 0.8, "place_b": 0.4, "closeness": 1.0,
        "gold": "Sports", "response": SPORTS,
    }  # fmt: skip


@pytest.mark.usefixtures("answers")
def test_answers_in_the_same_place_are_no_disagreement() -> None:
    shown = _invoke("--a", "rule", "--b", "length").split("disagree most")[1].splitlines()[2:]
    assert [line.split(": ")[0].split()[-3:] for line in shown] == [["1,", "gold", "Sports"], ["1,", "gold", "Sports"]]
    same = _invoke("--a", "rule", "--b", "2 * rule")
    assert same.splitlines()[-1] == "no disagreement: both put the answers in the same order"
    assert "disagree most" not in same


@pytest.mark.usefixtures("answers")
def test_lambda_goes_to_the_expression_that_uses_it() -> None:
    with pytest.raises(ConfigError, match="--lambda 5 is given, but neither 'rule' nor 'length' uses it"):
        _invoke("--a", "rule", "--b", "length", "--lambda", "5")
    with pytest.raises(ConfigError, match="reward 'mixed' needs trained reward models; add --rm label=DIR --rm ranked"):
        _invoke("--a", "rule", "--b", "mixed", "--lambda", "5")
    with pytest.raises(ConfigError, match="needs lambda"):
        _invoke("--a", "rule", "--b", "mixed")


@pytest.mark.usefixtures("answers")
def test_answers_of_one_prompt_each_are_told_apart_from_pairs() -> None:
    Path("answers.jsonl").write_text(json.dumps({"response": SPORTS, "label": "Sports"}) + "\n" * 2)
    text = _invoke("--a", "rule", "--b", "length")
    assert "no prompt has two answers" in text
    assert "rank correlation: undefined, fewer than two answers were scored by both\n" in text
    Path("answers.jsonl").write_text("\n")
    with pytest.raises(DataError, match="holds no rows"):
        _invoke("--a", "rule", "--b", "length")


@pytest.mark.usefixtures("answers")
def test_equal_scores_for_all_answers_are_no_order() -> None:
    assert "undefined, one of the two gives all answers the same score" in _invoke("--a", "rule", "--b", "0 * rule")


@pytest.mark.usefixtures("answers")
def test_rows_whose_id_is_null_are_prompts_of_their_own() -> None:
    row = json.dumps({"id": None, "response": SPORTS, "label": "Sports"})
    Path("answers.jsonl").write_text(f"{row}\n{row}\n")
    assert "no prompt has two answers" in _invoke("--a", "rule", "--b", "length", "--output", "rows.jsonl")
    assert [json.loads(line)["id"] for line in Path("rows.jsonl").read_text().splitlines()] == ["row 1", "row 2"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Resamples and seed of each block that is drawn for a rank correlation."""
    blocks: list[tuple[int, int]] = []
    drawing = intervals.draw_counts

    def watched(items: int, resamples: int, seed: int) -> Any:
        blocks.append((resamples, seed))
        return drawing(items, resamples, seed)

    monkeypatch.setattr(intervals, "draw_counts", watched)
    return blocks


FORTY = [judged(str(n), float(n), float(n % 7)) for n in range(40)]


def test_resamples_are_drawn_in_blocks_that_add_up(
    monkeypatch: pytest.MonkeyPatch, drawn: list[tuple[int, int]]
) -> None:
    """Blocks of 400 numbers hold ten resamples of 40 answers: 245 are 24 blocks of ten and one of five."""
    monkeypatch.setattr(intervals, "HELD_NUMBERS", 400)
    reward_difference(FORTY, resamples=245, seed=3)
    assert drawn == [*((10, 3 + 10 * block) for block in range(24)), (5, 243)]


def test_a_thousand_resamples_of_few_answers_are_one_block(drawn: list[tuple[int, int]]) -> None:
    reward_difference(FORTY)
    assert drawn == [(1000, 0)]


def test_blocks_hold_a_resample_at_least(monkeypatch: pytest.MonkeyPatch, drawn: list[tuple[int, int]]) -> None:
    monkeypatch.setattr(intervals, "HELD_NUMBERS", 39)
    reward_difference(FORTY, resamples=3)
    assert drawn == [(1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize(("numbers", "resamples"), [(40 * 150, 150), (40 * 50, 100)])
def test_many_answers_are_resampled_less_often(
    numbers: int, resamples: int, monkeypatch: pytest.MonkeyPatch, drawn: list[tuple[int, int]]
) -> None:
    """As often as the numbers allow, and no less than 100 times."""
    monkeypatch.setattr(intervals, "DRAWN_NUMBERS", numbers)
    reward_difference(FORTY)
    assert drawn == [(resamples, 0)]


def test_the_answer_of_the_first_reward_goes_before_that_of_the_second() -> None:
    example = Example("agnews", "1", {}, "Sports")
    wrong, right = Score(0.0, answer=Answer("Business")), Score(1.0, answer=Answer("Sports"))
    assert judge_twice([example], [""], [wrong], [right])[0].closeness == 0.0
    assert judge_twice([example], [""], [right], [wrong])[0].closeness == 1.0
