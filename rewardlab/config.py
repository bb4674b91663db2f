"""What a run is made of: frozen sections, and the fingerprint of what is in them.

Every field has one description, which ``--help`` and the documentation read. How the values get here, from files and
the command line, stands in ``config_loading.py``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rewardlab.encoder_config import EncoderConfig
from rewardlab.errors import ConfigError
from rewardlab.online_config import GRPOConfig, OnlineConfig, PPOConfig, ReinforceConfig, RLOOConfig, shared_with
from rewardlab.preference_config import DPOConfig
from rewardlab.presets import by_kind_of, merge, with_presets
from rewardlab.raft_config import RaftConfig
from rewardlab.rubric_config import RubricConfig
from rewardlab.sampler_config import SamplerConfig
from rewardlab.secret_values import credential_in, without_secret
from rewardlab.section import LATER, PATIENCE, Section, auto_is_a_word
from rewardlab.types import AnswerFormat, PairKind, Reading

TINY_MODEL = "sandbox-tiny"
"""Comes with the package; trained on the sandbox's language alone."""
PACKED_MODEL = "smollm2-135m-q4"
"""Comes in a package of its own, see ``models/names.py``."""
PACKED_ENCODER = "all-minilm-l6-v2"
"""An encoder that comes in a package of its own."""
NEW_TOKENS: Mapping[AnswerFormat, int] = {"label": 16, "judgement": 32, "rationale": 256, "confident": 32}
"""Longest response per answer format, tokens (PPO-NLU section 5.1; RLLR's scripts)."""

ONLINE: Mapping[str, type[OnlineConfig]] = {"grpo": GRPOConfig, "rloo": RLOOConfig, "reinforce": ReinforceConfig}
"""Methods beside PPO that sample while they train, and their sections."""


class DataConfig(Section):
    """Which rows, and how many of each kind."""

    source: Literal["auto", "local", "hub", "bundled"] = Field("auto", description="where rows come from")
    dir: Path | None = Field(None, description="folder of JSON Lines per task; default: $REWARDLAB_DATA")
    labelled: int = Field(5000, ge=1, description="labelled rows a task for SFT and pairs (RLLR table 2)")
    prompts: int = Field(5000, ge=1, description="PPO prompts a task")
    validation: int = Field(500, ge=1, description="validation rows a task")
    test: int = Field(1000, ge=1, description="test rows a task")
    seed: int | None = Field(
        None,
        ge=0,
        description="seed of labelled rows, prompts, their order, wrong labels and annotation; default: the run's seed",
    )
    test_seed: int = Field(0, ge=0, description="seed of test and validation rows, the same whatever the run's seed")


class ModelConfig(Section):
    """The trunk every role shares."""

    name: str = Field(TINY_MODEL, description="embedded name, hub id or local folder")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="dtype of the frozen trunk")
    quantization: Literal["none", "nf4"] = Field(
        "none", description="nf4: the frozen trunk in 4 bits through bitsandbytes, SFT's adapter beneath each role"
    )
    float32_logits: bool = Field(
        False,
        description="keep the output layer's products in float32 over a bfloat16 trunk; its weights stay as they are",
        json_schema_extra=LATER,
    )
    trust_remote_code: bool = Field(False, description="run code that comes with a hub model")
    max_prompt_tokens: int = Field(512, ge=8, description="longer prompts have their text field cut, tokens")
    max_new_tokens: int | None = Field(None, ge=1, description="response budget, tokens; default by answer format")
    chat_template_arguments: dict[str, Any] = Field(
        {}, description="variables of the chat template, such as enable_thinking; default: no thinking"
    )
    chat_template_date: date = Field(date(2024, 7, 26), description="today, for chat templates that print it")
    chat_template_suffix: str = Field(
        "", description="text behind the chat template's prompt, to close a thinking block that has no switch"
    )


class LoraConfig(Section):
    """Low-rank adapters (Hu et al. 2021); one per role."""

    rank: int = Field(16, ge=1, description="rank r")
    alpha: float = Field(32.0, gt=0, description="scale numerator; the update is multiplied by alpha / rank")
    rank_stabilised: bool = Field(
        False,
        description="multiply the update by alpha / sqrt(rank) instead (Kalajdzievski 2023)",
        json_schema_extra=LATER,
    )
    bias: Literal["none", "all"] = Field(
        "none",
        description="all: each role has biases of its own beside the frozen ones; lora.targets must cover all layers "
        "that have a bias",
        json_schema_extra=LATER,
    )
    targets: tuple[str, ...] | None = Field(None, description="adapted linear layers; default by architecture")


REQUEST_FIELDS = frozenset({"model", "messages", "stream", "n", "temperature", "max_tokens", "max_completion_tokens"})
"""Fields of a chat request that other settings decide, or on which reading an answer depends."""


class AnnotateConfig(Section):
    """Who writes rationales and rankings."""

    annotator: str = Field("auto", description="who annotates: auto, or one that `rewardlab annotators` lists")
    model: str | None = Field(None, description="annotator's model: an API model name, a hub id or a folder")
    base_url: str | None = Field(None, description="OpenAI-compatible endpoint; default: $OPENAI_BASE_URL")
    limit: int | None = Field(None, ge=1, description="labelled rows a task to annotate; default: all")
    concurrency: int = Field(8, ge=1, description="requests in flight")
    requests_per_minute: int | None = Field(None, ge=1, description="most requests a minute; default: no limit")
    tokens_per_minute: int | None = Field(None, ge=1, description="most tokens a minute, estimated; default: no limit")
    timeout_s: float = Field(60.0, gt=0, description="seconds a request may take")
    attempts: int = Field(6, ge=1, description="tries per request, the first included")
    backoff_s: float = Field(0.5, ge=0, description="seconds before the second try; doubled with each further one")
    breaker: int = Field(10, ge=1, description="requests failed in a row after which nothing more is asked")
    budget_usd: float | None = Field(None, ge=0, description="most that a command's answers may cost, USD")
    prices: Path | None = Field(None, description="TOML file of prices; adds to and overrides the list that is shipped")
    batch: Literal["submit", "status", "fetch"] | None = Field(None, description="use the provider's batch endpoints")
    temperature: float = Field(0.7, ge=0, description="sampling temperature of the annotator")
    max_new_tokens: int = Field(160, ge=1, description="longest rationale, tokens")
    chat_template_arguments: dict[str, Any] = Field(
        {}, description="local annotator with a model of its own: variables of its chat template"
    )
    chat_template_suffix: str = Field(
        "", description="local annotator with a model of its own: text behind its chat template's prompt"
    )
    reasoning: Literal["auto", "yes", "no"] = Field(
        "auto",
        description="yes: a hosted model that reasons first; it is sent max_completion_tokens and no temperature, "
        "others max_tokens; auto: by name (o1, o3, gpt-5 and the like)",
    )
    reasoning_tokens: int = Field(
        2000, ge=0, description="room for what a reasoning model thinks, tokens; on top of the answer, charged too"
    )
    extra_body: dict[str, Any] = Field(
        {}, description="further fields of every request to a hosted annotator, such as {enable_thinking = false}"
    )
    max_failed: float = Field(0.05, ge=0, le=1, description="share of failed requests above which the stage fails")
    filter_threshold: float = Field(
        0.5, ge=0, le=1, description="least probability, by the filter, of a good rationale that is kept; 0 keeps all"
    )
    refusal_rate: float = Field(0.03, ge=0, le=1, description="sandbox oracle: share of requests it refuses")
    mismatch_rate: float = Field(0.03, ge=0, le=1, description="sandbox oracle: share argued for another label")
    oracle_weight: float = Field(0.8, ge=0, le=1, description="sandbox oracle: weight w of correctness in rankings")

    @field_validator("extra_body")
    @classmethod
    def _beside_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        """What settings of their own decide is not set here: answers are kept by them, and counted."""
        if taken := sorted(REQUEST_FIELDS & set(value)):
            raise ValueError(f"{', '.join(taken)} cannot be set here; annotate.* has settings of its own for that")
        if name := credential_in(value):
            raise ValueError(
                f"{name} looks like a key, and would be stored with the run; a key belongs into OPENAI_API_KEY"
            )
        return value

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        return without_secret(value)


class SFTConfig(Section):
    """Supervised fine-tuning of a LoRA adapter; loss on the answer only."""

    rows: Literal["labelled", "all"] = Field(
        "labelled", description="rows it learns from; all: the PPO prompts too, whose gold labels it then reads"
    )
    lr: float = Field(2e-4, gt=0, description="peak learning rate")
    epochs: float = Field(3.0, gt=0, description="passes over the rows")
    seconds: float | None = Field(
        None, gt=0, description="device seconds to train, in place of epochs; the cosine then follows the time"
    )
    batch: int = Field(32, ge=1, description="rows per optimiser step")
    micro_batch: int = Field(8, ge=0, description="rows per forward pass; auto (0): as many as fit into memory")
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory", json_schema_extra=LATER
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="warm-up, share of all steps; cosine decay after it")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="dropout in front of the adapter while SFT trains", json_schema_extra=LATER
    )
    words: dict[str, dict[str, str]] = Field(
        {},
        description="task -> label -> the word it learns to write for that label, whatever the reader knows: "
        '{sst2 = {negative = "No"}} is what PPO-NLU\'s code trains on',
        json_schema_extra=LATER,
    )
    checkpoint_every: int = Field(100, ge=1, description="optimiser steps between checkpoints")
    checkpoint_seconds: float | None = Field(
        300.0, gt=0, description="seconds after which a checkpoint is stored whatever the steps; none: by steps alone"
    )
    validation_rows: int = Field(
        100,
        ge=0,
        description="validation rows a task, answered greedily after each epoch (without patience five times a run at "
        "most) to choose the best; 0: the last",
    )
    patience: int | None = Field(None, ge=1, description=PATIENCE, json_schema_extra=LATER)

    _auto = field_validator("micro_batch", mode="before")(auto_is_a_word)

    @property
    def parts(self) -> tuple[Literal["labelled", "prompts"], ...]:
        """The parts of the data it learns from."""
        return ("labelled", "prompts") if self.rows == "all" else ("labelled",)


class PairsConfig(Section):
    """How preference pairs are made."""

    limit: int | None = Field(None, ge=1, description="labelled rows a task to make pairs from; default: all")
    samples: int = Field(5, ge=2, le=5, description="answers sampled from the SFT model per prompt, for ranking")
    held_out: int = Field(200, ge=1, description="validation rows a task for held-out pairs")
    balance_length: bool = Field(False, description="drop pairs until length does not predict the preferred response")
    bias: str | None = Field(
        None,
        pattern=r"^(length|word:\w+)$",
        description="prefer the longer training response, or the one with a word (word:good), whatever is right: "
        "a reward model that can be hacked, to study that",
    )
    only_held_out: bool = Field(False, description="make held-out pairs alone, to measure on")


class KindConfig(Section):
    """What the reward model of one pair kind is trained with, where it differs from the others."""

    lr: float | None = Field(None, gt=0, description="peak learning rate; default: rm.lr")
    epochs: float | None = Field(None, gt=0, description="passes over the pairs; default: rm.epochs")
    batch: int | None = Field(None, ge=1, description="pairs per optimiser step; default: rm.batch")
    max_pairs: int | Literal["all"] | None = Field(None, description="pairs in an epoch; default: rm.max_pairs")


class RMConfig(Section):
    """Bradley-Terry reward models.

    With equal budgets every kind sees as many pairs under the same settings: one that has more draws ``max_pairs`` of
    them, one that has fewer passes over them more often.
    """

    preset: Literal["equal", "rllr"] = Field(
        "equal", description="equal: one budget for all kinds; rllr: each kind's published lr, epochs, batch, all pairs"
    )
    lr: float = Field(2e-4, gt=0, description="peak learning rate")
    epochs: float = Field(1.0, gt=0, description="passes over the pairs")
    max_pairs: int | None = Field(None, ge=1, description="pairs in an epoch; default and most: labelled rows")
    batch: int = Field(64, ge=1, description="pairs per optimiser step")
    micro_batch: int = Field(8, ge=0, description="pairs per forward pass; auto (0): as many as fit into memory")
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory", json_schema_extra=LATER
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="warm-up, share of all steps; cosine decay after it")
    checkpoint_every: int = Field(100, ge=1, description="optimiser steps between checkpoints")
    checkpoint_seconds: float | None = Field(
        300.0, gt=0, description="seconds after which a checkpoint is stored whatever the steps; none: by steps alone"
    )
    held_out_ranked: bool = Field(
        False, description="measure label RMs on the held-out part of the ranked training pairs, not on one made for it"
    )
    sft_samples: int = Field(256, ge=16, description="SFT samples whose raw scores are stored for calibrated lambdas")

    by_kind: Mapping[PairKind, KindConfig] = Field(
        {},
        description="settings of one kind's own, such as [rm.by_kind.ranked]; rllr fills them in",
        json_schema_extra=LATER,
    )

    _auto = field_validator("micro_batch", mode="before")(auto_is_a_word)

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: object) -> object:
        return {**values, "by_kind": by_kind_of(values)} if isinstance(values, Mapping) else values

    def for_kind(self, kind: PairKind, rows: int) -> RMConfig:
        """What a reward model of one kind is trained with: its own settings in place of those of all kinds.

        Args:
            kind: Of its pairs.
            rows: Labelled rows that pairs are made from; as many label-sensitive pairs there are at most.
        """
        own = self.by_kind.get(kind, KindConfig()).model_dump(exclude_none=True)
        pairs = own.pop("max_pairs", self.max_pairs)
        if self.preset == "equal" and pairs != "all":
            pairs = min(pairs or rows, rows)
        return self.model_copy(update={**own, "max_pairs": None if pairs == "all" else pairs, "by_kind": {}})


class RewardConfig(Section):
    """What PPO maximises."""

    expression: str = Field("rule", description="reward expression; see `rewardlab reward list`")
    lam: str | None = Field(
        None,
        description="lambda of `mixed`: a number, a quantile (q90) or a z-score (1.5z); auto:5 is a multiplier that "
        "holds the mean of `label` at 5",
    )
    r2: PairKind = Field("ranked", description="second reward model of `mixed`")
    reading: Reading = Field("lenient", description="how the rule reward reads answers")

    @field_validator("lam", mode="before")
    @classmethod
    def _lam_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class HostedConfig(Section):
    """A model behind an OpenAI-compatible endpoint as a row of a table; how it is asked stands in ``[annotate]``."""

    model: str | None = Field(
        None, description="its name there, such as gpt-4o: it answers the test rows in place of the base model"
    )
    base_url: str | None = Field(None, description="its endpoint; default: annotate.base_url, then $OPENAI_BASE_URL")
    decodings: tuple[Literal["sampled", "greedy"], ...] = Field(
        ("sampled", "greedy"),
        min_length=1,
        description="answers a row is asked for: at temperature 1, at 0; a model that reasons first has sampled alone",
    )

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        return without_secret(value)


class EvalConfig(Section):
    """Evaluation of a run."""

    batch: int = Field(64, ge=0, description="prompts generated together; auto (0): as many as fit into memory")
    shots: int = Field(0, ge=0, description="labelled examples in front of each prompt")
    bootstrap: int = Field(1000, ge=100, description="bootstrap resamples over test items")
    checkpoint: Literal["best", "last"] = Field(
        "best",
        description="of a trained run: the best policy on validation rows (of equals the earliest), or the one after "
        "the last step",
    )
    least_new_tokens: int | None = Field(
        None,
        ge=1,
        description="smallest response budget: every eight rows draw one up to the largest; default: the largest",
        json_schema_extra=LATER,
    )
    unreadable: Literal["wrong", "random"] = Field(
        "wrong",
        description="what an answer that cannot be read counts as; random: a label or number drawn by seed, as in "
        "PPO-NLU's code",
        json_schema_extra=LATER,
    )
    chain_of_thought: bool = Field(
        False,
        description="ask for reasoning before the answer, in the format rationale; for the base model and hosted ones",
        json_schema_extra=LATER,
    )
    hosted: HostedConfig = Field(HostedConfig(), json_schema_extra=LATER)
    best_of: int | None = Field(
        None,
        ge=2,
        description="sample so many responses to each test row and answer with the one that scores best",
        json_schema_extra=LATER,
    )
    best_of_reward: str | None = Field(
        None, description="reward expression that best_of chooses by", json_schema_extra=LATER
    )
    best_of_lam: str | None = Field(None, description="lambda of that expression", json_schema_extra=LATER)

    _auto = field_validator("batch", mode="before")(auto_is_a_word)


class RunConfig(Section):
    """Everything a run depends on.

    However it is built, what it is given stands above the preset it names, and that above the preset of its model and
    the built-in values. All settings are then resolved: what was stored is read back as it was, and a section that is
    taken from one configuration into another keeps all its values.
    """

    task: str = Field("sandbox-sentiment", description="task, comma-separated tasks, a group, or a task file")
    format: AnswerFormat = Field("rationale", description="answer format")
    init: Literal["base", "sft", "sft-rationale"] | None = Field(
        None, description="where PPO starts; default: sft-rationale for rationales, else sft"
    )
    start_task: str | None = Field(
        None, description="tasks of the SFT model and reward models behind PPO; default: those that PPO trains on"
    )
    seed: int = Field(0, ge=0, description="seed of rows (unless data.seed is set), initialisation and sampling")
    keep_checkpoints: int = Field(2, ge=1, description="newest checkpoints kept while a stage trains")
    preset: Literal["rllr", "ppo-nlu", "ppo-nlu-code"] | None = Field(
        None, description="published settings to start from (docs/ppo.md); default: those of this program"
    )
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    lora: LoraConfig = Field(default_factory=LoraConfig)
    annotate: AnnotateConfig = Field(default_factory=AnnotateConfig)
    sft: SFTConfig = Field(default_factory=SFTConfig)
    pairs: PairsConfig = Field(default_factory=PairsConfig)
    rm: RMConfig = Field(default_factory=RMConfig)
    reward: RewardConfig = Field(default_factory=RewardConfig)
    ppo: PPOConfig = Field(default_factory=PPOConfig)
    grpo: GRPOConfig = Field(default_factory=GRPOConfig)
    rloo: RLOOConfig = Field(default_factory=RLOOConfig)
    reinforce: ReinforceConfig = Field(default_factory=ReinforceConfig)
    sampler: SamplerConfig = Field(default_factory=SamplerConfig)
    dpo: DPOConfig = Field(default_factory=DPOConfig)
    raft: RaftConfig = Field(default_factory=RaftConfig)
    encoder: EncoderConfig = Field(default_factory=EncoderConfig)
    rubric: RubricConfig = Field(default_factory=RubricConfig)
    methods: dict[str, dict[str, Any]] = Field(
        {}, description="settings of training methods that other packages bring: a table [methods.NAME] each"
    )
    eval: EvalConfig = Field(default_factory=EvalConfig)

    @model_validator(mode="before")
    @classmethod
    def _presets(cls, values: object) -> object:
        if not isinstance(values, Mapping):
            return values
        given = {key: _as_given(value) for key, value in values.items()}
        built_in = {
            key: _as_values(field.get_default(call_default_factory=True)) for key, field in cls.model_fields.items()
        }
        return with_presets(given, built_in, _share_ppo)

    @model_validator(mode="after")
    def _budgets_fit(self) -> Self:
        least = {"ppo": self.ppo.least_new_tokens, "eval": self.eval.least_new_tokens}
        wrong = [f"{place}.least_new_tokens = {n}" for place, n in least.items() if n and n > self.new_tokens]
        if wrong:
            raise ValueError(
                f"{', '.join(wrong)}: more than the largest response budget, {self.new_tokens}; lower it or raise "
                "model.max_new_tokens"
            )
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values; raises ConfigError for another preset, whose values it would not have."""
        if (update or {}).get("preset", self.preset) != self.preset:
            raise ConfigError("a copy keeps its settings whatever preset it names; build a RunConfig with that preset")
        return super().model_copy(update=update, deep=deep)

    def section(self, method: str) -> Any:
        """The section of a training method; of one that another package brings, its values as they were given."""
        return getattr(self, method) if method in type(self).model_fields else self.methods.get(method, {})

    def with_section(self, method: str, section: Section) -> Self:
        """A copy with other settings of a training method."""
        if method in type(self).model_fields:
            return self.model_copy(update={method: section})
        return self.model_copy(update={"methods": {**self.methods, method: section.model_dump(mode="json")}})

    @property
    def data_seed(self) -> int:
        """What draws labelled rows, prompts, wrong labels and annotation: ``data.seed``, or else the run's seed."""
        return self.seed if self.data.seed is None else self.data.seed

    @property
    def rows(self) -> DataConfig:
        """The section ``data`` with its seed filled in: two runs with equal sections read the same rows."""
        return self.data.model_copy(update={"seed": self.data_seed})

    @property
    def new_tokens(self) -> int:
        """Response budget in tokens."""
        return self.model.max_new_tokens or NEW_TOKENS[self.format]

    @property
    def start(self) -> str:
        """Where PPO starts: base, sft or sft-rationale."""
        return self.init or ("sft-rationale" if self.format == "rationale" else "sft")


def _share_ppo(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of one source, with what it sets of ``[ppo]`` in the tables of the other methods that sample too."""
    ppo = layer.get("ppo")
    if not isinstance(ppo, Mapping):
        return dict(layer)
    shared = {name: shared_with(section, ppo) for name, section in ONLINE.items()}
    return merge({name: values for name, values in shared.items() if values}, layer)


def _as_given(value: Any) -> Any:
    """A section as the values that were named when it was built, anything else as it is."""
    return value.model_dump(exclude_unset=True) if isinstance(value, Section) else value


def _as_values(value: Any) -> Any:
    """A section as all its values, anything else as it is."""
    return value.model_dump() if isinstance(value, Section) else value


def fingerprint(payload: Any) -> str:
    """Twelve hexadecimal digits that change when anything in ``payload`` (JSON-ready) changes."""
    text = json.dumps(payload, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
