"""``docs/memory.md`` has the tables that ``rewardlab bench memory`` prints, and they say what they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.models.sizes import SHAPES
from rewardlab.training.memory import GIB, Shape, estimate
from tests.support.commands import Command

PAGE = Path(__file__).parents[3] / "docs" / "memory.md"


def rows(table: str) -> dict[str, list[str]]:
    """First cells, joined -> the other cells."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {" ".join(row[:2]): row[2:] for row in cells}


@pytest.fixture
def printed(rewardlab: Command) -> list[str]:
    return rewardlab("bench", "memory").out.rstrip("\n").split("\n\n")


def test_the_page_has_the_tables(printed: list[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(printed) == 3
    assert all(table in text for table in printed), "copy the output of `rewardlab bench memory` into docs/memory.md"


def test_a_size_fits_and_twice_the_size_does_not(printed: list[str]) -> None:
    """Llama 2 7B in bfloat16 on 40 GB, by the estimate that a dry run prints."""
    micro, batch = map(int, rows(printed[1])["llama2-7b bfloat16"][1].split(" / "))
    shape = Shape.read(SHAPES["llama2-7b"])
    assert shape is not None

    def total(micro: int) -> float:
        given = {"model.name": "made/7b", "ppo.micro_batch": micro, "eval.batch": batch}
        return estimate("ppo", shape, load_config(given, NO_FILE), "bfloat16", reward_models=2).total

    assert total(micro) <= 40 * GIB < total(2 * micro)


def test_more_memory_checkpointing_and_smaller_models_never_fit_less(printed: list[str]) -> None:
    def sizes(cell: str) -> tuple[int, ...]:
        return (0, 0) if cell == "–" else tuple(map(int, cell.split(" / ")))

    found = {name: [sizes(cell) for cell in cells] for name, cells in rows(printed[1]).items()}
    assert len(found) == 16
    for name, cells in found.items():
        assert [list(column) for column in zip(*cells, strict=True)] == [sorted(c) for c in zip(*cells, strict=True)]
        if not name.endswith("checkpointing"):
            pairs = zip(cells, found[f"{name}, checkpointing"], strict=True)
            assert all(plain[0] <= saving[0] for plain, saving in pairs)
    assert found["llama2-13b bfloat16"][0] == (0, 0), "26 GB of weights do not fit on 24 GB"
    assert found["llama2-13b nf4, checkpointing"][0] > (0, 0)
