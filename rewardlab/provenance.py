"""What produced a run folder: command, time, commit, package versions, machine."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("rewardlab", "torch", "transformers", "peft", "trl", "accelerate", "datasets", "openai", "polars")


def provenance() -> dict[str, Any]:
    """What produced a folder: command, time, commit, whether files of the package differ from it, versions, machine."""
    return {
        "command": _command(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", "rewardlab")),  # results written beside it change no code
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
