"""Options that every stage has, declared once, and what a command makes of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from rewardlab.config import RunConfig
from rewardlab.config_loading import parse_setting
from rewardlab.disk import read_only
from rewardlab.lab.asked import OPTIONS, RUNS, Asked
from rewardlab.types import AnswerFormat


@dataclass(frozen=True, slots=True)
class Request:
    """The common options of one command line.

    Attributes:
        given: Dotted configuration key -> value; None where the option was left out.
        file: Configuration file.
        settings: ``--set`` options as typed.
        root: Where run folders live.
        out: The goal's own folder.
        is_dry: Print the plan and write nothing.
        is_fresh: Start the goal anew.
    """

    given: Mapping[str, Any]
    file: Path | None
    settings: tuple[str, ...]
    root: Path
    out: Path | None
    is_dry: bool
    is_fresh: bool

    @property
    def asked(self) -> Asked:
        """The settings, without what only the command line has; ``--set`` stands above all."""
        return Asked(self.given, self.file, self.root, dict(parse_setting(text) for text in self.settings))

    def config(self, more: Mapping[str, Any] | None = None) -> RunConfig:
        """The resolved configuration: common options, the command's own, then ``--set``."""
        return self.asked.config(more)


def common(
    task: Annotated[str | None, typer.Option(help="Task, comma-separated tasks, group, or task file.")] = None,
    format: Annotated[AnswerFormat | None, typer.Option(help="Answer format.")] = None,
    model: Annotated[str | None, typer.Option(help="Embedded name, hub id or local folder.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Dtype of the frozen trunk: auto, float32, bfloat16.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of JSON Lines per task; default $REWARDLAB_DATA.")] = None,
    source: Annotated[str | None, typer.Option(help="Where rows come from: auto, local, hub, bundled.")] = None,
    annotator: Annotated[str | None, typer.Option(help="auto, or one that `rewardlab annotators` lists.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; default: rewardlab.toml, if there is one.")] = None,
    set: Annotated[list[str] | None, typer.Option(help="Any setting, as key=value; repeatable.")] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders live.")] = RUNS,
    out: Annotated[Path | None, typer.Option(help="Folder of this run, in place of one under --runs.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, write nothing.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; the old folder is kept beside it.")] = False,
) -> Request:
    """Gather the common options."""
    options = (task, format, model, seed, device, dtype, data, source, annotator)
    given = dict(zip(OPTIONS.values(), options, strict=True))
    return Request(given, config, tuple(set or ()), runs, out, dry_run, fresh)


def stage_command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command that takes a Request first and its own options after it."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        app.command(name)(_with_common(command))
        return command

    return decorate


def stage_group(app: typer.Typer, name: str, command: Callable[..., None]) -> typer.Typer:
    """Register a command as :func:`stage_command` does that also has commands below it, such as ``annotate merge``."""
    group = typer.Typer(invoke_without_command=True)
    run = _with_common(command)

    @functools.wraps(run)
    def alone(context: typer.Context, **values: Any) -> None:
        if context.invoked_subcommand is None:
            run(**values)

    own = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = inspect.signature(run).parameters.values()
    alone.__signature__ = inspect.Signature([own, *parameters])  # type: ignore[attr-defined]  # typer reads it
    alone.__annotations__ = {"context": typer.Context, **run.__annotations__}
    group.callback()(alone)
    app.add_typer(group, name=name)
    return group


def _with_common(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer sees it: its own options, then those that all stages share."""
    own = list(inspect.signature(command).parameters.values())[1:]
    shared = list(inspect.signature(common).parameters.values())
    shared_names = {parameter.name for parameter in shared}

    @functools.wraps(command)
    def run(**values: Any) -> None:
        request = common(**{key: value for key, value in values.items() if key in shared_names})
        with read_only() if request.is_dry else nullcontext():
            command(request, **{key: value for key, value in values.items() if key not in shared_names})

    parameters = [*own, *shared]
    hints = get_type_hints(command, include_extras=True) | get_type_hints(common, include_extras=True)
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # typer reads it
        [p.replace(annotation=hints[p.name], kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    )
    run.__annotations__ = {p.name: hints[p.name] for p in parameters}
    return run
