"""Trunks in 4 bits: refused in one line where they cannot be had; with bitsandbytes, all from SFT to evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from rewardlab.cli import main as cli
from rewardlab.config import LoraConfig, ModelConfig
from rewardlab.config_loading import load_config
from rewardlab.disk import read_json, read_jsonl
from rewardlab.errors import ModelError
from rewardlab.models import Trunk, load_trunk, quantized
from rewardlab.models.names import model_identity, trunk_identity
from tests.support.models import tiny_model, tiny_tokenizer

IDS = torch.tensor([[70, 8, 9, 30, 31, 40]])
needs_package = pytest.mark.skipif(
    not quantized.is_installed(), reason="needs bitsandbytes (pip install 'rewardlab[quantized]')"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Width 64: bitsandbytes rounds blocks of 64 numbers together."""
    sizes = {"hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 512}
    return tiny_model("llama", tmp_path_factory.mktemp("model") / "model", tiny_tokenizer(), **sizes)


def config(folder: Path, quantization: str = "nf4", device: str = "cpu") -> ModelConfig:
    given = {"name": str(folder), "dtype": "float32", "device": device, "quantization": quantization}
    return ModelConfig.model_validate(given)


def logits(trunk: Trunk, role: str | None) -> Tensor:
    with torch.no_grad():
        return trunk.logits(trunk.hidden(IDS, torch.ones_like(IDS, dtype=torch.bool), role))


def stored_adapter(trunk: Trunk, name: str, folder: Path) -> Path:
    """An adapter that does something, as role ``name`` of ``trunk`` and in ``folder``."""
    trunk.roles.add(name, LoraConfig(rank=4))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in trunk.roles.parameters(name):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    trunk.roles.save(name, folder)
    return folder


# -- asked for where it cannot be had ----------------------------------------------------------------------------------


def test_without_the_package_one_line_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quantized, "is_installed", lambda: False)
    with pytest.raises(ModelError, match=r"'nf4': found no package bitsandbytes; pip install 'rewardlab\[quantized\]'"):
        load_trunk(config(folder))
    assert cli.run(["ppo", "--dry-run", "--model", str(folder), "--set", "model.quantization=nf4"]) == 2
    said = capsys.readouterr().err.strip()
    assert "bitsandbytes" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("device", "is_fine"), [("cpu", True), ("cuda", True), ("cuda:1", True), ("mps", False)])
def test_other_devices_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, device: str, is_fine: bool) -> None:
    monkeypatch.setattr(quantized, "is_installed", lambda: True)
    if is_fine:
        quantized.check_quantization(config(folder), device)
    else:
        with pytest.raises(ModelError, match=f"expected a CUDA device .* found {device}"):
            quantized.check_quantization(config(folder), device)
    quantized.check_quantization(config(folder, "none"), device)


def test_weights_in_pieces_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "is_installed", lambda: True)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ModelError, match="FSDP and DeepSpeed cannot cut"):
        quantized.check_quantization(config(folder), "cuda")


def test_identities_of_whole_trunks_are_what_they_were(folder: Path) -> None:
    assert set(model_identity(config(folder, "none"))) == {"dtype", "sha256", "prompt"}
    assert set(trunk_identity(config(folder, "none"), None)) == {"base", "dtype", "sft"}
    assert model_identity(config(folder))["quantization"] == "nf4"
    assert trunk_identity(config(folder), None)["quantization"] == "nf4"


# -- the adapter beneath, which needs no package ----------------------------------------------------------------------


def test_an_adapter_beneath_is_part_of_the_model(folder: Path, tmp_path: Path) -> None:
    """Over whole weights it gives what merging gives, under every role and without one, and it stays frozen."""
    adapter = stored_adapter(load_trunk(config(folder, "none")), "sft", tmp_path / "sft")
    merged, stacked = load_trunk(config(folder, "none"), adapter), load_trunk(config(folder, "none"))
    bare = stacked.sha256()
    stacked.roles.put_beneath(adapter)
    assert stacked.sha256() != bare  # the hash covers it
    for trunk in (merged, stacked):
        stored_adapter(trunk, "policy", tmp_path / "policy")
    torch.testing.assert_close(logits(stacked, None), logits(merged, None), atol=1e-4, rtol=0)
    torch.testing.assert_close(logits(stacked, "policy"), logits(merged, "policy"), atol=1e-4, rtol=0)
    assert float((logits(stacked, "policy") - logits(stacked, None)).abs().max()) > 0.01
    frozen = stacked.sha256()
    stacked.logits(stacked.hidden(IDS, torch.ones_like(IDS, dtype=torch.bool), "policy")).sum().backward()
    moved = {name for name, parameter in stacked.model.named_parameters() if parameter.grad is not None}
    assert moved
    assert all(".policy." in name for name in moved)
    assert stacked.sha256() == frozen


# -- real 4 bits -------------------------------------------------------------------------------------------------------


@needs_package
def test_the_trunk_is_stored_in_4_bits_and_adapters_in_float32(folder: Path) -> None:
    whole, small = load_trunk(config(folder, "none")), load_trunk(config(folder))
    layer: Any = small.backbone.layers[0].self_attn.q_proj
    assert (layer.weight.dtype, layer.weight.numel()) == (torch.uint8, 64 * 64 // 2)
    assert small.dtype is torch.float32  # embeddings, norms, output layer
    gap = float((logits(small, None) - logits(whole, None)).abs().max())
    assert 0 < gap < float(logits(whole, None).abs().max())
    before = small.sha256()
    assert before != whole.sha256()
    small.roles.add("policy", LoraConfig(rank=4))
    torch.testing.assert_close(logits(small, "policy"), logits(small, None), atol=0, rtol=0)  # B = 0
    assert {parameter.dtype for parameter in small.roles.parameters("policy")} == {torch.float32}
    small.logits(small.hidden(IDS, torch.ones_like(IDS, dtype=torch.bool), "policy")).sum().backward()
    assert all(parameter.grad is not None for parameter in small.roles.parameters("policy"))
    assert small.sha256() == before


@needs_package
def test_the_sft_adapter_lies_beneath(folder: Path, tmp_path: Path) -> None:
    small = load_trunk(config(folder))
    adapter = stored_adapter(small, "sft", tmp_path / "sft")
    again = load_trunk(config(folder), adapter)
    torch.testing.assert_close(logits(again, None), logits(small, "sft"), atol=1e-6, rtol=0)
    assert float((logits(again, None) - logits(small, None)).abs().max()) > 0.01


@needs_package
def test_from_sft_to_evaluation(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SFT, reward model, PPO with an adapter critic; PPO itself checks KL and ratio at its start, and the hash."""
    monkeypatch.chdir(tmp_path)
    settings = ["model.quantization=nf4", "data.labelled=16", "data.prompts=8", "data.validation=8", "data.test=4"]
    settings += ["pairs.held_out=4", "rm.sft_samples=16", "ppo.steps=2", "ppo.batch=4", "ppo.micro_batch=2"]
    words = ["ppo", "--tracker", "none", "--format", "label", "--reward", "label"]
    words += ["--model", str(folder), "--dtype", "float32", *(f"--set={one}" for one in settings)]
    assert cli.run(words) == 0
    trained = {stage: next((tmp_path / "runs" / stage).iterdir()) for stage in ("sft", "rm", "ppo")}
    for run in trained.values():
        stored = load_file(run / "adapter" / "adapter_model.safetensors")
        assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    ppo = trained["ppo"]
    rows = list(read_jsonl(ppo / "metrics.jsonl"))
    assert rows[0]["policy/kl"] == pytest.approx(0, abs=1e-4)
    assert len(rows) == 2
    assert read_json(ppo / "config.json")["config"]["model"]["quantization"] == "nf4"
    assert cli.run(["eval", "--run", str(ppo)]) == 0


def test_the_setting_is_read() -> None:
    assert load_config({"model.quantization": "nf4"}).model.quantization == "nf4"
    assert load_config({}).model.quantization == "none"
