"""Plain technical English: phrases of a dialect of our own, and software that is spoken of as a person, do not return.

The log of experiments is left as it was written, and so are stored results.
"""

from __future__ import annotations

import re

import pytest

from tests.support.pages import PAGES, ROOT

AVOIDED = re.compile(
    r"\b(?:beyond noise|hears?|pays? with|without a word|is level with|are level with"
    r"|(?:trainer|program|parser|loader|suite|stage|run|command|table|page|pipeline|judge|oracle|registry|checkpoint)"
    r" (?:knows|thinks|believes|wants|hires|tells|hopes|dares))\b",
    re.IGNORECASE,
)
INSTEAD = "say 'significant', 'not significant', 'is not known', or what the user sees"
TEXTS = [
    *PAGES,
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "experiments").glob("*.toml")),
    *sorted((ROOT / "examples").glob("*.py")),
    *(path for path in sorted((ROOT / "rewardlab").rglob("*.py")) if "reports" not in path.parts),
]


def avoided(text: str) -> list[str]:
    """Phrases found, whatever lines they are broken over."""
    return [match[0] for match in AVOIDED.finditer(" ".join(text.split()))]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the alarm hears a fall", ["hears"]),
        ("differs beyond\nnoise", ["beyond noise"]),
        ("the trainer knows", ["trainer knows"]),
        ("the difference is significant at level 0.05", []),
        ("a model that thinks", []),
    ],
)
def test_the_check_finds_them(text: str, found: list[str]) -> None:
    assert avoided(text) == found


def test_no_text_has_them() -> None:
    found = {str(path.relative_to(ROOT)): avoided(path.read_text(encoding="utf-8")) for path in TEXTS}
    assert {path: phrases for path, phrases in found.items() if phrases} == {}, INSTEAD
