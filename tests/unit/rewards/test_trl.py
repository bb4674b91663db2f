"""Rewards of ours in TRL, asked as its GRPO and RLOO trainers ask."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rewardlab
from rewardlab.config import RewardConfig
from rewardlab.errors import ConfigError, DataError, UnknownNameError
from rewardlab.rewards import RewardContext, build_reward
from rewardlab.rewards.rule import RuleReward
from rewardlab.types import Example
from tests.support.trl_trainers import TRAINERS, calculated_rewards

RIGHT, WRONG = "A match.\n\n The answer is: Sports", "Money.\n\n The answer is: Business"
TICKETS = """
name = "tickets"
fields = ["text"]
labels = { "0" = "bug", "1" = "praise" }
columns = { text = "body", label = "kind" }
template = "Classify: {text}"
"""

every_trainer = pytest.mark.parametrize("trainer", TRAINERS)


def call_as_trl(function: Callable[..., Any], completions: list[Any], **columns: list[Any]) -> list[float | None]:
    """The keyword arguments of ``_calculate_rewards`` in TRL 1.16."""
    result: list[float | None] = function(
        prompts=["prompt"] * len(completions),
        completions=completions,
        completion_ids=[[1, 2]] * len(completions),
        **columns,
        trainer_state=SimpleNamespace(global_step=0),
        log_extra=lambda column, values: None,
        log_metric=lambda name, value: None,
    )
    return result


@every_trainer
def test_trainers_call_it(trainer: str) -> None:
    """Names, columns and None as NaN are as they want them."""
    functions = [rewardlab.as_trl_reward(text, "agnews") for text in ("gate(rule >= 0, rule, 1 / 0)", "length")]
    rows = [{"prompt": "p", "label": "Sports", "text": "Rovers won."}] * 3
    names, table = calculated_rewards(trainer, functions, rows, [RIGHT, WRONG, "?"])
    assert names == ["gate(rule >= 0, rule, 1 / 0)", "length"]
    assert [row[0] for row in table[:2]] == [1.0, 0.0]
    assert math.isnan(table[2][0])
    assert table[2][1] == pytest.approx(0.01)  # one word, in hundreds


@every_trainer
def test_conversational_completions(trainer: str) -> None:
    plain = [{"role": "assistant", "content": RIGHT}]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": WRONG}]}]
    tools = [{"role": "assistant", "content": None}, plain[0], {"role": "tool", "content": WRONG}]
    rows = [{"prompt": [{"role": "user", "content": "p"}], "label": "Sports"}] * 4
    function = rewardlab.as_trl_reward("rule", "agnews")
    _, table = calculated_rewards(trainer, [function], rows, [plain, parts, tools, []])
    assert table == [[1.0], [0.0], [1.0], [-1.0]]


def test_label_column_may_hold_numbers() -> None:
    similar = rewardlab.as_trl_reward("rule", "stsb")
    assert call_as_trl(similar, ["x\n\n The answer is: 3"], label=[4]) == [1.5]  # 2.5 - 1
    stars = rewardlab.as_trl_reward("rule", "appreviews")
    assert call_as_trl(stars, ["x\n\n The answer is: 4"], label=[4]) == [1.0]


def test_judgement_format_with_the_opening_in_prompt_or_completion() -> None:
    function = rewardlab.as_trl_reward("rule", "agnews", format="judgement")
    completions = [" Sports </Judgement>", "<Judgement> Sports </Judgement>"]
    assert call_as_trl(function, completions, label=["Sports"] * 2) == [1.0, 1.0]


def test_learned_rewards_get_the_tasks_fields_and_none_stays_none() -> None:
    seen: list[Example] = []

    def scorer(examples: list[Example], responses: list[str]) -> list[float]:
        seen.extend(examples)
        return [math.nan if response == "?" else 2.0 for response in responses]

    reward = build_reward(RewardConfig(expression="label"), RewardContext({"label": scorer}))
    function = rewardlab.as_trl_reward(reward, "agnews")
    assert call_as_trl(function, ["a", "?"], text=["x", "y"], id=["i", "j"]) == [2.0, None]
    assert [(example.id, example.fields["text"]) for example in seen] == [("i", "x"), ("j", "y")]
    with pytest.raises(
        DataError, match=r"'label' reads the task's field 'text', .* its columns are body, completion_ids"
    ):
        call_as_trl(function, ["a"], body=["x"])


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reward models in folders ``a`` and ``b``: the first says 6, the second how long the row's text is."""
    import rewardlab.models.scoring as scoring

    def load(folders: dict[str, Path]) -> SimpleNamespace:
        assert folders == {"label": Path("a"), "ranked": Path("b")}
        scorers = {"label": lambda examples, responses: [6.0] * len(responses)}
        scorers["ranked"] = lambda examples, responses: [float(len(each.fields["text"])) for each in examples]
        return SimpleNamespace(scorers=scorers, sft_scores={"label": [0.0, 10.0], "ranked": []})

    monkeypatch.setattr(scoring, "load_scorers", load)


@pytest.mark.usefixtures("loaded")
@every_trainer
def test_folders_of_reward_models(trainer: str) -> None:
    """Lambda is the middle of the stored scores 0 and 10: min(6, 5) + 4."""
    function = rewardlab.as_trl_reward("mixed", "agnews", rm={"label": "a", "ranked": Path("b")}, lam="q50")
    _, table = calculated_rewards(trainer, [function], [{"prompt": "p", "text": "four"}], ["x"])
    assert table == [[9.0]]


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reward": "label"}, r"--rm label=DIR .*in Python rm=\{'label': DIR\}"),
        ({"reward": "mixed", "rm": {"label": "a", "ranked": "b"}}, "needs lambda"),
        ({"reward": "rule", "rm": {"label": "a"}}, "rm names label, which 'rule' does not use"),
        (
            {"reward": "mixed", "rm": {"label": "a", "ranked": "b"}, "lam": 1, "r2": "rationale"},
            "rm names ranked, which 'mixed' does not use",
        ),
        ({"reward": "label", "rm": {"lable": "a"}}, "names lable; expected some of label, ranked, rationale"),
        ({"reward": "mixed", "r2": "other"}, "names other; expected some of label, ranked, rationale"),
        ({"reward": build_reward(RewardConfig()), "lam": 1}, "this reward is built already"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rewardlab.as_trl_reward(task="agnews", **arguments)


@pytest.mark.parametrize("as_path", [True, False])
def test_task_files_and_columns_as_their_rows_have_them(as_path: bool, tmp_path: Path) -> None:
    file = tmp_path / "tickets.toml"
    file.write_text(TICKETS, encoding="utf-8")
    function = rewardlab.as_trl_reward("rule", file if as_path else str(file))
    completions = ["It broke.\n\n The answer is: bug", "The answer is: bug"]
    assert call_as_trl(function, completions, kind=[0, 1], body=["x", "y"]) == [1.0, 0.0]
    assert call_as_trl(function, completions, label=["bug", "praise"], text=["x", "y"]) == [1.0, 0.0]
    with pytest.raises(DataError, match="no column 'kind'"):
        call_as_trl(function, completions, text=["x", "y"])


def test_tasks_that_are_none_or_several_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown task 'agnwes'; did you mean agnews"):
        rewardlab.as_trl_reward("rule", "agnwes")
    with pytest.raises(ConfigError, match="names 2 tasks; as_trl_reward reads the answers of one"):
        rewardlab.as_trl_reward("rule", "mr,agnews")


def test_a_reward_that_does_not_say_so_reads_no_fields_and_compares_nothing(caplog: pytest.LogCaptureFixture) -> None:
    function = rewardlab.as_trl_reward(RuleReward(), "agnews")
    assert function(["p", "q"], [RIGHT, WRONG], label=["Sports"] * 2) == [1.0, 0.0]
    assert not caplog.records


def test_rows_without_ids_are_numbered() -> None:
    seen: list[str] = []

    def scorer(examples: list[Example], responses: list[str]) -> list[float]:
        seen.extend(example.id for example in examples)
        return [0.0] * len(responses)

    reward = build_reward(RewardConfig(expression="label"), RewardContext({"label": scorer}))
    call_as_trl(rewardlab.as_trl_reward(reward, "agnews"), ["a", "b"], text=["x", "y"])
    assert seen == ["0", "1"]


def test_labels_that_are_missing_or_foreign_are_refused() -> None:
    function = rewardlab.as_trl_reward("rule", "agnews")
    with pytest.raises(DataError, match="no column 'label'"):
        call_as_trl(function, [RIGHT])
    with pytest.raises(DataError, match="column 'label' row 1: label 7 is not one of World politics"):
        call_as_trl(function, [RIGHT] * 2, label=["Sports", 7])
