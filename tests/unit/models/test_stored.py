"""Folders of reward models that are damaged, or of another version or program, are named in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewardlab.disk import write_json, write_jsonl
from rewardlab.errors import DataError, ModelError, RunFolderError
from rewardlab.models.stored import read_sft_scores, stored_inputs, stored_model
from rewardlab.training.stored_samples import read_samples
from tests.support.commands import Command
from tests.support.runs import STORED_RM


def test_what_a_folder_says(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {**STORED_RM, "accuracy": {}})
    write_json(tmp_path / "config.json", {"identity": {"inputs": {"pairs": "abc"}}})
    found = stored_model(tmp_path)
    assert (found.kind, found.model.name, found.sft_adapter, found.trunk) == ("label", "tiny", None, "0" * 16)
    assert found.trunk_files is None
    assert stored_inputs(tmp_path) == {"pairs": "abc"}


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({}, "kind: field required; model: field required; sft_adapter: field required; trunk: field required"),
        ([], "another version or program \\(input should be"),
        ({**STORED_RM, "kind": "best"}, "kind: input should be 'label', 'ranked' or 'rationale'"),
        ({**STORED_RM, "model": None}, "model: input should be"),
        ({**STORED_RM, "model": {"colour": 1}}, "model.colour: extra inputs are not permitted"),
        ({**STORED_RM, "sft_adapter": 5}, "sft_adapter: input should be a valid string"),
    ],
)
def test_a_result_of_another_version_or_program(tmp_path: Path, result: object, told: str) -> None:
    write_json(tmp_path / "result.json", result)
    with pytest.raises(ModelError, match=told):
        stored_model(tmp_path)


@pytest.mark.parametrize("config", [{}, [], {"identity": None}, {"identity": {"inputs": [1]}}])
def test_a_folder_that_does_not_say_what_it_was_made_of(tmp_path: Path, config: object) -> None:
    write_json(tmp_path / "config.json", config)
    with pytest.raises(RunFolderError, match="does not say what it was made of"):
        stored_inputs(tmp_path)


@pytest.mark.parametrize("stored", [{}, [], {"scores": None}, {"scores": ["high"]}])
def test_scores_that_are_none_are_named_and_missing_ones_are_none(tmp_path: Path, stored: object) -> None:
    assert read_sft_scores(tmp_path) == []
    write_json(tmp_path / "sft_scores.json", stored)
    with pytest.raises(DataError, match=r"sft_scores\.json: holds no scores; remove it and run `rewardlab rm"):
        read_sft_scores(tmp_path)


@pytest.mark.parametrize(
    "row",
    [
        {"task": "mr", "id": "1", "fields": {}},
        {"task": "mr", "id": "1", "fields": {}, "responses": "text"},
        {"task": "mr", "id": "1", "fields": {}, "responses": [3]},
        {"task": "mr", "responses": ["text"]},
        {"task": "mr", "id": "1", "fields": {}, "colour": 1, "responses": ["text"]},
    ],
)
def test_a_line_that_is_no_sample_is_named(tmp_path: Path, row: dict[str, Any]) -> None:
    good = {"task": "mr", "id": "1", "fields": {"text": "x"}, "label": "positive", "responses": ["text"]}
    write_jsonl(tmp_path / "sft_samples.jsonl", [good, row])
    with pytest.raises(DataError, match=r"sft_samples\.jsonl row 2: no sample of `rewardlab rm train`"):
        read_samples(tmp_path)


def test_a_report_card_of_a_damaged_folder_is_one_line(rewardlab: Command) -> None:
    write_json(Path("rm/config.json"), {"stage": "rm"})
    write_json(Path("rm/result.json"), {})
    assert rewardlab("rm", "report", "rm").problem.startswith("rm: result.json is of another version or program (kind:")
    write_json(Path("rm/result.json"), STORED_RM)
    assert "rm: config.json does not say what it was made of" in rewardlab("rm", "report", "rm").problem
