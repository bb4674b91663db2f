"""Prompts in chat templates: no thinking unless asked for, one date, the same text as transformers writes."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from rewardlab.annotate.access import local_model_config
from rewardlab.annotate.journal import Journal
from rewardlab.annotate.local import LocalAnnotator
from rewardlab.cli import main as cli
from rewardlab.config import AnnotateConfig, ModelConfig
from rewardlab.config_loading import load_config
from rewardlab.doctor import tokens
from rewardlab.doctor.probe import ProbeModel
from rewardlab.errors import ModelError
from rewardlab.models import Codec, load_codec, load_trunk
from rewardlab.models.chat import ChatTemplate, stored_template, template_of
from rewardlab.models.names import model_identity
from rewardlab.pipeline import Pipeline
from tests.support import chat_templates
from tests.support.models import tiny_llama, tiny_tokenizer

TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>"}
CLOSE = "\n</think>\n\n"
FINAL = "<|channel|>final<|message|>"
MADE_FOR = {"deepseek-r1": CLOSE, "gpt-oss": FINAL}
"""Templates without a switch for thinking, and the suffix that ends it."""


def template(name: str, **settings: Any) -> ChatTemplate:
    given = {f"chat_template_{key}": value for key, value in settings.items()}
    return ChatTemplate(chat_templates.ALL[name], TOKENS, ModelConfig.model_validate({"name": name, **given}))


def prompt(name: str, **settings: Any) -> str:
    made = template(name, **settings)
    made.check()
    return made.prompt("Good?")


LLAMA = (
    "<bos><|start_header_id|>system<|end_header_id|>\n\nToday Date: {}\n\n<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nGood?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
)
OSS = (
    "<|start|>system<|message|>You are ChatGPT.\nCurrent date: {}\n\nReasoning: {}<|end|>"
    "<|start|>user<|message|>Good?<|end|><|start|>assistant<|channel|>final<|message|>"
)
QWEN = "<|im_start|>user\nGood?<|im_end|>\n<|im_start|>assistant\n"
EXPECTED: list[tuple[str, dict[str, Any], str]] = [
    ("qwen3", {}, QWEN + "<think>\n\n</think>\n\n"),
    ("qwen3", {"arguments": {"enable_thinking": True}}, QWEN),
    ("glm-4", {}, "[gMASK]<sop><|user|>\nGood?/nothink<|assistant|>\n<think></think>"),
    ("glm-4", {"arguments": {"enable_thinking": True}}, "[gMASK]<sop><|user|>\nGood?<|assistant|>"),
    ("deepseek-r1", {"suffix": CLOSE}, "<bos><|User|>Good?<|Assistant|><think>\n\n</think>\n\n"),
    ("granite", {}, "<|user|>Good?<|end|>\n<|assistant|>"),
    (
        "granite",
        {"arguments": {"thinking": True}},
        "<|system|>Think first.<|end|>\n<|user|>Good?<|end|>\n<|assistant|>",
    ),
    ("mistral", {}, '<bos>[MODEL_SETTINGS]{"reasoning_effort": "none"}[/MODEL_SETTINGS][INST]Good?[/INST]'),
    ("llama-3.2", {}, LLAMA.format("26 Jul 2024")),
    ("llama-3.2", {"date": date(2025, 3, 1)}, LLAMA.format("01 Mar 2025")),
    ("llama-3.2", {"arguments": {"date_string": "a Monday"}}, LLAMA.format("a Monday")),
    ("gpt-oss", {"suffix": FINAL}, OSS.format("2024-07-26", "low")),
    (
        "gpt-oss",
        {"suffix": FINAL, "date": "2025-03-01", "arguments": {"reasoning_effort": "high"}},
        OSS.format("2025-03-01", "high"),
    ),
]


@pytest.mark.parametrize(("name", "settings", "expected"), EXPECTED)
def test_a_prompt_is_what_the_template_says_without_thinking(
    name: str, settings: dict[str, Any], expected: str
) -> None:
    assert prompt(name, **settings) == expected


@pytest.mark.parametrize("name", chat_templates.ALL)
def test_the_text_is_that_of_transformers(name: str) -> None:
    """But for the date, which there is today's."""
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token, tokenizer.chat_template = "<bos>", chat_templates.ALL[name]
    made = template_of(tokenizer, ModelConfig(chat_template_date=datetime.now().date()))
    assert made is not None
    user, answer = {"role": "user", "content": " Good? "}, {"role": "assistant", "content": "Yes"}
    theirs = tokenizer.apply_chat_template([user], add_generation_prompt=True, tokenize=False, **made.arguments)
    assert made.prompt(" Good? ") == theirs
    theirs = tokenizer.apply_chat_template([user, answer], tokenize=False, **made.arguments)
    assert made.conversation(" Good? ", "Yes") == theirs


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "settings", "message"),
        [
            ("deepseek-r1", {}, r"inside an open <think> .*chat_template_suffix=\"\\n</think>\\n\\n\"'"),
            ("gpt-oss", {}, r"leaves the channel open .*chat_template_suffix=\"<\|channel\|>final<\|message\|>\"'"),
            (
                "gpt-oss",
                {"suffix": "<|channel|>analysis<|message|>"},
                r"inside an open <\|channel\|>analysis<\|message\|>",
            ),
            ("qwen3", {"suffix": "<think>\n"}, "inside an open <think>"),
            ("qwen3", {"arguments": {"thinking": False}}, "no variable 'thinking'; expected enable_thinking"),
            ("qwen3", {"arguments": {"messages": []}}, "no variable 'messages'; expected enable_thinking"),
            ("granite", {"arguments": {"enable_thinking": False}}, "no variable 'enable_thinking'; expected thinking"),
            ("mistral", {"arguments": {"reasoning_effort": "low"}}, 'must be either "none" or "high"'),
        ],
    )
    def test_a_prompt_in_a_thought_and_arguments_without_effect(
        self, name: str, settings: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ModelError, match=message):
            template(name, **settings).check()

    def test_a_template_that_is_none(self) -> None:
        with pytest.raises(ModelError, match="the chat template cannot be read"):
            ChatTemplate("{% if %}", {}, ModelConfig()).check()

    def test_settings_of_a_template_that_is_not_there(self) -> None:
        config = ModelConfig(chat_template_arguments={"enable_thinking": False})
        with pytest.raises(ModelError, match="has no chat template; leave out"):
            Codec(tiny_tokenizer(chat=False), config)

    def test_the_thought_of_a_user_is_no_thought_of_the_template(self) -> None:
        assert prompt("granite") == "<|user|>Good?<|end|>\n<|assistant|>"
        assert template("granite").prompt("a <think> tag").endswith("a <think> tag<|end|>\n<|assistant|>")

    def test_a_command_says_so_before_anything_runs(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = model("deepseek-r1", tmp_path / "model")
        command = ["ppo", "--model", str(folder), "--task", "sandbox-sentiment", "--dry-run"]
        assert cli.run(command) == 2
        said = capsys.readouterr().err
        assert "inside an open <think>" in said
        assert "Traceback" not in said
        setting = said.split("--set '")[1].split("'")[0]
        assert cli.run([*command, "--set", setting]) == 0


def model(name: str, folder: Path) -> Path:
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token, tokenizer.chat_template = "<|system|>", chat_templates.ALL[name]
    return tiny_llama(folder, tokenizer)


@pytest.mark.parametrize("name", chat_templates.ALL)
def test_the_folder_gives_the_prompt_that_the_tokenizer_gives(name: str, tmp_path: Path) -> None:
    config = ModelConfig(name=str(model(name, tmp_path)), chat_template_suffix=MADE_FOR.get(name, ""))
    stored, loaded = stored_template(tmp_path, config), load_codec(config).chat
    assert stored is not None
    assert loaded is not None
    assert stored.prompt("Good?") == loaded.prompt("Good?")
    assert model_identity(config)["prompt"] == loaded.prompt("What is it?")


def test_older_folders_keep_the_template_in_the_tokenizers_configuration(tmp_path: Path) -> None:
    listed = '[{"name": "rag", "template": "x"}, {"name": "default", "template": "{{ bos_token }}y"}]'
    (tmp_path / "tokenizer_config.json").write_text(
        '{"bos_token": {"content": "<s>"}, "chat_template": ' + listed + "}", encoding="utf-8"
    )
    found = stored_template(tmp_path, ModelConfig())
    assert found is not None
    assert found.prompt("Good?") == "<s>y"


@pytest.mark.parametrize(
    ("name", "setting", "is_another"),
    [
        ("qwen3", {"model.chat_template_arguments": {"enable_thinking": True}}, True),
        ("qwen3", {"model.chat_template_arguments": {"enable_thinking": False}}, False),  # as by default
        ("qwen3", {"model.chat_template_date": "2025-03-01"}, False),  # it prints none
        ("llama-3.2", {"model.chat_template_date": "2025-03-01"}, True),
        ("llama-3.2", {"model.chat_template_suffix": "Well, "}, True),
    ],
)
def test_fingerprints_hold_what_a_prompt_shows(
    name: str, setting: dict[str, Any], is_another: bool, tmp_path: Path
) -> None:
    folder = str(model(name, tmp_path / "model"))

    def prints(given: dict[str, Any]) -> list[str]:
        pipeline = Pipeline(load_config({"model.name": folder, "data.labelled": 4, **given}), tmp_path / "runs")
        return [stage.fingerprint for stage in (pipeline.sft(rationales=True), pipeline.train())]

    pairs = zip(prints({}), prints(setting), strict=True)
    assert [before != after for before, after in pairs] == [is_another] * 2


@pytest.mark.parametrize("name", ["qwen3", "glm-4", "deepseek-r1", "gpt-oss", "llama-3.2"])
def test_doctor_finds_the_prompt_at_the_beginning_of_a_conversation(name: str, tmp_path: Path) -> None:
    settings = {"model.name": str(model(name, tmp_path / "model")), "model.max_prompt_tokens": 400}
    config = load_config({**settings, "model.dtype": "float32", "model.chat_template_suffix": MADE_FOR.get(name, "")})
    probe = ProbeModel(load_trunk(config.model), config, tmp_path)
    assert "does not begin as the prompt" not in tokens.chat_template(probe).text


class TestLocalAnnotator:
    def test_one_with_a_model_of_its_own_has_its_own_template(self) -> None:
        trunk = ModelConfig(name="a/trunk", chat_template_suffix="x", chat_template_arguments={"thinking": True})
        own = AnnotateConfig(model="b/other", chat_template_arguments={"enable_thinking": True})
        found = local_model_config(own, trunk)
        assert (found.name, found.chat_template_suffix) == ("b/other", "")
        assert found.chat_template_arguments == {"enable_thinking": True}
        assert local_model_config(AnnotateConfig(), trunk) == trunk

    def test_answers_to_other_prompts_are_not_taken_from_the_journal(self, tmp_path: Path) -> None:
        def keys(**given: Any) -> str:
            config = load_config({"model.name": "b/other", **{f"model.chat_template_{k}": v for k, v in given.items()}})
            return LocalAnnotator(config, Journal(tmp_path / "journal"))._key("Good?", temperature=0.5)

        plain = keys()
        assert keys(date="2024-07-26", suffix="", arguments={}) == plain
        assert len({plain, keys(suffix="x"), keys(date="2025-03-01"), keys(arguments={"enable_thinking": True})}) == 4
