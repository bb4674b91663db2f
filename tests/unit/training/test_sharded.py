"""Weights in pieces (FSDP 2, two CPU processes): what is trained is what one process trains, and is stored whole.

accelerate has FSDP for GPUs alone. Its CPU processes say here that they are of that kind; everything else is
accelerate's, down to ``fully_shard`` and gloo.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from rewardlab import processes
from rewardlab.config import LoraConfig, ModelConfig
from rewardlab.disk import read_json, read_jsonl
from rewardlab.models import Trunk, load_trunk
from rewardlab.models.heads import ScalarHead
from rewardlab.training.reward_model import PairModel
from tests.support.launching import call_together, run
from tests.support.models import tiny_llama

CONFIGURATION = Path(__file__).parents[3] / "experiments" / "accelerate" / "fsdp-13b.yaml"
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


SIZES = {"batch": 16, "micro_batch": 4, "lr": 0.01, "epochs": 1}
"""64 rows: four steps of sixteen."""
COMMANDS = {
    "sft": ["sft", *(f"--set=sft.{key}={value}" for key, value in SIZES.items())],
    "rm": ["rm", "train", "--set=init=base", "--set=pairs.held_out=4", "--set=pairs.samples=2",
           "--set=rm.sft_samples=16", *(f"--set=rm.{key}={value}" for key, value in SIZES.items())],
}  # fmt: skip


def launched_with_fsdp() -> dict[str, str]:
    """The environment that ``accelerate launch`` makes of the published configuration."""
    fsdp: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())["fsdp_config"]
    names = {"fsdp_transformer_layer_cls_to_wrap": "FSDP_TRANSFORMER_CLS_TO_WRAP"}
    given = {names.get(key, key.upper()): str(value) for key, value in fsdp.items()}
    return {"ACCELERATE_USE_FSDP": "true", **given}


def sharded_command(arguments: list[str], seen: Path) -> None:
    """One command line in each of two processes; ``seen`` is told what the weights of the trunk were."""
    from accelerate.state import DistributedType, PartialState
    from accelerate.utils import fsdp_utils

    from rewardlab.cli.main import run as command_line

    os.environ |= launched_with_fsdp()
    made, prepared = PartialState.__init__, fsdp_utils.fsdp2_prepare_model

    def make(self: Any, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        if self.distributed_type is DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    def prepare(accelerator: Any, model: Any) -> Any:
        whole = sum(parameter.numel() for parameter in model.parameters())
        model = prepared(accelerator, model)
        own = sum(parameter.to_local().numel() for parameter in model.parameters())
        if processes.is_main():
            seen.write_text(f"{own / whole}")
        return model

    PartialState.__init__ = make
    sys.modules["accelerate.accelerator"].fsdp2_prepare_model = prepare  # type: ignore[attr-defined]
    sys.exit(command_line(arguments))


@pytest.mark.slow
@pytest.mark.parametrize("stage", COMMANDS)
def test_accelerate_cuts_what_is_trained_into_pieces(tmp_path: Path, stage: str) -> None:
    model = tiny_llama(tmp_path / "model")
    sizes = ["--set=data.labelled=64", "--set=data.prompts=8", "--set=data.validation=8", "--set=data.test=8"]
    what = ["--tracker", "none", "--task", "sandbox-sentiment", "--format", "label", "--model", str(model)]
    words = [*COMMANDS[stage], *what, *sizes, "--dtype", "float32", "--runs"]
    assert run([*words, str(tmp_path / "whole")]) == 0
    ended = call_together(sharded_command, 2, tmp_path, [*words, str(tmp_path / "pieces")], tmp_path / "seen")
    assert [process.code for process in ended] == [0, 0], ended
    assert float((tmp_path / "seen").read_text()) == pytest.approx(0.5, abs=0.02)
    whole, pieces = (next((tmp_path / name / stage).iterdir()) for name in ("whole", "pieces"))
    rows = [list(read_jsonl(folder / "metrics.jsonl")) for folder in (whole, pieces)]
    assert len(rows[0]) == len(rows[1]) == 4
    for alone, together in zip(*rows, strict=True):
        alone.pop("rm/score", None)  # their loss does not see a constant, and AdamW enlarges its rounding
        together.pop("rm/score", None)
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-5)
    assert read_json(pieces / "result.json")["trunk"] == read_json(whole / "result.json")["trunk"]
    adapters = [load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (whole, pieces)]
    assert adapters[0].keys() == adapters[1].keys()
    for name, tensor in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], tensor, rtol=1e-3, atol=1e-5)
