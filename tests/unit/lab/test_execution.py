"""What is shown on the way: a bar on a terminal, a line drawn anew in a notebook, lines elsewhere."""

from __future__ import annotations

import io

import pytest

from rewardlab.lab import execution
from rewardlab.training.progress import BarRecorder, recording
from rewardlab.training.progress_lines import InPlaceRecorder, LineRecorder


class Terminal(io.StringIO):
    """Standard error of a terminal."""

    def isatty(self) -> bool:
        return True


class Cell(io.StringIO):
    """Standard error of a notebook's cell."""


Cell.__module__ = "ipykernel.iostream"


@pytest.mark.parametrize(
    ("stream", "kind"), [(Terminal, BarRecorder), (Cell, InPlaceRecorder), (io.StringIO, LineRecorder)]
)
def test_the_recorder_fits_who_watches(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], kind: type[object]
) -> None:
    monkeypatch.setattr("sys.stderr", stream())
    assert type(execution.recorder("[1/1] PPO")) is kind
    assert (execution.counter("[1/1] pairs") is execution.count_up) == (stream is not io.StringIO)


def test_a_notebook_sees_one_line_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell()
    monkeypatch.setattr("sys.stderr", cell)
    with recording(execution.recorder("[1/1] PPO"), "ppo", 3) as shown:
        shown.emit(1, {"reward/score": 0.51234, "other": 3.0})
        shown.emit(2, {})
    lines = cell.getvalue().split("\r")
    assert lines[0] == "[1/1] PPO: step 1 of 3, reward 0.512"
    assert lines[1] == "[1/1] PPO: step 2 of 3".ljust(len(lines[0]))  # blanks cover the longer line before
    assert lines[2] == "[1/1] PPO: step 2 of 3\n"
    assert len(lines) == 3


def test_a_count_ends_its_line_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell()
    monkeypatch.setattr("sys.stderr", cell)
    execution.count_up("rows", 1, 2)
    execution.count_up("rows", 2, 2)
    assert cell.getvalue() == f"  {'━' * 12}{'─' * 12} 1/2 rows  \r  {'━' * 24} 2/2 rows  \n"
