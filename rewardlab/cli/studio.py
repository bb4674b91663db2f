"""``rewardlab studio``: look into a folder of runs in the browser, or write it as static pages."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from rewardlab.cli.output import echo
from rewardlab.errors import ConfigError, InputError
from rewardlab.lab.asked import RUNS

if TYPE_CHECKING:
    from rewardlab.studio.pages import Studio

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
"""Rows of the hub are read from the cache alone: looking at a run sends no request."""
ANY = ("0.0.0.0", "::")
"""Hosts that mean every address of this machine."""

Journal = Annotated[Path, typer.Option("--verdicts", help="Folder of the verdicts on pairs (reviews.jsonl).")]
OwnCode = Annotated[
    bool, typer.Option("--own-code", help="Read tasks from Python files that runs name; this executes them.")
]


class _ServesByDefault(TyperGroup):
    """``studio RUNS`` is ``studio serve RUNS``; a folder called like a command is given as ``./export``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    help="Look into runs in the browser: `studio [RUNS]` serves them, `studio export DIR` writes static pages.",
    cls=_ServesByDefault,
)


@app.command()
def serve(
    runs: Annotated[Path, typer.Argument(metavar="[RUNS]", help="Folder of runs.")] = RUNS,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
    host: Annotated[str, typer.Option(help="Address to answer at; others than this machine can then read it.")] = (
        "127.0.0.1"
    ),
    verdicts: Journal = Path("annotations"),
    reviewer: Annotated[str, typer.Option(help="Name that verdicts carry.")] = "",
    own_code: OwnCode = False,
) -> None:
    """Serve a folder of runs to the browser until Ctrl-C; nothing is written but verdicts on pairs."""
    studio = _studio(runs, verdicts, reviewer, own_code)
    import uvicorn

    from rewardlab.studio.app import LOOPBACK, build_app

    listening = _bound(host, port)
    address, taken = listening.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    echo(f"rewardlab studio: http://{shown}:{taken} shows {runs}; Ctrl-C ends it")
    if host in ANY:
        echo("every machine that reaches this one can read these runs and judge pairs", err=True)
    threading.Thread(target=studio.warm, name="rows", daemon=True).start()
    hosts = ["*"] if host in ANY else [*LOOPBACK, host, shown]
    config = uvicorn.Config(build_app(studio, hosts), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listening])


@app.command()
def export(
    to: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the pages.")],
    runs: Annotated[Path, typer.Option(help="Where run folders live.")] = RUNS,
    samples: Annotated[int, typer.Option(min=0, max=50, help="Samples, and pairs, of each run that get a page.")] = 50,
    verdicts: Journal = Path("annotations"),
    own_code: OwnCode = False,
) -> None:
    """Write the studio's pages as files that any browser or web server shows; open index.html."""
    studio = _studio(runs, verdicts, "", own_code)
    from rewardlab.studio.export import export as write

    count = write(studio, to, samples)
    echo(f"written: {count} pages, {to / 'index.html'}")


def _studio(runs: Path, journal: Path, reviewer: str, own_code: bool) -> Studio:
    """Raises ConfigError where the extra is not installed, InputError where there are no runs."""
    for name in OFFLINE:
        os.environ.setdefault(name, "1")
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"studio: {error.name} is missing; install it with `pip install rewardlab[studio]`"
        ) from error
    from rewardlab.studio.index import RunIndex
    from rewardlab.studio.pages import Studio

    return Studio(RunIndex(runs), journal, reviewer, own_code)


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket; raises InputError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise InputError(f"studio: cannot listen at {host} port {port} ({error}); choose another --port") from error
    return listening
