"""Files that a run's configuration names, found again from the run's folder: task files, a folder of rows, of a model.

They are written as the user wrote them, mostly relative to the folder that the command was started in. A run folder
stores beside each where it lies as seen from the run (``places`` in ``config.json``), so that a command of another
folder finds it, and so that a project can be moved with its runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rewardlab.config import PACKED_ENCODER, PACKED_MODEL, TINY_MODEL
from rewardlab.disk import read_json
from rewardlab.errors import DataError, InputError, UnknownNameError
from rewardlab.tasks import TASK_FILES, resolve_tasks, separate_tasks, tasks

TASK_KEYS = ("task", "start_task")
FOLDER_KEYS = (("data", "dir"), ("model", "name"), ("annotate", "model"))
"""Settings that may name a folder; a model may also be on the hub."""
EMBEDDED = (TINY_MODEL, PACKED_MODEL, PACKED_ENCODER)
"""Names that mean a model of ours, even where a folder is called so."""


def named_files(config: Mapping[str, Any]) -> list[str]:
    """Files and folders that a configuration names and that are there, as it names them."""
    task_files = [part for key in TASK_KEYS for part in _parts(config.get(key)) if Path(part).suffix in TASK_FILES]
    folders = [name for section, key in FOLDER_KEYS if (name := _folder(config, section, key))]
    return [text for text in dict.fromkeys([*task_files, *folders]) if Path(text).expanduser().exists()]


def located(config: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """The configuration of a run with its files named by where they lie now.

    Args:
        config: As ``config.json`` of the run has it.
        run: The run's folder.
    Raises:
        InputError: A task file is neither beside the run as it was, nor where it was named.
    """
    places = _places(run)
    found = dict(config)
    for key in TASK_KEYS:
        if config.get(key):
            found[key] = ",".join(_task(part, places, run) for part in _parts(config[key]))
    for section, key in FOLDER_KEYS:
        if name := _folder(config, section, key):
            found[section] = {**config[section], key: _found(name, places, run) or name}
    return found


def load_tasks_of(folder: Path, names: Iterable[str]) -> None:
    """Make the tasks of a folder's rows known: those of the task files that its configuration names.

    Args:
        folder: A run folder; one that no stage wrote names no file.
        names: Tasks of its rows. Where all of them are known, a task file that is gone is not missed.
    Raises:
        InputError: A task file is not to be found, or cannot be used.
    """
    config, places = _stored(folder).get("config"), _places(folder)
    parts = _parts(config.get("task")) if isinstance(config, Mapping) else []
    try:
        for part in parts:
            if Path(part).suffix in TASK_FILES:
                resolve_tasks(_task(part, places, folder))
    except InputError:
        if not all(map(is_known, names)):
            raise


def is_known(name: str) -> bool:
    """True for the name of a task that is registered, or that a package brings."""
    try:
        tasks.get(name)
    except UnknownNameError:
        return False
    return True


def spec_of(name: str) -> str:
    """How ``--task`` names a known task: by its file where a file declares it, which another command has to read."""
    from rewardlab.tasks.user import TASK_FILE

    place = tasks.place(name)
    if place is None or place.name != TASK_FILE or place.file is None:
        return name
    return _short(place.file)


def _stored(folder: Path) -> Mapping[str, Any]:
    """What ``config.json`` of a folder holds; nothing where there is none."""
    try:
        stored = read_json(folder / "config.json")
    except DataError:
        return {}
    return stored if isinstance(stored, Mapping) else {}


def _places(run: Path) -> Mapping[str, str]:
    found = _stored(run).get("places")
    return found if isinstance(found, Mapping) else {}


def _folder(config: Mapping[str, Any], section: str, key: str) -> str | None:
    """The folder, or the model on the hub, that a setting names."""
    name = (config.get(section) or {}).get(key)
    return None if not name or name in EMBEDDED else str(name)


def _parts(spec: object) -> list[str]:
    return separate_tasks(spec) if isinstance(spec, str) else []


def _task(part: str, places: Mapping[str, str], run: Path) -> str:
    """A task's name as it is, a task file by where it lies now."""
    if Path(part).suffix not in TASK_FILES:
        return part
    if found := _found(part, places, run):
        return found
    beside = (
        f" and not at {os.path.normpath(run / places[part])}, where it lay beside the run" if part in places else ""
    )
    raise InputError(
        f"{run}: its task file is not at {os.path.abspath(part)}{beside}; put it back, or move the file and the runs "
        "together"
    )


def _found(text: str, places: Mapping[str, str], run: Path) -> str | None:
    """Where a file lies now: beside the run as it was when the run was made, else as it was named.

    The first comes first: of two copies of a project, the run belongs to the file of its own copy.
    """
    if text in places and (beside := run / places[text]).exists():
        written = Path(text).expanduser()
        return text if written.exists() and written.samefile(beside) else _short(beside)
    return text if Path(text).expanduser().exists() else None


def _short(path: Path) -> str:
    """A path relative to the current folder where it lies below it, else whole."""
    whole = path.resolve()
    return str(whole.relative_to(Path.cwd())) if whole.is_relative_to(Path.cwd()) else str(whole)
