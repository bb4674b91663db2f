"""Claims of a suite file: how they are read, what each measure gives, which verdict the interval earns, the files."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from rewardlab.claims import measures as claim_measures
from rewardlab.claims.claim import Claim, claims_sha256
from rewardlab.claims.findings import (
    Finding,
    claims_grid,
    compared_text,
    corrected,
    family_text,
    findings,
    size_text,
    verdict,
    write_claims,
)
from rewardlab.claims.measures import Evidence, Measured
from rewardlab.comparison.grid import Source
from rewardlab.comparison.runs import collect
from rewardlab.comparison.statistics import Estimate
from rewardlab.comparison.table import ComparisonTable, build_table
from rewardlab.disk import read_json, read_jsonl, write_json, write_jsonl
from rewardlab.errors import ConfigError, InputError
from rewardlab.intervals import Spread
from rewardlab.judge.contests import Verdict
from rewardlab.judge.verdicts import NET, JudgedRun, judged_estimate
from rewardlab.reports.page import SuiteFacts, write_report
from rewardlab.reward_models.over_seeds import Cards, Difference
from rewardlab.suites.file import load_suite
from tests.support.runs import answers_with, eval_folder

RIGHT = {"SFT": (100, 102, 104), "PPO": (140, 142, 146)}
"""Method -> right answers of 200 in each seed."""
METHODS = '[[method]]\nname = "A"\nstage = "base"\n[[method]]\nname = "B"\nstage = "sft"\n'


def claim(**given: Any) -> Claim:
    """PPO against SFT on the one column."""
    about = {"id": "C1", "says": "PPO beats SFT", "better": "PPO", "than": "SFT", "column": "toy", "decoding": "greedy"}
    return Claim.model_validate({**about, **given})


@pytest.fixture
def table(tmp_path: Path) -> ComparisonTable:
    return make_table(tmp_path)


def make_table(root: Path) -> ComparisonTable:
    """Two methods of three seeds; PPO trained 30, 60 and 90 s, SFT 20, 40 and 60 s."""
    for method, rights in RIGHT.items():
        for seed, right in enumerate(rights):
            took = 30 if method == "PPO" else 20
            trained = root / "trained" / f"{method}-{seed}"
            write_json(trained / "config.json", {"stage": "ppo"})
            write_json(trained / "result.json", {"stage_device_seconds": took * (seed + 1)})
            columns = {"toy": {"greedy": answers_with(right, 200)}}
            eval_folder(
                root / "eval" / f"{method}-{seed}", method=method, seed=seed, columns=columns, model_run=trained
            )
    return build_table(collect([root / "eval"]).runs, decodings=("greedy",), resamples=300)


def found(given: Claim, table: ComparisonTable, **evidence: Any) -> Finding:
    (one,) = findings([given], Evidence(table, **evidence))
    return one


def test_a_difference_is_measured_in_points(table: ComparisonTable) -> None:
    one = found(claim(), table)
    # right answers differ by 40, 40 and 42 of 200
    assert one.estimate is not None
    assert one.estimate.value == pytest.approx(100 * (40 + 40 + 42) / 600)
    assert one.estimate.sd == pytest.approx(1 / 3**0.5)  # 20, 20 and 21 points
    assert (one.estimate.lowest, one.estimate.highest) == (-100.0, 100.0)
    assert (one.verdict, one.estimate.seeds) == ("holds", 3)
    assert found(claim(better="SFT", than="PPO"), table).verdict == "does not hold"
    assert found(claim(above=20.0), table).verdict == "undecided"
    assert one.size.startswith("+20.3 points [+")


@pytest.mark.parametrize(
    ("low", "high", "where", "word"),
    [
        (0.1, 2.0, (0.0, np.inf), "holds"),
        (0.0, 2.0, (0.0, np.inf), "undecided"),
        (-2.0, 0.0, (0.0, np.inf), "does not hold"),
        (-1.5, 1.9, (-2.0, 2.0), "holds"),
        (-2.5, 1.9, (-2.0, 2.0), "undecided"),
        (2.1, 4.0, (-2.0, 2.0), "does not hold"),
        (-9.0, 9.0, (-2.0, 2.0), "undecided"),
        (-1.5, 2.0, (-2.0, 2.0), "undecided"),  # an end on the bound is not inside it
        (2.0, 4.0, (-2.0, 2.0), "does not hold"),
    ],
)
def test_the_verdict_is_where_the_interval_lies(low: float, high: float, where: Any, word: str) -> None:
    assert verdict(Estimate((low + high) / 2, low, high, None, 3, "seeds and items"), where) == word


@pytest.mark.parametrize(
    ("low", "high", "given", "told"),
    [
        (-9.6, -1.0, {"between": (-2.0, 2.0)}, "undecided, differs from 0"),
        (0.5, 3.0, {"above": 1.0}, "undecided, differs from 0"),
        (-0.5, 3.0, {}, "undecided"),
        (-9.6, -2.5, {"between": (-2.0, 2.0)}, "does not hold"),
        (0.5, 3.0, {}, "holds"),
        (0.5, 3.0, {"measure": "seconds", "above": 1.0}, "undecided"),  # a ratio is never 0
    ],
)
def test_an_undecided_difference_may_be_one_all_the_same(low: float, high: float, given: Any, told: str) -> None:
    one = Finding(claim(**given), "tiny", Estimate((low + high) / 2, low, high, None, 3, "seeds and items"))
    assert one.told == told
    assert one.differs == told.endswith("from 0")


@pytest.mark.parametrize(
    ("low", "high", "where", "printed"),
    [
        (0.04, 2.9, (0.0, np.inf), "+1.47 points [+0.04, +2.90]"),
        (0.004, 2.9, (0.0, np.inf), "+1.452 points [+0.004, +2.900]"),
        (-0.02, 2.9, (0.0, np.inf), "+1.44 points [−0.02, +2.90]"),
        (0.0, 2.9, (0.0, np.inf), "+1.4 points [0.0, +2.9]"),
        (0.06, 2.9, (0.0, np.inf), "+1.5 points [+0.1, +2.9]"),
        (-1.0, 1.98, (-2.0, 2.0), "+0.49 points [−1.00, +1.98]"),
        (1.0, 3.0, (0.0, np.inf), "+2.0 points [+1.0, +3.0]"),
    ],
)
def test_an_end_beside_the_bound_is_not_printed_as_the_bound(low: float, high: float, where: Any, printed: str) -> None:
    assert size_text(Estimate((low + high) / 2, low, high, None, 3, "seeds and items"), "points", where) == printed


def sized(value: float, half: float, **given: Any) -> Finding:
    """A finding of a size whose own 95 % interval, of items alone, reaches so far to each side."""
    spread = Spread((half / 1.959964) ** 2, 1e9)
    size = Estimate(value, value - half, value + half, None, 1, "items", spread)
    return Finding(claim(**given), "tiny", size)


def test_claims_are_corrected_together() -> None:
    """Alone, +1.46 [+0.02, +2.90] holds; one of 28 of which no other is decided, it does not."""
    (alone,) = corrected([sized(1.46, 1.44)])
    assert (alone.verdict, alone.family) == ("holds", 1)
    assert alone.p_holm == pytest.approx(0.0469, abs=1e-4)  # z = 1.46 / (1.44 / 1.959964) = 1.9872
    first, *others = corrected([sized(1.46, 1.44), *(sized(0.1, 1.44) for _ in range(27))])
    assert (first.verdict, first.family, first.p_holm) == ("undecided", 28, 1.0)
    assert claims_grid([first, *others]).rows[0][3].mark == ""
    assert first.estimate is not None
    # 0.05 / 28 on both sides is 3.1237 standard errors: 3.1237 / 1.959964 * 1.44
    assert first.estimate.high - first.estimate.value == pytest.approx(2.2950, abs=1e-3)


def test_a_decided_claim_leaves_fewer_to_correct_for() -> None:
    """p = 0.0469 alone is enough after 27 claims without a doubt: each of them held before it was its turn."""
    found = corrected([sized(1.46, 1.44), *(sized(90.0, 1.0) for _ in range(27))])
    assert {each.verdict for each in found} == {"holds"}
    assert found[0].p_holm == pytest.approx(0.0469, abs=1e-4)


def test_p_is_of_the_nearest_end_of_the_range() -> None:
    (inside,) = corrected([sized(1.5, 1.0, between=(-2.0, 2.0))])
    assert inside.p_holm == pytest.approx(0.3271, abs=1e-3)  # 0.5 away: z = 0.98
    (outside,) = corrected([sized(3.5, 1.0, between=(-2.0, 2.0))])
    assert (outside.verdict, outside.p_holm) == ("does not hold", pytest.approx(0.0033, abs=1e-3))  # 1.5: z = 2.94


@pytest.mark.parametrize("seed", range(5))
def test_a_claim_is_decided_exactly_where_its_corrected_p_is_below_5_per_cent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ranges: list[dict[str, Any]] = [{}, {"above": 1.0}, {"between": (-2.0, 2.0)}]
    found = corrected([sized(float(rng.normal(0, 4)), float(rng.uniform(0.5, 3)), **ranges[n % 3]) for n in range(20)])
    decided = [each.verdict != "undecided" for each in found]
    assert decided == [each.p_holm is not None and each.p_holm < 0.05 for each in found]
    assert 0 < sum(decided) < 20


def test_negative_bounds_and_published_sizes_have_the_minus_of_sizes(table: ComparisonTable) -> None:
    one = found(claim(between=(-4.0, 4.0), published="-1.9 (LLaMA2-7B)"), table)
    cells = [cell.text for cell in claims_grid([one]).rows[0]]
    assert cells[-2:] == ["−1.9 (LLaMA2-7B)", "PPO against SFT, toy, greedy; holds between −4 and 4"]


def test_times_are_compared_as_a_ratio_of_the_trained_stages(table: ComparisonTable) -> None:
    one = found(claim(measure="seconds", between=(1.4, 1.6)), table)
    # 30/20, 60/40 and 90/60: 1.5 in every seed
    assert one.size == "1.50 times [1.50, 1.50]"
    assert one.verdict == "holds"


def test_the_interval_of_a_ratio_is_that_of_its_logarithm(tmp_path: Path) -> None:
    table = make_table(tmp_path)
    write_json(tmp_path / "trained" / "PPO-1" / "result.json", {"stage_device_seconds": 120.0})
    one = found(claim(measure="seconds", between=(1.4, 1.6)), table)
    # 1.5, 3 and 1.5: logarithms 0.4055, 1.0986 and 0.4055, mean 0.6365, sd 0.4002; 4.3027 * 0.4002 / sqrt(3) = 0.9941
    assert one.size == "1.89 times [0.70, 5.11]"
    assert one.verdict == "undecided"


def test_times_by_the_clock_are_no_device_seconds(tmp_path: Path) -> None:
    table = make_table(tmp_path)
    write_json(tmp_path / "trained" / "SFT-1" / "result.json", {"stage_seconds": 40.0})
    one = found(claim(measure="seconds", between=(1.4, 1.6)), table)
    assert one.verdict == "not testable here"
    assert "SFT-1: no stage_device_seconds" in one.reason


def test_a_ratio_of_one_seed_has_no_interval(tmp_path: Path) -> None:
    whole = make_table(tmp_path)
    runs = [run for row in whole.rows for run in row.runs if run.seed < 1]
    one = found(claim(measure="seconds", above=1.0), build_table(runs, decodings=("greedy",), resamples=50))
    assert (one.verdict, one.reason) == (
        "not testable here",
        "seeds with both times: 1; the interval of a ratio needs 2",
    )


@pytest.mark.parametrize("lacking", ["SFT", "PPO"])
def test_times_are_compared_in_the_seeds_that_have_both(tmp_path: Path, lacking: str) -> None:
    """Two seeds of three are enough for an interval."""
    runs = [run for row in make_table(tmp_path).rows for run in row.runs if (run.key.method, run.seed) != (lacking, 1)]
    one = found(claim(measure="seconds", above=1.0), build_table(runs, decodings=("greedy",), resamples=50))
    assert one.estimate is not None
    assert (one.estimate.value, one.estimate.seeds) == (pytest.approx(1.5), 2)


def test_a_run_without_time_or_without_its_folder_has_no_ratio(tmp_path: Path) -> None:
    table = make_table(tmp_path)
    write_json(tmp_path / "trained" / "PPO-1" / "result.json", {"stage_device_seconds": 0.0})
    assert found(claim(measure="seconds", above=1.0), table).reason == "PPO: a trained run has no time"


def test_a_difference_of_correlations_lies_within_two(tmp_path: Path) -> None:
    gold = [float(number % 5) for number in range(40)]
    for method, answers in (("PPO", gold), ("SFT", [4.0 - number for number in gold])):
        columns = {"toy": {"greedy": (gold, answers)}}
        eval_folder(tmp_path / method, method=method, columns=columns, metrics=("pearson",), scale=(0.0, 4.0))
    table = build_table(collect([tmp_path]).runs, decodings=("greedy",), resamples=50)
    one = found(claim(), table)
    assert one.estimate is not None
    assert one.estimate.value == pytest.approx(200.0)  # 1 against -1
    assert (one.estimate.lowest, one.estimate.highest) == (-200.0, 200.0)
    assert found(claim(measure="label shift"), table).reason == "toy has numbers, no labels"


def test_a_run_evaluated_twice_was_trained_once(tmp_path: Path) -> None:
    for seed in range(3):
        columns = {"unseen": {"greedy": answers_with(100, 200)}}
        trained = tmp_path / "trained" / f"PPO-{seed}"
        eval_folder(
            tmp_path / "eval" / f"PPO-unseen-{seed}", method="PPO", seed=seed, columns=columns, model_run=trained
        )
    one = found(claim(measure="seconds", between=(1.4, 1.6)), make_table(tmp_path))
    assert one.size == "1.50 times [1.50, 1.50]"


@pytest.mark.parametrize("measure", ["accuracy", "label shift"])
def test_an_average_pairs_no_seed_with_another(tmp_path: Path, measure: str) -> None:
    """As many seeds in either column, but others: seed 0 of the one is no pair of seed 1 of the other."""
    for method in ("PPO", "SFT"):
        for seed, columns in ((0, ("a",)), (1, ("a", "b")), (2, ("b",))):
            cells = {column: {"greedy": answers_with(100, 200)} for column in columns}
            eval_folder(tmp_path / f"{method}-{seed}", method=method, seed=seed, columns=cells)
    table = build_table(collect([tmp_path]).runs, decodings=("greedy",), resamples=50)
    one = found(claim(measure=measure, column="average"), table)
    assert (one.verdict, one.reason) == ("not testable here", "PPO and SFT share other seeds in other columns")


def test_label_shift_is_less_for_the_better(tmp_path: Path) -> None:
    gold = ["yes"] * 50 + ["no"] * 50
    for seed in range(3):
        for method, answers in (("SFT", ["yes"] * 90 + ["no"] * 10), ("PPO", ["yes"] * 60 + ["no"] * 40)):
            columns = {"toy": {"greedy": (gold, answers)}}
            eval_folder(tmp_path / "eval" / f"{method}-{seed}", method=method, seed=seed, columns=columns)
    table = build_table(collect([tmp_path]).runs, decodings=("greedy",), resamples=300)
    one = found(claim(measure="label shift"), table)
    # 0.4 away against 0.1 away
    assert one.estimate is not None
    assert one.estimate.value == pytest.approx(30.0)
    assert one.verdict == "holds"


def test_quality_is_read_item_by_item(tmp_path: Path) -> None:
    table = make_table(tmp_path)
    for row in table.rows:
        for run in row.runs:
            base = 0.5 if row.key.method == "SFT" else 0.75
            lines = [{**line, "quality": base + 0.001 * (n % 3)} for n, line in enumerate(_lines(run.path))]
            lines[0]["quality"] = None
            write_jsonl(run.path / "predictions.jsonl", lines)
    one = found(claim(measure="quality"), table)
    assert one.estimate is not None
    assert one.estimate.value == pytest.approx(25.0)
    assert (one.estimate.lowest, one.estimate.highest) == (-100.0, 100.0)
    assert found(claim(measure="quality"), make_table(tmp_path)).reason == "PPO: no rationale quality is known in toy"


def _lines(folder: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(folder / "predictions.jsonl"))


def judged(
    table: ComparisonTable,
    seed: int,
    winners: str,
    *,
    turned: bool = False,
    column: str = "toy",
    judge: str = "sandbox",
) -> JudgedRun:
    """PPO (a) against SFT (b), or the other way round; one letter an item."""
    words = {"w": "b" if turned else "a", "l": "a" if turned else "b", "t": "tie", "-": None}
    verdicts = [Verdict(words[letter], True) for letter in winners]  # type: ignore[arg-type]  # letters above
    runs = {run.key.method: run for row in table.rows for run in row.runs if run.seed == seed}
    a, b = (runs[name] for name in (("SFT", "PPO") if turned else ("PPO", "SFT")))
    items = [(column, f"{number:03}") for number in range(len(winners))]
    return JudgedRun(Path(f"j-{seed}"), a, b, "greedy", judge, items, verdicts)


def test_a_judge_counts_wins_less_losses_from_either_side(table: ComparisonTable) -> None:
    runs = [judged(table, 0, "wwwlt-"), judged(table, 1, "wwwtt", turned=True)]
    one = found(claim(measure="judged"), table, judged=runs)
    # (3 - 1) / 5 and 3 / 5
    assert one.estimate is not None
    assert one.estimate.value == pytest.approx(50.0)
    assert found(claim(measure="judged", better="SFT", than="PPO"), table, judged=runs).estimate.value == -50.0  # type: ignore[union-attr]
    other = claim(measure="judged", decoding="sampled")
    assert found(other, table, judged=runs).reason == "no judge has compared PPO with SFT, sampled decoding"
    elsewhere = [judged(table, 0, "w", column="else")]
    assert found(claim(measure="judged"), table, judged=elsewhere).reason == "nothing was judged in toy"


def test_an_item_without_a_verdict_leaves_the_interval_as_wide(table: ComparisonTable) -> None:
    """Seeds share their items: 60 of 100 won by each of three seeds is one sample of 100, not one of 300."""
    winners = "wwwll" * 20
    whole = [judged(table, seed, winners) for seed in range(3)]
    torn = [judged(table, seed, winners[:seed] + "-" + winners[seed + 1 :]) for seed in range(3)]
    half = []
    for runs in (whole, torn):
        one = found(claim(measure="judged"), table, judged=runs).estimate
        assert one is not None
        half.append((one.high - one.low) / 2)
    assert half[1] == pytest.approx(half[0], rel=0.1)
    # sd of wins less losses is sqrt(1 - 0.2^2) = 0.98 an item; no interval is narrower than 1.96 of its 10 points
    assert half[0] >= 1.9 * 100 * 0.98 / 10


def test_another_judge_adds_nothing_to_a_claim(table: ComparisonTable, caplog: pytest.LogCaptureFixture) -> None:
    runs = [judged(table, seed, "wwwwl") for seed in range(3)]
    foreign = judged(table, 0, "lllll", judge="template")
    one = found(claim(measure="judged"), table, judged=[foreign, *runs])
    assert one.estimate is not None
    assert one.estimate.value == pytest.approx(60.0)
    assert len(one.sources) == 3
    assert "left out of the verdicts of sandbox: j-0 by template" in caplog.text
    assert found(claim(measure="judged"), table, judged=[foreign, runs[0]]).reason == (
        "template and sandbox judged as many seeds and items; keep the folders of one judge"
    )


def test_the_average_of_verdicts_is_over_columns() -> None:
    """2 of 2 items won in one column, 1 of 4 in the other: the mean of 1 and 0.25, whatever their numbers."""
    items = [("small", str(n)) for n in range(2)] + [("large", str(n)) for n in range(4)]
    verdicts = [Verdict(winner, True) for winner in ("a", "a", "a", "tie", "tie", "tie")]  # type: ignore[arg-type]
    run = SimpleNamespace(seed=0)
    one = JudgedRun(Path("j"), run, run, "greedy", "sandbox", items, verdicts)  # type: ignore[arg-type]  # a stand-in
    assert judged_estimate([one], NET, ["small", "large"]).value == pytest.approx(0.625)
    with pytest.raises(InputError, match="nothing was judged in third"):
        judged_estimate([one], NET, ["small", "third"])


class FakeCards(Cards):
    """Two reward models whose difference is known."""

    def __init__(self, estimate: Estimate | None) -> None:
        super().__init__([])
        self.names = {("PPO", "tiny"): "PPO", ("SFT", "tiny"): "SFT"}
        self._known = estimate

    def difference(self, better: str, than: str, test_set: str, column: str) -> Difference:
        assert (test_set, column) == ("held_out_label", "toy")
        return Difference(better, than, test_set, column, self._known, "" if self._known else "they share no seed")


def test_shares_and_reward_models_are_given(table: ComparisonTable) -> None:
    # t on 2 degrees of freedom is 4.3027: 0.03 to each side
    spread = Spread(0.0, 99.0, seeds=(0.03 / 4.302653) ** 2, seed_df=2)
    share = Estimate(0.8, 0.77, 0.83, 0.01, 3, "seeds and items", spread, 0.0, 1.0)
    given = claim(measure="pair kinds", better=None, than=None, above=75.0)
    one = found(given, table, pair_kinds={("tiny", "toy"): Measured(share, [Source(Path("p"))])})
    assert (one.size, one.verdict) == ("80.0 % [77.0, 83.0]", "holds")
    assert found(given, table).reason == "no pairs were sampled from an SFT model for toy; there are none"
    elsewhere = {("tiny", "other"): Measured(share)}
    why = "no pairs were sampled from an SFT model for toy; there are other"
    assert found(given, table, pair_kinds=elsewhere).reason == why
    mean = claim(measure="pair kinds", better=None, than=None, above=75.0, column="average")
    two = {("tiny", "a"): Measured(share), ("tiny", "b"): Measured(share), ("large", "average"): Measured(share)}
    why = "the share has no average over a, b; it takes two tasks or more, sampled in the same seeds"
    assert found(mean, table, pair_kinds=two).reason == why
    other = found(given, table, pair_kinds={("large", "toy"): Measured(share)})
    assert other.verdict == "not testable here"
    ranked = found(claim(measure="rm accuracy"), table, cards=FakeCards(share))
    assert ranked.size == "+80.0 points [+77.0, +83.0]"
    assert ranked.estimate is not None
    assert (ranked.estimate.low, ranked.estimate.high) == pytest.approx((77.0, 83.0), abs=1e-3)
    compared = [
        compared_text(claim(measure="rm accuracy", test_set=name)) for name in ("held_out_label", "policy_sampled")
    ]
    assert compared == [
        "PPO against SFT, rm accuracy, held-out label-sensitive pairs, toy",
        "PPO against SFT, rm accuracy, policy samples ordered by gold, toy",
    ]
    unpaired = found(claim(measure="rm accuracy"), table, cards=FakeCards(None))
    assert unpaired.reason == "they share no seed"
    assert found(claim(measure="rm accuracy"), table).reason == "PPO has no report card with tiny"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"than": "BERT"}, "no rows are called BERT with tiny"),
        ({"column": "other"}, "no column other; there are toy"),
        ({"not_testable": "no BERT of the sandbox language"}, "no BERT of the sandbox language"),
        ({"decoding": "sampled"}, "they share no seed (none against none); run the same"),
    ],
)
def test_what_cannot_be_measured_says_why(table: ComparisonTable, given: dict[str, Any], why: str) -> None:
    one = found(claim(**given), table)
    assert (one.verdict, one.size, one.reason) == ("not testable here", "–", why)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"above": 1.0, "between": (0.0, 1.0)}, "above and between"),
        ({"measure": "seconds"}, "needs above or between"),
        ({"than": None}, "compares two methods; than not given"),
        ({"measure": "speed"}, "measure"),
    ],
)
def test_incomplete_claims_are_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        claim(**given)


def test_unknown_methods_of_a_claim_are_found_when_the_suite_is_read(tmp_path: Path) -> None:
    text = 'name = "s"\n' + METHODS + '[[claim]]\nid = "C9"\nsays = "B beats A"\nbetter = "B"\nthan = "C"\n'
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ConfigError, match="claim C9: unknown name of a method 'C'; known: A, B"):
        load_suite(tmp_path / "s.toml")
    (tmp_path / "s.toml").write_text(text.replace('"C"\n', '"A"\n'))
    assert load_suite(tmp_path / "s.toml").claim[0].methods == ["B", "A"]


def test_a_report_shows_its_claims_and_leaves_them_as_files(tmp_path: Path) -> None:
    make_table(tmp_path)
    told = [claim(published="+6.3"), claim(id="C3", than=None, better=None, not_testable="no BERT")]
    facts = SuiteFacts("demo", "Two <methods>", claims=told, models=["tiny"], seeds=[0, 1, 2])
    command = "rewardlab suite run mine.toml"
    page = write_report(tmp_path / "out", [tmp_path / "eval"], suite=facts, resamples=200, command=command)
    text = page.read_text()
    assert text.startswith("# Two &lt;methods>\n")
    assert "<h1>Two &lt;methods&gt;</h1>" in page.with_suffix(".html").read_text()
    assert "| C1 | PPO beats SFT | **holds** | +20.3 points [" in text
    assert re.search(r"\] \| < 0\.001 \| 3 \| \+6\.3 \| PPO against SFT, toy, greedy \|", text)
    assert "| C3 | PPO beats SFT | not testable here: no BERT | – | – | – | – | – |" in text
    assert "Claims tested together: 1." in text
    assert text.index("## Claims") < text.index("## Differences between methods")
    assert (tmp_path / "out" / "claims.md").read_text().startswith("# Claims: Two <methods>\n")
    stored = read_json(tmp_path / "out" / "claims.json")
    assert stored["command"] == command
    assert (stored["suite"], stored["models"], stored["seeds"]) == ("demo", ["tiny"], [0, 1, 2])
    assert stored["claims_sha256"] == claims_sha256(told)
    assert f"sha256 {stored['claims_sha256']}" in text
    assert f"sha256 {stored['claims_sha256']}" in (tmp_path / "out" / "claims.md").read_text()
    first, second = stored["claims"]
    assert (first["id"], first["better"], first["than"], first["model"]) == ("C1", "PPO", "SFT", "tiny")
    assert first["size"]["value"] == pytest.approx(100 * 122 / 600)
    assert (first["verdict"], first["unit"], second["size"]) == ("holds", "points", None)
    assert (first["family"], second["p_holm"]) == (1, None)
    assert first["p_holm"] < 0.05


def test_every_base_model_has_a_finding_of_its_own(tmp_path: Path) -> None:
    make_table(tmp_path)
    columns = {"toy": {"greedy": answers_with(120, 200)}}
    eval_folder(tmp_path / "eval" / "large", method="PPO", model="large", columns=columns)
    table = build_table(collect([tmp_path / "eval"]).runs, decodings=("greedy",), resamples=50)
    made = findings([claim()], Evidence(table))
    assert [(each.model, each.verdict) for each in made] == [("tiny", "holds"), ("large", "not testable here")]
    files = write_claims(made, tmp_path / "out", {"suite": "s", "title": ""})
    assert "| C1 | PPO beats SFT | large |" in files[0].read_text()


def test_an_answer_without_a_quality_counts_in_no_mean() -> None:
    """Of 1, nothing and 4: once each, 5 / 2; the first twice and the second five times, 2 / 2."""
    found = claim_measures._weighted(np.array([1.0, np.nan, 4.0]), np.array([[1.0, 1.0, 1.0], [2.0, 5.0, 0.0]]))
    assert found.tolist() == [2.5, 1.0]


def test_a_line_of_the_table_says_what_was_measured() -> None:
    size = Estimate(1.0, 0.5, 1.5, 0.1, 3, "seeds and items")
    one = Finding(claim(published="+1.2"), "tiny", size, p_holm=0.012, family=4)
    grid = claims_grid([one])
    titles = ["claim", "says", "verdict", "measured", "p", "seeds", "published", "compared"]
    assert [heading.title for heading in grid.headings] == titles
    assert [heading.title for heading in grid.headings if heading.is_number] == ["p", "seeds"]
    line = ["C1", "PPO beats SFT", "holds", "+1.0 points [+0.5, +1.5]", "0.012", "3", "+1.2"]
    assert [cell.text for cell in grid.rows[0]] == [*line, "PPO against SFT, toy, greedy"]
    assert [cell.mark for cell in grid.rows[0]] == ["", "", "best", *[""] * 5]


def test_of_several_base_models_each_line_names_its_own() -> None:
    size = Estimate(1.0, -0.5, 2.5, None, 1, "items")
    grid = claims_grid([Finding(claim(), "tiny", size), Finding(claim(), "large", None, "no runs")])
    titles = ["claim", "says", "model", "verdict", "measured", "p", "seeds", "published", "compared"]
    assert [heading.title for heading in grid.headings] == titles
    first, second = ([cell.text for cell in row] for row in grid.rows)
    assert first[2:7] == ["tiny", "undecided", "+1.0 points [−0.5, +2.5]", "–", "1, items only"]
    assert second[2:8] == ["large", "not testable here: no runs", "–", "–", "–", "–"]


def test_what_is_tested_together_is_counted() -> None:
    sizes = [sized(1.0, 0.1), Finding(claim(), "tiny", None, "no runs"), sized(2.0, 0.1)]
    assert family_text(sizes).startswith("Claims tested together: 2. ")
    assert family_text(sizes[1:2]) == ""
    assert [each.family for each in corrected(sizes)] == [2, 1, 2]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "PPO against SFT, toy, greedy"),
        ({"above": 1.5}, "PPO against SFT, toy, greedy; holds above 1.5"),
        ({"measure": "judged"}, "PPO against SFT, judged, toy, greedy"),
        ({"measure": "quality"}, "PPO against SFT, quality, toy, greedy"),
        ({"measure": "label shift"}, "PPO against SFT, label shift, toy, greedy"),
        ({"measure": "seconds", "between": (1, 2)}, "PPO against SFT, seconds, training alone; holds between 1 and 2"),
        ({"measure": "pair kinds", "better": None, "than": None, "above": 75}, "pair kinds, toy; holds above 75"),
        ({"measure": "pair kinds", "than": None, "above": 75}, "pair kinds, toy; holds above 75"),
        ({"not_testable": "no BERT"}, "–"),
    ],
)
def test_what_stands_against_what(given: dict[str, Any], told: str) -> None:
    assert compared_text(claim(**given)) == told


@pytest.mark.parametrize("moved", [{"above": -2.0}, {"than": "RLHF"}, {"decoding": "sampled"}, {"says": "PPO wins"}])
def test_the_hash_of_claims_moves_with_each_bound_and_not_with_order_or_models(moved: dict[str, Any]) -> None:
    one, other = claim(), claim(id="C2")
    assert claims_sha256([one, other]) == claims_sha256([other, one, one])
    assert claims_sha256([claim(**moved), other]) != claims_sha256([one, other])


def test_files_hold_all_that_is_known_of_a_claim(tmp_path: Path) -> None:
    size = Estimate(1.0, -0.5, 2.5, 0.2, 3, "seeds and items")
    one = Finding(claim(), "tiny", size, note="few items", p_holm=0.3, family=2)
    other = Finding(claim(id="C2"), "tiny", None, "no runs")
    files = write_claims([one, other], tmp_path, {"suite": "s", "title": ""})
    assert files == [tmp_path / "claims.md", tmp_path / "claims.json"]
    told = files[0].read_text()
    assert told.startswith("# Claims: s\n\nVerdicts: **holds**, ")
    for word in ("does not hold", "undecided", "not testable here"):
        assert f"**{word}**, " in told
    stored = read_json(files[1])
    assert stored["suite"] == "s"
    known, unknown = ({name: each[name] for name in set(each) - set(Claim.model_fields)} for each in stored["claims"])
    assert known == {
        "unit": "points",
        "model": "tiny",
        "compared": "PPO against SFT, toy, greedy",
        "size": {
            "value": 1.0, "low": -0.5, "high": 2.5, "sd": 0.2, "seeds": 3, "basis": "seeds and items", "level": 0.05
        },
        "text": "+1.0 points [−0.5, +2.5]",
        "verdict": "undecided",
        "p_holm": 0.3,
        "family": 2,
        "differs": False,
        "reason": "",
        "note": "few items",
    }  # fmt: skip
    assert (unknown["size"], unknown["text"], unknown["reason"]) == (None, "–", "no runs")
