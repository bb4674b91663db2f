"""All checks in their order, and the examination of one model by them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from rewardlab.config import RunConfig
from rewardlab.doctor import forward, sampling, tokens, update
from rewardlab.doctor.probe import ProbeModel
from rewardlab.doctor.verdict import Check, Finding, Verdict
from rewardlab.errors import RewardlabError
from rewardlab.models.trunk import Trunk, load_trunk

CHECKS: tuple[Check, ...] = (
    Check(
        "end token",
        "responses are trained to end with a token that stops generation",
        "set eos_token of the tokenizer and eos_token_id of generation_config.json to the token that ends a turn",
        tokens.end_token,
    ),
    Check(
        "padding token",
        "padding cannot be mistaken for the end of a response",
        "give the tokenizer a pad_token of its own, one that ends nothing",
        tokens.padding_token,
    ),
    Check(
        "chat template",
        "a turn of the template begins with our prompt and ends with a token that stops generation",
        "add the token that ends the assistant's turn to eos_token_id in generation_config.json",
        tokens.chat_template,
    ),
    Check(
        "one beginning",
        "prompts begin with at most one beginning-of-sequence token",
        "take the beginning-of-sequence token out of the chat template or out of the tokenizer's own template",
        tokens.one_beginning,
    ),
    Check(
        "round trip",
        "responses survive encoding and decoding",
        "answers may not be read as they were written; try the model's original tokenizer files",
        tokens.round_trip,
    ),
    Check(
        "dtype",
        "adapters, heads and logits are float32, and every logit is finite",
        "load the trunk in another dtype: --dtype float32",
        forward.dtypes,
    ),
    Check(
        "KL 0 at the start",
        "before the first update the policy is its reference",
        "the architecture applies adapters in a way that is not known here; report it with the model's config.json",
        forward.start,
    ),
    Check(
        "ratio 1",
        "log-probabilities of a rollout are found again by the update",
        "something in the forward pass is random or depends on the batch; --dtype float32 rules out rounding",
        forward.ratio,
    ),
    Check(
        "padding in front",
        "columns in front of a prompt change no log-probability",
        "the model's positions do not follow the mask; --dtype float32 rules out rounding",
        forward.padding_in_front,
    ),
    Check(
        "padding behind",
        "columns behind a response change no log-probability",
        "the model attends to what is masked; --dtype float32 rules out rounding",
        forward.padding_behind,
    ),
    Check(
        "greedy sampling",
        "at temperature 0 the sampler writes what generate writes",
        "the key-value cache of this architecture is not read as generate reads it; PPO would train on other samples",
        sampling.greedy,
    ),
    Check(
        "law of sampling",
        "at temperature 1 tokens are drawn with the model's own probabilities",
        "samples do not follow the policy, so that KL and advantages are biased; report it with the config.json",
        sampling.law,
    ),
    Check(
        "sampler's numbers",
        "log-probabilities kept while sampling are those of a training pass",
        "give --set ppo.old_logprobs=recompute, which asks the policy once more",
        sampling.measured,
    ),
    Check(
        "place of the reward",
        "the score stands on the last token of each response",
        "responses and masks disagree about where a response ends; look at the end and padding tokens above",
        update.reward_place,
    ),
    Check(
        "gradients",
        "every tensor of policy and critic receives a gradient",
        'choose other layers to adapt: --set lora.targets=\'["q_proj", "v_proj"]\'',
        update.gradients,
    ),
    Check(
        "isolation",
        "a step moves all adapters and heads it trains, nothing else, and no weight of the trunk",
        "layers share weights that an adapter writes to; choose other lora.targets",
        update.isolation,
    ),
    Check(
        "exact gradient",
        "the output layer's gradient is that of float64, for likely tokens too",
        "updates would move the policy in a wrong direction; report it with the model's config.json and --dtype",
        update.output_gradient,
    ),
    Check(
        "micro-batches",
        "many micro-batches give the gradient of one batch",
        "the model mixes rows of a batch; --dtype float32 rules out rounding",
        update.micro_batches,
    ),
    Check(
        "0 steps",
        "PPO without steps leaves the start model",
        "storing and loading the adapter changes it; report it with the model's config.json",
        forward.no_steps,
    ),
    Check(
        "storage",
        "stored adapters and heads come back with the same outputs",
        "storing and loading the adapter changes it; report it with the model's config.json",
        forward.storage,
    ),
)


def examine(probe: ProbeModel) -> Iterator[Verdict]:
    """One verdict per check, as they are reached; a check that stops with an error has failed."""
    for check in CHECKS:
        begin = time.perf_counter()
        try:
            finding = check.run(probe)
        except Exception as error:  # of whatever kind: the model under examination may be faulty in any way
            finding = Finding("failed", _reason(error))
        yield Verdict(check, finding, time.perf_counter() - begin)


def _reason(error: Exception) -> str:
    """An error in one line; that of torch or transformers with its kind, which often says more than its text."""
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, RewardlabError) else f"{type(error).__name__}: {text}"


def examine_model(config: RunConfig, report: Callable[[Verdict], None]) -> list[Verdict]:
    """Load the model of ``config`` and examine it; ``report`` gets each verdict when it is reached.

    Raises:
        ModelError: The model cannot be loaded or adapted at all.
    """
    verdicts = []
    with TemporaryDirectory() as folder:
        trunk: Trunk = load_trunk(config.model)
        for verdict in examine(ProbeModel(trunk, config, Path(folder))):
            report(verdict)
            verdicts.append(verdict)
    return verdicts
