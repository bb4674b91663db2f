"""The suites that describe the papers' runs: as published, and planned where there are neither weights nor data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewardlab.cli import main as cli
from rewardlab.config_loading import load_config
from rewardlab.suites.file import Suite, load_suite

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
RLLR, PPO_NLU = (EXPERIMENTS / f"{name}-llama2.toml" for name in ("rllr", "ppo-nlu"))
LLAMA = "meta-llama/Llama-2-7b-chat-hf"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder without network, data and cache; the annotator's key is there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)
    for module in ("rewardlab.tasks.hub", "rewardlab.models.names"):
        monkeypatch.setattr(f"{module}.offline_reason", lambda: "no route to the hub")


def planned(path: Path, *options: str) -> int:
    return cli.run(["suite", "run", str(path), "--runs", "runs", "--dry-run", *options])


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("path", [RLLR, PPO_NLU], ids=lambda path: path.stem)
def test_the_plan_stands_without_weights(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every cell, and one line that says what a run would lack; nothing is written."""
    assert planned(path, "--source", "bundled") == 0
    lines = capsys.readouterr().out.splitlines()
    named = {method.name for method in load_suite(path).method}
    assert all(any(f"] {name}, " in line for line in lines) for name in named)
    missing = [line for line in lines if line.startswith("the plan stands")]
    assert len(missing) == 1
    assert LLAMA in missing[0]
    assert not Path("runs").exists()


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("path", [RLLR, PPO_NLU], ids=lambda path: path.stem)
def test_a_run_without_weights_is_refused(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["suite", "run", str(path), "--runs", "runs", "--source", "bundled"]) == 2
    assert f"model '{LLAMA}'" in capfd.readouterr().err


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("path", [RLLR, PPO_NLU], ids=lambda path: path.stem)
def test_without_the_hub_one_line_says_so(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert planned(path) == 2
    told = capfd.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert "no route to the hub" in told.err
    assert "--source bundled" in told.err


def settings(suite: Suite, name: str) -> dict[str, Any]:
    """The resolved configuration of a method."""
    method = next(method for method in suite.method if method.name == name)
    own = {} if method.format is None else {"format": method.format}
    return load_config({**suite.settings, **method.settings, **own}).model_dump()


def picked(found: dict[str, Any], section: str, *names: str) -> tuple[Any, ...]:
    return tuple(found[section][name] for name in names)


def test_rllr_is_as_published() -> None:
    """Table 3 and the scripts for LLaMA2-7B: rates, batches, epochs, lambda 3.9; 5 000 rows a task, 1 000 tests."""
    suite = load_suite(RLLR)
    plain, rationale = settings(suite, "SFT"), settings(suite, "SFT w. rationale")
    assert picked(plain, "sft", "lr", "batch", "epochs") == (2e-5, 128, 20)
    assert picked(rationale, "sft", "lr", "batch", "epochs") == (2e-4, 128, 10)
    assert (plain["format"], rationale["format"]) == ("label", "rationale")
    assert picked(rationale, "lora", "rank", "alpha", "targets") == (16, 32, ("q_proj", "v_proj"))
    assert picked(rationale, "data", "labelled", "prompts", "test") == (5000, 5000, 1000)
    mixed = settings(suite, "RLLR-mixed, λ = 3.9")
    assert picked(mixed, "reward", "expression", "lam", "r2") == ("mixed", "3.9", "ranked")
    assert picked(mixed, "ppo", "lr", "batch", "ppo_epochs", "steps") == (5e-6, 16, 1, None)
    assert picked(mixed, "ppo", "value", "value_init", "normalise_scores", "temperature") == ("adapter", "rm", True, 1)
    assert (mixed["rm"]["preset"], mixed["model"]["max_new_tokens"]) == ("rllr", 256)
    assert {settings(suite, name)["task"] for name in ("RLHF", "RLLR")} == {"rllr8"}


def test_ppo_nlu_is_as_published() -> None:
    """Section 5.1: Adafactor, 9e-6, four PPO epochs, batch by a grid of four on validation, SFT in batches of 24."""
    suite = load_suite(PPO_NLU)
    assert dict(suite.grid) == {"ppo.batch": (4, 8, 12, 16)}
    found = settings(suite, "PPO-ST")
    assert picked(found, "ppo", "optimizer", "lr", "ppo_epochs", "kl_coef", "value") == (
        "adafactor",
        9e-6,
        4,
        0,
        "head",
    )
    assert picked(found, "ppo", "warmup", "final_lr", "rows") == (0.1, 0.1, "all")
    assert (found["format"], found["init"], found["model"]["max_new_tokens"]) == ("judgement", "base", 32)
    assert found["reward"]["expression"] == "rule"
    assert picked(settings(suite, "SFT-MT"), "sft", "batch", "rows") == (24, "all")
    assert [method.scope for method in suite.method if method.name in ("SFT-ST", "PPO-ST")] == ["each", "each"]
    assert settings(suite, "few-shot (5)")["eval"]["shots"] == 5
