"""``docs/commands.md``: every command of ``rewardlab`` with its arguments and options, read from the typer application.

``python -m experiments.tools.commands_page > docs/commands.md``; a test says when the page is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from rewardlab.cli.main import app

INTRODUCTION = """# Commands

Made by `python -m experiments.tools.commands_page > docs/commands.md`. `rewardlab COMMAND --help` prints the same.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted. `rewardlab --debug COMMAND` shows the traceback of an error,
`rewardlab -v COMMAND` what the library logs.
"""


def commands_page() -> str:
    """The whole page, as Markdown."""
    return "\n".join([INTRODUCTION, *(section(name, command) for name, command in commands())])


def commands(group: Any = None, prefix: str = "rewardlab") -> Iterator[tuple[str, Any]]:
    """(command line, command) of everything that runs something; of ``group``, or of the whole application."""
    group = typer.main.get_command(app) if group is None else group
    for name, command in group.commands.items():
        if getattr(command, "commands", None):
            yield from commands(command, f"{prefix} {name}")
        if not getattr(command, "no_args_is_help", False):
            yield f"{prefix} {name}", command


def section(name: str, command: Any) -> str:
    """Heading, what the command does, and a table of what can be given, as ``--help`` prints it."""
    with command.make_context(name, [], resilient_parsing=True) as context:
        records = [parameter.get_help_record(context) for parameter in command.params]
    lines = [f"## {name}", "", _one_line(command.help), ""]
    given = [record for record in records if record]
    if given:
        lines += ["| given | meaning |", "|---|---|", *(_row(*record) for record in given), ""]
    return "\n".join(lines)


def _row(written: str, meaning: str) -> str:
    cells = (cell.replace("|", "\\|") for cell in (f"`{_one_line(written)}`", _one_line(meaning)))
    return f"| {' | '.join(cells)} |"


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    sys.stdout.write(commands_page())
