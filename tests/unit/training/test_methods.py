"""The registry of training methods, and what holds for each method in it: that it learns, resumes and is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rewardlab.config import RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.disk import read_jsonl
from rewardlab.errors import ConfigError
from rewardlab.online_config import GroupConfig, OnlineConfig
from rewardlab.pipeline import Pipeline
from rewardlab.pipeline.kinds import stage_kinds, trained_kinds
from rewardlab.training.methods import TrainingMethod, methods
from rewardlab.training.metrics import GLOSSARY
from tests.support.bandit import BANDIT, RUN, Shuffled, played
from tests.support.commands import Command
from tests.support.interrupted import Cut, failing_in, letters, outcome
from tests.support.training import EXAMPLES, ppo_trainer

ONLINE = [name for name in methods if methods.get(name).family == "online"]
GROUPED = [name for name in ONLINE if issubclass(methods.get(name).config, GroupConfig)]
VARIANTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {}),
    "grpo, KL in the reward, means of responses": ("grpo", {"grpo.kl": "reward", "grpo.loss_mean": "sequence"}),
    "dr_grpo": ("grpo", {"grpo.variant": "dr_grpo"}),
    "rloo": ("rloo", {}),
    "reinforce": ("reinforce", {}),
    "reinforce, group baseline": ("reinforce", {"reinforce.baseline": "group", "reinforce.samples": 4}),
}
"""Methods that differ from PPO in their estimator, and settings that change it."""


class TestRegistry:
    @pytest.mark.parametrize("name", methods.names())
    def test_a_method_says_what_it_is_and_needs(self, name: str) -> None:
        method = methods.get(name)
        assert method.name == name
        assert method.title
        assert method.summary
        assert {"reward", "pairs", "gold labels"} & set(method.needs)
        assert isinstance(method.section(RunConfig()), method.config)
        assert name in stage_kinds()
        assert name in trained_kinds()

    def test_the_command_lists_them(self, rewardlab: Command) -> None:
        said = rewardlab("methods").out
        for name in methods:
            assert f"{name} " in said
            assert f"`rewardlab config list {name}`" in said

    @pytest.mark.parametrize("name", ONLINE)
    def test_only_a_method_with_a_critic_has_one(self, tmp_path: Path, name: str) -> None:
        trainer = ppo_trainer(tmp_path, letters, method=name, batch=8)
        assert set(trainer.learner.optimizers) == ({"policy", "value"} if name == "ppo" else {"policy"})
        assert ("value" in trainer.trunk.roles) == (name == "ppo")
        trainer.step(0)
        [row] = read_jsonl(tmp_path / "run" / "metrics.jsonl")
        assert any(key.startswith("value/") for key in row) == (name == "ppo")
        assert {key for key in row if key.startswith(("group/", "policy/"))} <= set(GLOSSARY)
        assert ("group/even_share" in row) == (name in GROUPED)
        assert ("policy/kl_loss" in row) == (name == "grpo")


class TestSettings:
    def test_what_ppo_sets_holds_for_the_others_unless_they_set_it(self) -> None:
        config = load_config({"ppo.steps": 7, "ppo.lr": 0.5, "grpo.lr": 0.25, "ppo.samples": 2}, NO_FILE)
        assert [config.section(name).steps for name in ONLINE] == [7] * len(ONLINE)
        assert {name: config.section(name).lr for name in ONLINE} == {**dict.fromkeys(ONLINE, 0.5), "grpo": 0.25}
        assert (config.grpo.samples, config.rloo.samples, config.reinforce.samples) == (4, 4, 1)
        assert (config.grpo.kl, config.rloo.kl) == ("loss", "reward")

    def test_presets_hold_for_them_too(self) -> None:
        assert load_config({"preset": "rllr"}, NO_FILE).grpo.lr == 5e-6
        assert RunConfig(preset="rllr").rloo.kl_target == 6.0
        assert load_config({"preset": "rllr", "rloo.lr": 1e-3}, NO_FILE).rloo.lr == 1e-3

    def test_a_wrong_value_is_told_once(self) -> None:
        with pytest.raises(ConfigError) as caught:
            load_config({"ppo.lr": -1}, NO_FILE)
        assert str(caught.value).count("lr") == 1
        with pytest.raises(ConfigError, match=r"rloo\.lr"):
            load_config({"rloo.lr": -1}, NO_FILE)

    def test_a_setting_of_training_alone_changes_no_other_method(self, tmp_path: Path) -> None:
        plain, other = (
            Pipeline(load_config({"init": "base", "ppo.gae_lambda": value, "ppo.steps": 3}, NO_FILE), tmp_path)
            for value in (0.95, 0.5)
        )
        assert plain.ppo().fingerprint != other.ppo().fingerprint
        for name in ("grpo", "rloo", "reinforce"):
            assert plain.train(name).fingerprint == other.train(name).fingerprint
        assert len({plain.train(name).fingerprint for name in ONLINE}) == len(ONLINE)

    @pytest.mark.parametrize(
        ("name", "settings", "problem"),
        [
            (
                "grpo",
                {"grpo.samples": 1},
                r"grpo\.samples = 1: grpo compares the responses to one prompt; .*at least 2",
            ),
            ("rloo", {"rloo.samples": 1}, r"rloo\.samples = 1"),
            ("reinforce", {"reinforce.baseline": "group"}, r"reinforce\.samples = 1"),
            (
                "grpo",
                {"grpo.batch": 30},
                r"grpo\.batch = 30 responses a step: expected a multiple of grpo\.samples = 4",
            ),
            ("ppo", {"ppo.batch": 3, "ppo.samples": 2}, r"ppo\.batch = 3"),
        ],
    )
    def test_groups_that_cannot_be_made_are_refused(
        self, tmp_path: Path, name: str, settings: dict[str, Any], problem: str
    ) -> None:
        pipeline = Pipeline(load_config({"init": "base", **settings}, NO_FILE), tmp_path)
        with pytest.raises(ConfigError, match=problem):
            pipeline.train(name)


class TestRollout:
    def test_a_prompt_is_answered_several_times_with_draws_of_their_own(self, tmp_path: Path) -> None:
        trainer = ppo_trainer(tmp_path, letters, method="rloo", batch=8)
        trainer.step(0)
        rows = list(read_jsonl(tmp_path / "run" / "samples.jsonl"))
        assert [row["sample"] for row in rows] == [0, 1, 2, 3] * 2
        first, second = ({row["id"] for row in part} for part in (rows[:4], rows[4:]))
        assert len(first) == len(second) == 1
        assert first != second
        assert len({row["response"] for row in rows[:4]}) == 4

    def test_a_step_reads_a_prompt_for_each_group(self, tmp_path: Path) -> None:
        result = ppo_trainer(tmp_path, letters, method="grpo", steps=3, batch=8).train()
        assert (result.steps, result.responses, result.read.prompts) == (3, 24, 6)

    @pytest.mark.parametrize(
        ("name", "forward", "backward"),
        [
            ("ppo", 5, 2),  # old, value and reference at sampling time; policy and value in the update
            ("grpo", 3, 1),  # old and reference; the policy
        ],
    )
    def test_what_goes_through_the_trunk_is_counted(
        self, tmp_path: Path, name: str, forward: int, backward: int
    ) -> None:
        """Two steps of eight, one pass each; the check before the first update reads one chunk of eight once more."""
        settings = {"steps": 2, "batch": 8, "micro_batch": 8, "old_logprobs": "recompute"}
        result = ppo_trainer(tmp_path, letters, method=name, **settings).train()
        assert (result.forward, result.backward) == (2 * 8 * forward + 8, 2 * 8 * backward)

    def test_one_pass_over_the_prompts_takes_as_many_steps_as_groups_need(self, tmp_path: Path) -> None:
        trainer = ppo_trainer(tmp_path, letters, method="grpo", batch=8, steps=None)
        assert trainer.steps == len(EXAMPLES) // 2


class TestLearning:
    @pytest.mark.parametrize(
        "variant", ["grpo", "grpo, KL in the reward, means of responses", "reinforce, group baseline"]
    )
    def test_the_bandit_is_solved(self, tmp_path: Path, variant: str) -> None:
        name, settings = VARIANTS[variant]
        run = {**RUN, **settings, f"{name}.samples": 8}
        found = played(tmp_path, method=name, **{**BANDIT, "steps": 60, "lr": 3e-3}, run=run)
        assert found.start.payoff < 0.3
        assert found.end.payoff > 0.95

    @pytest.mark.parametrize("variant", ["dr_grpo", "rloo", "reinforce"])
    def test_under_a_kl_penalty_it_finds_the_best_compromise(self, tmp_path: Path, variant: str) -> None:
        """Scores and penalty are weighed as they are: nothing scales one of them alone."""
        name, settings = VARIANTS[variant]
        groups = {f"{name}.samples": 8, f"{name}.even_groups": "keep"} if name in GROUPED else {}
        run = {**RUN, **settings, **groups, f"{name}.kl": "reward"}
        found = played(tmp_path, method=name, **{**BANDIT, "steps": 40, "kl_coef": 0.3}, run=run)
        assert found.start.payoff + 0.1 < found.best.payoff < 0.95
        assert found.end.payoff == pytest.approx(found.best.payoff, abs=0.04)
        assert found.end.kl == pytest.approx(found.best.kl, abs=0.1)

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_shuffled_payoffs_teach_nothing(self, tmp_path: Path, variant: str) -> None:
        name, settings = VARIANTS[variant]
        run = {**RUN, **settings}
        found = played(tmp_path, Shuffled(), method=name, **{**BANDIT, "steps": 15}, run=run)
        assert found.end.payoff < 0.45

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_a_large_beta_keeps_the_policy_at_its_reference(self, tmp_path: Path, variant: str) -> None:
        name, settings = VARIANTS[variant]
        kept = {**RUN, **settings, **({f"{name}.even_groups": "keep"} if name in GROUPED else {})}
        found = played(tmp_path, method=name, **{**BANDIT, "kl_coef": 50.0, "steps": 15}, run=kept)
        assert found.end.kl < 0.02
        assert found.end.payoff == pytest.approx(found.start.payoff, abs=0.08)

    @pytest.mark.parametrize("name", ["grpo", "rloo"])
    def test_even_groups_teach_nothing(self, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
        """Every response to a prompt has the same score; another prompt has another."""
        with caplog.at_level(logging.WARNING):
            trainer = ppo_trainer(tmp_path, lambda example, text: float(example.id[-1]), method=name, batch=8, steps=3)
            before = trainer.actor.state()["adapters"]["policy"]
            before = {key: tensor.clone() for key, tensor in before.items()}
            trainer.train()
        after = trainer.actor.state()["adapters"]["policy"]
        assert all(bool((before[key] == after[key]).all()) for key in before)
        rows = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
        assert [row["group/even_share"] for row in rows] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resume_equals_the_run_without_interruption(tmp_path: Path, variant: str) -> None:
    name, settings = VARIANTS[variant]
    given: dict[str, Any] = {"steps": 4, "checkpoint_every": 2, "batch": 8, "micro_batch": 4, "minibatches": 2}
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    for folder in (straight, stopped):
        folder.mkdir()
    ppo_trainer(straight, letters, method=name, run=settings, **given).train()
    with pytest.raises(Cut):
        ppo_trainer(stopped, failing_in(3), method=name, run=settings, **given).train()
    ppo_trainer(stopped, letters, method=name, run=settings, **given).train()
    assert outcome(stopped) == outcome(straight)


class DoubledConfig(OnlineConfig):
    """Of a method that another package brings."""

    factor: float = 2.0


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Callable[[], TrainingMethod]:
    """Registers a method as a package does, for one test."""

    def register() -> TrainingMethod:
        method = TrainingMethod(
            "doubled", "Doubled", "scores times a factor", "online", DoubledConfig, f"{__name__}:doubled_targets"
        )
        monkeypatch.setitem(methods._entries, "doubled", method)
        return method

    return register


def doubled_targets(rollout: Any, shaping: Any, config: DoubledConfig) -> Any:
    """Every token of a response has its score, times a factor, as its advantage."""
    from rewardlab.training.advantages import Estimated, Target

    targets = [
        Target(counts * config.factor * rewards.sum(-1, keepdim=True), counts)
        for counts, rewards in zip(shaping.counts, shaping.rewards, strict=True)
    ]
    return Estimated(targets, {"doubled/factor": config.factor})


class TestPlugin:
    def test_it_trains_in_the_same_loop(self, tmp_path: Path, plugin: Callable[[], TrainingMethod]) -> None:
        plugin()
        run = {**RUN, "methods.doubled.factor": 3.0}
        found = played(tmp_path, method="doubled", **{**BANDIT, "normalise_scores": True, "steps": 40}, run=run)
        assert found.end.payoff > 0.8
        assert {row["doubled/factor"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl")} == {3.0}

    def test_its_settings_and_its_code_are_part_of_its_identity(
        self, tmp_path: Path, plugin: Callable[[], TrainingMethod]
    ) -> None:
        method = plugin()
        plain, other = (
            Pipeline(load_config({"init": "base", "methods.doubled.factor": value}, NO_FILE), tmp_path).train("doubled")
            for value in (2.0, 3.0)
        )
        assert plain.fingerprint != other.fingerprint
        assert plain.settings["method_code"] == {"doubled": method.code_hash()}
        assert plain.settings["doubled"]["factor"] == 2.0

    def test_its_settings_are_checked(self, tmp_path: Path, plugin: Callable[[], TrainingMethod]) -> None:
        plugin()
        config = load_config({"init": "base", "methods.doubled.factr": 1.0}, NO_FILE)
        with pytest.raises(ConfigError, match=r"methods\.doubled: unknown setting factr"):
            Pipeline(config, tmp_path).train("doubled")
