"""Imported preference data as a stage ``pairs``: the same folder, cache and provenance as pairs of our own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rewardlab.config import RunConfig, fingerprint
from rewardlab.errors import DataError
from rewardlab.pairs.imported import ImportRequest, import_pairs
from rewardlab.pipeline.stage import Stage


def import_stage(request: ImportRequest, config: RunConfig) -> Stage:
    """The stage that imports; the same file under the same options is the same stage.

    Raises:
        DataError: The file cannot be read.
    """
    return Stage(
        "pairs",
        f"import {request.source}",
        f"{request.source.stem}-{request.kind}",
        _settings(request),
        {},
        lambda job: import_pairs(request, job.folder.path),
        config=config.model_dump(mode="json"),
    )


def _settings(request: ImportRequest) -> dict[str, Any]:
    return {
        "imported": _sha256(request.source),
        "kind": request.kind,
        "format": request.format,
        "task": fingerprint(request.task.to_json()) if request.task else None,
        "held_out": request.held_out,
        "balance_length": request.balance_length,
        "seed": request.seed,
    }


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a file of preferences") from error
