"""The README.md of an exported model: what it was trained for and on, its measurements, and the lines that use it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

from rewardlab.disk import read_json
from rewardlab.models.serving import DEFAULT_RANK, served_rank
from rewardlab.printable import markdown_cell, markdown_code, markdown_text, printable


@dataclass(frozen=True, slots=True)
class Exported:
    """What a model card says.

    Attributes:
        folder: Where the model lies; its name is the model's.
        method: ``SFT``, ``PPO`` and the like, with the reward.
        start: What training started from.
        base: Base model, as ``from_pretrained`` takes it.
        tasks: Tasks it was trained on.
        format: Answer format of the prompts.
        checkpoint: Which policy it is: ``best`` on validation rows, or ``last``.
        is_merged: True for whole weights, False for an adapter.
        prompt: One whole prompt as text, opening of the answer included.
        new_tokens: Longest answer, tokens.
        gold: Gold labels that training read.
        measured: ``columns`` of the run's evaluations: test set -> decoding -> metrics with intervals.
        provenance: Of the run: command, commit, versions.
    """

    folder: Path
    method: str
    start: str
    base: str
    tasks: Sequence[str]
    format: str
    checkpoint: str
    is_merged: bool
    prompt: str
    new_tokens: int
    gold: int | None
    measured: Sequence[Mapping[str, Any]]
    provenance: Mapping[str, Any]


def model_card(model: Exported) -> str:
    """The card as Markdown, with the metadata that model hubs read in front."""
    return "\n".join(
        (
            *_metadata(model),
            f"# {_line(model.folder.name)}",
            "",
            _line(f"{model.method} on {', '.join(model.tasks)}, from {model.start}. ")
            + f"Policy: {model.checkpoint}. Answer format: {model.format}.",
            "",
            f"Base model: {markdown_code(model.base)}. {_kind(model)}",
            "",
            "## Use",
            "",
            "```python",
            usage(model),
            "```",
            "",
            *(f"    {line}" for line in serving(model)),
            "",
            "## Results",
            "",
            *_results(model),
            "",
            "## Training",
            "",
            *_training(model),
            "",
        )
    )


def usage(model: Exported) -> str:
    """Lines that answer one prompt with transformers and PEFT alone."""
    loading = (
        f"model = AutoModelForCausalLM.from_pretrained({str(model.folder)!r})"
        if model.is_merged
        else f"model = AutoPeftModelForCausalLM.from_pretrained({str(model.folder)!r})"
    )
    return "\n".join(
        (
            "from transformers import AutoModelForCausalLM, AutoTokenizer"
            if model.is_merged
            else "from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer",
            "",
            f"tokenizer = AutoTokenizer.from_pretrained({str(model.folder)!r})",
            loading,
            f"prompt = {model.prompt!r}",
            'inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")',
            f"tokens = model.generate(**inputs, max_new_tokens={model.new_tokens}, do_sample=False)",
            "answer = tokenizer.decode(tokens[0, inputs.input_ids.shape[1] :], skip_special_tokens=True)",
            "print(answer)",
        )
    )


def serving(model: Exported) -> list[str]:
    """Commands that serve the model behind an OpenAI-compatible endpoint."""
    if model.is_merged:
        return [
            shlex.join(("transformers", "serve", str(model.folder))),
            shlex.join(("vllm", "serve", str(model.folder))),
        ]
    modules = f"{model.folder.name}={model.folder}"
    rank = served_rank(_rank(model.folder))
    limit = () if rank <= DEFAULT_RANK else ("--max-lora-rank", str(rank))
    return [shlex.join(("vllm", "serve", model.base, "--enable-lora", *limit, "--lora-modules", modules))]


def _rank(folder: Path) -> int:
    """Largest rank of an adapter; SFT's and the policy's joined have the sum of both."""
    config = read_json(folder / "adapter_config.json")
    return int(max(config["r"], *config.get("rank_pattern", {}).values(), 0))


def _line(text: str) -> str:
    return markdown_text(printable(text))


def _kind(model: Exported) -> str:
    if model.is_merged:
        return "These are whole weights, with all adapters merged."
    return "This is one LoRA adapter of the base model. It holds the SFT update and that of later training."


def _metadata(model: Exported) -> list[str]:
    library = "transformers" if model.is_merged else "peft"
    tags = ("rewardlab", "lora", *model.tasks)
    return [
        "---",
        f"base_model: {json.dumps(model.base, ensure_ascii=False)}",
        f"library_name: {library}",
        "tags:",
        *(f"- {json.dumps(tag, ensure_ascii=False)}" for tag in tags),
        "---",
    ]


def _results(model: Exported) -> list[str]:
    rows = [
        f"| {markdown_cell(column)} | {decoding} | {metric} | {value['value']:.4f} | "
        f"[{value['low']:.4f}, {value['high']:.4f}] |"
        for columns in model.measured
        for column, decodings in columns.items()
        for decoding, cell in decodings.items()
        for metric, value in cell["metrics"].items()
    ]
    if not rows:
        return ["No evaluation of this run was found. `rewardlab eval --run RUN` makes one."]
    return ["| test set | decoding | metric | value | 95 % interval over items |", "|---|---|---|---:|---|", *rows]


def _training(model: Exported) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in model.provenance.get("packages", {}).items())
    lines = [
        f"* Command: {markdown_code(str(model.provenance.get('command', 'unknown')))}",
        f"* Packages: {packages or 'unknown'}",
    ]
    if model.gold is not None:
        lines.append(f"* Gold labels read: {model.gold}")
    return [*lines, "* Prompt, as the model reads it:", "", indent(model.prompt, "      ")]
