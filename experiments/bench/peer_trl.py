"""Steps of TRL's GRPOTrainer or DPOTrainer, on the work that ``rewardlab bench grpo`` and ``bench dpo`` do.

It runs in the environment of rewardlab, whose TRL it uses as it ships: LoRA on q_proj and v_proj (rank 16, alpha 32),
the reference is the model without its adapter, one epoch, an optimiser step per batch. GRPO draws ``--group`` answers
of exactly ``--response-len`` tokens to each prompt and scores them by a rule of the text; DPO gets pairs of random
tokens, and computes the reference in each step, as it does by default. Prints one JSON line; the first step is left
out of every figure.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer

LORA = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}


class StepEnds(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Clock and CPU time at the end of every step."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.marks.append((time.perf_counter(), time.process_time()))

    def medians(self) -> tuple[float, float]:
        """Median seconds and CPU seconds of a step, from the second on."""
        spans = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(self.marks, self.marks[1:], strict=False)]
        return median(clock for clock, _ in spans), median(cpu for _, cpu in spans)


class PairsAsTokens(DPOTrainer):  # type: ignore[misc]  # as above
    """DPOTrainer whose rows are tokens already, so that every one has the length that was asked for."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=["grpo", "dpo"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, default=16, help="responses a step; pairs a step for dpo")
    parser.add_argument("--micro", type=int, default=4, help="responses or pairs per forward pass")
    for name, default in {"group": 4, "prompt-len": 96, "response-len": 24, "steps": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--beta", type=float, default=0.05)
    parser.add_argument("--dtype", default="float32")
    return parser.parse_args()


def shared(asked: argparse.Namespace) -> dict[str, Any]:
    """Settings of both trainers."""
    return {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": asked.micro,
        "gradient_accumulation_steps": asked.batch // asked.micro,
        "max_steps": asked.steps + 1,
        "beta": asked.beta,
        "learning_rate": 1e-5,
        "gradient_checkpointing": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "bf16": False,
        "use_cpu": not torch.cuda.is_available(),
        "seed": 0,
    }


def grpo(asked: argparse.Namespace, model: Any, tokenizer: Any, clock: StepEnds) -> GRPOTrainer:
    """One generation a step, answers of a fixed length."""
    config = GRPOConfig(
        generation_batch_size=asked.batch,
        num_generations=asked.group,
        max_completion_length=asked.response_len,
        generation_kwargs={"min_new_tokens": asked.response_len},
        num_iterations=1,
        temperature=1.0,
        **shared(asked),
    )
    prompts = asked.batch // asked.group * (asked.steps + 1)
    rows = Dataset.from_dict({"prompt": texts(tokenizer, prompts, asked.prompt_len)})
    return GRPOTrainer(
        model=model,
        reward_funcs=letters,
        args=config,
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=LoraConfig(**LORA),
        callbacks=[clock],
    )


def dpo(asked: argparse.Namespace, model: Any, tokenizer: Any, clock: StepEnds) -> DPOTrainer:
    """Pairs of random tokens."""
    lengths = {"prompt_ids": asked.prompt_len, "chosen_ids": asked.response_len, "rejected_ids": asked.response_len}
    number, vocabulary = asked.batch * (asked.steps + 1), model.config.vocab_size
    ids = {name: torch.randint(100, vocabulary - 100, (number, length)) for name, length in lengths.items()}
    return PairsAsTokens(
        model=model,
        args=DPOConfig(**shared(asked)),
        train_dataset=Dataset.from_dict({name: rows.tolist() for name, rows in ids.items()}),
        processing_class=tokenizer,
        peft_config=LoraConfig(**LORA),
        callbacks=[clock],
    )


def texts(tokenizer: Any, number: int, length: int) -> list[str]:
    """So many texts of exactly so many tokens."""
    whole = [
        i for i in range(100, 20000) if len(tokenizer.encode(tokenizer.decode([i]), add_special_tokens=False)) == 1
    ]
    found: list[str] = []
    while len(found) < number:
        drawn = tokenizer.decode([whole[i] for i in torch.randint(len(whole), (length + 16,))])
        text = tokenizer.decode(tokenizer.encode(drawn, add_special_tokens=False)[:length])
        if len(tokenizer.encode(text, add_special_tokens=False)) == length:
            found.append(text)
    return found


def letters(prompts: list[str], completions: list[str], **kwargs: Any) -> list[float]:
    """Share of the first eight letters in each text."""
    return [sum(c in "abcdefgh" for c in text) / max(1, len(text)) for text in completions]


def main() -> None:
    """Train and print the figures."""
    asked = options()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(asked.model, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(asked.model, dtype=getattr(torch, asked.dtype))
    clock = StepEnds()
    running = {"grpo": grpo, "dpo": dpo}[asked.method](asked, model, tokenizer, clock)
    running.train()
    seconds, cpu_seconds = clock.medians()
    is_cuda = torch.cuda.is_available()
    bytes_ = torch.cuda.max_memory_allocated() if is_cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {
        "peer": f"trl {version('trl')} {type(running).__mro__[asked.method == 'dpo'].__name__}",
        "torch": torch.__version__,
        "device": "cuda" if is_cuda else "cpu",
        "threads": torch.get_num_threads(),
        **vars(asked),
        "sec_per_step": round(seconds, 3),
        "cpu_sec_per_step": round(cpu_seconds, 3),
        "peak_mib": round(bytes_ / 2**20),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
