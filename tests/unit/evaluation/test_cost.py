"""What a run cost: gold labels, annotator calls and seconds, each counted once."""

from __future__ import annotations

import pytest

from rewardlab.errors import RunFolderError
from rewardlab.evaluation.cost import Cost

NO_TIME = {"stage_device_seconds": 0.0}


class TestCost:
    def test_rows_of_one_pool_are_counted_once(self) -> None:
        """SFT read 100 labelled rows, pairs the first 60 of the same; PPO 40 prompts: 100 + 40."""
        cost = Cost.of(
            {
                "annotate": {"annotator_calls": 200, "stage_device_seconds": 1.5},
                "sft": {"gold": {"labelled/a": 100}, "stage_device_seconds": 2.0},
                "pairs": {"gold": {"labelled/a": 60}, "annotator_calls": 30, "stage_device_seconds": 0.25},
                "ppo": {"gold": {"prompts/a": 40}, "stage_device_seconds": 10.0},
            }
        )
        assert cost.gold == {"labelled/a": 100, "prompts/a": 40}
        assert cost.totals() == {"gold_labels": 140, "annotator_calls": 230, "seconds": 13.8}
        assert Cost.read(cost.to_json(), "anything") == cost

    def test_wrong_label_rationales_are_charged_to_those_who_make_pairs_of_them(self) -> None:
        """SFT alone pays the 100 rationales it reads; with label pairs 100 more; the 40 held-out ones nobody pays."""
        annotated = {"annotator_calls": 100, "wrong_label_calls": 100, "held_out_calls": 40, **NO_TIME}
        ranked = {"kind": "ranked", "annotator_calls": 7, "held_out_calls": 3, **NO_TIME}
        assert Cost.of({"annotate": annotated, "sft": NO_TIME}).calls == 100
        assert Cost.of({"annotate": annotated, "pairs": {"kind": "label", **NO_TIME}}).calls == 200
        assert Cost.of({"annotate": annotated, "pairs": ranked}).calls == 107

    def test_a_stage_that_two_runs_of_a_row_share_is_paid_once(self) -> None:
        """Single-task PPO on a and b from one SFT model: 100 labelled rows once, 40 prompts of each; 2 + 10 + 11 s."""
        sft = {"gold": {"labelled/a": 50, "labelled/b": 50}, "annotator_calls": 100, "stage_device_seconds": 2.0}
        parts = [
            Cost.of({"s": sft, f"p{task}": {"gold": {f"prompts/{task}": 40}, "stage_device_seconds": seconds}})
            for task, seconds in (("a", 10.0), ("b", 11.0))
        ]
        assert Cost.together(parts).totals() == {"gold_labels": 180, "annotator_calls": 100, "seconds": 23.0}

    def test_an_evaluation_that_stored_totals_alone_is_read_too(self) -> None:
        totals = {"gold_labels": 7, "annotator_calls": 3, "seconds": 1.5}
        runs = [Cost.read(totals, "first"), Cost.read(totals, "second")]
        assert Cost.together(runs).totals() == {"gold_labels": 14, "annotator_calls": 6, "seconds": 3.0}

    def test_what_an_evaluation_did_not_store_is_nothing(self) -> None:
        assert Cost.read({}, "first").totals() == {"gold_labels": 0, "annotator_calls": 0, "seconds": 0.0}
        pools = Cost.of({"a": {"gold": {"labelled/a": 0}, **NO_TIME}, "b": {"gold": {"labelled/a": 0}, **NO_TIME}})
        assert pools.gold == {"labelled/a": 0}

    def test_the_clock_never_stands_in_for_the_device(self) -> None:
        with pytest.raises(RunFolderError, match="run folder sft: no stage_device_seconds"):
            Cost.of({"sft": {"stage_seconds": 2.0}})

    def test_nothing_costs_nothing(self) -> None:
        assert Cost.of({}).to_json() == {"gold_labels": 0, "annotator_calls": 0, "seconds": 0, "stages": {}}
