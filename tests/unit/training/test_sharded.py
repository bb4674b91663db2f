"""Weights in pieces (FSDP 2, two CPU processes): a reward model scores and trains as in one piece, stored whole."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from rewardlab import processes
from rewardlab.config import LoraConfig, ModelConfig
from rewardlab.models import Trunk, load_trunk
from rewardlab.models.heads import ScalarHead
from rewardlab.training.reward_model import PairModel
from tests.support.launching import call_together
from tests.support.models import tiny_llama

IDS = torch.tensor([[5, 6, 7, 8], [9, 6, 5, 5]])


def reward_model(model: Path) -> tuple[Trunk, PairModel]:
    trunk = load_trunk(ModelConfig(name=str(model), device="cpu", dtype="bfloat16"))
    torch.manual_seed(0)
    trunk.roles.add("rm", LoraConfig(rank=4, alpha=8), head=ScalarHead(trunk.width))
    for parameter in trunk.roles.parameters("rm"):
        parameter.data.normal_(std=0.3)
    return trunk, PairModel(trunk, "rm")


def step_and_save(trunk: Trunk, model: PairModel, folder: Path) -> list[float]:
    """The scores, one optimiser step on their sum, the role stored in ``folder``; returns the scores."""
    scores = model(IDS, torch.ones_like(IDS)).logits
    scores.sum().backward()
    torch.optim.SGD(trunk.roles.parameters("rm"), lr=0.1).step()
    trunk.roles.save("rm", folder)
    return scores.squeeze(-1).tolist()


def in_pieces(model: Path, folder: Path) -> None:
    """What each of two processes does."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    processes.wait()  # starts the process group
    trunk, pairs = reward_model(model)
    before, mesh = trunk.sha256(), init_device_mesh("cpu", (2,))
    for layer in trunk.model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(pairs, mesh=mesh)
    assert any(hasattr(parameter, "full_tensor") for parameter in trunk.roles.parameters("rm"))
    scores = step_and_save(trunk, pairs, folder)
    assert trunk.sha256() == before
    if processes.is_main():
        torch.save(torch.tensor(scores), folder / "scores.pt")


def test_a_reward_model_in_pieces(tmp_path: Path) -> None:
    model = tiny_llama(tmp_path / "model")
    ended = call_together(in_pieces, 2, tmp_path, model, tmp_path / "pieces")
    assert [process.code for process in ended] == [0, 0], ended
    trunk, pairs = reward_model(model)
    scores = step_and_save(trunk, pairs, tmp_path / "whole")
    torch.testing.assert_close(torch.load(tmp_path / "pieces" / "scores.pt"), torch.tensor(scores))
    for name in ("adapter_model.safetensors", "head.safetensors"):
        stored = load_file(tmp_path / "pieces" / name)
        for key, tensor in load_file(tmp_path / "whole" / name).items():
            torch.testing.assert_close(stored[key], tensor, rtol=2e-2, atol=2e-3)
