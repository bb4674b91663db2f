"""``auto``: batches from the memory that is free, which is a given number here."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rewardlab.config import RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.errors import ConfigError
from rewardlab.models import load_trunk
from rewardlab.models.sizes import SHAPES
from rewardlab.training import fitting
from rewardlab.training.fitting import free_memory, sampling_batch, training_batch
from rewardlab.training.memory import GIB, OWN, Longest, Shape, estimate, sampling_bytes
from tests.support.models import tiny_gpt2

LONGEST = Longest(300, 100)
CPU = torch.device("cpu")


def config_of(**given: Any) -> RunConfig:
    return load_config({key.replace("__", "."): value for key, value in given.items()}, NO_FILE)


def llama_7b() -> Any:
    """What is read of a trunk of Llama 2 7B in bfloat16; its weights are on no device."""
    config = SimpleNamespace(to_dict=lambda: {"model_type": "llama", **SHAPES["llama2-7b"]})
    model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: config))
    return SimpleNamespace(model=model, device=torch.device("meta"), dtype=torch.bfloat16, name="llama2-7b")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets how many bytes are free."""
    return lambda amount: monkeypatch.setattr(fitting, "free_memory", lambda device: int(amount))


@pytest.mark.parametrize("kind", ["sft", "rm"])
@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_so_many_rows_fit_and_one_more_does_not(free: Any, kind: Any, is_checkpointed: bool) -> None:
    settings = {f"{kind}__batch": 4096, f"{kind}__gradient_checkpointing": is_checkpointed}
    config = config_of(**{f"{kind}__micro_batch": "auto"}, **settings)
    shape = Shape.read(SHAPES["llama2-7b"])
    assert shape is not None
    for gib in (14, 20, 60):
        free(gib * GIB)
        rows = training_batch(kind, config, llama_7b(), LONGEST)

        def need(rows: int) -> float:
            given = config_of(**{f"{kind}__micro_batch": rows}, **settings)
            found = estimate(kind, shape, given, "bfloat16", longest=LONGEST)
            return OWN + found.adapters + found.activations + found.logits

        assert rows >= 1
        assert need(rows) <= 0.8 * gib * GIB < need(rows + 1)


def test_recomputing_activations_makes_room(free: Any) -> None:
    free(20 * GIB)
    plain, saving = (
        training_batch("rm", config_of(rm__micro_batch="auto", rm__gradient_checkpointing=on), llama_7b(), LONGEST)
        for on in (False, True)
    )
    assert saving >= 4 * plain


def test_no_more_rows_than_a_step_has(free: Any) -> None:
    free(1000 * GIB)
    config = config_of(sft__micro_batch="auto", sft__batch=24, eval__batch="auto")
    assert training_batch("sft", config, llama_7b(), LONGEST) == 24
    assert sampling_batch(config, llama_7b()) == fitting.MOST_SAMPLED


def test_too_little_memory_is_said(free: Any, caplog: pytest.LogCaptureFixture) -> None:
    free(GIB)
    config = config_of(sft__micro_batch="auto")
    with caplog.at_level(logging.WARNING):
        assert training_batch("sft", config, llama_7b(), LONGEST) == 1
    assert "sft.micro_batch = auto: 1.0 GiB are free and one row needs about" in caplog.text


@pytest.mark.parametrize("prompt", [None, 64])
def test_as_many_are_sampled_together_as_fit(free: Any, prompt: int | None) -> None:
    free(30 * GIB)
    config = config_of(eval__batch="auto", model__max_new_tokens=128)
    rows = sampling_batch(config, llama_7b(), prompt)
    shape = Shape.read(SHAPES["llama2-7b"])
    assert shape is not None
    longest = prompt or config.model.max_prompt_tokens
    need = [OWN + sampling_bytes(shape, count, 2, longest, 128) for count in (rows, rows + 1)]
    assert need[0] <= 0.8 * 30 * GIB < need[1]


def test_a_number_is_taken_as_it_is(free: Any) -> None:
    free(0)
    config = config_of(sft__micro_batch=3, rm__micro_batch=5, eval__batch=7)
    assert [training_batch(kind, config, llama_7b(), LONGEST) for kind in ("sft", "rm")] == [3, 5]
    assert sampling_batch(config, llama_7b()) == 7


def test_another_architecture_gets_the_built_in_numbers(
    tmp_path: Path, free: Any, caplog: pytest.LogCaptureFixture
) -> None:
    free(1000 * GIB)
    name = str(tiny_gpt2(tmp_path / "model"))
    config, plain = config_of(rm__micro_batch="auto", eval__batch="auto", model__name=name), config_of(model__name=name)
    trunk = load_trunk(config.model)
    assert training_batch("rm", config, trunk, LONGEST) == plain.rm.micro_batch
    assert sampling_batch(config, trunk) == plain.eval.batch
    assert caplog.text.count("is not known") == 2


def test_what_torch_keeps_unused_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 GiB are nobody's, and of 9 that torch has it uses 7."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5 * GIB, 24 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 9 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 7 * GIB)
    assert free_memory(torch.device("cuda")) == 7 * GIB


def test_on_a_processor_the_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "usable_memory", lambda: 3 * GIB)
    assert free_memory(CPU) == 3 * GIB


@pytest.mark.parametrize("setting", ["sft__micro_batch", "rm__micro_batch", "eval__batch"])
def test_auto_is_the_only_word(setting: str) -> None:
    section, name = setting.split("__")
    assert getattr(getattr(config_of(**{setting: "auto"}), section), name) == 0
    with pytest.raises(ConfigError, match=name):
        config_of(**{setting: "most"})
    with pytest.raises(ConfigError, match=name):
        config_of(**{setting: -1})
