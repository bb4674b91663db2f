"""Configuration: five layers in one order, every problem at once, and a fingerprint that notices any change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rewardlab import config_loading
from rewardlab.config import RunConfig, fingerprint
from rewardlab.config_loading import CONFIG_FILE, load_config, parse_setting
from rewardlab.errors import ConfigError
from rewardlab.presets import MODEL_PRESETS, PPO_PRESETS

HUB_MODEL = "some/model"
"""A name without a preset of its own."""


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = CONFIG_FILE) -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def problem(overrides: dict[str, Any] | None = None, file: Path | None = None) -> str:
    """The message of the ConfigError that these values raise."""
    with pytest.raises(ConfigError) as caught:
        load_config(overrides, file)
    return str(caught.value)


class TestPrecedence:
    """``ppo.lr`` is 1e-5 built in; the presets here give 1e-3 to the tiny model and 9e-6 to ppo-nlu."""

    @pytest.fixture(autouse=True)
    def _presets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            config_loading, "MODEL_PRESETS", {"sandbox-tiny": {"ppo": {"lr": 1e-3}, "sft": {"lr": 2e-3}}}
        )
        monkeypatch.setattr(config_loading, "PPO_PRESETS", {"ppo-nlu": {"ppo": {"lr": 9e-6, "ppo_epochs": 4}}})

    def test_built_in(self) -> None:
        assert load_config({"model.name": HUB_MODEL}).ppo.lr == 1e-5

    def test_the_models_own_preset_beats_built_in(self) -> None:
        assert load_config().ppo.lr == 1e-3

    def test_the_preset_asked_for_beats_the_models_own(self) -> None:
        assert load_config({"preset": "ppo-nlu"}).ppo.lr == 9e-6

    def test_a_file_beats_the_models_own_preset(self) -> None:
        write("[ppo]\nlr = 0.5\n")
        assert load_config().ppo.lr == 0.5

    def test_the_preset_of_the_command_line_beats_the_file(self) -> None:
        write("[ppo]\nlr = 0.5\nsteps = 7\n")
        config = load_config({"preset": "ppo-nlu"})
        assert (config.ppo.lr, config.ppo.steps) == (9e-6, 7)

    def test_what_a_file_says_beside_its_own_preset_stands(self) -> None:
        write('preset = "ppo-nlu"\n[ppo]\nlr = 0.5\n')
        config = load_config()
        assert (config.ppo.lr, config.ppo.ppo_epochs) == (0.5, 4)

    def test_the_command_line_beats_everything(self) -> None:
        write('preset = "ppo-nlu"\n[ppo]\nlr = 0.5\n')
        assert load_config({"ppo.lr": 0.25, "preset": "ppo-nlu"}).ppo.lr == 0.25

    def test_options_that_were_left_out_change_nothing(self) -> None:
        write("[ppo]\nlr = 0.5\n")
        assert load_config({"ppo.lr": None}).ppo.lr == 0.5

    def test_a_model_named_in_the_file_brings_its_preset(self) -> None:
        write(f'[model]\nname = "{HUB_MODEL}"\n')
        assert load_config().ppo.lr == 1e-5
        assert load_config({"model.name": "sandbox-tiny"}).ppo.lr == 1e-3

    def test_a_file_changes_only_the_keys_it_names(self) -> None:
        write("[ppo]\ngamma = 0.5\n")
        config = load_config()
        assert (config.ppo.gamma, config.ppo.lr, config.sft.lr) == (0.5, 1e-3, 2e-3)

    def test_a_named_file_replaces_the_one_in_the_folder(self) -> None:
        write("[ppo]\nlr = 0.5\ngamma = 0.5\n")
        config = load_config(file=write("[ppo]\nlr = 0.25\n", "other.toml"))
        assert (config.ppo.lr, config.ppo.gamma) == (0.25, 1.0)


@pytest.mark.parametrize("presets", [MODEL_PRESETS, PPO_PRESETS])
def test_every_preset_is_a_valid_configuration(presets: dict[str, Any]) -> None:
    for values in presets.values():
        RunConfig.model_validate(values)


def test_ppo_nlu_is_as_published() -> None:
    """PPO-NLU section 5.1: Adafactor, 9e-6, four PPO epochs, no KL term, a head on the policy, warm-up and end 0.1.

    Its reward is the rule of 4.3 and nothing else: no penalty of ours for a cut response."""
    ppo = load_config({"preset": "ppo-nlu", "model.name": HUB_MODEL}).ppo
    assert (ppo.optimizer, ppo.lr, ppo.ppo_epochs, ppo.kl_coef) == ("adafactor", 9e-6, 4, 0.0)
    assert (ppo.value, ppo.warmup, ppo.final_lr) == ("head", 0.1, 0.1)
    assert ppo.missing_end_penalty == 0.0


class TestProblems:
    def test_all_are_reported_at_once_with_key_and_value(self) -> None:
        found = problem({"ppo.lr": -1.5, "sft.epochs": "many", "ppo.clip": 0.2, "format": "poem"})
        assert "\n" not in found
        for key, value in (("ppo.lr", "-1.5"), ("sft.epochs", "many"), ("ppo.clip", "0.2"), ("format", "poem")):
            assert key in found
            assert value in found

    def test_unknown_keys_are_refused_at_the_top_and_in_sections(self) -> None:
        assert "colour" in problem({"colour": "red"})
        assert "model.colour" in problem({"model.colour": "red"})

    def test_values_of_the_file_are_checked_too(self) -> None:
        write("[data]\ntest = 0\n")
        assert "data.test" in problem()

    def test_toml_that_cannot_be_read_names_the_file(self) -> None:
        found = problem(file=write("[ppo\n", "broken.toml"))
        assert "broken.toml" in found
        assert "line 1" in found

    def test_a_file_that_is_not_there_is_named(self) -> None:
        assert "absent.toml" in problem(file=Path("absent.toml"))

    def test_a_file_that_is_no_text_is_named(self) -> None:
        Path("binary.toml").write_bytes(b"\xff\xfe\x00")
        assert "binary.toml" in problem(file=Path("binary.toml"))

    def test_a_folder_in_place_of_the_file_is_named(self) -> None:
        Path("folder.toml").mkdir()
        assert "folder.toml" in problem(file=Path("folder.toml"))

    def test_a_section_given_as_a_value_is_named(self) -> None:
        write("model = 3\n")
        assert "model" in problem()

    @pytest.mark.parametrize(
        "overrides", [{"task.name": "agnews", "task": "mr"}, {"ppo": 3, "ppo.lr": 0.1}, {"seed": 1, "seed.data": 2}]
    )
    def test_a_key_that_is_a_value_and_a_section_is_named(self, overrides: dict[str, Any]) -> None:
        assert next(iter(overrides)).split(".")[0] in problem(overrides)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("ppo.clip_ratio=0.1", "ppo.clip_ratio", 0.1),
        ("ppo.steps=3", "ppo.steps", 3),
        (" seed = 4 ", "seed", 4),
        ("model.trust_remote_code=true", "model.trust_remote_code", True),
        ("task=agnews,mr", "task", "agnews,mr"),
        ("task='agnews'", "task", "agnews"),
        ('lora.targets=["q_proj", "v_proj"]', "lora.targets", ["q_proj", "v_proj"]),
        ("reward.expression=min(label, 5) >= 2", "reward.expression", "min(label, 5) >= 2"),
        ("reward.expression=a == b", "reward.expression", "a == b"),
        ("data.dir=", "data.dir", ""),
    ],
)
def test_setting_values_are_toml_and_bare_words_are_text(text: str, key: str, value: object) -> None:
    parsed = parse_setting(text)
    assert parsed == (key, value)
    assert type(parsed[1]) is type(value)


@pytest.mark.parametrize("text", ["", "ppo.steps", "=3", "  =3"])
def test_settings_without_key_or_value_show_how_one_is_written(text: str) -> None:
    with pytest.raises(ConfigError, match="expected key=value"):
        parse_setting(text)


def test_a_line_break_cannot_smuggle_a_second_setting_in() -> None:
    assert parse_setting("seed=1\nother=2") == ("seed", "1\nother=2")


class TestFingerprint:
    def test_twelve_hexadecimal_digits(self) -> None:
        assert len(fingerprint({})) == 12
        assert set(fingerprint({"a": 1})) <= set("0123456789abcdef")

    def test_order_of_keys_and_process_do_not_matter(self) -> None:
        payload = {"a": [1, 2.5, None], "b": {"λ": "q90"}}
        code = "from rewardlab.config import fingerprint; print(fingerprint({'b': {'λ': 'q90'}, 'a': [1, 2.5, None]}))"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
        assert other.stdout.strip() == fingerprint(payload)

    @pytest.mark.parametrize(
        "changed", [{"a": [2, 1]}, {"a": [1, 2, None]}, {"a": ["1", 2]}, {"a": [1, 2], "b": None}, {"A": [1, 2]}]
    )
    def test_any_change_shows(self, changed: dict[str, Any]) -> None:
        assert fingerprint(changed) != fingerprint({"a": [1, 2]})


def test_sections_cannot_be_changed() -> None:
    config = load_config()
    with pytest.raises(ValidationError, match="frozen"):
        config.ppo.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(("given", "text"), [(5, "5"), (4.5, "4.5"), ("q90", "q90"), (None, None)])
def test_lambda_may_be_written_as_a_number(given: object, text: str | None) -> None:
    assert RunConfig.model_validate({"reward": {"lam": given}}).reward.lam == text


@pytest.mark.parametrize(("format", "tokens"), [("label", 16), ("judgement", 32), ("rationale", 256)])
def test_response_budget_follows_the_format(format: str, tokens: int) -> None:
    assert load_config({"format": format, "model.name": HUB_MODEL}).new_tokens == tokens
    assert load_config({"format": format, "model.name": HUB_MODEL, "model.max_new_tokens": 5}).new_tokens == 5


@pytest.mark.parametrize(
    ("overrides", "start"),
    [({}, "sft-rationale"), ({"format": "label"}, "sft"), ({"format": "judgement"}, "sft"), ({"init": "base"}, "base")],
)
def test_where_ppo_starts(overrides: dict[str, Any], start: str) -> None:
    assert load_config(overrides).start == start


def test_a_stored_configuration_is_read_back_as_it_was() -> None:
    config = load_config({"lora.targets": ["q_proj"], "data.dir": "somewhere", "preset": "ppo-nlu"})
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
