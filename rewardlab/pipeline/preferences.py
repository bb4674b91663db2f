"""The stages of preferences: sampled answers, pairs, reward models of them, and their report cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardlab.config import AnnotateConfig, RunConfig
from rewardlab.errors import InputError
from rewardlab.pipeline.identity import dumped, slug_of
from rewardlab.pipeline.imported import OwnPairs
from rewardlab.pipeline.stage import HELD_OUT, SampledPart, Stage
from rewardlab.pipeline.supervised import Supervised
from rewardlab.pipeline.work import preferences as work
from rewardlab.types import PairKind


class Preferences(Supervised):
    """Builds the stages ``samples``, ``pairs``, ``rm`` and ``card`` of one configuration."""

    def samples(self, part: SampledPart = "validation") -> Stage:
        """Several answers of the start model to each row that pairs are made from, or that is held out for them.

        Ranked pairs of all kinds and rankings are made of them, and all reward models on that start are measured on
        those to validation rows; the kinds of pairs among them are counted.
        """
        pairs = self.config.pairs
        rows = {"held_out": pairs.held_out} if part == "validation" else {"limit": pairs.limit}
        return self._stage(
            "samples",
            f"{pairs.samples} answers of {self.config.start} to {part} rows of {self._names}",
            self._slug if part == "validation" else f"{self._slug}-{part}",
            {**self._data(part), **self._model, "samples": pairs.samples, **rows},
            self._start_input(),
            lambda job: work.samples(job, self.config, self.splits, part),
        )

    def pairs(self, kind: PairKind, *, to_measure: bool = False) -> Stage:
        """Preference pairs of one kind, and held-out ones; those to measure on have no ``pairs.bias``."""
        own = self.config.pairs.model_copy(update={"bias": None}) if to_measure else self.config.pairs
        if kind != "label":
            return self._ranked(kind, self.config.model_copy(update={"pairs": own}))
        config = self._data_seeded().model_copy(update={"pairs": own})
        inputs = {"annotate": self.annotate()} if config.format == "rationale" else {}
        return self._pairs(kind, config, {"wrong_label_seed": config.seed}, inputs)

    def _ranked(self, kind: PairKind, config: RunConfig) -> Stage:
        parts: tuple[SampledPart, ...] = ("validation",) if config.pairs.only_held_out else ("labelled", "validation")
        answers = {f"samples_{part}": self.samples(part) for part in parts}
        return self._pairs(kind, config, {**self._model, **self._ranker_settings(config)}, answers)

    def _pairs(self, kind: PairKind, config: RunConfig, more: Mapping[str, Any], inputs: Mapping[str, Stage]) -> Stage:
        part = "held-out " if config.pairs.only_held_out else ""
        data = self._data("labelled", "validation")
        return self._stage(
            "pairs",
            f"{part}{kind} pairs of {self._names}",
            f"{self._slug}-{part.replace(' ', '-')}{kind}",
            {**data, "pairs": dumped(config.pairs), "kind": kind, **more},
            inputs,
            lambda job: work.pairs(job, config, kind, self.splits, self.root / "annotations"),
            lambda: work.preview_pairs(config, kind, self.splits, self.root / "annotations"),
        )

    def reward_model(self, kind: PairKind) -> Stage:
        """A Bradley-Terry reward model of one pair kind; ``rm.preset`` decides its budget.

        The sandbox's oracle ranks what a label RM is measured on by its default weight, so that one label RM serves all
        weights; :meth:`card` measures it on rankings by the configured one.
        """
        rows = sum(len(split.labelled[: self.config.pairs.limit]) for split in self.splits.values())
        config = self.config.model_copy(update={"rm": self.config.rm.for_kind(kind, rows)})
        inputs = {
            **self._start_input(),
            "samples": self.samples(),
            "pairs": self.pairs(kind),
            **self._measured_on(kind, _default_weight(config) if kind == "label" else config),
        }
        settings = {**self._data("validation"), **self._model, "rm": dumped(config.rm), "kind": kind}
        return self._stage(
            "rm",
            f"{kind} reward model on {self._names}",
            f"{self._slug}-{kind}",
            settings,
            inputs,
            lambda job: work.reward_model(job, config, kind, self.splits),
        )

    def reward_model_of(self, own: OwnPairs) -> Stage:
        """A reward model of somebody's own pairs: of a task's, from the model that the task's others start from, and
        measured on its samples too; of no task's, from the base model.

        Raises:
            InputError: Pairs of no task, and a start that only a task has.
        """
        if not own.tasks and self.config.init not in (None, "base"):
            raise InputError(f"the pairs belong to no task, so there is no {self.config.init} model; leave init out")
        config = self.config.model_copy(update={"rm": self.config.rm.for_kind(own.kind, own.count)})
        samples = {**self._start_input(), "samples": self.samples()} if own.tasks else {}
        rows = self._data("validation") if own.tasks else {}
        return self._stage(
            "rm",
            f"{own.kind} reward model on {own.stage.title}",
            own.stage.slug,
            {**rows, **self._model, "rm": dumped(config.rm), "kind": own.kind},
            {**samples, "pairs": own.stage, f"{HELD_OUT}{own.kind}": own.stage},
            lambda job: work.reward_model(job, config, own.kind, self.splits if own.tasks else {}),
        )

    def card(self, kind: PairKind, method: str) -> Stage:
        """The report card of a reward model: every held-out pair judged, ranked ones as configured."""
        model = self.reward_model(kind)
        return self._stage(
            "card",
            f"report card of {model.title}",
            f"{self._slug}-{slug_of(method)}",
            {"method": method, "seed": self.config.seed},
            {"model": model, **self._measured_on(kind, self.config)},
            lambda job: work.card(job, method, self.config.seed),
        )

    def _measured_on(self, kind: PairKind, config: RunConfig) -> dict[str, Stage]:
        """The pairs whose held-out part a reward model is measured on; for a label RM no labelled rows are ranked."""
        held_out = {f"{HELD_OUT}label": self.pairs("label", to_measure=True)}
        needs_no_labelled_rows = kind == "label" and not config.rm.held_out_ranked
        if config.format == "rationale" or not needs_no_labelled_rows:
            own = {"bias": None, "only_held_out": needs_no_labelled_rows or config.pairs.only_held_out}
            pairs = config.pairs.model_copy(update=own)
            held_out[f"{HELD_OUT}ranked"] = self._ranked("ranked", config.model_copy(update={"pairs": pairs}))
        return held_out


def _default_weight(config: RunConfig) -> RunConfig:
    """The configuration with the oracle's default weight."""
    annotate = config.annotate.model_copy(update={"oracle_weight": AnnotateConfig().oracle_weight})
    return config.model_copy(update={"annotate": annotate})
