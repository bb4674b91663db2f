"""How good a reward model is: accuracy on pairs it has not seen, beside scorers that see the label or the length alone.

Also the raw scores on SFT samples, from which calibrated lambdas are read. Nothing here trains.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev, quantiles

from rewardlab.config import NEW_TOKENS, ModelConfig, RunConfig
from rewardlab.disk import write_json
from rewardlab.errors import DataError
from rewardlab.intervals import mean_interval
from rewardlab.models import Codec, Trunk
from rewardlab.models.scoring import score_rows
from rewardlab.models.stored import SFT_SCORES_FILE
from rewardlab.pairs.duplicates import prompt_keys
from rewardlab.pairs.statistics import baselines
from rewardlab.tasks.task import Task, parse_response, prompt_of, tasks
from rewardlab.training.trl_run import left_out, refuse_nothing
from rewardlab.types import Example, Label, Pair

logger = logging.getLogger(__name__)

POLICY_SAMPLED = "policy_sampled"
"""Name of the evaluation set made from sampled answers."""


@dataclass(frozen=True, slots=True)
class SampledAnswer:
    """Answers that a policy sampled for one example."""

    example: Example
    responses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A pair and its two token rows, each ``prompt + response + end``."""

    pair: Pair
    chosen: list[int]
    rejected: list[int]


@dataclass(slots=True)
class EncodedPairs:
    """Pairs as tokens.

    Attributes:
        pairs: Those that fit into the model's budgets.
        shortened: How many of them fit because their text was cut.
        long_prompts: Tokens of each prompt that does not fit and cannot be cut; its pair is left out.
        long_responses: Of each other pair with a response over the budget, tokens of the longer one without its end.
    """

    pairs: list[EncodedPair]
    shortened: int
    long_prompts: list[int]
    long_responses: list[int]

    @property
    def dropped(self) -> int:
        """How many pairs are left out."""
        return len(self.long_prompts) + len(self.long_responses)

    def report(self, title: str, row: str, config: RunConfig) -> None:
        """Say how many pairs are trained on and why others are not; raises DataError when none is.

        Args:
            title: What is trained on them.
            row: What one of them is called.
            config: Budgets.
        """
        prompt, response = max(self.long_prompts, default=0), max(self.long_responses, default=0)
        reasons = left_out(
            {
                f"have a prompt of more than {config.model.max_prompt_tokens} tokens that cannot be cut (the longest "
                f"has {prompt}: give --set model.max_prompt_tokens={prompt})": len(self.long_prompts),
                f"have a response of more than {config.new_tokens} tokens (the longest has {response}: give --set "
                f"model.max_new_tokens={response}, or another --model)": len(self.long_responses),
            }
        )
        total = len(self.pairs) + self.dropped
        refuse_nothing(row, total, len(self.pairs), reasons)
        text = "%s on %d of %d pairs, %d with their text cut to model.max_prompt_tokens%s"
        why = f"; left out: {reasons}" if reasons else ""
        level = logging.WARNING if self.dropped else logging.INFO
        logger.log(level, text, title, len(self.pairs), total, self.shortened, why)


class PairEncoder:
    """Makes token rows of pairs, the ones that PPO will have scored: a long prompt has its text field cut.

    Args:
        codec: The trunk's codec.
        model: Budgets.
        examples: The rows that pairs come from; a long prompt of any other row cannot be cut.
    """

    def __init__(self, codec: Codec, model: ModelConfig, examples: Iterable[Example] = ()) -> None:
        self._codec = codec
        self._model = model
        self._examples = {(example.task, example.id): example for example in examples}

    def __call__(self, pairs: Iterable[Pair]) -> EncodedPairs:
        """Token rows of each pair; pairs that exceed the model's budgets even so are counted and left out."""
        found = EncodedPairs([], 0, [], [])
        for pair in pairs:
            whole = self._codec.text_prompt_ids(pair.prompt, pair.format)
            prompt = self._fitting(pair, whole)
            chosen, rejected = self._codec.response_ids(pair.chosen), self._codec.response_ids(pair.rejected)
            longer = max(len(chosen), len(rejected))
            if prompt is None:
                found.long_prompts.append(len(whole))
            elif longer > self._response_budget(pair):
                found.long_responses.append(longer - 1)
            else:
                found.shortened += len(prompt) < len(whole)
                found.pairs.append(EncodedPair(pair, prompt + chosen, prompt + rejected))
        return found

    def _fitting(self, pair: Pair, whole: list[int]) -> list[int] | None:
        """The prompt within its budget, or None."""
        if len(whole) <= self._model.max_prompt_tokens:
            return whole
        example = self._examples.get((pair.task, pair.id))
        with suppress(DataError):  # the instruction alone is too long
            return None if example is None else self._codec.prompt_ids(example)
        return None

    def _response_budget(self, pair: Pair) -> int:
        """Tokens; a response that was cut at its budget gets an end token too."""
        return (self._model.max_new_tokens or NEW_TOKENS[pair.format]) + 1


def policy_pairs(samples: Iterable[SampledAnswer]) -> list[Pair]:
    """Pairs of sampled answers that differ in their label, the one nearer to gold chosen.

    Of a classification task, one answer must be right; on a numeric or ordinal scale the smaller distance wins.
    Malformed answers and repeated texts are left out.
    """
    return [pair for sample in samples if sample.example.label is not None for pair in _pairs_of(sample)]


def evaluate(
    trunk: Trunk,
    role: str,
    encode: PairEncoder,
    training: Sequence[Pair],
    held_out: Mapping[str, Sequence[Pair]],
    samples: Sequence[SampledAnswer],
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Accuracy per evaluation set and task; see :func:`pair_accuracy` for the numbers.

    Args:
        trunk: The trunk with the reward model as ``role``.
        role: The reward model.
        encode: Makes token rows of pairs.
        training: What the reward model and the baselines learned from.
        held_out: Name -> pairs.
        samples: Sampled answers; they make one more set, :data:`POLICY_SAMPLED`.
    """
    sets = {**held_out, POLICY_SAMPLED: policy_pairs(samples)}
    return {name: _accuracy_by_task(trunk, role, encode, training, pairs) for name, pairs in sets.items()}


def pair_accuracy(scores: Sequence[tuple[float, float]], groups: Sequence[object]) -> dict[str, float | None]:
    """Share of pairs whose chosen response scores higher, a tie counting one half, with its bootstrap interval.

    Args:
        scores: (chosen, rejected) per pair.
        groups: Prompt of each pair; pairs of one prompt are resampled together.
    Returns:
        value, low, high (95 %), n (pairs).
    """
    wins = [0.5 if chosen == rejected else float(chosen > rejected) for chosen, rejected in scores]
    return {**mean_interval(wins, groups).to_json(), "n": len(wins)}


def store_sft_scores(
    folder: Path, trunk: Trunk, role: str, samples: Sequence[SampledAnswer], limit: int | None
) -> dict[str, float]:
    """Write the raw scores of at most ``limit`` sampled answers, their quantiles and z-scores to ``sft_scores.json``.

    As many different prompts as possible come first: everyone's first answer, then everyone's second.

    Returns:
        mean and sd of the scores, logits.
    Raises:
        DataError: There is no answer to score.
    """
    rounds = itertools.zip_longest(*([(s.example, text) for text in s.responses] for s in samples))
    drawn = [item for one_round in rounds for item in one_round if item is not None][:limit]
    codec = trunk.codec
    return store_scores(folder, trunk, role, [codec.prompt_ids(e) + codec.response_ids(text) for e, text in drawn])


def store_scores(folder: Path, trunk: Trunk, role: str, rows: Sequence[Sequence[int]]) -> dict[str, float]:
    """As :func:`store_sft_scores`, of token rows ``prompt + response + end``."""
    if not rows:
        raise DataError("no SFT samples to score: calibrated lambdas need at least one sampled answer")
    scores = score_rows(trunk, role, rows)
    summary = {"mean": fmean(scores), "sd": pstdev(scores)}
    named = {"quantiles": score_quantiles(scores), "zscores": zscores(**summary)}
    write_json(folder / SFT_SCORES_FILE, {**summary, **named, "scores": scores})
    return summary


def zscores(mean: float, sd: float) -> dict[str, float]:
    """Raw scores that lie so many standard deviations above the mean, from -2 to 3 in halves.

    >>> zscores(1.0, 2.0)["1.5z"]
    4.0
    """
    return {f"{half / 2:g}z": mean + sd * half / 2 for half in range(-4, 7)}


def score_quantiles(scores: Sequence[float]) -> dict[str, float]:
    """q1 to q99, linear between neighbours.

    >>> score_quantiles([0.0, 1.0])["q25"]
    0.25
    """
    if len(scores) == 1:
        return {f"q{percent}": scores[0] for percent in range(1, 100)}
    cuts = quantiles(scores, n=100, method="inclusive")
    return {f"q{percent}": cut for percent, cut in enumerate(cuts, 1)}


def _accuracy_by_task(
    trunk: Trunk, role: str, encode: PairEncoder, training: Sequence[Pair], pairs: Sequence[Pair]
) -> dict[str, dict[str, float | None]]:
    encoded = encode(pairs).pairs
    rows = [row for item in encoded for row in (item.chosen, item.rejected)]
    scores = score_rows(trunk, role, rows) if rows else []
    table = {}
    for task in sorted({item.pair.task for item in encoded}):
        places = [place for place, item in enumerate(encoded) if item.pair.task == task]
        kept = [encoded[place].pair for place in places]
        measured = pair_accuracy([(scores[2 * p], scores[2 * p + 1]) for p in places], prompt_keys(kept))
        known = [pair for pair in training if pair.task == task]
        table[task] = {**measured, **baselines(known, kept)}
    return table


def _pairs_of(sample: SampledAnswer) -> Iterator[Pair]:
    task = tasks.get(sample.example.task)
    texts = dict.fromkeys(sample.responses)
    read = [(text, parse_response(sample.example, text).value) for text in texts]
    for (text_a, label_a), (text_b, label_b) in itertools.combinations(read, 2):
        if label_a is None or label_b is None or label_a == label_b:
            continue
        a, b = _distance(task, sample.example, label_a), _distance(task, sample.example, label_b)
        if a < b:
            yield _pair(sample.example, (text_a, label_a), (text_b, label_b))
        elif b < a:
            yield _pair(sample.example, (text_b, label_b), (text_a, label_a))


def _distance(task: Task, example: Example, label: Label) -> float:
    """How far an answer is from gold: on the scale where there is one, else 0 or 1."""
    gold = example.label
    if task.is_ordinal and gold is not None:
        return abs(float(label) - float(gold))
    return float(gold is None or not task.is_right(label, gold))


def _pair(example: Example, chosen: tuple[str, Label], rejected: tuple[str, Label]) -> Pair:
    return Pair(
        task=example.task,
        id=example.id,
        kind="label",
        format=example.format,
        prompt=prompt_of(example),
        chosen=chosen[0],
        rejected=rejected[0],
        chosen_label=chosen[1],
        rejected_label=rejected[1],
        gold_label=example.label,
        annotator="gold",
        model="policy",
    )
