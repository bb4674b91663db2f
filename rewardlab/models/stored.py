"""What the folder of a finished reward model says of it. No torch here: a folder is looked at before anything loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from rewardlab.config import ModelConfig
from rewardlab.disk import read_json
from rewardlab.errors import DataError, ModelError, RunFolderError
from rewardlab.tasks.places import located
from rewardlab.types import PairKind

SFT_SCORES_FILE = "sft_scores.json"


class StoredModel(BaseModel):
    """What ``result.json`` of a reward model must hold; it holds its measurements too.

    Attributes:
        kind: Pairs that it was trained on.
        model: Its base model and budgets.
        sft_adapter: The SFT adapter below it, relative to its folder; None without one.
        trunk: Hash of the trunk's weights.
        trunk_files: Hashes of the files that the trunk was made of.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: PairKind
    model: ModelConfig
    sft_adapter: str | None
    trunk: str
    trunk_files: dict[str, Any] | None = None


def stored_model(folder: Path) -> StoredModel:
    """Read what a reward model's folder says of it.

    Raises:
        ModelError: The folder is no finished reward model, or one of another version.
        DataError: Its file is not JSON.
    """
    result = folder / "result.json"
    if not result.exists():
        raise ModelError(f"{folder}: no finished reward model; expected a folder made by `rewardlab rm train`")
    try:
        stored = read_json(result)
        if isinstance(stored, dict) and isinstance(stored.get("model"), dict):
            stored["model"] = located({"model": stored["model"]}, folder)["model"]
        return StoredModel.model_validate(stored)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg'].lower()}" for each in error.errors())
        raise ModelError(
            f"{folder}: result.json is of another version or program ({found.removeprefix(': ')}); "
            "expected that of `rewardlab rm train`"
        ) from error


def stored_inputs(folder: Path) -> Mapping[str, str]:
    """Name of each input of a run, such as ``pairs``, and its fingerprint.

    Raises:
        RunFolderError: The folder does not say.
    """
    try:
        inputs = read_json(folder / "config.json")["identity"]["inputs"]
        return {str(name): str(mark) for name, mark in inputs.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"{folder}: config.json does not say what it was made of; expected a run folder that rewardlab made"
        ) from error


def read_sft_scores(folder: Path) -> list[float]:
    """Raw scores on SFT samples that were stored with a reward model, none where the file is missing.

    Raises:
        DataError: The file is damaged.
    """
    path = folder / SFT_SCORES_FILE
    if not path.exists():
        return []
    try:
        return [float(score) for score in read_json(path)["scores"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: holds no scores; remove it and run `rewardlab rm calibrate {folder}`") from error
