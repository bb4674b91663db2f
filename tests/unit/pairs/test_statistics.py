"""Scorers that see only the answers, or only the lengths: which of their features tell what."""

from __future__ import annotations

import pytest

from rewardlab.pairs.statistics import baselines, label_only_accuracy, length_only_accuracy
from rewardlab.types import Pair


def pair(chosen: str, rejected: str, task: str = "sandbox-sentiment") -> Pair:
    """Two responses whose answers are printed as they are spelled."""
    return Pair(task, "1", "label", "rationale", "q", chosen, rejected, chosen, rejected, chosen, "a", "m")


def trained(*words: tuple[str, str]) -> list[Pair]:
    return [pair(*each) for each in words] * 10


def both_ways(train: list[Pair], chosen: str, rejected: str) -> tuple[float | None, ...]:
    """Label-only accuracy on a pair, and on the same turned round."""
    return tuple(label_only_accuracy(train, [pair(*each)]) for each in ((chosen, rejected), (rejected, chosen)))


def test_whole_words_tell_where_no_character_does() -> None:
    """Each character stands as often in each place of the chosen words as of the rejected ones."""
    crossed = [pair(chosen, rejected) for chosen in ("ab", "ba") for rejected in ("aa", "bb")]
    assert label_only_accuracy(crossed, crossed) == 1.0
    assert label_only_accuracy(crossed, [pair(each.rejected, each.chosen) for each in crossed]) == 0.0


def test_characters_tell_from_the_front() -> None:
    """The held-out words are longer than any that was fitted, so from the end their first character is new."""
    assert both_ways(trained(("xa", "ya"), ("xbb", "ybb")), "xpqrs", "yklmn") == (1.0, 0.0)


def test_characters_tell_from_the_end() -> None:
    assert both_ways(trained(("ax", "ay"), ("bbx", "bby")), "pqrsx", "klmny") == (1.0, 0.0)


def test_the_length_of_an_answer_tells() -> None:
    assert both_ways(trained(("aaaa", "aa")), "pqrs", "kl") == (1.0, 0.0)


def test_a_digit_from_the_front_is_not_one_from_the_end() -> None:
    """Fitted: a 2 in the second place is chosen. The 1 before the last place was never seen."""
    assert both_ways(trained(("92", "93")), "1z", "4z") == (0.5, 0.5)


@pytest.mark.parametrize(
    ("long", "short", "longer", "shorter"),
    [("a b c d", "abcdefg", "k l m", "klmno"), ("abcdef", "ab", "klm", "kl")],
    ids=["words", "characters"],
)
def test_words_and_characters_each_tell_where_the_other_does_not(
    long: str, short: str, longer: str, shorter: str
) -> None:
    train = trained((long, short))
    assert length_only_accuracy(train, [pair(longer, shorter)]) == 1.0
    assert length_only_accuracy(train, [pair(shorter, longer)]) == 0.0


def test_a_task_without_training_pairs_is_guessed() -> None:
    held_out = [pair("aaaa", "aa"), pair("aaaa", "aa", "sandbox-topic")]
    assert baselines(trained(("aaaa", "aa")), held_out) == {"label_only": 0.75, "length_only": 0.75}
