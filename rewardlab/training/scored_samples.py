"""Several responses of a policy to each prompt, and their scores: what training or an evaluation chooses from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardlab import processes
from rewardlab.models.sampler import Sample, SamplingConfig, row_key, sample
from rewardlab.models.trunk import Trunk
from rewardlab.rewards.ledger import Shaped
from rewardlab.types import Example, Reward, Score


@dataclass(frozen=True, slots=True)
class Candidate:
    """One response of several.

    Attributes:
        text: The response.
        is_finished: It ended by itself; False where its budget cut it.
        score: What the reward says; None where it could not judge.
    """

    text: str
    is_finished: bool
    score: float | None


def draw(
    trunk: Trunk,
    role: str | None,
    prompts: Sequence[Example],
    count: int,
    sampling: SamplingConfig,
    key: Sequence[object],
    first: int = 0,
) -> list[Sample]:
    """``count`` responses to each prompt, those of a prompt together; several processes deal them out.

    Args:
        trunk, role: Who answers.
        prompts: The prompts.
        count: Responses to each.
        sampling: Budget, temperature, stop strings.
        key: What, beside prompt and place, identifies a draw, such as seed and round.
        first: Number of the first prompt, where the prompts are drawn for in several calls.
    """
    ids = [tokens for example in prompts for tokens in [trunk.codec.prompt_ids(example)] * count]
    keys = [
        row_key(*key, example.task, example.id, number, place)
        for number, example in enumerate(prompts, first)
        for place in range(count)
    ]
    drawn = sample(trunk, processes.share(ids), processes.share(keys), sampling, role)
    return processes.collect(drawn, len(ids))


def score(reward: Reward, prompts: Sequence[Example], responses: Sequence[str]) -> list[Score]:
    """The reward of each response; a process scores all responses to a prompt, which the reward may compare.

    Args:
        reward: What judges.
        prompts: The prompts.
        responses: As many to each prompt, those of a prompt together.
    """
    count = len(responses) // max(1, len(prompts))
    mine = processes.share(range(len(prompts)))
    examples = [prompts[number] for number in mine for _ in range(count)]
    texts = [text for number in mine for text in responses[number * count : (number + 1) * count]]
    scored = reward(examples, texts)
    groups = [scored[start : start + count] for start in range(0, len(scored), count)]
    return [each for group in processes.collect(groups, len(prompts)) for each in group]


def as_trained(scores: Sequence[Score]) -> list[Shaped | None]:
    """Scores as the ledger takes them where nothing is made of them: neither normalised, nor a KL penalty."""
    return [None if each.score is None else Shaped(each.score, each.score, 0.0, 0.0) for each in scores]


def best_of(candidates: Sequence[Candidate], keep: int = 1, threshold: float | None = None) -> list[int]:
    """Places of the best candidates, the best first; of equals the earliest.

    Args:
        candidates: All responses to one prompt.
        keep: How many, at most.
        threshold: What a score must exceed; None: nothing.
    Returns:
        Empty where none has a score above the threshold.
    Example:
        >>> best_of([Candidate("a", True, 1.0), Candidate("b", True, 2.0), Candidate("c", True, 2.0)])
        [1]
    """
    scored = [
        (each.score, place)
        for place, each in enumerate(candidates)
        if each.score is not None and (threshold is None or each.score > threshold)
    ]
    return [place for _, place in sorted(scored, key=lambda found: -found[0])[:keep]]
