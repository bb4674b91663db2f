"""An extension of griffe, which reads docstrings for the site: our headings and references as it knows them."""

from __future__ import annotations

import re
from typing import Any

import griffe

REFERENCE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?([^`]+)`")
"""A reference as Sphinx writes it."""
HEADING = re.compile(r"(?<!\n)\n(?=(?:Args|Attributes|Returns|Raises|Source|Example):\n)")
"""The end of the line before a section; griffe wants an empty line there."""


class Docstrings(griffe.Extension):  # type: ignore[misc]
    """``Example:`` is a section of code to try, and a reference is code."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        """Called with every module, class, function and attribute that was loaded."""
        if obj.docstring:
            text = HEADING.sub("\n\n", obj.docstring.value)
            text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
            obj.docstring.value = REFERENCE.sub(r"`\1`", text)
