"""A server that draws the responses of training, such as ``vllm serve --enable-lora``: its adapters and its requests.

Before a step's prompts are sent, SFT's adapter and the policy's are written as one (``models.export``) and loaded
into the server under a name of their own, so that nothing it caches for an older policy is read again. The server
has to see the folder under the same path. What is in a request and in an answer stands in ``completions.py``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import uuid4

from rewardlab import processes
from rewardlab.annotate.client import make_client
from rewardlab.annotate.event_loop import run_to_end
from rewardlab.annotate.retry import RetryPolicy, attempts, described
from rewardlab.errors import InputError, RewardlabError, TrainingError
from rewardlab.models.export import read_adapter, write_adapter
from rewardlab.models.sampler import Sample, SamplingConfig, end_ids
from rewardlab.models.serving import served_rank
from rewardlab.models.trunk import Trunk
from rewardlab.sampler_config import SamplerConfig
from rewardlab.training.actor import POLICY, Actor
from rewardlab.training.checks import check_server
from rewardlab.training.completions import BadCompletion, completion_request, read_completion
from rewardlab.training.metrics import server_difference
from rewardlab.training.rollout import Rollout

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger(__name__)

T = TypeVar("T")
KEY_VARIABLE = "VLLM_API_KEY"
"""Where ``vllm serve`` reads the key it asks for."""
FOLDER = "sampler"
"""Folder inside a run folder: the adapter that the server reads."""
ATTEMPTS = 3
UNLOAD_S = 10.0
"""Longest wait for a server to drop an adapter."""


def served_model(config: SamplerConfig) -> str:
    """Name of the base model that the server has, before anything else is loaded.

    Raises:
        InputError: It does not answer, or lists another model than ``sampler.model``.
    """
    try:
        listed = json.loads(_run(config, lambda client: client.get("/models", cast_to=str)))["data"]
        names = [str(each["id"]) for each in listed if not each.get("parent")]
    except _failures() as error:
        raise InputError(
            f"{_place(config)} does not answer ({_told(error)}); start it, or leave --sampler out"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{_place(config)}: /v1/models is no list of models; expected a server such as vLLM's"
        ) from error
    if config.model is None and names:
        return names[0]
    if config.model not in names:
        wanted = "a model" if config.model is None else f"sampler.model = {config.model!r}"
        raise InputError(f"{_place(config)} has {', '.join(names) or 'no model'}; expected {wanted}")
    return str(config.model)


class SamplingServer:
    """Draws responses with the policy's adapter; a context, at whose end its adapter is dropped there.

    Args:
        config: Address, timeout.
        base: Name of the base model there, from :func:`served_model`.
        trunk: Carries the role ``policy`` when something is drawn.
        folder: The run folder, below which the adapter is written; the server has to see it.
    Attributes:
        limit: Largest difference from our log-probabilities that the first step allowed, nats; None before it.
    """

    def __init__(self, config: SamplerConfig, base: str, trunk: Trunk, folder: Path) -> None:
        self.config, self.base, self.trunk = config, base, trunk
        self.folder = folder.resolve() / FOLDER
        self.limit: float | None = None
        self._run_name = processes.gather(f"rewardlab-{uuid4().hex[:8]}")[0]
        self._name = ""
        self._was_told = self._was_far = False
        self._below = [] if trunk.adapter is None else [read_adapter(trunk.adapter)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if processes.is_main():
            self._drop(logging.WARNING if error is None else logging.DEBUG)

    @property
    def place(self) -> str:
        """What messages call it."""
        return _place(self.config)

    def draw(
        self, step: int, prompts: Sequence[Sequence[int]], keys: Sequence[int], config: SamplingConfig
    ) -> list[Sample]:
        """One response per prompt under the policy as it is now; every process calls this with its share.

        Args:
            step: Training step, of which the adapter's name is made.
            prompts: Token ids of each prompt.
            keys: One row key per prompt; the same key asks with the same seed.
            config: Budget, temperature, stop strings.
        Raises:
            InputError: In the first step: the server refuses the adapter or the requests, or its answers cannot be
                trained on.
            TrainingError: The same later.
        """
        self._load(f"{self._run_name}-{step + 1}")
        ends = end_ids(self.trunk)
        requests = [
            completion_request(self._name, prompt, key, config, ends) for prompt, key in zip(prompts, keys, strict=True)
        ]
        try:
            answers = _run(self.config, lambda client: _all(client, requests))
        except _failures() as error:
            raise self._error(f"{self.place} did not draw the responses ({_told(error)})") from error
        vocabulary = self.trunk.model.get_input_embeddings().num_embeddings
        try:
            return [
                read_completion(answer, prompt, config, self.trunk.codec, ends, vocabulary)
                for answer, prompt in zip(answers, prompts, strict=True)
            ]
        except BadCompletion as error:
            raise self._error(f"{self.place}: {error}") from error

    def compare(self, step: int, actor: Actor, rollout: Rollout) -> None:
        """Compare its log-probabilities with ours. Too large a difference ends the first step of each start.

        Later ones are told of, once: before the first update the policy's own part of the adapter is zero, so that a
        server that leaves it out cannot be told from one that does not.

        Args:
            step: Training step, from 1.
            actor: The policy as it drew.
            rollout: With log-probabilities of the server.
        Raises:
            InputError: They differ by more than rounding explains in the first step since this process began.
        """
        if self.limit is None:
            self.limit = check_server(actor, rollout, self.place, self.config.tolerance)
        elif not self._was_far and (found := server_difference(rollout)) > self.limit:
            self._was_far = True
            logger.warning(
                "%s: in step %d its log-probabilities differ from ours by %.2g nats, root mean square over tokens; the "
                "first step allowed %.2g. If sampler/difference goes on growing, it leaves new adapters out or draws "
                "with old ones; stop the run and start the server anew",
                *(self.place, step, found, self.limit),
            )

    def _load(self, name: str) -> None:
        """Put the policy into the server in the place of the one of the step before."""
        if processes.is_main():
            self._drop()
            folder = self.folder / name
            rank = self._write(folder)
            self._name = name  # from here on there may be something to drop
            try:
                _run(self.config, lambda client: _load_adapter(client, name, folder))
            except _failures() as error:
                raise self._error(
                    f"{self.place} refused the adapter {folder} of rank {rank} ({_told(error)}); start it with "
                    f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora --max-lora-rank {served_rank(rank)}, "
                    "where it can read that folder"
                ) from error
        self._name = name
        processes.wait()

    def _write(self, folder: Path) -> int:
        """Write SFT's adapter and the policy's as one; its rank."""
        part = self.folder / "part"
        self.trunk.roles.save(POLICY, part)
        adapters = [*self._below, read_adapter(part)]
        write_adapter(adapters, self.base, folder)
        shutil.rmtree(part)
        return sum(adapter.rank for adapter in adapters)

    def _drop(self, level: int = logging.WARNING) -> None:
        """Drop the adapter in the server and its file; one that the server does not drop is told of, the first time."""
        name, self._name = self._name, ""
        if name:
            quick = self.config.model_copy(update={"timeout_s": min(UNLOAD_S, self.config.timeout_s)})
            body = {"lora_name": name}
            try:
                _run(quick, lambda client: client.post("/unload_lora_adapter", body=body, cast_to=str))
            except _failures() as error:
                level = logging.DEBUG if self._was_told else level
                logger.log(level, "%s did not unload the adapter %s (%s)", self.place, name, _told(error))
                self._was_told = True
        shutil.rmtree(self.folder, ignore_errors=True)

    def _error(self, message: str) -> RewardlabError:
        """What is wrong with a server from the start is the user's to mend; later the run goes on from a checkpoint."""
        if self.limit is None:
            return InputError(message)
        return TrainingError(f"{message}. When it is up again, the same command goes on from the last checkpoint")


def _run(config: SamplerConfig, ask: Callable[[AsyncOpenAI], Coroutine[Any, Any, T]]) -> T:
    """What ``ask`` returns, given a client of the server."""

    async def with_client() -> T:
        key = os.environ.get(KEY_VARIABLE, "").strip() or "none"
        async with make_client(key, f"{config.url}/v1", config.timeout_s) as client:
            return await ask(client)

    return run_to_end(with_client())


async def _load_adapter(client: AsyncOpenAI, name: str, folder: Path) -> str:
    body = {"lora_name": name, "lora_path": str(folder)}
    return await client.post("/load_lora_adapter", body=body, cast_to=str)


async def _all(client: AsyncOpenAI, requests: Sequence[Mapping[str, Any]]) -> list[str]:
    """The answers to all requests, which are in flight at once; the first that fails for good ends the others."""

    async def ask(body: Mapping[str, Any]) -> str:
        async for attempt in attempts(RetryPolicy(ATTEMPTS), asyncio.sleep):
            with attempt:
                return await client.post("/completions", body=body, cast_to=str)
        raise AssertionError("tenacity ends with an answer or an error")

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(body)) for body in requests]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return [task.result() for task in tasks]


def _failures() -> tuple[type[Exception], ...]:
    """What the client raises: a server that is not there, that refuses, or that takes too long."""
    from openai import OpenAIError

    return OpenAIError, TimeoutError


def _told(error: BaseException) -> str:
    """A failure on one line."""
    return " ".join(described(error, "sampler.timeout_s").split())[:300]


def _place(config: SamplerConfig) -> str:
    return f"sampler {config.url}"
