"""Configuration: five layers in one order, every problem at once, and a fingerprint that notices any change."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rewardlab import presets
from rewardlab.config import PPOConfig, RMConfig, RunConfig, Section, fingerprint
from rewardlab.config_loading import CONFIG_FILE, NO_FILE, load_config, parse_setting
from rewardlab.errors import ConfigError
from rewardlab.pipeline.context import dumped
from rewardlab.presets import MODEL_PRESETS, PUBLISHED_PRESETS, RM_PRESETS

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
        monkeypatch.setattr(presets, "MODEL_PRESETS", {"sandbox-tiny": {"ppo": {"lr": 1e-3}, "sft": {"lr": 2e-3}}})
        published = {"ppo-nlu": {"ppo": {"lr": 9e-6, "ppo_epochs": 4}}, "rllr": {"ppo": {"gamma": 0.5}}}
        monkeypatch.setattr(presets, "PUBLISHED_PRESETS", published)

    def test_built_in(self) -> None:
        assert load_config({"model.name": HUB_MODEL}).ppo.lr == 1e-5

    def test_the_models_own_preset_beats_built_in(self) -> None:
        assert load_config().ppo.lr == 1e-3

    def test_the_preset_asked_for_beats_the_models_own(self) -> None:
        assert load_config({"preset": "ppo-nlu"}).ppo.lr == 9e-6

    def test_a_file_beats_the_models_own_preset(self) -> None:
        write("[ppo]\nlr = 0.5\n")
        assert load_config().ppo.lr == 0.5

    def test_the_file_beats_the_preset_of_the_command_line(self) -> None:
        write("[ppo]\nlr = 0.5\n")
        config = load_config({"preset": "ppo-nlu"})
        assert (config.ppo.lr, config.ppo.ppo_epochs) == (0.5, 4)

    def test_the_preset_of_the_command_line_replaces_that_of_the_file(self) -> None:
        write('preset = "rllr"\n')
        config = load_config({"preset": "ppo-nlu"})
        assert (config.ppo.gamma, config.ppo.lr) == (1.0, 9e-6)

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


NAMES = [None, *PUBLISHED_PRESETS]
MODELS = [*MODEL_PRESETS, HUB_MODEL]


def test_every_published_preset_can_be_named() -> None:
    for name in PUBLISHED_PRESETS:
        assert RunConfig.model_validate({"preset": name}).preset == name
    assert problem({"preset": "published"}).startswith("configuration: preset: ")


@pytest.mark.parametrize("preset", NAMES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rm", ["equal", *RM_PRESETS])
class TestOnePlace:
    """A configuration is the same however it was built; ``found`` is built by the command line's path."""

    @pytest.fixture
    def found(self, preset: str | None, model: str, rm: str) -> RunConfig:
        return load_config({"preset": preset, "model.name": model, "rm.preset": rm, "ppo.steps": 7})

    def test_the_object_is_the_file_is_the_command_line(
        self, found: RunConfig, preset: str | None, model: str, rm: str
    ) -> None:
        built = RunConfig(preset=preset, model={"name": model}, rm=RMConfig(preset=rm), ppo=PPOConfig(steps=7))
        named = "" if preset is None else f'preset = "{preset}"\n'
        file = write(f'{named}[model]\nname = "{model}"\n[rm]\npreset = "{rm}"\n[ppo]\nsteps = 7\n')
        assert built == found == load_config(file=file)

    def test_what_a_preset_says_is_what_runs(self, found: RunConfig, preset: str | None, model: str, rm: str) -> None:
        expected = {**flat(MODEL_PRESETS.get(model, {})), **flat(PUBLISHED_PRESETS.get(preset or "", {}))}
        values = flat(found.model_dump(mode="json"))
        expected |= {"ppo.steps": 7}
        assert {key: values[key] for key in expected} == expected

    def test_what_was_stored_is_read_back_and_not_resolved_again(
        self, found: RunConfig, preset: str | None, model: str, rm: str
    ) -> None:
        changed = load_config({"ppo.kl_target": "none", "rm.max_pairs": "none", "ppo.lr": 0.5}, NO_FILE, stored=found)
        assert (changed.ppo.kl_target, changed.rm.max_pairs, changed.ppo.lr) == (None, None, 0.5)
        for config in (found, changed):
            assert RunConfig.model_validate_json(config.model_dump_json()) == config
            assert load_config({}, NO_FILE, stored=config) == config

    def test_a_section_taken_elsewhere_keeps_its_values(
        self, found: RunConfig, preset: str | None, model: str, rm: str
    ) -> None:
        taken = RunConfig(preset="ppo-nlu-code", ppo=found.ppo, rm=found.rm, lora=found.lora)
        assert (taken.ppo, taken.rm, taken.lora) == (found.ppo, found.rm, found.lora)


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted keys, None included."""
    if not isinstance(values, dict):
        return {prefix.removesuffix("."): values}
    return {key: value for name, inner in values.items() for key, value in flat(inner, f"{prefix}{name}.").items()}


def test_a_copy_does_not_claim_another_preset() -> None:
    config = RunConfig(preset="rllr")
    assert config.model_copy(update={"seed": 3, "preset": "rllr"}).seed == 3
    with pytest.raises(ConfigError, match="a copy keeps its settings whatever preset it names"):
        config.model_copy(update={"preset": "ppo-nlu"})


def test_a_stored_run_refuses_another_preset() -> None:
    with pytest.raises(ConfigError, match="preset = 'ppo-nlu': the run has its own settings"):
        load_config({"preset": "ppo-nlu"}, NO_FILE, stored=RunConfig(preset="rllr"))


def test_no_preset_is_named_unless_one_is_asked_for() -> None:
    """The built-in settings are not RLLR's: beta is fixed at 0.05 and a cut response is charged 1."""
    config = load_config({"model.name": HUB_MODEL})
    assert config.preset is None
    assert (config.ppo.kl_coef, config.ppo.kl_target, config.ppo.missing_end_penalty) == (0.05, None, 1.0)


class TestRewardModelPreset:
    """RLLR's table 3 under the tiny model's own settings (lr 2e-3, 6 epochs, 2 000 pairs)."""

    def test_it_stands_above_the_models_preset(self) -> None:
        section = load_config({"rm.preset": "rllr"}).rm
        label, ranked = section.for_kind("label", 500), section.for_kind("ranked", 500)
        assert (label.lr, label.epochs, label.batch, label.max_pairs) == (3e-4, 1.0, 64, None)
        assert (ranked.lr, ranked.epochs, ranked.batch, ranked.max_pairs) == (2e-4, 10.0, 64, None)

    def test_what_is_given_stands_above_it(self) -> None:
        write("[rm]\nlr = 0.5\n[rm.by_kind.ranked]\nepochs = 3\n")
        section = load_config({"rm.preset": "rllr", "rm.max_pairs": 70}).rm
        assert section == load_config({}, NO_FILE, stored=load_config({"rm.preset": "rllr", "rm.max_pairs": 70})).rm
        label, ranked = section.for_kind("label", 50), section.for_kind("ranked", 50)
        assert (label.lr, label.epochs, label.max_pairs) == (0.5, 1.0, 70)
        assert (ranked.lr, ranked.epochs, ranked.max_pairs) == (0.5, 3.0, 70)

    def test_a_kind_may_differ_without_a_preset(self) -> None:
        section = RMConfig.model_validate({"lr": 1e-3, "by_kind": {"label": {"lr": 1e-4, "max_pairs": "all"}}})
        assert (section.for_kind("label", 50).lr, section.for_kind("label", 50).max_pairs) == (1e-4, None)
        assert (section.for_kind("ranked", 50).lr, section.for_kind("ranked", 50).max_pairs) == (1e-3, 50)

    def test_problems_are_named(self) -> None:
        found = problem({"rm.by_kind.label.lr": -1, "rm.by_kind.rule.lr": 1})
        assert "rm.by_kind.label.lr" in found
        assert "rm.by_kind.rule" in found
        assert "rm.by_kind" in problem({"rm.by_kind": 3, "rm.preset": "rllr"})


class TestOpenSettings:
    @pytest.mark.parametrize("key", ["ppo.kl_target", "ppo.score_clip", "ppo.steps", "rm.max_pairs", "lora.targets"])
    def test_the_word_none_leaves_a_setting_open(self, key: str) -> None:
        section, name = key.split(".")
        for config in (load_config({key: "none", "preset": "rllr"}), load_config(file=none_in_file(section, name))):
            assert getattr(getattr(config, section), name) is None

    def test_where_a_value_must_be_it_is_a_wrong_one(self) -> None:
        assert "ppo.lr" in problem({"ppo.lr": "none"})
        assert load_config({"model.quantization": "none"}).model.quantization == "none"

    def test_where_a_text_may_be_it_is_one(self) -> None:
        assert load_config({"annotate.model": "none"}).annotate.model == "none"


def none_in_file(section: str, name: str) -> Path:
    return write(f'preset = "rllr"\n[{section}]\n{name} = "none"\n')


def test_settings_that_do_not_fit_each_other_are_said_in_one_line() -> None:
    found = problem({"model.name": HUB_MODEL, "format": "judgement", "eval.least_new_tokens": 40})
    assert found == (
        "configuration: eval.least_new_tokens = 40: more than the largest response budget, 32; lower it or raise "
        "model.max_new_tokens"
    )


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("lora", "rank_stabilised", True),
        ("lora", "bias", "all"),
        ("sft", "dropout", 0.1),
        ("sft", "words", {"sst2": {"negative": "No"}}),
        ("ppo", "balance", "label"),
        ("ppo", "sft_coef", 0.5),
        ("ppo", "least_new_tokens", 4),
        ("eval", "chain_of_thought", True),
        ("eval", "least_new_tokens", 4),
        ("eval", "unreadable", "random"),
    ],
)
def test_a_later_setting_changes_no_identity_until_it_is_used(section: str, key: str, value: object) -> None:
    plain = getattr(load_config(), section)
    assert key not in dumped(plain)
    assert dumped(getattr(load_config({f"{section}.{key}": value}), section)) == {**dumped(plain), key: value}


def test_all_later_settings_are_among_those() -> None:
    sections = [field.annotation for field in RunConfig.model_fields.values()]
    later = {key for kind in sections if isinstance(kind, type) and issubclass(kind, Section) for key in kind.later()}
    first = {"rank_stabilised", "bias", "dropout", "least_new_tokens", "unreadable", "by_kind"}
    second = {"samples", "kl", "loss_mean", "best_of", "best_of_reward", "best_of_lam"}
    assert later == first | second | {
        *("words", "balance", "sft_coef", "chain_of_thought", "hosted"),
        *("patience", "gradient_checkpointing", "float32_logits"),
    }


def test_ppo_nlu_is_as_published() -> None:
    """PPO-NLU section 5.1: Adafactor, 9e-6, four PPO epochs, no KL term, a head on the policy, warm-up and end 0.1.

    Its reward is the rule of 4.3 and nothing else: no penalty of ours for a cut response, no normalisation. It starts
    from the instruction-tuned model and answers between the judgement's tags.
    """
    config = load_config({"preset": "ppo-nlu", "model.name": HUB_MODEL})
    ppo = config.ppo
    assert (ppo.optimizer, ppo.lr, ppo.value_lr, ppo.ppo_epochs) == ("adafactor", 9e-6, 9e-6, 4)
    assert (ppo.kl_coef, ppo.kl_target, ppo.value, ppo.warmup, ppo.final_lr) == (0.0, None, "head", 0.1, 0.1)
    assert (ppo.missing_end_penalty, ppo.normalise_scores, ppo.score_clip) == (0.0, False, None)
    assert (config.start, config.format, config.new_tokens, config.lora.rank) == ("base", "judgement", 32, 16)
    assert (config.lora.bias, config.lora.rank_stabilised, config.reward.expression) == ("none", False, "rule")


@pytest.mark.parametrize("preset", ["ppo-nlu", "ppo-nlu-code"])
def test_their_response_budget_stands_above_that_of_the_models_preset(preset: str) -> None:
    """The embedded model's own preset gives 48 tokens."""
    assert load_config({"preset": preset}).new_tokens == 32
    assert load_config({"preset": preset, "model.max_new_tokens": 40}).new_tokens == 40


def test_ppo_nlu_code_is_as_its_scripts_are() -> None:
    """Those of ppo.py and inference.py, with TRL 0.7.2's defaults behind them."""
    config = load_config({"preset": "ppo-nlu-code", "model.name": HUB_MODEL})
    ppo, lora = config.ppo, config.lora
    assert (ppo.optimizer, ppo.lr, ppo.value_lr, ppo.warmup, ppo.final_lr) == ("adafactor", 5e-6, 5e-6, 0.0, 1.0)
    assert (ppo.kl_coef, ppo.kl_target, ppo.kl_horizon) == (0.2, 6.0, 10_000)
    assert (ppo.ppo_epochs, ppo.batch, ppo.minibatches, ppo.value, ppo.value_coef) == (4, 16, 1, "head", 0.1)
    assert (ppo.missing_end_penalty, ppo.normalise_scores, ppo.score_clip) == (0.0, False, None)
    assert (ppo.gamma, ppo.gae_lambda, ppo.clip_ratio, ppo.whiten_advantages) == (1.0, 0.95, 0.2, True)
    assert (lora.rank, lora.alpha, lora.rank_stabilised, lora.bias) == (16, 32.0, True, "all")
    assert (config.sft.dropout, config.reward.expression) == (0.05, "2 * rule - 1")
    assert (ppo.least_new_tokens, config.eval.least_new_tokens, config.new_tokens) == (12, 24, 32)
    assert (config.eval.unreadable, config.start, config.format) == ("random", "base", "judgement")


def test_rllr_is_as_its_paper_and_scripts_are() -> None:
    """Table 3, the script for LLaMA2, and TRL 0.7.2's defaults behind it: adaptive KL, no penalty, no clip."""
    config = load_config({"preset": "rllr", "model.name": HUB_MODEL})
    ppo = config.ppo
    assert (ppo.optimizer, ppo.lr, ppo.value_lr, ppo.warmup, ppo.final_lr) == ("adamw", 5e-6, 5e-6, 0.0, 0.0)
    assert (ppo.kl_coef, ppo.kl_target, ppo.kl_horizon) == (0.2, 6.0, 10_000)
    assert (ppo.ppo_epochs, ppo.batch, ppo.minibatches, ppo.value, ppo.value_init) == (1, 16, 1, "adapter", "rm")
    assert (ppo.missing_end_penalty, ppo.normalise_scores, ppo.score_clip) == (0.0, True, None)
    assert (config.format, config.start, config.new_tokens) == ("rationale", "sft-rationale", 256)
    assert (config.lora.rank, config.lora.alpha) == (16, 32.0)


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


@pytest.mark.parametrize("key", ["seed", "ppo.steps", "sft.lr", "sft.seconds", "rm.epochs"])
def test_true_is_no_number(key: str) -> None:
    """It would be taken for 1."""
    with pytest.raises(ConfigError, match=rf"{re.escape(key)}: expected a number, not true or false, found True"):
        load_config({key: True})


def test_a_file_that_its_link_does_not_lead_to_is_not_passed_over() -> None:
    Path(CONFIG_FILE).symlink_to("moved.toml")
    with pytest.raises(ConfigError, match=rf"{re.escape(CONFIG_FILE)}: cannot be read"):
        load_config()
