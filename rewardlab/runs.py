"""The run folder: what a stage was asked, what it ran on, what it measured and what came out.

``config.json`` (stage, fingerprint, configuration, inputs) is written first and ``result.json`` last, so a folder
without a result is unfinished. Files appear whole or not at all. This module does not depend on what a stage does.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rewardlab import processes
from rewardlab.config import fingerprint
from rewardlab.disk import PART, append_json, read_json, write_json
from rewardlab.errors import DataError, RunFolderError
from rewardlab.outputs import changed_outputs, describe_output, describe_outputs
from rewardlab.provenance import provenance

CHECKPOINTS = "checkpoints"
"""Folder inside a run folder: what an interrupted stage goes on from."""
ADAPTER, BEST_ADAPTER = "adapter", "adapter-best"
"""Folders of a trained run: what the last step left, and the best policy on validation rows."""
OUTPUTS = "outputs"
"""Key of ``result.json``: the files that the stage wrote, by hash and rows."""
MARKS = frozenset({"provenance.json", "attempts.jsonl", "result.json", ".lock"})
"""Files that tell a run whose ``config.json`` is lost from a folder of somebody else's files."""
INPUTS = "inputs"
"""Key of ``config.json``: fingerprint of each run that the stage needed -> its folder, as seen from the run."""
COMMANDS = {
    "pairs": "pair-gen",
    "rm": "rm train",
    "samples": "",
    "card": "",
    "scored": "",
    "validate": "",
    "submit": "",
}
"""Stage -> the command that makes it, where that has another name; empty where it is made by what needs it."""


def stage_of(path: Path) -> str | None:
    """Stage of a run folder; None when it is none or cannot be read."""
    try:
        return str(read_json(path / "config.json")["stage"])
    except (DataError, KeyError, TypeError):
        return None


def input_folder(run: Path, mark: str) -> Path | None:
    """Where a run that another was made of lies: also outside of the folder of runs, and when both were moved together.

    Args:
        run: The other's folder.
        mark: Fingerprint of what is looked for.
    Returns:
        Its folder; None where ``run`` does not say, or something else lies there now.
    """
    try:
        place = run / read_json(run / "config.json")[INPUTS][mark]
        found = read_json(place / "config.json")["fingerprint"]
    except (DataError, LookupError, TypeError):
        return None
    return Path(os.path.normpath(place.absolute())) if found == mark else None


def relative_path(path: Path, folder: Path) -> str:
    """``path`` as seen from ``folder``, so that a folder of runs can be moved."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


class RunFolder:
    """One stage's folder. Of several processes only the main one writes to it.

    Attributes:
        path: The folder.
        stage: Name of the stage, such as ``"ppo"``.
        identity: What the stage's outcome depends on; its fingerprint names the folder's content.
        config: The whole resolved configuration, for rerunning; not part of the fingerprint.
        files: Files that the configuration names, as it names them. Where they lie is stored as seen from the folder,
            so that they are found from anywhere, and when the folder was moved together with them.
        inputs: Fingerprint of each run that the stage needs, and its folder; stored as seen from this one, too.
    """

    def __init__(
        self,
        path: Path,
        stage: str,
        identity: Mapping[str, Any],
        config: Mapping[str, Any] | None = None,
        files: Iterable[str] = (),
        inputs: Mapping[str, Path] | None = None,
    ) -> None:
        self.path = path
        self.stage = stage
        self.identity = dict(identity)
        self.config = dict(config or {})
        self.files = tuple(files)
        self.inputs = dict(inputs or {})

    @property
    def fingerprint(self) -> str:
        """Fingerprint of stage and identity."""
        return fingerprint({"stage": self.stage, **self.identity})

    @property
    def is_done(self) -> bool:
        """True when this very stage was finished here."""
        return self.result_path.exists() and self._stored_fingerprint() == self.fingerprint

    @property
    def result_path(self) -> Path:
        """The file that is written last."""
        return self.path / "result.json"

    @property
    def is_foreign(self) -> bool:
        """True when something lies here that is no run: files of others, or a file in the folder's place."""
        if self._stored() is not None or not self.path.exists():
            return False
        return not self.path.is_dir() or (any(self.path.iterdir()) and not self._is_damaged)

    @property
    def _is_damaged(self) -> bool:
        """True for a run whose ``config.json`` is lost: the fingerprint in its name, or its other files, tell it."""
        if self._stored() is not None or not self.path.is_dir():
            return False
        names = {path.name for path in self.path.iterdir()}
        is_bare = names == {"config.json"} and _is_no_object(self.path / "config.json")
        return bool(names) and (self._is_named or not names.isdisjoint(MARKS) or is_bare)

    @property
    def _is_named(self) -> bool:
        """True when the folder's name has the fingerprint of this very stage."""
        return self.path.name.endswith(f"-{self.fingerprint}")

    def check(self) -> None:
        """Raise RunFolderError when the folder holds another run, files that are no run, or a run that lost its name.

        A folder named by its fingerprint needs no ``config.json`` to be known: :meth:`open` writes it anew.
        """
        if self.is_foreign:
            raise RunFolderError(f"{self.path}: holds files that are no rewardlab run; choose an empty --out folder")
        if self._is_damaged and not self._is_named:
            raise RunFolderError(
                f"{self.path}: config.json is lost or damaged, so what was run here is not known; "
                "--fresh moves the folder aside and starts anew"
            )
        stored = self._stored_fingerprint()
        if stored not in (None, self.fingerprint):
            differing = ", ".join(self._differing_keys()) or "its stage or code version"
            raise RunFolderError(
                f"{self.path}: holds another run (differs in {differing}); choose another --out or remove it"
            )

    def open(self) -> None:
        """Claim the folder: write ``config.json`` and ``provenance.json``.

        Raises:
            RunFolderError: As :meth:`check` does, or the folder cannot be written.
        """
        if not processes.is_main():
            return
        self.check()
        self.tidy()
        stored: dict[str, Any] = {"stage": self.stage, "fingerprint": self.fingerprint, "identity": self.identity}
        places = {name: relative_path(Path(name).expanduser(), self.path) for name in self.files}
        if places:
            stored["places"] = places
        if self.inputs:
            stored[INPUTS] = {mark: relative_path(path, self.path) for mark, path in self.inputs.items()}
        try:
            write_json(self.path / "config.json", {**stored, "config": self.config})
            write_json(self.path / "provenance.json", provenance())
        except OSError as error:
            raise RunFolderError(
                f"{self.path}: cannot be written ({error.strerror}); choose another --runs or --out folder, "
                "or remove what is in the way"
            ) from error

    def finish(self, result: Mapping[str, Any]) -> None:
        """Mark the stage as done; its checkpoints are of no more use then."""
        if not processes.is_main():
            return
        write_json(self.result_path, {**result, OUTPUTS: describe_outputs(self.path)})
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a process that was killed left behind: parts of files, and checkpoints of a finished stage."""
        if not processes.is_main() or not self.path.is_dir():
            return
        for part in self.path.glob(f"*{PART}*"):
            if not _is_running(part.name.rpartition(PART)[2]):
                part.unlink(missing_ok=True)
        if self.is_done:
            shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)

    def result(self) -> dict[str, Any]:
        """What :meth:`finish` was given; raises RunFolderError when it cannot be read."""
        stored = read_result(self.path)
        stored.pop(OUTPUTS, None)
        return stored

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Add one line to a JSON Lines file of the folder, whole or not at all; raises OSError that names the file."""
        if not processes.is_main():
            return
        append_json(self.path / name, row)

    def _stored(self) -> dict[str, Any] | None:
        """What :meth:`open` stored; None when there is nothing, or a ``config.json`` of another program."""
        try:
            stored = read_json(self.path / "config.json")
        except DataError:
            return None
        return stored if isinstance(stored, dict) and "fingerprint" in stored else None

    def _stored_fingerprint(self) -> str | None:
        stored = self._stored()
        return None if stored is None else str(stored["fingerprint"])

    def _differing_keys(self) -> list[str]:
        mine = json.loads(json.dumps(self.identity, default=str))
        return sorted(differing_keys((self._stored() or {}).get("identity", {}), mine))


def read_result(path: Path) -> dict[str, Any]:
    """What a finished stage stored in ``result.json``, the list of its outputs included.

    Raises:
        RunFolderError: It is no JSON object.
    """
    try:
        stored = read_json(path / "result.json")
    except DataError as error:
        raise RunFolderError(f"{error}; {make_anew(path)}") from error
    if not isinstance(stored, dict):
        raise RunFolderError(f"{path / 'result.json'}: found {stored!r:.40}, expected an object; {make_anew(path)}")
    return stored


def check_outputs(path: Path, names: Iterable[str] | None = None) -> None:
    """Refuse a finished stage whose files are not what it wrote; one of an older version does not say what it wrote.

    Args:
        path: Its folder.
        names: The files that are going to be read; None for all.
    Raises:
        RunFolderError: The line names the files, the stage and what to do.
    """
    stored = read_result(path).get(OUTPUTS, {})
    if not isinstance(stored, dict) or not all(isinstance(each, dict) for each in stored.values()):
        raise RunFolderError(f"{path / 'result.json'}: {OUTPUTS} is no table of files; {make_anew(path)}")
    if problems := changed_outputs(path, stored, names):
        stage = stage_of(path) or "of an unknown kind"
        raise RunFolderError(
            f"{path}: changed since stage {stage} was finished: {', '.join(problems)}; "
            f"put back what it wrote, or {make_anew(path)}"
        )


def renew_output(path: Path, name: str) -> None:
    """Note that an output of a finished stage was replaced on purpose."""
    stored = read_result(path)
    if isinstance(stored.get(OUTPUTS), dict):
        write_json(path / "result.json", {**stored, OUTPUTS: {**stored[OUTPUTS], name: describe_output(path / name)}})


def make_anew(path: Path) -> str:
    """What to do about a damaged stage."""
    stage = stage_of(path) or ""
    command = COMMANDS.get(stage, stage)
    again = f"make it anew with `rewardlab {command} --fresh`" if command else "make it anew with --fresh"
    return f"{again}, or remove the folder {path}: the next command that needs it makes it"


def _is_no_object(path: Path) -> bool:
    """True for a file that is missing, cannot be read, or holds no JSON object."""
    try:
        return not isinstance(read_json(path), dict)
    except DataError:
        return True


def _is_running(process: str) -> bool:
    """Whether there is a process of that number; True for a text that is no number, which is left alone."""
    if not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def differing_keys(left: Any, right: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys whose values differ between two JSON-like trees."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in {*left, *right}:
            yield from differing_keys(left.get(key), right.get(key), f"{prefix}.{key}" if prefix else str(key))
    elif left != right:
        yield prefix
