"""``rewardlab annotate`` against a server: the key, the prices, and what a run has written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rewardlab.disk import read_jsonl

KEY = "sk-a-secret-that-must-not-leak"
REQUESTS = 48
"""Of ``--limit 12``: a right and a wrong label for 12 labelled and 12 held-out rows."""
CENT = '["m"]\nprompt = 10\nresponse = 100\nbatch = 0.5\n'
ANSWER_USD = 7 * 10e-6 + 5 * 100e-6
"""What one answer of the server costs by these prices: 7 prompt tokens and 5 response tokens."""
Typed = Callable[..., tuple[int, str, str]]


def folder() -> Path:
    """The only run folder, apart from those that ``--fresh`` moved aside."""
    (found,) = [path for path in Path("runs/annotate").iterdir() if ".before-" not in path.name]
    return found


def outcomes() -> Counter[str]:
    """Classes of the written rows."""
    return Counter(row["outcome"] for row in read_jsonl(folder() / "rationales.jsonl"))


def everything_written() -> str:
    """The text of all files below the current folder."""
    return "".join(path.read_text(encoding="utf-8") for path in Path().rglob("*") if path.is_file())
