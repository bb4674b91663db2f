"""The suites that describe the papers' runs: as published, and planned where there are neither weights nor data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewardlab.cli import main as cli
from rewardlab.cli.suite_plan import UNNAMED
from rewardlab.comparison.conventions import CONVENTIONS, scored_metrics
from rewardlab.config_loading import load_config
from rewardlab.models.roles import TARGETS_BY_TYPE
from rewardlab.suites.file import Suite, load_suite
from rewardlab.suites.own_code import own_code
from rewardlab.tasks import GROUPS, separate_tasks
from rewardlab.tasks.task import tasks

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
DOCS = EXPERIMENTS.parent / "docs"
RLLR, PPO_NLU = (EXPERIMENTS / f"{name}-llama2.toml" for name in ("rllr", "ppo-nlu"))
SUPERGLUE, UNSEEN = (EXPERIMENTS / f"ppo-nlu-{name}-llama2.toml" for name in ("superglue", "unseen"))
MODELS = EXPERIMENTS / "ppo-nlu-models.toml"
CODE = EXPERIMENTS / "ppo-nlu-code-llama2.toml"
RLLR_MODELS, REMOTE_CODE = EXPERIMENTS / "rllr-models.toml", EXPERIMENTS / "rllr-models-remote-code.toml"
PAPERS = (RLLR, RLLR_MODELS, REMOTE_CODE, PPO_NLU, SUPERGLUE, UNSEEN, MODELS, CODE)
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


def models_of(suite: Suite) -> list[str]:
    """The models that answer, then the encoders."""
    own = [{**suite.settings, **each.settings}["encoder.model"] for each in suite.method if each.stage == "encoder"]
    return list(dict.fromkeys([*(suite.models or [LLAMA]), *own]))


def planned(path: Path, *options: str) -> int:
    return cli.run(["suite", "run", str(path), "--runs", "runs", "--dry-run", *options])


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_the_plan_stands_without_weights_and_rows(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every cell, and a line for each model and one for all rows that a run would lack; nothing is written."""
    assert planned(path) == 0
    lines = capsys.readouterr().out.splitlines()
    suite = load_suite(path)
    goals = [line for line in lines if line.startswith("[to run]")]
    assert all(any(f"] {method.name}, " in line for line in goals) for method in suite.method)
    assert {line.split(": ")[-1] for line in goals} == {UNNAMED}
    *models, rows = [line for line in lines if line.startswith("the plan stands")]
    assert [name in line for name, line in zip(models_of(suite), models, strict=True)] == [True] * len(models)
    assert "no route to the hub" in rows
    assert not Path("runs").exists()


@pytest.mark.usefixtures("offline")
def test_the_plan_over_the_bundled_sample_names_its_folders(capsys: pytest.CaptureFixture[str]) -> None:
    assert planned(RLLR, "--source", "bundled") == 0
    lines = capsys.readouterr().out.splitlines()
    goals = [line for line in lines if line.startswith("[to run]")]
    assert goals
    assert all("runs/card/" in line if " RM" in line.split(",")[0] else "runs/eval/" in line for line in goals)
    missing = [line for line in lines if line.startswith("the plan stands")]
    assert [name in line for name, line in zip(models_of(load_suite(RLLR)), missing, strict=True)] == [True] * len(
        missing
    )


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("path", [RLLR, PPO_NLU], ids=lambda path: path.stem)
def test_a_run_without_weights_is_refused(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["suite", "run", str(path), "--runs", "runs", "--source", "bundled"]) == 2
    assert f"model '{LLAMA}'" in capfd.readouterr().err


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
    assert picked(rationale, "lora", "rank", "alpha", "targets") == (16, 32, None)
    assert TARGETS_BY_TYPE["llama"] == ("q_proj", "v_proj")
    assert picked(rationale, "data", "labelled", "prompts", "test") == (5000, 5000, 1000)
    mixed = settings(suite, "RLLR-mixed, λ = 3.9")
    assert picked(mixed, "reward", "expression", "lam", "r2") == ("mixed", "3.9", "ranked")
    assert picked(mixed, "ppo", "lr", "batch", "ppo_epochs", "steps") == (5e-6, 16, 1, None)
    assert picked(mixed, "ppo", "value", "value_init", "normalise_scores", "temperature") == ("adapter", "rm", True, 1)
    assert (mixed["rm"]["preset"], mixed["model"]["max_new_tokens"]) == ("rllr", 256)
    assert {settings(suite, name)["task"] for name in ("RLHF", "RLLR")} == {"rllr8"}


def budgets(suite: Suite, name: str) -> dict[str, tuple[Any, ...]]:
    """Kind of pairs -> rate, epochs, batch and pairs an epoch of its reward model, 300 labelled rows."""
    method = next(method for method in suite.method if method.name == name)
    rm = load_config({**suite.settings, **method.settings}).rm
    found = {kind: rm.for_kind(kind, 300) for kind in ("label", "ranked")}
    return {kind: (each.lr, each.epochs, each.batch, each.max_pairs) for kind, each in found.items()}


def test_rllr_has_rows_with_the_published_budgets_of_reward_models_and_with_equal_ones() -> None:
    """Table 3: 2e-4, ten epochs for RLHF's; the scripts' 3e-4, one epoch for RLLR's; all pairs for both."""
    suite = load_suite(RLLR)
    for name in ("RLHF", "RLLR", "ranked RM", "label RM"):
        published = budgets(suite, name)
        assert published == {"label": (3e-4, 1, 64, None), "ranked": (2e-4, 10, 64, None)}
    for name in ("RLHF, equal RMs", "RLLR, equal RMs", "ranked RM, equal", "label RM, equal"):
        equal = budgets(suite, name)
        assert equal["label"] == equal["ranked"] == (2e-4, 1, 64, 300)
    kinds = {method.name: method.kind for method in suite.method if method.stage == "rm"}
    assert kinds == {
        "ranked RM": "ranked",
        "label RM": "label",
        "ranked RM, equal": "ranked",
        "label RM, equal": "label",
    }


MEAN_ACCURACY = {
    "LLaMA2-13B": (86.40, 87.42, 87.69, 88.04),
    "ChatGLM3": (85.33, 85.51, 85.64, 86.02),
    "Mistral": (87.00, 87.29, 87.26, 88.27),
    "Baichuan2": (85.84, 86.19, 86.25, 86.82),
    "Bloom-7B": (82.80, 83.92, 84.01, 84.83),
    "Bloom-3B": (81.24, 82.17, 82.23, 82.99),
}
"""Tables 4 and 8: SFT, SFT w. rationale, RLHF, RLLR."""
PAIR_ACCURACY = {
    "LLaMA2": (80.92, 91.66),
    "ChatGLM3": (75.00, 90.20),
    "Mistral": (80.78, 91.39),
    "Baichuan2": (81.46, 90.18),
    "Bloom-7B": (77.75, 88.73),
}
"""Table 5: reward models of RLHF and of RLLR."""


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (RLLR_MODELS, ("Mistral", "Bloom-7B", "Bloom-3B", "LLaMA2-13B")),
        (REMOTE_CODE, ("ChatGLM3", "Baichuan2")),
    ],
    ids=["without remote code", "with remote code"],
)
def test_rllr_on_other_models_has_the_sizes_of_its_tables(path: Path, names: tuple[str, ...]) -> None:
    suite = load_suite(path)
    assert len(suite.models) == len(names)
    pairs = {"C9": (0, 1), "C10": (1, 2), "C11": (2, 3)}
    expected = {
        claim: ", ".join(f"{MEAN_ACCURACY[name][high] - MEAN_ACCURACY[name][low]:+.2f} ({name})" for name in names)
        for claim, (low, high) in pairs.items()
    }
    ranked = [name for name in names if name in PAIR_ACCURACY]
    expected["C8"] = ", ".join(f"{PAIR_ACCURACY[name][1] - PAIR_ACCURACY[name][0]:+.2f} ({name})" for name in ranked)
    assert {claim.id: claim.published for claim in suite.claim} == expected


def test_remote_code_is_asked_for_by_the_two_models_that_need_it_alone() -> None:
    """The settings are otherwise those of LLaMA2, and each architecture has its published targets."""
    plain, remote, llama = (load_suite(path) for path in (RLLR_MODELS, REMOTE_CODE, RLLR))
    assert remote.models == ("THUDM/chatglm3-6b", "baichuan-inc/Baichuan2-7B-Chat")
    assert {**plain.settings, "model.trust_remote_code": True} == remote.settings
    assert {**plain.settings, "model.name": LLAMA} == llama.settings
    assert [method.name for method in plain.method] == [method.name for method in remote.method]
    assert own_code(remote) == ["code that comes with the model ([settings])"]
    assert own_code(plain) == []
    targets = [TARGETS_BY_TYPE[name] for name in ("mistral", "bloom", "chatglm", "baichuan")]
    assert targets == [("q_proj", "v_proj"), ("query_key_value",), ("query_key_value",), ("W_pack",)]


def test_ppo_nlu_is_as_published() -> None:
    """Section 5.1: Adafactor, 9e-6, four PPO epochs, batch by a grid of four on validation, SFT in batches of 24."""
    suite = load_suite(PPO_NLU)
    assert suite.convention == "ppo-nlu"
    assert set(separate_tasks(suite.settings["task"])) == set(GROUPS["glue"])
    assert suite.unseen == {"rte": "axb"}
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
    for name in ("BERT-base", "BERT-large"):
        assert picked(settings(suite, name), "encoder", "model", "rows") == (f"{name.lower()}-uncased", "all")
        assert suite.grid_of(next(method for method in suite.method if method.name == name)) == {}


def test_superglue_is_as_published() -> None:
    """Table 3: prompting and single-task PPO on every task, AX by the model of RTE, the batch by task."""
    suite = load_suite(SUPERGLUE)
    assert set(suite.tasks) == set(GROUPS["superglue"])
    assert [method.name for method in suite.method] == ["BERT-large", "zero-shot", "few-shot (5)", "PPO-ST"]
    assert settings(suite, "BERT-large")["encoder"]["model"] == "bert-large-uncased"
    assert suite.unseen == {"rte": "axb,axg"}
    assert (suite.convention, dict(suite.grid)) == ("ppo-nlu", {"ppo.batch": (4, 8, 12, 16)})
    assert suite.settings["model.max_prompt_tokens"] == 1536
    own, glue = (settings(load_suite(path), "PPO-ST") for path in (SUPERGLUE, PPO_NLU))
    names = ("optimizer", "lr", "ppo_epochs", "kl_coef", "value", "warmup", "final_lr", "rows")
    assert picked(own, "ppo", *names) == picked(glue, "ppo", *names)


@pytest.mark.parametrize(
    ("path", "tasks", "models"),
    [(UNSEEN, ("sst2", "mnli"), 2), (MODELS, ("stsb", "copa"), 3)],
    ids=["table 2", "table 4"],
)
def test_the_smaller_tables_have_the_settings_of_superglue(path: Path, tasks: tuple[str, ...], models: int) -> None:
    suite, base = load_suite(path), load_suite(SUPERGLUE)
    assert (suite.tasks, len(suite.models), suite.models[0]) == (tasks, models, LLAMA)
    assert ({**suite.settings, "model.name": LLAMA}, suite.grid) == (base.settings, base.grid)
    own = [method for method in suite.method if method not in base.method]
    assert [method.name for method in own] == (["GPT-4o"] if path == UNSEEN else [])
    assert not {claim.says for claim in suite.claim} & {claim.says for claim in base.claim}


def test_the_hosted_model_is_asked_as_the_paper_evaluates_its_own() -> None:
    """Table 2: GPT-4o 97.7, 59.7 and 77.6 beside 97.3, 67.1 and 78.0 of the 7B model, 97.8, 66.8 and 76.4 of 13B."""
    suite = load_suite(UNSEEN)
    hosted = settings(suite, "GPT-4o")["eval"]["hosted"]
    assert (hosted["model"], hosted["decodings"]) == ("gpt-4o", ("sampled",))
    found = {claim.column: claim.published for claim in suite.claim if claim.than == "GPT-4o"}
    scores = {
        "financial_phrasebank": (97.3, 97.8, 97.7),
        "emotion": (78.0, 76.4, 77.6),
        "depression": (67.1, 66.8, 59.7),
    }
    assert found == {
        column: f"{small - theirs:+.1f} (7B), {large - theirs:+.1f} (13B)"
        for column, (small, large, theirs) in scores.items()
    }


def test_the_published_code_trains_sft_on_a_word_that_its_reader_does_not_know() -> None:
    """Its rows of SFT differ in that word alone; all rows are read with a guess where there is no label."""
    suite = load_suite(CODE)
    honest, slipped = settings(suite, "SFT"), settings(suite, "SFT, as in the published code")
    assert {name for name, value in honest["sft"].items() if slipped["sft"][name] != value} == {
        "words",
        "validation_rows",
    }
    assert slipped["sft"]["words"] == {"sst2": {"negative": "No"}}
    assert tasks.get("sst2").parse(" No </Judgement>", "judgement").value is None
    assert {found["eval"]["unreadable"] for found in (honest, slipped)} == {"random"}
    assert settings(suite, "PPO-ST")["reward"]["expression"] == "2 * rule - 1"


def test_published_sizes_are_differences_of_the_printed_averages() -> None:
    """Tables 1 and 3: PPO-ST 84.8, SFT-ST 78.5, zero-shot 46.1, few-shot 58.7; 78.3, 49.5 and 49.8."""
    sizes = {
        path: [claim.published for claim in load_suite(path).claim if claim.id in ("C1", "C2")]
        for path in (PPO_NLU, SUPERGLUE)
    }
    assert sizes[PPO_NLU] == [f"{84.8 - other:+.1f}" for other in (78.5, 46.1, 58.7)]
    assert sizes[SUPERGLUE] == [f"{78.3 - other:+.1f}" for other in (49.5, 49.8)]


def test_the_page_of_the_papers_names_every_suite_and_convention() -> None:
    page, suites = ((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("papers", "suites"))
    files = [path.name for path in EXPERIMENTS.glob("*.toml") if path.name.startswith(("rllr", "ppo-nlu"))]
    assert set(files) == {path.name for path in PAPERS}
    assert [name for name in files if f"`{name}`" not in page or f"`experiments/{name}`" not in suites] == []
    [heading] = [line for line in page.splitlines() if "| `rllr` |" in line]
    assert [cell.strip(" `") for cell in heading.strip("|").split("|")] == ["", *CONVENTIONS]


def test_the_table_of_conventions_is_what_they_do() -> None:
    """Each metric of a line of the page, by the words that result tables have for it."""
    lines = (DOCS / "papers.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    told = {row[0]: row[1:] for row in rows if len(row) == len(CONVENTIONS) + 1}
    measured = {
        "STS-B": "stsb",
        "QQP, MRPC": "mrpc",
        "CoLA": "cola",
        "CB": "cb",
        "MultiRC": "multirc",
        "ReCoRD": "record",
        "AX-g": "axg",
    }
    words = {
        ("pearson",): "Pearson",
        ("spearman",): "Spearman",
        ("pearson", "spearman"): "mean of both",
        ("f1",): "F1",
        ("f1", "accuracy"): "mean of F1 and accuracy",
        ("matthews",): "Matthews",
        ("accuracy",): "accuracy",
        ("macro_f1", "accuracy"): "mean of macro-F1 and accuracy",
        ("exact_match",): "exact match",
        ("f1", "exact_match"): "mean of F1 and exact match",
        ("token_f1", "exact_match"): "mean of F1 and exact match",
        ("parity", "accuracy"): "mean of gender parity and accuracy",
    }
    for line, name in measured.items():
        metrics = [scored_metrics(convention, tasks.get(name).metrics) for convention in CONVENTIONS]
        found = [words.get(each, str(each)) for each in metrics]
        assert [found[1] if cell == "the same" else cell for cell in told[line]] == found, line
