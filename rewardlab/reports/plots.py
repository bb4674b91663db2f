"""Pictures: reward curves, the saturation of lambda, the mix of pair kinds. Drawn without a display, saved as PNG."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardlab.errors import RewardlabError
from rewardlab.reports.collect import EvalRun, same_run
from rewardlab.runs import read_json, read_jsonl

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

SCORE, PART, GOLD, KL = "reward/score", "reward/part/", "reward/gold_accuracy", "policy/kl"
SATURATION = "reward/lambda_saturation"
PAIR_KINDS = {"rationale_sensitive": "tab:blue", "label_sensitive": "tab:orange", "malformed": "tab:gray"}
"""Kind of a pair of samples, as manifests of pairs call it -> its colour."""
PANEL_INCHES = (4.4, 3.2)
DPI = 120
PANELS_PER_ROW = 3
TITLES = {
    SCORE: "trained reward, mean score",
    GOLD: "accuracy against gold (monitored, not trained on)",
    KL: "KL to the reference (nats per response)",
    SATURATION: "share of responses with r₁ at or above λ",
}


@dataclass(frozen=True, eq=False)
class CurveRun:
    """The log of one PPO run.

    Attributes:
        method: Its name in tables; runs of one method differ in seed only.
        series: Metric -> step -> value; steps without a value are absent.
    """

    path: Path
    method: str
    series: Mapping[str, Mapping[int, float]]


def load_curves(paths: Iterable[Path], evals: Sequence[EvalRun] = ()) -> list[CurveRun]:
    """Read the logs of PPO runs, named by the evaluations made of them; unreadable ones are logged and left out."""
    runs = []
    for path in paths:
        try:
            runs.append(CurveRun(path, _method(path, evals), _series(path / "metrics.jsonl")))
        except (RewardlabError, KeyError, TypeError, ValueError) as error:
            logger.warning("%s: left out of the curves (%s)", path, error)
    return runs


def draw_curves(runs: Sequence[CurveRun], path: Path) -> Path | None:
    """``reward_curves.png``: score, each part of the reward, gold accuracy and KL over steps, in a panel each.

    Returns:
        ``path``, or None when no run logged any of them.
    """
    present = {name for run in runs for name in run.series}
    parts = sorted(name for name in present if name.startswith(PART))
    return _draw([name for name in (SCORE, *parts, GOLD, KL) if name in present], runs, path)


def draw_saturation(runs: Sequence[CurveRun], path: Path) -> Path | None:
    """How often lambda binds, over steps; None when no run uses lambda."""
    using = [run for run in runs if run.series.get(SATURATION)]
    return _draw([SATURATION], using, path) if using else None


def draw_pair_kinds(distributions: Mapping[str, Mapping[str, float]], path: Path) -> Path | None:
    """Kinds of all pairs of SFT samples, a bar a task (RLLR figure 2).

    Args:
        distributions: Task -> share of each of :data:`PAIR_KINDS`.
    Returns:
        ``path``, or None without tasks.
    """
    if not distributions:
        return None
    figure = new_figure(1, max(1, len(distributions)))
    axes = figure.subplots()
    bottom = np.zeros(len(distributions))
    for kind, colour in PAIR_KINDS.items():
        shares = np.array([float(found.get(kind, 0.0)) for found in distributions.values()])
        bars = axes.bar(
            list(distributions), shares, bottom=bottom, color=colour, label=kind.replace("_", "-"), width=0.6
        )
        axes.bar_label(
            bars,
            labels=[f"{share:.0%}" if share >= 0.03 else "" for share in shares],
            label_type="center",
            color="white",
        )
        bottom += shares
    axes.set(ylim=(0, 1), ylabel="share of pairs of samples")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=3, frameon=False)
    return save_figure(figure, path)


def _draw(names: Sequence[str], runs: Sequence[CurveRun], path: Path) -> Path | None:
    if not names:
        return None
    columns = min(PANELS_PER_ROW, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(rows, columns)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, name in zip(panels, names, strict=False):
        _panel(axes, name, runs)
    for empty in panels[len(names) :]:
        empty.set_axis_off()
    handles, labels = _legend(panels)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    return save_figure(figure, path)


def _panel(axes: Axes, name: str, runs: Sequence[CurveRun]) -> None:
    """One metric: the mean over a method's runs, with a band of one standard deviation."""
    methods = list(dict.fromkeys(run.method for run in runs))
    for number, method in enumerate(methods):
        found = [run.series[name] for run in runs if run.method == method and run.series.get(name)]
        if not found:
            continue
        steps = sorted(set.intersection(*(set(series) for series in found)))
        values = np.array([[series[step] for step in steps] for series in found])
        mean, sd = values.mean(axis=0), values.std(axis=0)
        (line,) = axes.plot(steps, mean, color=f"C{number % 10}", label=method, linewidth=1.4)
        if len(found) > 1:
            axes.fill_between(steps, mean - sd, mean + sd, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(title=TITLES.get(name, f"part: {name.removeprefix(PART)}"), xlabel="PPO step")
    axes.title.set_fontsize(9)
    axes.grid(alpha=0.3)


def _legend(panels: Iterable[Axes]) -> tuple[list[Any], list[str]]:
    """Every method once, whichever panels it is drawn in."""
    entries = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    return list(entries.values()), list(entries)


def new_figure(rows: int, columns: int) -> Figure:
    """A figure for so many panels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows), dpi=DPI, layout="constrained")


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a PNG, its folder made when missing; returns ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
    return path


def _series(path: Path) -> dict[str, dict[int, float]]:
    """Metric -> step -> value; a step written twice (after a resume) counts as written last."""
    series: dict[str, dict[int, float]] = {}
    for row in read_jsonl(path):
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                series.setdefault(name, {})[int(row["step"])] = float(value)
    return series


def _method(path: Path, evals: Sequence[EvalRun]) -> str:
    """The name under which a run was evaluated, else the one it stores, else its folder's."""
    for run in evals:
        if run.model_run is not None and same_run(run.model_run, path):
            return run.key.method
    result = path / "result.json"
    return str((read_json(result) if result.exists() else {}).get("method", path.name))
