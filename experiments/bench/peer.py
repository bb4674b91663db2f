"""PPO steps of the last PPOTrainer that TRL shipped (1.12.0), on the work that ``rewardlab bench ppo`` does.

It runs in an environment of its own, which ``compare.py`` makes. The trainer is used as it ships: policy with LoRA on
q_proj and v_proj (rank 16, alpha 32), a reward model and a value model with a scalar head each, both whole models of
the same trunk, the value model trained in full. Prints one JSON line; the first step is left out of every figure.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from importlib.metadata import version
from statistics import median
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer


class StepEnds(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Clock and CPU time at the start of training and at the end of every step."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def mark(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.marks.append((time.perf_counter(), time.process_time()))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.mark()

    def medians(self) -> tuple[float, float]:
        """Median seconds and CPU seconds of a step."""
        spans = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(self.marks, self.marks[1:], strict=False)][1:]
        return median(clock for clock, _ in spans), median(cpu for _, cpu in spans)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    sizes = {"batch": 16, "micro": 4, "prompt-len": 96, "response-len": 24, "ppo-epochs": 4, "steps": 3}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dtype", default="float32")
    return parser.parse_args()


def trainer(asked: argparse.Namespace, clock: StepEnds, use_cpu: bool) -> PPOTrainer:
    """The trainer, its three models and its prompts of random tokens."""
    dtype = getattr(torch, asked.dtype)
    tokenizer = AutoTokenizer.from_pretrained(asked.model, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    policy = AutoModelForCausalLM.from_pretrained(asked.model, dtype=dtype)
    scalars = [
        AutoModelForSequenceClassification.from_pretrained(asked.model, num_labels=1, dtype=dtype) for _ in range(2)
    ]
    for scalar in scalars:
        scalar.config.pad_token_id = tokenizer.pad_token_id
    episodes = asked.batch * (asked.steps + 1)
    ids = torch.randint(100, policy.config.vocab_size - 100, (episodes, asked.prompt_len))
    rows = Dataset.from_dict({"input_ids": ids.tolist()})
    config = PPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=asked.micro,
        gradient_accumulation_steps=asked.batch // asked.micro,
        num_mini_batches=asked.batch // asked.micro,
        num_ppo_epochs=asked.ppo_epochs,
        total_episodes=episodes,
        response_length=asked.response_len,
        temperature=1.0,
        num_sample_generations=0,
        local_rollout_forward_batch_size=asked.batch,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=use_cpu,
        seed=0,
    )
    return PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=policy,
        ref_model=None,
        reward_model=scalars[0],
        value_model=scalars[1],
        train_dataset=rows,
        eval_dataset=rows.select(range(2)),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
        callbacks=[clock],
    )


def main() -> None:
    """Train and print the figures."""
    asked = options()
    torch.manual_seed(0)
    on_gpu = torch.cuda.is_available()
    clock = StepEnds()
    running = trainer(asked, clock, not on_gpu)
    clock.mark()
    running.train()
    seconds, cpu_seconds = clock.medians()
    peak = (
        torch.cuda.max_memory_allocated() / 2**20
        if on_gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
    print(
        json.dumps(
            {
                "peer": f"trl {version('trl')} experimental PPOTrainer",
                "torch": torch.__version__,
                "device": "cuda" if on_gpu else "cpu",
                "threads": torch.get_num_threads(),
                **vars(asked),
                "sec_per_step": round(seconds, 3),
                "cpu_sec_per_step": round(cpu_seconds, 3),
                "peak_mib": round(peak),
            }
        )
    )


if __name__ == "__main__":
    main()
