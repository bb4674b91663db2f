"""The ``local`` annotator: any causal language model on this machine, asked through its chat template.

Rationales and grades are sampled in batches. Rankings come from pairwise verdicts (``pairwise.py``), because small
models cannot write one. A small model does not plan how long it talks: a rationale that meets its budget is cut behind
its last whole sentence, and only without one is it ``truncated``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rewardlab.annotate.access import KEY_VARIABLE, asked_with, local_model_config, sampled_with
from rewardlab.annotate.base import (
    Ability,
    Annotation,
    Annotator,
    GradeRequest,
    Progress,
    Ranking,
    RankingRequest,
    RationaleRequest,
    Resources,
    request_key,
    silent,
)
from rewardlab.annotate.completion import as_annotation
from rewardlab.annotate.journal import Journal
from rewardlab.annotate.pairwise import places_from_margins
from rewardlab.annotate.prompting import VERDICTS, judge_request, prompt_versions, rationale_request
from rewardlab.config import RunConfig
from rewardlab.errors import DataError
from rewardlab.models.names import CHAT_SETTINGS, model_identity
from rewardlab.types import Example

if TYPE_CHECKING:
    from rewardlab.models import Sample, Trunk

BATCH = 16
"""Texts written together, and journalled together."""
LONGEST_PROMPT = 2048
"""Tokens; less where the model's context is shorter. The row's longest text is cut to fit."""

Asked = tuple[Example, Callable[[Example], str]]
"""A row, and what is asked about it."""

_SENTENCE_END = re.compile(r".*[.!?][\"'\u201d)]{0,2}", re.DOTALL)


class LocalAnnotator(Annotator):
    """Asks a model that is loaded on the first question the journal cannot answer.

    Args:
        config: ``annotate`` (model, temperature, budget) and ``model`` (device, dtype, and the name when the former
            gives none).
        journal: Where answers are kept.
    Raises:
        ConfigError: Only the embedded model is configured.
    """

    name = "local"
    summary = "a causal language model on this machine"
    needs = "a model that follows instructions (annotate.model, or the run's own)"
    settings = ("model", "temperature")
    auto_reason = f"no {KEY_VARIABLE}; the model {{model}} can annotate on this machine"

    def __init__(self, config: RunConfig, journal: Journal) -> None:
        self._section = local_model_config(config.annotate, config.model)
        self.model = self._section.name
        self.journal = journal
        self._config = config

    @classmethod
    def build(cls, given: Resources) -> Self:
        """With the journal of all runs; the model is loaded later."""
        return cls(given.config, Journal(given.journal(cls)))

    @classmethod
    def identity(cls, config: RunConfig, ability: Ability) -> dict[str, Any]:
        """The model's weights, prompts and sampling."""
        model = {"annotator_model": model_identity(local_model_config(config.annotate, config.model))}
        if ability == "judge":
            return {**model, "prompt": prompt_versions()["judge"]}
        if ability == "grade":
            return {**sampled_with(config.annotate), **model}
        return {**asked_with(config.annotate), **model}

    @classmethod
    def check(cls, config: RunConfig, tasks: Collection[str], written: Collection[str]) -> None:
        """Refuse the embedded model, which follows no instructions."""
        local_model_config(config.annotate, config.model)

    def rationales(self, requests: Sequence[RationaleRequest], progress: Progress = silent) -> list[Annotation]:
        """One sampled rationale per request."""
        asked = [(request.example, partial(rationale_request, label=request.label)) for request in requests]
        return self._written(asked, "rationales", progress)

    def rank_many(self, requests: Sequence[RankingRequest], progress: Progress = silent) -> list[Ranking]:
        """One ranking per request, from pairwise verdicts in both orders."""
        rankings: list[Ranking] = []
        for done, request in enumerate(requests):
            progress("rankings", done, len(requests))
            rankings.append(self._rank(request))
        progress("rankings", len(requests), len(requests))
        return rankings

    def grade_many(self, requests: Sequence[GradeRequest], progress: Progress = silent) -> list[Annotation]:
        """One sampled answer per request, the likeliest at temperature 0."""
        asked = [(request.example, request.ask) for request in requests]
        return self._written(asked, "grades", progress, mends=False)

    @cached_property
    def trunk(self) -> Trunk:
        """The model, loaded once."""
        from rewardlab.models import load_trunk

        return load_trunk(self._section)

    def prompt_ids(self, example: Example, ask: Callable[[Example], str]) -> list[int]:
        """Token ids of a request, the longest text of its row cut until it fits.

        Raises:
            DataError: The request does not fit even without that text.
        """
        context = self.trunk.context or LONGEST_PROMPT
        limit = min(LONGEST_PROMPT, context - self._config.annotate.max_new_tokens)
        while len(ids := self.trunk.codec.text_prompt_ids(ask(example), "rationale")) > limit:
            name = max(example.fields, key=lambda field: len(example.fields[field]))
            text = example.fields[name]
            if not text:
                raise DataError(f"task {example.task}, row {example.id}: the request is longer than {limit} tokens")
            example = replace(example, fields={**example.fields, name: text[: len(text) - max(16, len(ids) - limit)]})
        return ids

    def _written(
        self, asked: Sequence[Asked], what: str, progress: Progress, *, mends: bool = True
    ) -> list[Annotation]:
        """One text each, of the journal or sampled; where it mends, one without an end is cut behind a sentence."""
        section = self._config.annotate
        sampling = {"temperature": section.temperature, "max_tokens": section.max_new_tokens}
        keys = [self._key(ask(example), **sampling) for example, ask in asked]
        known = {key for key in keys if key in self.journal}
        missing = list({key: each for key, each in zip(keys, asked, strict=True) if key not in known}.items())
        for start in range(0, len(missing), BATCH):
            progress(what, len(known) + start, len(known) + len(missing))
            self._write(missing[start : start + BATCH], mends)
        progress(what, len(known) + len(missing), len(known) + len(missing))
        return [self._annotation(key, key in known) for key in keys]

    def _key(self, *prompts: str, **sampling: Any) -> str:
        messages = [{"role": "user", "content": prompt} for prompt in prompts]
        return request_key({"annotator": self.name, **self._identity, "messages": messages, **sampling})

    @cached_property
    def _identity(self) -> dict[str, str]:
        """The model as journal keys know it: a folder by its content too, which may change under its name.

        What its chat template is given belongs to it, where the user gives something.
        """
        given = self._section.model_dump(mode="json", include=CHAT_SETTINGS, exclude_defaults=True)
        chat = {name: json.dumps(value, sort_keys=True) for name, value in given.items()}
        if not Path(self.model).expanduser().is_dir():
            return {"model": self.model, **chat}
        return {"model": self.model, "weights": model_identity(self._section)["sha256"], **chat}

    def _write(self, asked: Sequence[tuple[str, Asked]], mends: bool) -> None:
        from rewardlab.models import SamplingConfig, row_key, sample

        section = self._config.annotate
        prompts = [self.prompt_ids(*each) for _, each in asked]
        sampling = SamplingConfig(section.max_new_tokens, section.temperature, batch=BATCH)
        for (key, _), ids, answer in zip(
            asked, prompts, sample(self.trunk, prompts, [row_key(key) for key, _ in asked], sampling, None), strict=True
        ):
            self.journal.append(key, {**self._author(), **_raw(answer, mends), "prompt_tokens": len(ids)})

    def _author(self) -> dict[str, str]:
        return {"annotator": self.name, "model": self.model}

    def _annotation(self, key: str, from_journal: bool) -> Annotation:
        record = self.journal.get(key)
        assert record is not None  # it was written or known
        return as_annotation(record, from_journal)

    def _rank(self, request: RankingRequest) -> Ranking:
        orders = list(permutations(range(len(request.responses)), 2))
        shown = [(request.responses[first], request.responses[second]) for first, second in orders]
        prompts = [judge_request(request.example, *two) for two in shown]
        key = self._key(*prompts, verdicts=list(VERDICTS))
        known = key in self.journal
        if not known:
            ids = [
                self.prompt_ids(request.example, partial(judge_request, first=two[0], second=two[1])) for two in shown
            ]
            self.journal.append(key, {**self._author(), **self._verdicts(ids)})
        return self._read(key, orders, len(request.responses), known)

    def _verdicts(self, prompts: Sequence[Sequence[int]]) -> dict[str, Any]:
        from rewardlab.annotate.verdicts import verdict_margins

        margins = verdict_margins(self.trunk, prompts)
        text = "margins of the verdicts: " + " ".join(f"{margin:.3f}" for margin in margins)
        return {"text": text, "finish": "stop", "margins": margins, "prompt_tokens": sum(map(len, prompts))}

    def _read(self, key: str, orders: Sequence[tuple[int, int]], count: int, known: bool) -> Ranking:
        annotation = self._annotation(key, known)
        margins = (self.journal.get(key) or {})["margins"]
        return Ranking(places_from_margins(dict(zip(orders, margins, strict=True)), count), annotation)


def _raw(answer: Sample, mends: bool) -> dict[str, Any]:
    """A sample as a raw record."""
    text, finish = answer.text.strip(), "stop"
    if not answer.is_finished:
        whole = _SENTENCE_END.match(text) if mends else None
        text, finish = (whole[0], "stop") if whole else (text, "length")
    return {"text": text, "finish": finish, "response_tokens": len(answer.ids)}
