"""The SFT samples that a reward model was measured on, stored beside it: reports and lambdas need no SFT model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from rewardlab.errors import RunFolderError
from rewardlab.runs import read_jsonl, write_jsonl
from rewardlab.training.rm_evaluation import SampledAnswer
from rewardlab.types import Example

STORED_FILE = "sft_samples.jsonl"


def write_samples(folder: Path, samples: Iterable[SampledAnswer]) -> None:
    """Write one line an example: the example whole, and its sampled responses."""
    rows = ({**asdict(sample.example), "responses": list(sample.responses)} for sample in samples)
    write_jsonl(folder / STORED_FILE, rows)


def read_samples(folder: Path) -> list[SampledAnswer]:
    """The samples stored with a reward model.

    Raises:
        RunFolderError: The folder holds none.
    """
    if not (folder / STORED_FILE).is_file():
        raise RunFolderError(
            f"{folder}: no {STORED_FILE}; expected a finished reward model, made by `rewardlab rm train`"
        )
    return [_sample(row) for row in read_jsonl(folder / STORED_FILE)]


def _sample(row: dict[str, object]) -> SampledAnswer:
    responses = row.pop("responses")
    assert isinstance(responses, list)
    return SampledAnswer(Example(**row), tuple(responses))  # type: ignore[arg-type]  # as write_samples wrote it
