"""What a report leaves out, named on its page: every warning that this package gives while the report is made.

Whoever reads runs for a report logs what cannot be used (damaged reward models, curves, cards, verdicts, pairs) and
goes on without it. The page is often all that reaches a reader, so the same lines stand there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rewardlab.reports.blocks import Section, Sentences, Text, Told

TITLE = "Left out"
EXPLAINED = (
    "These were found beside the runs and could not be used as they are; the tables and pictures are without them."
)


READERS = (
    "rewardlab.comparison",
    "rewardlab.judge",
    "rewardlab.reward_models",
    "rewardlab.claims",
    "rewardlab.reports",
)
"""Packages that read runs for a report."""


class _Keeper(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line not in self._lines:
            self._lines.append(line)


@contextmanager
def listening() -> Iterator[list[str]]:
    """Around the making of a report; the list holds each warning once, in order, as soon as it is given."""
    lines: list[str] = []
    keeper, loggers = _Keeper(lines), [logging.getLogger(name) for name in READERS]
    for logger in loggers:
        logger.addHandler(keeper)
    try:
        yield lines
    finally:
        for logger in loggers:
            logger.removeHandler(keeper)


def left_out_section(lines: Sequence[str], roots: Iterable[Path] = ()) -> list[Section]:
    """The section; none where nothing was left out.

    Args:
        lines: What :func:`listening` heard.
        roots: Folders of runs that the page's reader does not have; paths in them are told as seen from there.
    """
    told = [_seen_from(line, list(roots)) for line in lines]
    return [Section(TITLE, [Text(EXPLAINED), Sentences([Told(line) for line in told])])] if told else []


def _seen_from(line: str, roots: Sequence[Path]) -> str:
    for root in roots:
        line = line.replace(f"{root}/", "")
    return line
