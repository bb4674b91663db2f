"""Rankings are read as the paper prints them, in the variants that models write, or not at all."""

from __future__ import annotations

import pytest

from rewardlab.annotate.ranking import parse_ranking
from tests.support.steps import steps


@pytest.mark.parametrize(
    ("text", "places"),
    [
        # 5 is best, then 3, 2, 4, 1: response 1 is fifth, 2 third, 3 second, 4 fourth, 5 first
        ("Ranking: 5>3>2>4>1", (5, 3, 2, 4, 1)),
        # 2, then 1 and 5 together, then 3 and 4 together
        ("Ranking: 2>1=5>3=4", (2, 1, 3, 3, 2)),
        ("Ranking: 1=2=3=4=5", (1, 1, 1, 1, 1)),
        ("ranking : 5 > 3 > 2 > 4 > 1", (5, 3, 2, 4, 1)),
        ("**Ranking:** 5≻3≻2≻4≻1", (5, 3, 2, 4, 1)),
        ("Ranking: Answer 5 > Answer 3 > Answer 2 > Answer 4 > Answer 1", (5, 3, 2, 4, 1)),
        ("Ranking: [Answer 5] > [Answer 3] > [2] = [4] > [1].", (4, 3, 2, 3, 1)),
        ("Ranking: {5＞3＞2＝4＞1}", (4, 3, 2, 3, 1)),
        ("Ranking:\n5>3>2>4>1\n\nI hope this helps.", (5, 3, 2, 4, 1)),
        ("5>3>2>4>1", (5, 3, 2, 4, 1)),
        ("Answer 1>2 in my view.\n\nRanking: 1>2>3>4>5\nOn reflection, Ranking: 5>4>3>2>1", (5, 4, 3, 2, 1)),
    ],
)
def test_read(text: str, places: tuple[int, ...]) -> None:
    assert parse_ranking(text, 5).places == places


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Ranking:",
        "Ranking: 5>3>2>4",  # 1 is missing
        "Ranking: 5>3>2>4>4",  # 4 twice
        "Ranking: 5>3>2>4>1>1",
        "Ranking: 6>3>2>4>1",  # no sixth answer
        "Ranking: 0>3>2>4>1>5",
        "Ranking: 5, 3, 2, 4, 1",
        "Ranking: 5>=3>2>4>1",
        "I would say 5>3>2>4>1 but am not sure",  # prose without the marker
        "Ranking: 5>3>2>4>1. Then again, my final ranking: none",
        "Ranking: {e.g. ranking_example}",
    ],
)
def test_unparsable(text: str) -> None:
    parsed = parse_ranking(text, 5)
    assert parsed.places == ()
    assert parsed.reason


def test_fewer_answers() -> None:
    assert parse_ranking("Ranking: 2>1", 2).places == (2, 1)
    assert parse_ranking("Ranking: 2>1>3", 2).places == ()


@pytest.mark.parametrize("part", ["Ranking: ", "1>", "1 = ", "answer [", "((((", "9" * 10 + ">", "\n \t"])
def test_the_steps_grow_no_faster_than_the_text(part: str) -> None:
    """That its patterns cannot run away stands in ``test_parsing_properties.py``."""
    once, twice = (steps(lambda text=part * n: parse_ranking(text, 5)) for n in (2_000, 4_000))
    assert twice <= 2 * once + 10
