"""The stages before any preference: rationales, SFT, and the model that everything else starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewardlab.annotate.filter import filter_version
from rewardlab.config import RunConfig
from rewardlab.errors import ConfigError
from rewardlab.evaluation.cost import Cost
from rewardlab.pipeline.identity import Identities, dumped
from rewardlab.pipeline.stage import AS_LONG_AS, Stage
from rewardlab.pipeline.work import supervised as work


class Supervised(Identities):
    """Builds the stages ``annotate`` and ``sft`` of one configuration."""

    def annotate(self) -> Stage:
        """Rationales for the right and a wrong label of each labelled row."""
        config = self._data_seeded()
        return self._stage(
            "annotate",
            f"annotate {self._names} with {self._annotator['name']} ({self._annotator['reason']})",
            f"{self._slug}-{self._annotator['name']}",
            {
                **self._data(*config.sft.parts, "validation"),
                **self._task_code("claim"),
                **self._annotator_settings,
                "held_out": config.pairs.held_out,
                "limit": config.annotate.limit,
                "filter": [config.annotate.filter_threshold, filter_version()],
            },
            {},
            lambda job: work.annotate(job, config, self.splits, self.root / "annotations"),
            lambda: work.preview_rationales(config, self.splits, self.root / "annotations"),
        )

    def sft(self, rationales: bool, as_long_as: Sequence[Stage] = ()) -> Stage:
        """SFT on the labelled rows or on all, with rationales or on the bare answers.

        Args:
            rationales: Whether a rationale stands before each answer.
            as_long_as: Trained stages; with all it needs, this one takes as long as they and all that they need.
        """
        if rationales and self.config.format != "rationale":
            raise ConfigError(f"--rationales needs --format rationale, found --format {self.config.format}")
        inputs = {"annotate": self.annotate()} if rationales else {}
        title = "SFT w. rationale" if rationales else "SFT"
        settings = {
            **self._data(*self.config.sft.parts, "validation"),
            **self._model,
            "sft": dumped(self.config.sft),
            "rationales": rationales,
        }
        if as_long_as:
            settings["as_long_as"] = {"device_seconds": [stage.fingerprint for stage in as_long_as]}
        return self._stage(
            "sft",
            f"{title} of {self.config.model.name} on {self._names}",
            f"{self._slug}-{'rationale' if rationales else self.config.format}",
            settings,
            {**inputs, **{f"{AS_LONG_AS}{number}": stage for number, stage in enumerate(as_long_as)}},
            lambda job: work.sft(job, self._timed(as_long_as, list(inputs.values())), self.splits),
        )

    def start(self) -> Stage | None:
        """The stage whose model PPO and reward models start from; None is the base model."""
        if self.config.start == "base":
            return None
        if self.config.start == "sft-rationale" and self.config.format != "rationale":
            raise ConfigError(f"--init sft-rationale needs --format rationale, found {self.config.format}")
        return self.sft(self.config.start == "sft-rationale")

    def _start_input(self) -> dict[str, Stage]:
        start = self.start()
        return {"start": start} if start else {}

    def _timed(self, rivals: Sequence[Stage], own: Sequence[Stage]) -> RunConfig:
        """The configuration of an SFT stage that gets the seconds of ``rivals``, less those of its ``own`` inputs."""
        if not rivals:
            return self.config
        theirs = Cost.together(Cost.of(self._results(rival.chain(measuring=False))) for rival in rivals)
        mine = Cost.together(Cost.of(self._results(stage.chain(measuring=False))) for stage in own)
        seconds = theirs.seconds - mine.seconds
        if seconds <= 0:
            raise ConfigError(
                f"SFT cannot take as long as {', '.join(rival.title for rival in rivals)}: that took "
                f"{theirs.seconds:.1f} s, what SFT needs before it starts {mine.seconds:.1f} s; name a longer method"
            )
        return self.config.model_copy(update={"sft": self.config.sft.model_copy(update={"seconds": seconds})})

    def _results(self, chain: Sequence[Stage]) -> dict[str, dict[str, Any]]:
        """Fingerprint -> result of each finished stage."""
        folders = {stage.fingerprint: stage.folder(self.root) for stage in chain}
        return {name: folder.result() for name, folder in folders.items() if folder.is_done}
