"""What training spent: amounts, equal budgets, equal prompts."""

from __future__ import annotations

from pathlib import Path

from rewardlab.comparison.budgets import budget_lines, budgets_grid, training_spent
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import ComparisonTable, build_table
from tests.support.runs import both, eval_folder


def table_of(root: Path, **methods: tuple[int, int, str]) -> ComparisonTable:
    """Method -> updates, tokens and order of prompts, two seeds each; SFT has no PPO."""
    eval_folder(root / "eval" / "sft", method="SFT", columns={"toy": both(5, 5, 10)}, cost=(100, 20, 3.0))
    for method, (updates, tokens, order) in methods.items():
        for seed in (0, 1):
            spent = {"updates": updates, "tokens": tokens + 2 * seed, "device_seconds": 1.5, "prompts": 64}
            eval_folder(
                root / "eval" / f"{method}-{seed}",
                method=method,
                seed=seed,
                columns={"toy": both(5, 5, 10)},
                budget={**spent, "prompts_order": f"{order}{seed}"},
            )
    return build_table(collect([root]).runs, resamples=50)


def test_amounts_are_means_over_seeds(tmp_path: Path) -> None:
    text = markdown_grid(budgets_grid(table_of(tmp_path, RLHF=(6, 100, "x"), RLLR=(6, 140, "y"))))
    assert "| RLHF | 6 | 101 | – | – | 2 | 64 | – | yes |" in text
    assert "| RLLR | 6 | 141 | – | – | 2 | 64 | – | no |" in text


def test_rows_that_did_not_train_with_a_reward_are_not_listed(tmp_path: Path) -> None:
    table = table_of(tmp_path, RLHF=(6, 100, "x"))
    assert markdown_grid(budgets_grid(table)).splitlines() == [
        "| method | updates | tokens generated | sequences forward | sequences backward | training device seconds | "
        "prompts | responses | same prompts |",
        "| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | :--- |",
        "| RLHF | 6 | 101 | – | – | 2 | 64 | – | yes |",
    ]


def test_groups_that_taught_nothing_stand_beside_what_was_spent(tmp_path: Path) -> None:
    """Half and a fifth of the groups in two seeds: 35 %; PPO compares no responses."""
    for seed, share in enumerate((0.5, 0.2)):
        budget = {"updates": 6, "prompts_order": f"x{seed}"}
        for method, more in (("GRPO", {"even_groups": share}), ("PPO", {})):
            folder = tmp_path / "eval" / f"{method}-{seed}"
            eval_folder(folder, method=method, seed=seed, columns={"toy": both(5, 5, 10)}, budget=budget | more)
    head, _, *rows = markdown_grid(budgets_grid(build_table(collect([tmp_path]).runs, resamples=50))).splitlines()
    assert head.endswith("| responses | even groups, % | same prompts |")
    assert sorted(row.split(" | ")[0] + "|" + row.split(" | ")[-2] for row in rows) == ["| GRPO|35.0", "| PPO|–"]


def test_differences_are_named(tmp_path: Path) -> None:
    table = table_of(tmp_path, RLHF=(6, 100, "x"), RLLR=(6, 140, "y"))
    assert budget_lines(table) == [
        "Equal budgets: all trained rows have 6 updates, within 2 %.",
        "Other prompts, or another order, than RLHF: RLLR.",
    ]
    assert budget_lines(table, "tokens")[0] == "Budgets differ in tokens generated: RLHF 101, RLLR 141."


def test_equal_prompts_are_said_and_one_row_needs_no_word(tmp_path: Path) -> None:
    table = table_of(tmp_path / "two", RLHF=(6, 100, "x"), RLLR=(6, 101, "x"))
    assert budget_lines(table, "tokens") == [
        "Equal budgets: all trained rows have 101 tokens generated, within 2 %.",
        "All trained rows read the same prompts in the same order.",
    ]
    assert budget_lines(table_of(tmp_path / "one", RLHF=(6, 100, "x"))) == []


def test_without_ppo_nothing_was_spent(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    assert training_spent(table) == []
    assert budgets_grid(table).rows == []


def test_single_task_runs_of_a_seed_add_up(tmp_path: Path) -> None:
    for task in ("a", "b"):
        spent = {"updates": 3, "tokens": 10, "device_seconds": 1.0, "prompts": 8, "prompts_order": task}
        eval_folder(tmp_path / "eval" / task, method="PPO-ST", columns={task: both(5, 5, 10)}, budget=spent)
    (found,) = training_spent(build_table(collect([tmp_path]).runs, resamples=50))
    assert (found.amounts["updates"], found.orders) == (6, {0: ("a", "b")})


def test_two_evaluations_of_a_trained_run_spend_its_budget_once(tmp_path: Path) -> None:
    """Tested on sets it was not trained on, and evaluated once more after the runs were moved."""
    spent = {"updates": 10, "tokens": 80, "device_seconds": 2.0, "prompts": 16, "prompts_order": "x"}
    for name, root, columns in (
        ("RLHF", "here", "a"),
        ("RLHF", "here", "b"),
        ("RLHF", "moved", "b"),
        ("RLLR", "", "a"),
    ):
        eval_folder(
            tmp_path / "eval" / f"{name}-{root}-{columns}",
            method=name,
            columns={column: both(5, 5, 10) for column in columns},
            model_run=tmp_path / root / "ppo" / f"{name}-0",
            budget=spent,
        )
    table = build_table(collect([tmp_path]).runs, resamples=50)
    assert [(found.amounts["updates"], found.orders) for found in training_spent(table)] == [(10, {0: ("x",)})] * 2
    assert budget_lines(table) == [
        "Equal budgets: all trained rows have 10 updates, within 2 %.",
        "All trained rows read the same prompts in the same order.",
    ]


def test_runs_of_one_name_in_folders_of_two_tasks_are_two(tmp_path: Path) -> None:
    for task in ("a", "b"):
        spent = {"updates": 3, "tokens": 10, "device_seconds": 1.0, "prompts": 8, "prompts_order": task}
        run = tmp_path / task / "ppo"
        eval_folder(
            tmp_path / "eval" / task, method="PPO-ST", columns={task: both(5, 5, 10)}, budget=spent, model_run=run
        )
    (found,) = training_spent(build_table(collect([tmp_path]).runs, resamples=50))
    assert found.amounts["updates"] == 6
