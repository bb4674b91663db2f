"""A suite with a method that learns from pairs beside others: its row, its grid, its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.cli import main as cli
from rewardlab.disk import read_json

SUITE = """
name = "preferences"
title = "Pairs"
seeds = [0]
against = ["SFT"]

[settings]
format = "label"
"data.labelled" = 16
"data.prompts" = 8
"data.validation" = 8
"data.test" = 8
"pairs.samples" = 2
"pairs.held_out" = 4
"model.max_new_tokens" = 4
"sft.epochs" = 1
"ppo.steps" = 1
"ppo.batch" = 4
"dpo.steps" = 2
"dpo.batch" = 4

[[method]]
name = "SFT"
stage = "sft"
rationales = false

[[method]]
stage = "ppo"

[[method]]
stage = "dpo"

[[method]]
stage = "dpo"
settings = { "dpo.loss" = "robust", "dpo.flip_rate" = 0.1 }
grid = { "dpo.lr" = [1e-5, 1e-2] }
"""


@pytest.mark.slow
def test_rows_of_pairs_stand_beside_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "preferences.toml").write_text(SUITE, encoding="utf-8")
    assert cli.run(["suite", "run", "preferences.toml", "--out", "report"]) == 0
    trained = list((tmp_path / "runs" / "dpo").iterdir())
    assert len(trained) == 3, "one of plain DPO, two of the grid"
    rows = {read_json(path / "result.json")["method"] for path in (tmp_path / "runs" / "eval").iterdir()}
    assert rows == {"SFT", "PPO-rule", "DPO on label pairs", "robust DPO on label pairs"}
    pages = [path for path in (tmp_path / "report").rglob("*") if path.suffix in (".html", ".md", ".csv")]
    assert pages
    text = "".join(path.read_text(encoding="utf-8") for path in pages)
    assert "robust DPO on label pairs" in text
