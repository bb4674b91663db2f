"""An exported policy answers with transformers and PEFT alone as it answers here."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import SafetensorError

from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.disk import read_json, read_jsonl, write_json
from rewardlab.errors import ModelError
from rewardlab.models.export import read_adapter, write_adapter
from rewardlab.reports.model_card import Exported, serving
from rewardlab.runs import RunFolder
from tests.support.commands import Command
from tests.support.models import tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT 0.21
IDS = torch.arange(12).view(2, 6) + 5
SMALL = ("labelled=32", "prompts=16", "validation=8", "test=20")
SETTINGS = [f"--set=data.{part}" for part in SMALL] + ["--set=sft.epochs=1", "--set=ppo.steps=1", "--set=ppo.batch=16"]


def bare(base: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(base)


def with_adapter(model: Any, folder: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(folder))


def random_adapter(base: Path, folder: Path, **lora: object) -> Path:
    """An adapter whose matrices are all random, stored by PEFT."""
    torch.manual_seed(int(lora["r"]))  # type: ignore[call-overload]
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(task_type="CAUSAL_LM", **{"target_modules": ["q_proj", "v_proj"], "lora_alpha": 8, **lora}),
    )
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(str(folder))
    return folder


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


@pytest.mark.parametrize(
    "second",
    [
        {"r": 3},
        {"r": 3, "use_rslora": True},
        {"r": 3, "target_modules": ["q_proj", "o_proj"]},
    ],
)
def test_two_adapters_joined_add_both_updates(tmp_path: Path, second: dict[str, object]) -> None:
    base = tiny_llama(tmp_path / "base")
    folders = [random_adapter(base, tmp_path / "a", r=2), random_adapter(base, tmp_path / "b", **second)]
    model = bare(base)
    for folder in folders:  # what training does: one update after the other, into the weights
        model = with_adapter(model, folder).merge_and_unload()
    write_adapter([read_adapter(folder) for folder in folders], str(base), tmp_path / "joined")
    joined = with_adapter(bare(base), tmp_path / "joined")
    torch.testing.assert_close(logits(joined), logits(model), rtol=1e-4, atol=1e-4)
    alone = with_adapter(bare(base), folders[1])
    assert float((logits(joined) - logits(alone)).abs().max()) > 0.1


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([r"model\.layers\.(?:.*\.)?(?:q_proj)"] * 2, r"model\.layers\.(?:.*\.)?(?:q_proj)"),
        ([r".*\.q_proj", r".*\.v_proj"], r"(?:.*\.q_proj)|(?:.*\.v_proj)"),
        ([r".*\.q_proj", ["v_proj"]], r"(?:(?:.*\.)?(?:v_proj))|(?:.*\.q_proj)"),
    ],
)
def test_targets_that_are_a_pattern_stay_one(tmp_path: Path, targets: list[str | list[str]], expected: str) -> None:
    """A model that reads images too has its layers named by a pattern."""
    base = tiny_llama(tmp_path / "base")
    folders = [
        random_adapter(base, tmp_path / name, r=rank, target_modules=target)
        for name, rank, target in zip("ab", (2, 3), targets, strict=True)
    ]
    write_adapter([read_adapter(folder) for folder in folders], str(base), tmp_path / "joined")
    assert read_json(tmp_path / "joined" / "adapter_config.json")["target_modules"] == expected
    joined = with_adapter(bare(base), tmp_path / "joined")
    stored = read_adapter(tmp_path / "joined").up
    assert {name for name, _ in joined.named_parameters() if "lora_B" in name} == {
        f"{module}.lora_B.default.weight" for module in stored
    }


def test_an_adapter_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = random_adapter(tiny_llama(tmp_path / "base"), tmp_path / "a", r=2, use_dora=True)
    with pytest.raises(ModelError, match=r"lora_magnitude_vector.* is no LoRA matrix"):
        read_adapter(folder)
    (folder / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match=r"a: no readable adapter"):
        read_adapter(folder)


def test_an_exported_policy_gives_the_answers_of_eval(rewardlab: Command) -> None:
    trained = rewardlab("ppo", "--task=sandbox-sentiment", "--reward=rule", "--dtype=float32", *SETTINGS)
    assert trained.code == 0, trained.err
    [run] = Path("runs/ppo").iterdir()
    assert rewardlab("eval", "--run", str(run)).code == 0
    assert rewardlab("export", str(run), "--to", "mine").code == 0
    merged = rewardlab("export", str(run), "--to", "whole", "--merge")
    assert "serve it: transformers serve whole" in merged.out
    shutil.rmtree("runs/sft")  # what was exported needs no run
    [evaluated] = Path("runs/eval").iterdir()
    rows = [row for row in read_jsonl(evaluated / "predictions.jsonl") if row["decoding"] == "greedy"]
    assert len(rows) == 20
    for folder in ("mine", "whole"):
        card = Path(folder, "README.md").read_text(encoding="utf-8")
        code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]  # type: ignore[index]
        loading, asking = code.split("prompt = ")
        names: dict[str, object] = {}
        exec(loading, names)
        for row in rows:
            names["prompt"] = f"<bos><user>{row['prompt']}<assistant>"
            exec(asking.split("\n", 1)[1].replace("print(answer)", ""), names)
            assert names["answer"] == row["response"]
    told = read_json(evaluated / "result.json")["columns"]["sandbox-sentiment"]["greedy"]["metrics"]["accuracy"]
    assert f"| sandbox-sentiment | greedy | accuracy | {told['value']:.4f} |" in card
    assert "* Gold labels read: 48" in card  # 32 of SFT, 16 prompts of the rule
    assert json.loads(Path("mine/adapter_config.json").read_text())["r"] == 32


def test_what_cannot_be_exported_is_said_in_one_line(rewardlab: Command) -> None:
    assert rewardlab("pair-gen", "--task=sandbox-sentiment", *SETTINGS[:4]).code == 0
    [pairs] = Path("runs/pairs").iterdir()
    assert "a pairs run has no policy" in rewardlab("export", str(pairs), "--to", "mine").problem
    assert "nowhere: no finished run" in rewardlab("export", "nowhere", "--to", "mine").problem
    assert not Path("mine").exists()


def finished(
    path: Path, stage: str, model: Path, inputs: dict[str, RunFolder], *, best: int | None, last: int
) -> RunFolder:
    """A run whose two policies have adapters of different ranks; ``best`` and ``last``: steps of the two."""
    given = {"model.name": str(model), "model.device": "cpu", "data.source": "bundled"}
    config = load_config(given, NO_FILE).model_dump(mode="json")
    marks = {name: needed.fingerprint for name, needed in inputs.items()}
    run = RunFolder(path, stage, {"inputs": marks}, config, (), {n.fingerprint: n.path for n in inputs.values()})
    run.open()
    random_adapter(model, path / "adapter", r=3)
    measures = None
    if best is not None:
        random_adapter(model, path / "adapter-best", r=5)
        measures = {name: {"step": step, "accuracy": 0.5} for name, step in (("best", best), ("last", last))}
    run.finish({"steps": last, "validation": measures})
    return run


@pytest.mark.parametrize(
    ("config", "option"),
    [
        ({"r": 16}, ""),
        ({"r": 17}, "--max-lora-rank 32 "),
        ({"r": 8, "rank_pattern": {"q_proj": 300}}, "--max-lora-rank 320 "),
    ],
)
def test_the_command_for_vllm_names_the_rank_that_its_default_is_too_low_for(
    tmp_path: Path, config: dict[str, Any], option: str
) -> None:
    (tmp_path / "mine").mkdir()
    write_json(tmp_path / "mine" / "adapter_config.json", config)
    model = Exported(tmp_path / "mine", "PPO", "", "org/base", [], "label", "last", False, "", 8, None, [], {})
    assert serving(model) == [f"vllm serve org/base --enable-lora {option}--lora-modules mine={tmp_path / 'mine'}"]


def rank_of(folder: str) -> int:
    return int(read_json(Path(folder, "adapter_config.json"))["r"])


class TestWhichPolicy:
    @pytest.fixture
    def ppo(self, rewardlab: Command, tmp_path: Path) -> RunFolder:
        """Ranks: best 5 and last 3, of PPO and of the SFT run it started from alike."""
        base = tiny_llama(tmp_path / "base")
        sft = finished(Path("runs/sft/a"), "sft", base, {}, best=4, last=8)
        return finished(Path("runs/ppo/b"), "ppo", base, {"start": sft}, best=2, last=6)

    @pytest.mark.parametrize("options", [(), ("--checkpoint=best",)])
    def test_it_is_the_best_one_upon_the_sft_policy_that_ppo_started_from(
        self, rewardlab: Command, ppo: RunFolder, options: tuple[str, ...]
    ) -> None:
        assert rewardlab("export", str(ppo.path), "--to=mine", *options).code == 0
        assert rank_of("mine") == 5 + 5
        assert "Policy: best on validation rows, after step 2 of 6" in Path("mine/README.md").read_text()

    def test_the_sft_run_is_found_where_it_was_and_moved_with_the_other(
        self, rewardlab: Command, ppo: RunFolder
    ) -> None:
        Path("far").mkdir()
        sft = RunFolder(Path("runs/sft/a"), "sft", {"inputs": {}})
        far = finished(Path("far/away"), "ppo", Path("../base"), {"start": sft}, best=2, last=6)
        assert rewardlab("export", str(far.path), "--to=mine").code == 0
        assert rank_of("mine") == 5 + 5
        Path("all").mkdir()
        for name in ("runs", "far"):
            Path(name).rename(Path("all", name))
        assert rewardlab("export", "all/far/away", "--to=again").code == 0
        assert rank_of("again") == 5 + 5

    @pytest.mark.parametrize("where", ["rewardlab.models.export.save_file", "rewardlab.lab.exported._write_card"])
    def test_of_a_full_disk_no_half_of_a_model_is_left(
        self, rewardlab: Command, ppo: RunFolder, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

        Path("there").mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(where, full)
            for to in ("mine", "there"):
                done = rewardlab("export", str(ppo.path), f"--to={to}")
                assert done.code == 2
                said = done.err.splitlines()[-1]
                assert said == f"error: --to {to}: the disk is full; make room or choose another folder"
        assert not Path("mine").exists()
        assert list(Path("there").iterdir()) == []
        assert rewardlab("export", str(ppo.path), "--to=mine").code == 0

    def test_or_the_last_one_if_that_was_asked_for(self, rewardlab: Command, ppo: RunFolder) -> None:
        assert rewardlab("export", str(ppo.path), "--to=mine", "--checkpoint=last").code == 0
        assert rank_of("mine") == 3 + 5  # PPO started from SFT's best policy all the same
        assert "Policy: after the last step, 6" in Path("mine/README.md").read_text()

    def test_a_run_without_a_best_one_gives_its_last(self, rewardlab: Command, tmp_path: Path) -> None:
        run = finished(Path("runs/sft/a"), "sft", tiny_llama(tmp_path / "base"), {}, best=None, last=8)
        assert rewardlab("export", str(run.path), "--to=mine").code == 0
        assert rank_of("mine") == 3
        refused = rewardlab("export", str(run.path), "--to=other", "--checkpoint=best")
        assert "keeps the last policy only; leave --checkpoint out" in refused.problem

    @pytest.mark.parametrize("stage", ["ppo", "sft"])
    def test_a_damaged_adapter_is_not_exported(self, rewardlab: Command, ppo: RunFolder, stage: str) -> None:
        [weights] = Path("runs", stage).glob("*/adapter-best/adapter_model.safetensors")
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        tried = rewardlab("export", str(ppo.path), "--to=mine")
        assert tried.code == 2
        said = f"changed since stage {stage} was finished: adapter-best/adapter_model.safetensors changed"
        assert said in tried.err.splitlines()[-1]
        assert not Path("mine").exists()

    def test_a_damaged_run_beside_it_is_no_matter(self, rewardlab: Command, ppo: RunFolder) -> None:
        Path("runs/sft/Z").mkdir()
        Path("runs/sft/Z/config.json").write_text("{")
        assert rewardlab("export", str(ppo.path), "--to=mine").code == 0

    def test_a_configuration_without_inputs_is_one_line(self, rewardlab: Command, ppo: RunFolder) -> None:
        stored = read_json(ppo.path / "config.json")
        del stored["identity"]["inputs"]
        (ppo.path / "config.json").write_text(json.dumps(stored))
        tried = rewardlab("export", str(ppo.path), "--to=mine")
        assert tried.code == 2
        assert "config.json does not say what it was made of" in tried.err.splitlines()[-1]

    def test_a_result_of_another_program_is_one_line(self, rewardlab: Command, ppo: RunFolder) -> None:
        result = read_json(ppo.result_path)
        del result["validation"]["best"]["step"]
        ppo.result_path.write_text(json.dumps(result))
        tried = rewardlab("export", str(ppo.path), "--to=mine")
        assert tried.code == 2
        assert "result.json: does not name its policies" in tried.err.splitlines()[-1]
