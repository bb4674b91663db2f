"""The SFT samples that a reward model was measured on, stored beside it: reports and lambdas need no SFT model.

Importing this imports no torch, so that a command can check its input at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.disk import read_jsonl, write_jsonl
from rewardlab.errors import DataError, RunFolderError
from rewardlab.tasks.places import load_tasks_of
from rewardlab.types import Example

if TYPE_CHECKING:
    from rewardlab.training.rm_evaluation import SampledAnswer

STORED_FILE = "sft_samples.jsonl"


def write_samples(folder: Path, samples: Iterable[SampledAnswer]) -> None:
    """Write one line an example: the example whole, and its sampled responses."""
    rows = ({**asdict(sample.example), "responses": list(sample.responses)} for sample in samples)
    write_jsonl(folder / STORED_FILE, rows)


def check_samples(folder: Path) -> None:
    """Raise RunFolderError when no samples are stored in a folder."""
    if not (folder / STORED_FILE).is_file():
        raise RunFolderError(
            f"{folder}: no {STORED_FILE}; expected a finished reward model, made by `rewardlab rm train`"
        )


def read_samples(folder: Path) -> list[SampledAnswer]:
    """The samples stored with a reward model, and their tasks made known.

    Raises:
        RunFolderError: There are none.
        DataError: A line is no sample.
    """
    check_samples(folder)
    path = folder / STORED_FILE
    found = [_sample(row, f"{path} row {number}") for number, row in enumerate(read_jsonl(path), 1)]
    load_tasks_of(folder, {sample.example.task for sample in found})
    return found


def _sample(row: dict[str, Any], place: str) -> SampledAnswer:
    from rewardlab.training.rm_evaluation import SampledAnswer

    responses = row.pop("responses", None)
    try:
        if not isinstance(responses, list) or not all(isinstance(response, str) for response in responses):
            raise TypeError("no list of responses")
        return SampledAnswer(Example(**row), tuple(responses))
    except TypeError as error:
        raise DataError(
            f"{place}: no sample of `rewardlab rm train` ({error}); train the reward model again"
        ) from error
