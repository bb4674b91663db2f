"""``rewardlab reward list | show | score | diff | rescore | audit``: what rewards there are, and any on any answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardlab.cli.output import echo
from rewardlab.config import RunConfig
from rewardlab.errors import ConfigError
from rewardlab.lab.asked import RUNS
from rewardlab.types import PAIR_KINDS, AnswerFormat, PairKind, Reading

app = typer.Typer(
    help="List rewards, explain one, score answers, compare two rewards, or try one on a run's log, without training.",
    no_args_is_help=True,
)

Format = Annotated[AnswerFormat, typer.Option(help="Answer format of the responses.")]
Lambda = Annotated[str | None, typer.Option("--lambda", help="Cap of the label RM: 5, q90 or 1.5z.")]
SecondModel = Annotated[PairKind, typer.Option(help="Second reward model of `mixed`.")]
RuleReading = Annotated[Reading, typer.Option(help="How the rule reads answers.")]
Trained = Annotated[list[str] | None, typer.Option(help="Trained reward model, KIND=DIR; repeatable.")]
Data = Annotated[Path | None, typer.Option(help="Folder of task data, for rows that give an id.")]
Runs = Annotated[Path, typer.Option(help="Where run folders live, and the journals of grades by a rubric.")]
Config = Annotated[Path | None, typer.Option(help="TOML file with [rubric]; default: rewardlab.toml, if there is one.")]
Setting = Annotated[
    list[str] | None, typer.Option("--set", help="Any setting of [rubric] or [annotate], as key=value; repeatable.")
]
LogPath = Annotated[
    Path, typer.Argument(metavar="RUN|FILE", help="A trained run, or a log: .jsonl, .json, .parquet, .csv, a folder.")
]
LogTask = Annotated[str | None, typer.Option(help="Task of a log that does not say it, to read gold labels.")]
LogFormat = Annotated[AnswerFormat | None, typer.Option(help="Answer format of a log; default: the run's, rationale.")]
StepColumn = Annotated[str | None, typer.Option(help="Column of the training step.")]
PromptColumn = Annotated[str | None, typer.Option(help="Column of the prompt.")]
ResponseColumn = Annotated[str | None, typer.Option(help="Column of the response.")]
RewardColumn = Annotated[str | None, typer.Option(help="Column of the reward that was trained on.")]
GoldColumn = Annotated[str | None, typer.Option(help="Column of the gold label.")]
CorrectColumn = Annotated[str | None, typer.Option(help="Column that says whether a response is right, 0 to 1.")]
IdColumn = Annotated[str | None, typer.Option(help="Column that names the prompt.")]
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
    task: Annotated[str | None, typer.Option(help="Task of the answers: a name or a task file.")] = None,
    input: Annotated[
        Path | None, typer.Option(help="JSON Lines with response and (id or label); - is standard input.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="A trained run, whose responses are scored instead.")] = None,
    reward: Annotated[str, typer.Option(help="Reward expression; see `rewardlab reward list`.")] = "rule",
    output: Annotated[Path | None, typer.Option(help="Where rows go; default: standard output.")] = None,
    format: Format = "rationale",
    lam: Lambda = None,
    r2: SecondModel = "ranked",
    reading: RuleReading = "lenient",
    rm: Trained = None,
    data: Data = None,
    config: Config = None,
    set: Setting = None,
    runs: Runs = RUNS,
) -> None:
    """Score answers: one JSON line per row, and a summary on standard error."""
    from rewardlab.cli.reward_score import ScoreRequest, score_file
    from rewardlab.config import RewardConfig
    from rewardlab.lab.answer_rows import AnswerSource

    if run is not None and (task, input, data) == (None, None, None):
        source = AnswerSource.ledger(run)
    elif run is None and task is not None and input is not None:
        source = AnswerSource(task, input, format, data)
    else:
        raise ConfigError("expected --task TASK and --input FILE, or --run RUN, which says its task and data itself")
    own = RewardConfig(expression=reward, lam=lam, r2=r2, reading=reading)
    settings = _settings(set or [], config, run)
    echo(score_file(ScoreRequest(source, own, output, parse_folders(rm or []), settings, runs)), err=True)


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
    config: Config = None,
    set: Setting = None,
    runs: Runs = RUNS,
) -> None:
    """Compare two rewards on the same answers: rank correlation, flipped winners, largest disagreements."""
    from rewardlab.cli.reward_diff import DiffRequest, run
    from rewardlab.config import RewardConfig
    from rewardlab.lab.answer_rows import AnswerSource

    shared = RewardConfig(lam=lam, r2=r2, reading=reading)
    source = AnswerSource(task, input, format, data)
    settings = _settings(set or [], config)
    echo(run(DiffRequest(source, a, b, shared, parse_folders(rm or []), output, rows, settings, runs)))


@app.command()
def rescore(
    path: LogPath,
    reward: Annotated[str | None, typer.Option(help="Expression to try; default: the run's own.")] = None,
    lam: Annotated[
        str | None, typer.Option("--lambda", help="Cap of the label RM: 5, q90 or 1.5z; default: the run's own.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Expression to compare with; default: the scores that were trained on.")
    ] = None,
    r2: Annotated[PairKind | None, typer.Option(help="Second reward model of `mixed`; default: the run's own.")] = None,
    reading: Annotated[Reading | None, typer.Option(help="How the rule reads answers; default: the run's own.")] = None,
    rm: Annotated[
        list[str] | None,
        typer.Option(help="Reward model, KIND=DIR, whose stored scores q90 and 1.5z read; default: the run's own."),
    ] = None,
    parts: Annotated[
        list[Path] | None,
        typer.Option(help="Raw scores that the log lacks, as `reward score` wrote them of it; repeatable."),
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="Responses that change places to show.")] = 10,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Also write every response with both scores here.")] = None,
    task: LogTask = None,
    format: LogFormat = None,
    part: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN", help="Column with the raw score of a reward; repeatable."),
    ] = None,
    step_column: StepColumn = None,
    prompt_column: PromptColumn = None,
    response_column: ResponseColumn = None,
    reward_column: RewardColumn = None,
    gold_column: GoldColumn = None,
    correct_column: CorrectColumn = None,
    id_column: IdColumn = None,
) -> None:
    """Try another expression or lambda on the stored responses of a run, exactly and without a model."""
    from rewardlab.evaluation.rollout_files import Columns, parse_parts
    from rewardlab.lab.rescored_log import RescoreRequest, run, to_json_text, write_csv
    from rewardlab.lab.response_logs import Log

    named = parse_parts(part or [])
    columns = Columns(
        step_column, prompt_column, response_column, reward_column, gold_column, correct_column, id_column, named
    )
    log = Log(path, columns, task, format)
    found = run(RescoreRequest(log, reward, lam, r2, reading, against, parse_folders(rm or []), parts or []))
    if csv is not None:
        write_csv(csv, found)
    echo(to_json_text(found, rows) if json else found.text(rows))


@app.command()
def audit(
    path: LogPath,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    task: LogTask = None,
    format: LogFormat = None,
    step_column: StepColumn = None,
    response_column: ResponseColumn = None,
    reward_column: RewardColumn = None,
    gold_column: GoldColumn = None,
    correct_column: CorrectColumn = None,
) -> None:
    """Look for reward hacking in a log: exit code 0 silent, 3 alarm, 2 when the log cannot be judged."""
    from rewardlab.evaluation.rollout_files import Columns
    from rewardlab.lab.audited_log import ALARM, audited
    from rewardlab.lab.response_logs import Log

    columns = Columns(
        step=step_column, response=response_column, reward=reward_column, gold=gold_column, correct=correct_column
    )
    found = audited(Log(path, columns, task, format))
    echo(found.to_json_text() if json else found.text)
    if found.alarm is not None:
        raise typer.Exit(ALARM)


def _settings(given: list[str], file: Path | None, run: Path | None = None) -> RunConfig:
    """The settings of who grades: what is given, over the file, over those of a run."""
    from rewardlab.config_loading import load_config, parse_setting
    from rewardlab.lab.stored import stored_config

    stored = None if run is None else stored_config(run, finished=False)
    return load_config(dict(map(parse_setting, given)), file, stored)


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
