"""Standard output and standard error: any text can be printed there, whatever the terminal can show."""

from __future__ import annotations

import os
import sys

from rewardlab.printable import printable_lines


def echo(text: str = "", *, err: bool = False) -> None:
    """Print lines that may hold names and texts of others.

    typer's own would send UTF-8 to a terminal that says that it takes ASCII.
    """
    stream = sys.stderr if err else sys.stdout
    stream.write(f"{printable_lines(text)}\n")
    stream.flush()


def replace_what_cannot_be_shown() -> None:
    """From now on a character that the encoding of a stream lacks is printed as ``?``, and nothing to a closed one."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started the command (``>&-``), as some services do
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # as long as the process lives
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
