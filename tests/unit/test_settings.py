"""All settings as one list: what it says is what the configuration checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.config import RunConfig
from rewardlab.config_loading import NO_FILE, flattened, load_config
from rewardlab.errors import ConfigError
from rewardlab.settings import as_markdown, nearest, settings
from tests.support.commands import Command

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_list_has_every_key_that_can_be_set_and_no_other() -> None:
    listed = {setting.key: setting for setting in settings()}
    assert set(flattened(RunConfig().model_dump(mode="json"))) <= set(listed)
    for key, setting in listed.items():
        wrong = 3 if setting.default == "{}" else {"no": "such"}
        with pytest.raises(ConfigError) as caught:  # the key is known, the value is not
            load_config({key: wrong}, NO_FILE)
        assert f"{key}: " in str(caught.value)
    assert all(setting.meaning for setting in listed.values())


def test_ranges_and_words_are_those_that_are_checked() -> None:
    listed = {setting.key: setting for setting in settings()}
    assert listed["ppo.gamma"].values == "number > 0 ≤ 1"
    assert listed["ppo.optimizer"].values == "adamw, adafactor"
    assert listed["lora.targets"].values == "list of text"
    assert (listed["ppo.whiten_advantages"].default, listed["ppo.steps"].default) == ("true", "")
    assert listed["grpo.steps"].stages == "grpo"


def test_the_page_is_made_from_the_list() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_markdown(), "run: rewardlab config list --markdown > docs/settings.md"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("ppo.step", ["ppo.steps"]),
        ("kl_coef", ["ppo.kl_coef"]),
        ("sft.optimizer", ["ppo.optimizer"]),
        ("zzz", []),
        ("lr", ["sft.lr", "rm.lr", "ppo.lr"]),
    ],
)
def test_a_mistyped_key_finds_its_neighbours(key: str, meant: list[str]) -> None:
    assert nearest(key)[: len(meant) or 3] == meant


def test_unknown_settings_are_answered_with_the_nearest(rewardlab: Command) -> None:
    told = "configuration: unknown setting ppo.step = 3; did you mean ppo.steps?"
    assert rewardlab("ppo", "--set", "ppo.step=3", "--dry-run").problem == told
    Path("rewardlab.toml").write_text("[ppo]\nstep = 3\n", encoding="utf-8")
    assert rewardlab("ppo", "--dry-run").problem == told
    assert rewardlab("config", "explain", "kl_coef").problem == "unknown setting 'kl_coef'; did you mean ppo.kl_coef?"


def test_one_setting_is_explained(rewardlab: Command) -> None:
    assert rewardlab("config", "explain", "ppo.optimizer").out.splitlines()[-2:] == [
        "give it   --set ppo.optimizer=adamw",
        '          rewardlab.toml: [ppo] optimizer = "adamw"',
    ]
    assert rewardlab("config", "list", "lora.").out.count("\n") == len([s for s in settings() if "lora." in s.key])


@pytest.mark.parametrize(
    ("command", "section"), [(("sft",), "sft"), (("rm", "train"), "rm"), (("ppo", "--reward=rule"), "ppo")]
)
def test_rate_and_batch_have_flags(rewardlab: Command, command: tuple[str, ...], section: str) -> None:
    plan = rewardlab(*command, "--lr", "0.125", "--batch", "7", "--dry-run")
    config = RunConfig.model_validate_json(plan.out.split("resolved configuration:\n")[1])
    assert (getattr(config, section).lr, getattr(config, section).batch) == (0.125, 7)
