"""Duplicates, near-duplicates, contradictions, prompts on both sides, and lengths that give the answer away."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from rewardlab.config import RunConfig
from rewardlab.config_loading import load_config
from rewardlab.disk import write_jsonl
from rewardlab.errors import AnnotationError
from rewardlab.pairs.cleaning import clean
from rewardlab.pairs.duplicates import outcomes
from rewardlab.pairs.files import read_pairs
from rewardlab.pairs.label_sensitive import Built
from rewardlab.pairs.lengths import balanced, length_report, warn_of_leaks
from rewardlab.pairs.stage import run_pairs
from rewardlab.pairs.statistics import length_only_accuracy
from rewardlab.runs import RunFolder
from rewardlab.tasks.sources import Splits, load_splits
from rewardlab.tasks.task import tasks
from rewardlab.types import Label, Pair

TASK = "sandbox-sentiment"


def pair(
    prompt: str, chosen: str, rejected: str, labels: tuple[Label | None, Label | None] = ("a", "b"), task: str = TASK
) -> Pair:
    return Pair(task, "1", "label", "rationale", prompt, chosen, rejected, *labels, labels[0], "x", "y")


def fate(*pairs: Pair) -> list[str]:
    return outcomes(pairs, [])[0]


class TestDuplicates:
    def test_the_first_of_equal_pairs_stays(self) -> None:
        one = pair("q", "x", "y")
        assert fate(one, one, one) == ["written", "duplicate", "duplicate"]

    @pytest.mark.parametrize(
        "again", ["Is it FINE?", " is  it\tfine ", "Is it “fine”!", "Is it ｆｉｎｅ?", "is it fine..."]
    )
    def test_case_spaces_marks_and_unicode_forms_make_no_new_pair(self, again: str) -> None:
        """In the prompt and in a response alike."""
        assert fate(pair("is it fine", "x", "y"), pair(again, "x", "y")) == ["written", "near_duplicate"]
        assert fate(pair("q", "is it fine", "y"), pair("q", again, "y")) == ["written", "near_duplicate"]

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("it is fine", "it is not fine"),
            ("he sleep", "he sleeps"),
            ("from -5 to 5", "from 5 to 5"),
            ("fine :)", "fine :("),
            ("2.5", "25"),
            ("C", "C++"),
            ("не хорошо", "хорошо"),
        ],
    )
    def test_one_word_sign_or_digit_makes_another_pair(self, one: str, other: str) -> None:
        assert fate(pair(one, "x", "y"), pair(other, "x", "y")) == ["written", "written"]

    def test_the_same_texts_of_another_task_or_answer_are_another_pair(self) -> None:
        one = pair("q", "x", "y")
        assert fate(one, pair("q", "x", "y", task="mr"), pair("q", "x", "y", ("a", "c"))) == ["written"] * 3

    def test_chosen_and_rejected_must_differ(self) -> None:
        assert fate(pair("q", "Fine.", "fine", ("a", "a"))) == ["same_responses"]
        # the texts are equal by the rule, what was read in them is not
        assert fate(pair("q", "Fine.", "fine", ("a", None))) == ["written"]

    def test_a_contradiction_loses_both_sides(self) -> None:
        found = fate(pair("q", "x", "y", ("a", "b")), pair("q", "Y", "x", ("b", "a")), pair("q", "x", "z", ("a", "b")))
        assert found == ["contradicted", "contradicted", "written"]
        # of other prompts, the same preference turned round is no contradiction
        assert fate(pair("q", "x", "y", ("a", "b")), pair("p", "y", "x", ("b", "a"))) == ["written", "written"]

    def test_no_prompt_on_both_sides(self) -> None:
        train = [pair("Q one", "x", "y"), pair("q two", "u", "u", ("a", "a"))]
        held_out = [pair("q one.", "s", "t"), pair("q two", "s", "t"), pair("q one", "s", "t", task="mr")]
        # the only training pair of the second prompt is dropped, so that the prompt is not trained on
        assert outcomes(train, held_out)[1] == ["trained_prompt", "written", "written"]

    def test_nothing_is_fine(self) -> None:
        assert outcomes([], []) == ([], [])
        assert outcomes([], [pair("q", "x", "y")]) == ([], ["written"])

    def test_order_is_kept_and_counted(self) -> None:
        train = Built([pair("a", "x", "y"), pair("a", "x", "y"), pair("b", "x", "y")])
        held_out = Built([pair("c", "x", "y"), pair("b", "x", "y")])
        clean(train, held_out, balance_length=False, seed=0)
        assert [item.prompt for item in train.pairs] == ["a", "b"]
        assert [item.prompt for item in held_out.pairs] == ["c"]
        assert (train.skipped, held_out.skipped) == ([(TASK, "duplicate")], [(TASK, "trained_prompt")])


def leaking(count: int, longer: int, gap: int = 3) -> list[Pair]:
    """``count`` pairs of one gap; in ``longer`` of them the chosen response is the longer one."""
    long, short = "w " * (2 + gap), "w w"
    return [
        pair(f"q{n}", f"{long}{n:04d}", f"{short} {n:04d}")
        if n < longer
        else pair(f"q{n}", f"{short} {n:04d}", f"{long}{n:04d}")
        for n in range(count)
    ]


class TestLengths:
    def test_a_leak_is_measured_and_warned_of(self, caplog: pytest.LogCaptureFixture) -> None:
        report = length_report(leaking(20, 14))
        # "the longer one" is right in 14 of 20
        assert report["length_alone"] == pytest.approx(0.7)
        assert report["leaks"]
        with caplog.at_level(logging.WARNING):
            warn_of_leaks("label", {TASK: report, "mr": length_report(leaking(20, 12)), "sst2": {}})
        assert [record.args[0] for record in caplog.records] == [TASK]  # type: ignore[index]
        assert "ranks 70 % of the label pairs right (limit 60 %)" in caplog.text
        assert "--balance-length" in caplog.text

    def test_the_shorter_one_leaks_as_well(self) -> None:
        assert length_report(leaking(20, 5))["length_alone"] == pytest.approx(0.75)
        assert not length_report(leaking(20, 12))["leaks"]  # exactly 60 % is within the limit
        assert length_report([]) == {}

    def test_balancing_leaves_as_many_of_either_direction(self) -> None:
        pairs = [*leaking(20, 14), *leaking(10, 2, gap=40), pair("equal", "w w", "v v")]
        keep = balanced(pairs, seed=0)
        kept = [item for item, stays in zip(pairs, keep, strict=True) if stays]
        # 6 of 14 stay beside the 6; 2 of 8 beside the 2; equal lengths say nothing and stay
        assert len(kept) == 12 + 4 + 1
        assert keep[-1]
        assert length_only_accuracy(kept, kept) == pytest.approx(0.5)
        assert length_only_accuracy(pairs[:20], pairs[:20]) == pytest.approx(0.7)

    def test_tasks_are_balanced_by_themselves(self) -> None:
        """Over both tasks the directions are even, within each they are not."""
        other = [pair(item.prompt, item.rejected, item.chosen, task="mr") for item in leaking(10, 10)]
        assert sum(balanced([*leaking(10, 10), *other], seed=0)) == 0

    def test_words_count_beside_characters(self) -> None:
        """Chosen has more characters and fewer words, or the reverse: two directions of one bucket."""
        one, other = pair("q", "abcdefgh", "a b c"), pair("p", "a b c", "abcdefgh")
        third = pair("r", "a b c d e", "a b")
        assert balanced([one, other, third], seed=0) == [True, True, False]

    def test_the_seed_decides_who_goes(self) -> None:
        pairs = leaking(40, 30)
        drawn = {tuple(balanced(pairs, seed)) for seed in range(5)}
        assert len(drawn) == 5
        assert balanced(pairs, 0) == balanced(pairs, 0)

    def test_the_stage_balances_both_parts(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        data = {TASK: load_splits(tasks.get(TASK), labelled=40, prompts=5, validation=20, test=5)}
        write_jsonl(tmp_path / "rationales.jsonl", rationales(data[TASK], every=4))
        manifests = []
        for flag in (False, True):
            caplog.clear()
            manifests.append(
                run_pairs(*stage(tmp_path / str(flag), flag), "label", data, tmp_path / "rationales.jsonl")
            )
            assert ("length alone" in caplog.text) is not flag
        plain, repaired = manifests
        assert plain["tasks"][TASK]["lengths"]["length_alone"] == pytest.approx(0.75)
        assert plain["outcomes"]["written"] == 40
        assert repaired["tasks"][TASK]["lengths"]["length_alone"] <= 0.55
        assert repaired["outcomes"]["unbalanced_length"] == 40 - repaired["outcomes"]["written"]
        assert repaired["held_out_outcomes"]["unbalanced_length"] > 0
        assert len(read_pairs(tmp_path / "True" / "pairs.jsonl")) == repaired["outcomes"]["written"]

    def test_nothing_left_is_an_error_that_says_why(self, tmp_path: Path) -> None:
        data = {TASK: load_splits(tasks.get(TASK), labelled=6, prompts=5, validation=4, test=5)}
        write_jsonl(tmp_path / "rationales.jsonl", rationales(data[TASK], every=1000))
        with pytest.raises(AnnotationError, match="6 unbalanced_length"):
            run_pairs(*stage(tmp_path / "run", True), "label", data, tmp_path / "rationales.jsonl")


def rationales(split: Splits, every: int) -> list[dict[str, object]]:
    """Both rationales of each row; that of the right label is the longer one, but for one row in ``every``."""
    return [
        {
            "task": TASK,
            "id": row.id,
            "split": name,
            "is_gold": is_gold,
            "outcome": "answered",
            "label": row.label if is_gold else {"positive": "negative"}.get(str(row.label), "positive"),
            "rationale": "because so" + " and so" * (is_gold == (number % every > 0)),
            "annotator": "t",
            "model": "",
        }
        for name, part in (("labelled", split.labelled), ("validation", split.validation))
        for number, row in enumerate(part, 1)
        for is_gold in (True, False)
    ]


def stage(path: Path, balance: bool) -> tuple[RunFolder, RunConfig]:
    folder = RunFolder(path, "pairs", {})
    folder.open()
    return folder, load_config({"task": TASK, "pairs.held_out": 20, "pairs.balance_length": balance})
