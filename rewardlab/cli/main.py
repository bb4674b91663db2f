"""``rewardlab``: parse, call, print, exit code. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted;
``reward audit``: 3 alarm.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

import typer

from rewardlab import __version__, processes
from rewardlab.cli import (
    bench,
    compare,
    config,
    doctor,
    export,
    judge,
    pairs,
    reward,
    reward_models,
    stages,
    studio,
    submit,
    suite,
    tasks,
    training,
)
from rewardlab.cli.output import echo, replace_what_cannot_be_shown
from rewardlab.disk import is_disk_full
from rewardlab.errors import InputError, RewardlabError
from rewardlab.lab.execution import quiet_libraries
from rewardlab.logs import show_log
from rewardlab.printable import printable
from rewardlab.reading import half_character

USAGE_ERROR: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
"""Base of all usage errors; typer carries its own copy of click and exports only the leaves."""
NO_ARGUMENTS = "NoArgsIsHelpError"
"""The usage error that is nothing but the help text."""
INTERRUPTED = 130

app = typer.Typer(
    help="Which reward should fine-tune a language model: rules, reward models, or a mixture?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
rm = typer.Typer(help="Reward models.", no_args_is_help=True)
app.add_typer(tasks.app, name="tasks")
stages.add_to(app, rm)
reward_models.add_to(rm)
training.add_to(app)
app.add_typer(rm, name="rm")
app.add_typer(pairs.app, name="pairs")
app.add_typer(reward.app, name="reward")
app.add_typer(suite.app, name="suite")
app.add_typer(bench.app, name="bench")
app.add_typer(config.app, name="config")
app.add_typer(studio.app, name="studio")
app.command("compare")(compare.compare)
app.command("judge")(judge.judge)
app.command("doctor")(doctor.doctor)
app.command("export")(export.export)
app.command("submit")(submit.submit)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what the library does."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks of errors."),
) -> None:
    """Set up logging and quiet the libraries underneath."""
    if version:
        echo(f"rewardlab {__version__}")
        raise typer.Exit
    show_log(verbose=verbose)
    if not verbose:
        quiet_libraries()


_UNUSABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP})
"""What is wrong with a path that somebody gave, or with its rights."""
LONGEST_PLACE = 200
"""Characters of such a path that are shown."""


def main() -> None:
    """Console script."""
    processes.wait_passively()
    replace_what_cannot_be_shown()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    code = _outcome(arguments)
    if code == INTERRUPTED:
        echo("interrupted; the same command goes on where it stopped", err=True)
    return code


def _outcome(arguments: list[str]) -> int:
    try:
        _check_text(arguments)
        outcome = app(arguments, prog_name="rewardlab", standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except RewardlabError as error:
        text = " ".join(str(error).splitlines())
        if not error.exit_code:  # nothing is wrong: it goes on another time
            echo(text)
            return 0
        if "--debug" in arguments:
            raise
        echo(f"error: {processes.label()}{text}", err=True)
        return error.exit_code
    except USAGE_ERROR as error:
        is_help = type(error).__name__ == NO_ARGUMENTS
        echo(error.format_message() if is_help else _usage_problem(error), err=True)
        return 2
    except typer.Exit as leaving:
        return leaving.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        problem = _system_problem(error)
        if problem is None or "--debug" in arguments:
            raise
        echo(f"error: {problem}", err=True)
        return InputError.exit_code


def _system_problem(error: Exception) -> str | None:
    """What the system says of a path or of the disk, whichever library passes it on; None of any other error."""
    name = getattr(error, "filename", None)
    if isinstance(error, OSError) and error.errno in _UNUSABLE:
        place = printable(str(name or "a file"))[:LONGEST_PLACE]
        return f"{place}: cannot be used ({error.strerror}); give another path, or change its rights"
    if is_disk_full(error):
        where = f"{printable(str(name))}: " if name else ""
        return f"{where}the disk is full; finished runs are whole. Make room and run the command again"
    return None


def _check_text(arguments: list[str]) -> None:
    """Refuse what no file can take: an argument that is no text in the terminal's encoding, or half of a character.

    Raises:
        InputError: With the number of the argument.
    """
    for number, argument in enumerate(arguments, 1):
        if half_character(argument):
            shown = argument.encode("utf-8", "backslashreplace").decode()
            raise InputError(
                f"argument {number}, {shown[:60]!r}, is no text in UTF-8; rename the file or type it again"
            )


def _usage_problem(error: Any) -> str:
    message = " ".join(error.format_message().replace("Value error, ", "").split())  # pydantic's, says nothing
    return f"error: {message.rstrip('.')}. See rewardlab --help."
