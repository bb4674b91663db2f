"""``report.md``: everything a comparison shows, in one Markdown page with its pictures and tables beside it.

Each section is a function from the loaded runs to lines; a section without data says so instead of vanishing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.errors import InputError, RewardlabError
from rewardlab.reports.collect import Collected, EvalRun, collect
from rewardlab.reports.differences import (
    BASELINE,
    Split,
    find_baseline,
    gains,
    p_value_note,
    points,
    points_interval,
    sentence,
    splits,
)
from rewardlab.reports.plots import PAIR_KINDS, CurveRun, draw_curves, draw_pair_kinds, draw_saturation, load_curves
from rewardlab.reports.render import MISSING, Cell, Grid, Heading, markdown_grid, to_markdown, write_tables
from rewardlab.reports.rewards import load_reward_models, reward_model_grid
from rewardlab.reports.statistics import RESAMPLES, Estimate
from rewardlab.reports.table import ComparisonTable, Row, build_table, mean_summary, shown_value
from rewardlab.runs import read_json, relative_path, write_atomic

logger = logging.getLogger(__name__)

Lines = list[str]
CURVES_FILE, SATURATION_FILE, PAIRS_FILE = "reward_curves.png", "lambda_saturation.png", "pair_kinds.png"


@dataclass(frozen=True, slots=True)
class Page:
    """What the sections draw from; ``folder`` is where the page and its assets lie."""

    folder: Path
    table: ComparisonTable
    curves: Sequence[CurveRun]


def write_report(
    path: Path,
    evals: Iterable[Path],
    ppo_runs: Sequence[Path] = (),
    rm_runs: Sequence[Path] = (),
    pair_runs: Sequence[Path] = (),
    timings: Mapping[str, float] | None = None,
    *,
    convention: str = "rllr",
    resamples: int = RESAMPLES,
    command: str = "",
) -> Path:
    """Write ``report.md`` into the folder ``path``, with table.md, table.tex, table.csv and the pictures.

    Args:
        path: Folder of the report; made when missing.
        evals: Evaluation folders, or what else :func:`~rewardlab.reports.collect.collect` takes.
        ppo_runs, rm_runs, pair_runs: Folders of those stages; unreadable ones are logged and left out.
        timings: Stage -> seconds, in the order to print them.
        convention: ``rllr`` or ``ppo-nlu``.
        resamples: Bootstrap resamples.
        command: What was typed to make the report; printed under it.
    Returns:
        The page.
    Raises:
        InputError: No evaluation could be used.
    """
    collected: Collected = collect(evals)
    table = build_table(collected.runs, convention=convention, warnings=collected.warnings, resamples=resamples)
    page = Page(path, table, load_curves(ppo_runs, collected.runs))
    write_tables(table, path)
    sections: list[tuple[str, Lines]] = [
        ("Methods compared", [to_markdown(table)]),
        (f"Differences to {BASELINE}", _differences(table)),
        ("How much of each gain is sharpening", _sharpening(table)),
        ("Answers that could not be read, and rationale quality", _quality(table)),
        ("Training curves", _curves(page)),
        ("Saturation of λ", _saturation(page)),
        ("Pairs among samples of the SFT model", _pairs(page, pair_runs)),
        ("Reward models", _reward_models(rm_runs)),
        ("Time", _timings(timings or {})),
        ("How each row was made", _origins(path, collected.runs)),
    ]
    text = "\n".join(
        ["# Which reward was better", "", *_body(sections), *([f"Made by `{command}`."] if command else [])]
    )
    write_atomic(path / "report.md", text + "\n")
    return path / "report.md"


def _body(sections: Iterable[tuple[str, Lines]]) -> Lines:
    return [line for title, lines in sections for line in (f"## {title}", "", *lines, "")]


def _differences(table: ComparisonTable) -> Lines:
    try:
        found = gains(table)
    except InputError as error:
        return [f"Not available: {error}."]
    if not found:
        return ["There is no other method to compare it with."]
    return [
        *(f"* {sentence(gain)}" for gain in found),
        "",
        f"Differences are paired by item and seed. {p_value_note(found)}",
    ]


def _sharpening(table: ComparisonTable) -> Lines:
    try:
        found = splits(table, find_baseline(table)) if set(table.decodings) == {"sampled", "greedy"} else []
    except InputError as error:
        return [f"Not available: {error}."]
    if not found:
        return ["No method with a reward was evaluated on the baseline's items under both decodings."]
    titles = ("method", "column", "gain, sampled", "of it sharpening", "of it more", "gain, greedy")
    headings = [Heading(title, is_number=place > 1) for place, title in enumerate(titles)]
    explained = (
        f"Points over {BASELINE}. Sharpening is what greedy decoding of {BASELINE} already gives over sampling from "
        "it; a gain that is sharpening only shows no gain under greedy decoding."
    )
    return [explained, "", markdown_grid(Grid(headings, [_split_cells(split) for split in found]))]


def _split_cells(split: Split) -> list[Cell]:
    numbers = (split.sampled, split.sharpening, split.rest, split.greedy)
    return [Cell(split.method), Cell(split.column), *map(_points_cell, numbers)]


def _points_cell(found: Estimate) -> Cell:
    return Cell(points(found.value), points_interval(found))


def _quality(table: ComparisonTable) -> Lines:
    names = {"malformed": "malformed", "strict_malformed": "not strict", "quality": "rationale quality"}
    headings = [Heading(title, is_number=False) for title in ("column", "method")]
    headings += [Heading(title, decoding) for decoding in table.decodings for title in names.values()]
    rows = [
        [Cell(column), Cell(row.name), *_summary_cells(row, [(column, each) for each in table.decodings], names)]
        for column in table.metrics
        for row in table.rows
    ]
    explained = "Shares of all answers, and mean rationale quality where the task knows it, times 100."
    return [explained, "", markdown_grid(Grid(headings, rows))]


def _summary_cells(row: Row, positions: Iterable[tuple[str, str]], names: Iterable[str]) -> list[Cell]:
    found = [mean_summary(row, position, name) for position in positions for name in names]
    return [Cell(MISSING if value is None else shown_value(value)) for value in found]


def _curves(page: Page) -> Lines:
    if draw_curves(page.curves, page.folder / CURVES_FILE) is None:
        return ["No PPO run was given."]
    explained = "Bands are one standard deviation over seeds. Gold accuracy is watched and never trained on."
    return [f"![Reward, its parts, gold accuracy and KL over PPO steps]({CURVES_FILE})", "", explained]


def _saturation(page: Page) -> Lines:
    if draw_saturation(page.curves, page.folder / SATURATION_FILE) is None:
        return ["No run uses λ."]
    explained = "At 100 % the label part is constant and only the second reward still pulls; at 0 % λ never binds."
    return [f"![Share of responses whose label RM score reaches λ]({SATURATION_FILE})", "", explained]


def _pairs(page: Page, pair_runs: Iterable[Path]) -> Lines:
    found = pair_distribution(pair_runs)
    if draw_pair_kinds(found, page.folder / PAIRS_FILE) is None:
        return ["No pairs were sampled from an SFT model."]
    shares = [
        f"* {task}: {shown_value(kinds['rationale_sensitive'])} % rationale-sensitive of {kinds['n']:.0f} pairs"
        for task, kinds in found.items()
    ]
    return [f"![Shares of rationale- and label-sensitive pairs]({PAIRS_FILE})", "", *shares]


def pair_distribution(pair_runs: Iterable[Path]) -> dict[str, dict[str, float]]:
    """Task -> share of each pair kind among samples, over all folders; ``n`` counts the pairs of samples."""
    parts: dict[str, list[Mapping[str, Any]]] = {}
    for path in pair_runs:
        try:
            for task, found in read_json(path / "manifest.json")["distribution"].items():
                parts.setdefault(task, []).append(found)
        except (RewardlabError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s: left out of the pair distribution (%s)", path, error)
    return {task: _pooled(shares) for task, shares in parts.items()}


def _pooled(parts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    total = sum(float(part["n"]) for part in parts)
    pooled = {kind: sum(float(part[kind]) * float(part["n"]) for part in parts) / total for kind in PAIR_KINDS}
    return {**pooled, "n": total}


def _reward_models(rm_runs: Iterable[Path]) -> Lines:
    runs = load_reward_models(rm_runs)
    if not runs:
        return ["No reward model was given."]
    explained = (
        "Share of pairs in which the better response scores higher, times 100 (ties count half). Label-only and "
        "length-only scorers are fitted on the same training pairs."
    )
    return [explained, "", markdown_grid(reward_model_grid(runs))]


def _timings(timings: Mapping[str, float]) -> Lines:
    if not timings:
        return ["Not recorded."]
    rows = [[Cell(stage), Cell(f"{seconds:.1f}")] for stage, seconds in timings.items()]
    rows.append([Cell("total"), Cell(f"{sum(timings.values()):.1f}")])
    return [markdown_grid(Grid([Heading("stage", is_number=False), Heading("seconds")], rows))]


def _origins(folder: Path, runs: Iterable[EvalRun]) -> Lines:
    titles = ("method", "seed", "evaluation", "trained run", "fingerprint", "code", "command")
    rows = [
        [
            Cell(run.key.method),
            Cell(str(run.seed)),
            Cell(_link(folder, run.path)),
            Cell(MISSING if run.model_run is None else run.model_run.name),
            Cell(f"`{run.fingerprint}`"),
            Cell(run.version),
            Cell(f"`{run.command}`" if run.command else MISSING),
        ]
        for run in runs
    ]
    return [markdown_grid(Grid([Heading(title, is_number=title == "seed") for title in titles], rows))]


def _link(folder: Path, target: Path) -> str:
    """A link that still works when the runs folder is moved as a whole."""
    return f"[{target.name}](<{relative_path(target, folder)}>)"
