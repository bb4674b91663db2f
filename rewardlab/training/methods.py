"""Training methods: what each is called, what it needs, its settings, and the code behind it.

``rewardlab methods`` lists them. Each is a stage, a command, a section of the configuration and a name in suites, all
under its own name. Another package brings one by the entry-point group ``rewardlab.methods``; its settings stand in
``[methods.NAME]``. Nothing here imports torch: the code behind a method is named as ``module:function``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from pydantic import ValidationError

from rewardlab.config import RunConfig
from rewardlab.config_loading import problems_of
from rewardlab.encoder_config import EncoderConfig
from rewardlab.errors import ConfigError
from rewardlab.online_config import (
    CriticConfig,
    GroupConfig,
    GRPOConfig,
    OnlineConfig,
    PPOConfig,
    ReinforceConfig,
    RLOOConfig,
    check_groups,
    shared_with,
)
from rewardlab.preference_config import DPOConfig
from rewardlab.raft_config import RaftConfig
from rewardlab.registry import Registry
from rewardlab.section import Section

Family = Literal["online", "preference", "samples", "encoder"]
"""online: samples while it trains, in ``training.loop``; preference: learns from pairs; samples: learns from its own
best samples; encoder: no language model at all, a classifier that learns from labelled rows."""


@dataclass(frozen=True, slots=True)
class TrainingMethod:
    """One way of training a policy.

    Attributes:
        name: Of its command, its stage, its section and its run folders.
        title: What tables and messages call it.
        summary: One line for ``rewardlab methods``.
        family: Which frame trains it.
        config: Class of its section.
        code: ``module:function`` behind it: of the family ``online`` its ``training.advantages.Estimator``, of
            ``preference`` its ``training.preference.PairLoss``, of
            ``samples`` its trainer, called as :class:`rewardlab.training.raft.RaftTrainer`, and of ``encoder`` its
            trainer, called as :func:`rewardlab.training.encoder.train_encoder`.
        version: Raised when its code changes what it produces, so that old runs are not taken for new ones.
    """

    name: str
    title: str
    summary: str
    family: Family
    config: type[Section]
    code: str
    version: int = 1

    @property
    def has_critic(self) -> bool:
        """Whether it fits a critic."""
        return issubclass(self.config, CriticConfig)

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs beside prompts."""
        own = {"online": "reward", "preference": "pairs", "samples": "reward", "encoder": "gold labels"}[self.family]
        groups = ("2 or more responses a prompt",) if issubclass(self.config, GroupConfig) else ()
        return (own, *groups, *(("critic",) if self.has_critic else ()))

    @property
    def trains_policy(self) -> bool:
        """Whether it leaves a language model, with a start, a reward or pairs behind it; not an encoder."""
        return self.family != "encoder"

    @property
    def section_key(self) -> str:
        """Where its settings stand: in a section of its name, or below ``methods``."""
        return self.name if self.name in RunConfig.model_fields else f"methods.{self.name}"

    def section(self, config: RunConfig) -> Any:
        """Its settings in a run: an instance of ``config``.

        Raises:
            ConfigError: Settings of a method from another package do not fit its section.
        """
        own = config.section(self.name)
        if isinstance(own, Section):
            return own
        changed = {key: value for key, value in config.ppo if value != type(config.ppo).model_fields[key].default}
        shared = shared_with(self.config, changed) if issubclass(self.config, OnlineConfig) else {}
        try:
            return self.config.model_validate({**shared, **own})
        except ValidationError as error:
            raise ConfigError(f"methods.{self.name}: {problems_of(error)}") from error

    def check(self, config: RunConfig) -> None:
        """Find settings that do not go together, before anything runs; raises ConfigError."""
        section = self.section(config)
        if isinstance(section, OnlineConfig):
            check_groups(self.name, section)

    def code_hash(self) -> str | None:
        """Its code and the version of the package that brought it, as a hash; None for rewardlab's own.

        Raises:
            UnknownCodeError: As :func:`rewardlab.code_identity.code_hash` does.
        """
        if self.code.startswith("rewardlab."):
            return None
        return methods.code_hash(self.name, self.load())

    def load(self) -> Any:
        """The function behind it; imports torch."""
        module, _, name = self.code.partition(":")
        return getattr(import_module(module), name)


methods: Registry[TrainingMethod] = Registry("training method", group="rewardlab.methods")

for _method in (
    TrainingMethod(
        "ppo",
        "PPO",
        "clipped policy gradient on advantages from a critic",
        "online",
        PPOConfig,
        "rewardlab.training.advantages:gae_targets",
        version=5,
    ),
    TrainingMethod(
        "grpo",
        "GRPO",
        "scores centred and scaled within the responses to one prompt; no critic (variant dr_grpo: not scaled)",
        "online",
        GRPOConfig,
        "rewardlab.training.advantages:grpo_targets",
        version=2,
    ),
    TrainingMethod(
        "rloo",
        "RLOO",
        "scores less the mean of the other responses to the prompt; no critic",
        "online",
        RLOOConfig,
        "rewardlab.training.advantages:rloo_targets",
        version=2,
    ),
    TrainingMethod(
        "reinforce",
        "REINFORCE++",
        "returns whitened over the batch; no critic, one response a prompt is enough",
        "online",
        ReinforceConfig,
        "rewardlab.training.advantages:reinforce_targets",
        version=2,
    ),
    TrainingMethod(
        "dpo",
        "DPO",
        "learns from preference pairs, without a reward model (loss sigmoid, ipo, robust or hinge)",
        "preference",
        DPOConfig,
        "rewardlab.training.preference:dpo_losses",
        version=2,
    ),
    TrainingMethod(
        "raft",
        "RAFT",
        "rejection sampling: SFT on the best of its own responses to each prompt, in rounds",
        "samples",
        RaftConfig,
        "rewardlab.training.raft:RaftTrainer",
        version=2,
    ),
    TrainingMethod(
        "encoder",
        "encoder",
        "a classifier beside the language models: any AutoModelForSequenceClassification, such as BERT",
        "encoder",
        EncoderConfig,
        "rewardlab.training.encoder:train_encoder",
        version=2,
    ),
):
    methods.add(_method.name, _method)
