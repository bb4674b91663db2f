"""The run folder: what a stage was asked, what it ran on, what it measured and what came out.

``config.json`` (stage, fingerprint, configuration, inputs) is written first and ``result.json`` last, so a folder
without a result is unfinished. Files appear whole or not at all. Nothing here knows what a stage does.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TextIO

from rewardlab import processes
from rewardlab.config import fingerprint
from rewardlab.errors import DataError, InputError, RunFolderError

CHECKPOINTS = "checkpoints"
"""Folder inside a run folder: what an interrupted stage goes on from."""
PACKAGES = ("rewardlab", "torch", "transformers", "peft", "trl", "accelerate", "datasets", "openai", "polars")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around writing a file that the user named: raises InputError that names it when that cannot be done."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def make_folder(path: Path) -> None:
    """Make the folder that a long command will write to at its end; raises InputError when no file can be put there."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path).close()


@contextmanager
def atomic_file(path: Path) -> Iterator[TextIO]:
    """A file to write text to; it appears under its name when the block ends well, or not at all.

    Raises:
        OSError: It cannot be written; a folder in its place is found at once, not after the work of the block.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_atomic(path: Path, text: str) -> None:
    """Write ``text`` so that readers see the old file or the new one, never a part."""
    with atomic_file(path) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    with atomic_file(path) as file:
        file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)


def read_json(path: Path) -> Any:
    """Read a JSON file; raises DataError that names it."""
    try:
        return _parsed(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a JSON file: {error}") from error


def read_jsonl(path: Path, *, may_be_cut: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file as it is read; raises DataError that names file and line.

    Args:
        path: The file.
        may_be_cut: Leave out a last line without a line break, which a killed process had begun to write.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and (line.endswith(b"\n") or not may_be_cut):
                    yield parse_object(line.decode("utf-8-sig" if number == 1 else "utf-8"), f"{path} line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a readable JSON Lines file in UTF-8: {error}") from error


def parse_object(line: str, place: str) -> dict[str, Any]:
    """The object that a line of JSON Lines holds; raises DataError that begins with ``place``."""
    try:
        row = _parsed(line)
    except ValueError as error:
        raise DataError(f"{place}: not JSON: {error}; expected one object a line") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: found {row!r:.40}, expected one JSON object a line")
    return row


def _parsed(text: str) -> Any:
    """What JSON text says; raises ValueError also where Python cannot nest so deeply, or could not write it again."""
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"{error.object[error.start]!r} is half of a character, as a cut text ends in") from error
    return value


def stage_of(path: Path) -> str | None:
    """Stage of a run folder; None when it is none or cannot be read."""
    try:
        return str(read_json(path / "config.json")["stage"])
    except (DataError, KeyError, TypeError):
        return None


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
    """

    def __init__(
        self, path: Path, stage: str, identity: Mapping[str, Any], config: Mapping[str, Any] | None = None
    ) -> None:
        self.path = path
        self.stage = stage
        self.identity = dict(identity)
        self.config = dict(config or {})

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
        return not self.path.is_dir() or any(self.path.iterdir())

    def check(self) -> None:
        """Raise RunFolderError when the folder holds another run, or files that are no run."""
        if self.is_foreign:
            raise RunFolderError(f"{self.path}: holds files that are no rewardlab run; choose an empty --out folder")
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
        stored = {"stage": self.stage, "fingerprint": self.fingerprint, "identity": self.identity}
        try:
            write_json(self.path / "config.json", {**stored, "config": self.config})
            write_json(self.path / "provenance.json", provenance())
        except OSError as error:
            raise RunFolderError(
                f"{self.path}: cannot be written ({error.strerror}); choose another --runs or --out folder"
            ) from error

    def finish(self, result: Mapping[str, Any]) -> None:
        """Mark the stage as done; its checkpoints are of no more use then."""
        if not processes.is_main():
            return
        write_json(self.result_path, result)
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)

    def result(self) -> dict[str, Any]:
        """What :meth:`finish` stored."""
        stored: dict[str, Any] = read_json(self.result_path)
        return stored

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Add one line to a JSON Lines file of the folder."""
        if not processes.is_main():
            return
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")

    def _stored(self) -> dict[str, Any] | None:
        """What :meth:`open` stored; None when there is nothing, or a ``config.json`` of another program."""
        config = self.path / "config.json"
        stored = read_json(config) if config.exists() else None
        return stored if isinstance(stored, dict) and "fingerprint" in stored else None

    def _stored_fingerprint(self) -> str | None:
        stored = self._stored()
        return None if stored is None else str(stored["fingerprint"])

    def _differing_keys(self) -> list[str]:
        mine = json.loads(json.dumps(self.identity, default=str))
        return sorted(differing_keys((self._stored() or {}).get("identity", {}), mine))


def differing_keys(left: Any, right: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys whose values differ between two JSON-like trees."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in {*left, *right}:
            yield from differing_keys(left.get(key), right.get(key), f"{prefix}.{key}" if prefix else str(key))
    elif left != right:
        yield prefix


def provenance() -> dict[str, Any]:
    """What produced a folder: command, time, commit, package versions, machine."""
    return {
        "command": _command(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _command() -> str:
    """The command line as it can be typed again, whether the console script ran or ``python -m rewardlab``."""
    program = Path(sys.argv[0]).name
    return shlex.join(["rewardlab" if program == "__main__.py" else program, *sys.argv[1:]])


def _git(*arguments: str) -> str | None:
    """Output of git in rewardlab's own checkout; None when it is an installed package."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
