"""A small server that speaks the part of vLLM's protocol that is used here, with transformers and PEFT behind it.

It draws with code of its own: whole forward passes, one token at a time, torch's multinomial. Nothing of it is
rewardlab's, so that equal log-probabilities say something.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.servers.http_server import HttpServer, Reply, Request

BASE = "tiny"
"""Name of the served base model."""


@dataclass
class ModelServer:
    """What it serves, and what it was asked.

    Attributes:
        folder: The base model.
        max_rank: Largest rank of an adapter that it takes.
        processed: Give log-probabilities at the request's temperature, as ``--logprobs-mode processed_logprobs`` does.
        updates: Whether adapters may be loaded (VLLM_ALLOW_RUNTIME_LORA_UPDATING).
        hides: Names of parts of an answer that are left out: ``token_ids``, ``tokens``, ``logprobs``.
        ignores_adapter: Draw from the base model whatever adapter is asked for.
        dtype: Of the base model's weights; adapters stay float32.
        fails_after: Completion requests after which it answers no more; None is never.
        loaded: Adapters by name; ``log`` has each load and unload in order, ``asked`` each completion request.
    """

    folder: Path
    max_rank: int = 64
    processed: bool = False
    updates: bool = True
    hides: frozenset[str] = frozenset()
    ignores_adapter: bool = False
    dtype: torch.dtype = torch.float32
    fails_after: int | None = None
    loaded: dict[str, Path] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(self.folder, dtype=self.dtype).eval()
        self.peft: Any = None

    def open(self) -> HttpServer:
        """The server, to be used as a context."""
        return HttpServer(self.answer)

    async def answer(self, request: Request) -> Reply:
        """One reply; 500 with the reason when something goes wrong here."""
        try:
            return self._routed(request)
        except Exception as error:
            return refused(f"{type(error).__name__}: {error}", 500)

    def _routed(self, request: Request) -> Reply:
        if request.path == "/v1/models":
            cards = [{"id": BASE, "parent": None}, *({"id": name, "parent": BASE} for name in self.loaded)]
            return Reply.of({"object": "list", "data": cards})
        if request.path == "/v1/completions":
            return self._complete(request.json())
        if not self.updates or request.path not in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
            return Reply.of({"detail": "Not Found"}, 404)
        body = request.json()
        with warnings.catch_warnings():  # PEFT tells of adapters that are deleted while they are active, and of others
            warnings.simplefilter("ignore")
            return self._load(body) if request.path == "/v1/load_lora_adapter" else self._unload(body["lora_name"])

    def _load(self, body: Mapping[str, Any]) -> Reply:
        from peft import PeftModel

        name, path = body["lora_name"], Path(body["lora_path"])
        if name in self.loaded:
            return refused(f"The lora adapter '{name}' has already been loaded.", 400)
        rank = json.loads((path / "adapter_config.json").read_text())["r"]
        if rank > self.max_rank:
            return refused(f"LoRA rank {rank} is greater than max_lora_rank {self.max_rank}.", 500)
        if self.peft is None:
            self.peft = PeftModel.from_pretrained(self.model, str(path), adapter_name=name)
        else:
            self.peft.load_adapter(str(path), adapter_name=name)
        self.loaded[name] = path
        self.log.append(f"load {name}")
        return Reply(b"Success", kind="text/plain")

    def _unload(self, name: str) -> Reply:
        if name not in self.loaded:
            return refused(f"The lora adapter '{name}' cannot be found.", 404)
        self.peft.delete_adapter(name)
        del self.loaded[name]
        self.log.append(f"unload {name}")
        return Reply(b"Success", kind="text/plain")

    def _complete(self, body: Mapping[str, Any]) -> Reply:
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            return refused("the engine is dead", 500)
        self.asked.append(dict(body))
        if body["model"] not in (BASE, *self.loaded):
            return refused(f"The model `{body['model']}` does not exist.", 404)
        ids, logprobs, reason = self._draw(body)
        names = [f"token_id:{token}" for token in ids]
        table = {"tokens": names, "token_logprobs": logprobs}
        choice = {"token_ids": ids, "prompt_token_ids": body["prompt"], "logprobs": table, "finish_reason": reason}
        if "tokens" in self.hides:
            table["tokens"] = [self.tokenizer.decode([token]) for token in ids]
        kept = {key: value for key, value in choice.items() if key not in self.hides}
        return Reply.of({"choices": [{"index": 0, "text": self.tokenizer.decode(ids), **kept}]})

    @torch.no_grad()
    def _draw(self, body: Mapping[str, Any]) -> tuple[list[int], list[float], str]:
        """Ids, their log-probabilities, and why the response ended."""
        generator = torch.Generator().manual_seed(body["seed"])
        ids: list[int] = []
        logprobs: list[float] = []
        for _ in range(body["max_tokens"]):
            logits = self._logits([*body["prompt"], *ids], body["model"])
            drawn_from = torch.log_softmax(logits / body["temperature"], -1)
            token = int(torch.multinomial(drawn_from.exp(), 1, generator=generator))
            ids.append(token)
            given = drawn_from if self.processed else torch.log_softmax(logits, -1)
            logprobs.append(float(given[token]))
            text = self.tokenizer.decode(ids, skip_special_tokens=True)
            if token in body["stop_token_ids"] or any(stop in text for stop in body.get("stop", ())):
                return ids, logprobs, "stop"
        return ids, logprobs, "length"

    def _logits(self, ids: Sequence[int], name: str) -> torch.Tensor:
        """Logits of the next token, float32."""
        tokens, is_bare = torch.tensor([list(ids)]), self.ignores_adapter or name == BASE
        if self.peft is not None and name != BASE:
            self.peft.set_adapter(name)
        with self.peft.disable_adapter() if self.peft is not None and is_bare else nullcontext():
            found: torch.Tensor = (self.peft or self.model)(tokens).logits[0, -1].float()
        return found


def refused(reason: str, status: int) -> Reply:
    """An error as vLLM words it."""
    return Reply.of({"error": {"message": reason, "type": "Error", "code": status}}, status)
