"""SFT and reward models against TRL's trainers called plainly, on the same rows, in turn; prints ratios.

    python experiments/bench/trainers.py [--model FOLDER] [--steps 6] [--batch 16] [--rows 128] [--part sft rm]

Each side is a process of its own, in float32, with LoRA of rank 16 on q_proj and v_proj, the same rows of random tokens
in the same order, AdamW at the same rate. "Plainly" is TRL as it ships: PEFT's layers, all logits, activations
recomputed. Seconds are processor time of the whole process a step, the median of all steps but the first two: on a
machine that others use, the clock says little. The losses of both sides are compared too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GOAL = 0.7


def rows_of(part: str, asked: argparse.Namespace, vocabulary: int) -> list[dict[str, list[int]]]:
    """Prompts of 24 to 72 tokens, answers of 8 to 32; the answers of a pair share their prompt."""
    rng = random.Random(0)

    def tokens(low: int, high: int) -> list[int]:
        return [rng.randrange(10, vocabulary) for _ in range(rng.randint(low, high))]

    found = []
    for _ in range(asked.rows):
        prompt, first, second = tokens(24, 72), tokens(8, 32), tokens(8, 32)
        if part == "rm":
            found.append({"chosen_ids": prompt + first, "rejected_ids": prompt + second})
        else:
            found.append({"input_ids": prompt + first, "labels": [-100] * len(prompt) + first})
    return found


def settings(part: str, asked: argparse.Namespace, folder: str) -> dict[str, Any]:
    """What both sides train with; everything else is TRL's default, or ours."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": asked.batch,
        "max_steps": asked.steps,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "max_length": None,
        "bf16": False,
        "use_cpu": True,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": 0,
    }


def callback() -> Any:
    """Marks of the processor's time, and the losses."""
    from transformers import TrainerCallback

    class Marks(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
        def __init__(self) -> None:
            self.times: list[float] = []
            self.losses: list[float] = []

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.times.append(time.process_time())

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                self.losses.append(float(logs["loss"]))

    return Marks()


def theirs(part: str, asked: argparse.Namespace, folder: str, marks: Any) -> None:
    """TRL's trainer with PEFT, as its documentation calls it."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    lora = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}
    torch.manual_seed(0)
    if part == "rm":
        model = AutoModelForSequenceClassification.from_pretrained(asked.model, num_labels=1, dtype=torch.float32)
        model.config.pad_token_id = tokenizer.pad_token_id
        torch.nn.init.zeros_(model.score.weight)  # as ours starts: the first loss of both is ln 2
        trainer: Any = RewardTrainer(
            model=model,
            args=RewardConfig(**settings(part, asked, folder)),
            train_dataset=Dataset.from_list(rows_of(part, asked, model.config.vocab_size)),
            processing_class=tokenizer,
            peft_config=LoraConfig(task_type="SEQ_CLS", **lora),
            callbacks=[marks],
        )
    else:
        model = AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.float32)
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(**settings(part, asked, folder)),
            train_dataset=Dataset.from_list(rows_of(part, asked, model.config.vocab_size)),
            processing_class=tokenizer,
            peft_config=LoraConfig(task_type="CAUSAL_LM", **lora),
            callbacks=[marks],
        )
    trainer.train()


def ours(part: str, asked: argparse.Namespace, folder: str, marks: Any) -> None:
    """The trainers that the stages use, without the stages."""
    import torch

    from rewardlab.config import LoraConfig, ModelConfig, RMConfig, SFTConfig
    from rewardlab.models import load_trunk
    from rewardlab.models.heads import ScalarHead
    from rewardlab.training import reward_trainer, sft_trainer
    from rewardlab.training.reward_model import PairModel
    from rewardlab.training.trl_run import one_device, plan_steps, remove_dropout, trl_settings

    trunk = load_trunk(ModelConfig(name=asked.model, dtype="float32", device="cpu"))
    lora = LoraConfig(rank=16, alpha=32, targets=("q_proj", "v_proj"))
    section: Any = (RMConfig if part == "rm" else SFTConfig)(lr=1e-4, batch=asked.batch, micro_batch=asked.batch)
    given = trl_settings(section, plan_steps(section, asked.rows), 0, trunk.device) | settings(part, asked, folder)
    rows = rows_of(part, asked, trunk.model.config.vocab_size)
    torch.manual_seed(0)
    trunk.roles.add("role", lora, head=ScalarHead(trunk.width) if part == "rm" else None)
    remove_dropout(trunk.model)
    with trunk.roles.using("role"):
        if part == "rm":
            trainer: Any = reward_trainer._Trainer(
                trunk,
                "role",
                model=PairModel(trunk, "role"),
                args=one_device(reward_trainer.TRLConfig(**given)),
                train_dataset=reward_trainer.Dataset.from_list(rows),
                data_collator=reward_trainer.DataCollatorForPreference(pad_token_id=trunk.codec.pad_id),
                processing_class=trunk.codec.tokenizer,
                callbacks=[marks],
            )
        else:
            from types import SimpleNamespace

            from transformers import TrainerCallback

            watching: Any = type("Nothing", (TrainerCallback,), {"limit": None, "validation": SimpleNamespace()})()
            trainer = sft_trainer._Trainer(
                trunk,
                "role",
                watching,
                args=one_device(sft_trainer.TRLConfig(packing=False, **given)),
                train_dataset=sft_trainer.Dataset.from_list(rows),
                data_collator=sft_trainer.DataCollatorForLanguageModeling(pad_token_id=trunk.codec.pad_id),
                callbacks=[marks],
            )
        trainer.train()


def one_side(asked: argparse.Namespace) -> None:
    """Train, and print one line of JSON."""
    marks = callback()
    part, side = asked.only
    with tempfile.TemporaryDirectory() as folder:
        (ours if side == "ours" else theirs)(part, asked, folder, marks)
    spans = [b - a for a, b in zip(marks.times[1:], marks.times[2:], strict=False)]
    print(json.dumps({"cpu_s": round(median(spans), 4), "losses": [round(loss, 5) for loss in marks.losses]}))


def main() -> None:
    """Both sides of each part in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "rewardlab" / "sandbox" / "tiny"))
    for name, default in {"steps": 6, "batch": 16, "rows": 128}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--part", nargs="*", choices=["sft", "rm"], default=["sft", "rm"])
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        one_side(asked)
        return
    given = [f"--{name}={getattr(asked, name)}" for name in ("model", "steps", "batch", "rows")]
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **os.environ, "PYTHONPATH": str(ROOT)}
    for part in asked.part:
        found = {}
        for side in ("theirs", "ours"):
            command = [sys.executable, __file__, *given, "--only", part, side]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{part}, {side}:\n{done.stderr[-3000:]}")
            found[side] = json.loads(done.stdout.strip().splitlines()[-1])
        ratio = found["ours"]["cpu_s"] / found["theirs"]["cpu_s"]
        print(json.dumps({"part": part, "ratio": round(ratio, 3), "goal": GOAL, "load": os.getloadavg()[0], **found}))


if __name__ == "__main__":
    main()
