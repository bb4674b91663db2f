"""``rewardlab reward list | show | score | diff``: what rewards there are, and any of them on any answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardlab.cli.output import echo
from rewardlab.errors import ConfigError
from rewardlab.types import PAIR_KINDS, AnswerFormat, PairKind, Reading

app = typer.Typer(
    help="List rewards, explain one, score answers or compare two rewards, all without training.", no_args_is_help=True
)

Format = Annotated[AnswerFormat, typer.Option(help="Answer format of the responses.")]
Lambda = Annotated[str | None, typer.Option("--lambda", help="Cap of the label RM: 5, q90 or 1.5z.")]
SecondModel = Annotated[PairKind, typer.Option(help="Second reward model of `mixed`.")]
RuleReading = Annotated[Reading, typer.Option(help="How the rule reads answers.")]
Trained = Annotated[list[str] | None, typer.Option(help="Trained reward model, KIND=DIR; repeatable.")]
Data = Annotated[Path | None, typer.Option(help="Folder of task data, for rows that give an id.")]
TaskName = Annotated[str, typer.Option(help="Task of the answers: a name or a task file.")]


@app.command("list")
def list_rewards() -> None:
    """Print the rewards that expressions can name, and the language itself."""
    from rewardlab.cli.reward_text import overview

    echo(overview())


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A reward's name, a function's, or package.module:callable.")],
) -> None:
    """Explain one reward or function of the expression language."""
    from rewardlab.cli.reward_text import details

    echo(details(name))


@app.command()
def score(
    task: TaskName,
    input: Annotated[Path, typer.Option(help="JSON Lines with response and (id or label); - is standard input.")],
    reward: Annotated[str, typer.Option(help="Reward expression; see `rewardlab reward list`.")] = "rule",
    output: Annotated[Path | None, typer.Option(help="Where rows go; default: standard output.")] = None,
    format: Format = "rationale",
    lam: Lambda = None,
    r2: SecondModel = "ranked",
    reading: RuleReading = "lenient",
    rm: Trained = None,
    data: Data = None,
) -> None:
    """Score answers: one JSON line per row, and a summary on standard error."""
    from rewardlab.cli.reward_input import AnswerSource
    from rewardlab.cli.reward_score import ScoreRequest, run
    from rewardlab.config import RewardConfig

    config = RewardConfig(expression=reward, lam=lam, r2=r2, reading=reading)
    request = ScoreRequest(AnswerSource(task, input, format, data), config, output, parse_folders(rm or []))
    echo(run(request), err=True)


@app.command()
def diff(
    task: TaskName,
    a: Annotated[str, typer.Option(help="Reward expression; see `rewardlab reward list`.")],
    b: Annotated[str, typer.Option(help="The expression it is compared with.")],
    input: Annotated[Path, typer.Option(help="JSON Lines as for `reward score`; rows with one id answer one prompt.")],
    output: Annotated[Path | None, typer.Option(help="Also write all rows here, the largest gap first.")] = None,
    rows: Annotated[int, typer.Option(min=0, help="Disagreements to show.")] = 10,
    format: Format = "rationale",
    lam: Lambda = None,
    r2: SecondModel = "ranked",
    reading: RuleReading = "lenient",
    rm: Trained = None,
    data: Data = None,
) -> None:
    """Compare two rewards on the same answers: rank correlation, flipped winners, largest disagreements."""
    from rewardlab.cli.reward_diff import DiffRequest, run
    from rewardlab.cli.reward_input import AnswerSource

    source = AnswerSource(task, input, format, data)
    echo(run(DiffRequest(source, a, b, lam, r2, reading, parse_folders(rm or []), output, rows)))


def parse_folders(options: list[str]) -> dict[PairKind, Path]:
    """Read ``--rm KIND=DIR`` options.

    Raises:
        ConfigError: No ``=``, an unknown kind, or a folder that does not exist.
    """
    folders: dict[PairKind, Path] = {}
    for option in options:
        given, separator, folder = option.partition("=")
        kind = next((kind for kind in PAIR_KINDS if kind == given), None)
        if kind is None or not separator:
            raise ConfigError(f"--rm {option!r}: expected KIND=DIR with KIND one of {', '.join(PAIR_KINDS)}")
        if not Path(folder).is_dir():
            raise ConfigError(f"--rm {option!r}: no such folder; expected one made by `rewardlab rm train`")
        folders[kind] = Path(folder)
    return folders
