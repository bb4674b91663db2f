"""What produced a run: the command as it can be typed again, and the commit of the package's own checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rewardlab import provenance


def test_the_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/x/rewardlab/__main__.py", "suite", "run", "--filter", "method=label RM"])
    assert provenance.provenance()["command"] == "rewardlab suite run --filter 'method=label RM'"


def test_the_commit_is_that_of_the_checkout_the_package_lies_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    def found() -> tuple[str | None, bool]:
        stored = provenance.provenance()
        return stored["commit"], stored["dirty"]

    git("init", "--quiet")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "rewardlab" / "provenance.py"))
    assert found() == (None, False)
    git("commit", "--quiet", "--allow-empty", "--message", "first")
    assert found() == (git("rev-parse", "HEAD"), False)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "report.md").touch()  # what a suite writes beside the package changes no code
    assert found() == (git("rev-parse", "HEAD"), False)
    (tmp_path / "rewardlab").mkdir()
    (tmp_path / "rewardlab" / "new.py").touch()
    assert found() == (git("rev-parse", "HEAD"), True)
