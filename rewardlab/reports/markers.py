"""Markers of a chart's points: a shape for each colour, open where they overlap, never moved from their numbers."""

from __future__ import annotations

from collections.abc import Sequence

SIZE = 10
"""A marker's width and height, in the units of a panel."""
SHAPES = (
    "M-5 0A5 5 0 1 0 5 0A5 5 0 1 0 -5 0Z",  # circle
    "M-4.5 -4.5H4.5V4.5H-4.5Z",  # square
    "M0 -6L6 0L0 6L-6 0Z",  # diamond
    "M0 -5.5L5.5 4.5H-5.5Z",  # triangle
    "M0 5.5L5.5 -4.5H-5.5Z",  # triangle on its tip
)
"""Outlines around the origin."""

Place = tuple[float, float]
"""Across and down, in the units of a panel."""


def marker(colour: int, across: float, down: float, *, is_open: bool = False, inside: str = "") -> str:
    """The shape of a colour with its centre at that place, as an SVG path; ``inside`` is its tooltip."""
    weight = "mark open" if is_open else "mark"
    place = f'transform="translate({across:.1f} {down:.1f})"'
    return f'<path class="{weight} c{colour}" {place} d="{SHAPES[colour % len(SHAPES)]}">{inside}</path>'


def crowded(places: Sequence[Place]) -> list[bool]:
    """For each place whether a marker there would overlap that of another place.

    >>> crowded([(0.0, 0.0), (4.0, 9.0), (4.0, 30.0)])
    [True, True, False]
    """
    return [
        any(
            number != other and abs(across - places[other][0]) < SIZE and abs(down - places[other][1]) < SIZE
            for other in range(len(places))
        )
        for number, (across, down) in enumerate(places)
    ]


def caps(places: Sequence[float]) -> list[float]:
    """Half the width of each upright line's caps, which tell apart the ends of lines that lie on each other.

    Args:
        places: Where the lines stand, across. Lines less than a marker apart get caps of different widths; a line of
            its own gets none, 0.
    Example:
        >>> caps([50.0, 100.0, 100.0])
        [0.0, 3.0, 5.0]
    """
    near = [[n for n, other in enumerate(places) if abs(other - place) < SIZE] for place in places]
    return [3.0 + 2.0 * group.index(number) if len(group) > 1 else 0.0 for number, group in enumerate(near)]
