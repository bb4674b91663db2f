"""Report cards of reward models side by side: ``report.json``, ``report.md`` and ``report.png``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.comparison.numbers import shown_value
from rewardlab.disk import write_atomic, write_json
from rewardlab.reward_models.table import TEST_SETS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Cards = Mapping[str, Mapping[str, Any]]
"""Name -> card, as ``evaluation.report_card.report_cards`` makes them."""

CORRELATIONS = {
    "score_and_words": "score with words of the response",
    "score_and_label_prior": "score with the label's share in training",
    "margin_and_word_gap": "margin with the gap in words",
}
PANEL_INCHES = (4.4, 3.2)
DPI = 120
HEADLINE = ("held_out_label", "policy_sampled", "held_out_ranked", "held_out_rationale")
"""Sets in the order in which one of them is chosen for the pictures of margins and reliability."""


def write_cards(cards: Cards, folder: Path) -> list[Path]:
    """Write the three files; returns them."""
    write_json(folder / "report.json", cards)
    write_atomic(folder / "report.md", markdown(cards))
    return [folder / "report.json", folder / "report.md", draw_cards(cards, folder / "report.png")]


def write_each(cards: Cards, folder: Path) -> list[Path]:
    """Write the files of all cards side by side, and those of each one in a folder of its name; returns them."""
    own = [(folder / name, {name: card}) for name, card in cards.items()] if len(cards) > 1 else []
    return [file for place, found in [(folder, cards), *own] for file in write_cards(found, place)]


def markdown(cards: Cards) -> str:
    """The page: accuracy, calibration, accuracy by label, scores per gold label, correlations."""
    parts = ["# Report card: " + ", ".join(f"{name} RM" for name in cards), "![Report card](report.png)"]
    for title, text, table in (
        ("Accuracy", ACCURACY, accuracy_table(cards)),
        ("Best of four", BEST, best_table(cards)),
        ("Calibration", CALIBRATION, calibration_table(cards)),
        ("Accuracy by gold label", "", _by_gold_table(cards)),
        ("Scores per gold label", SCORES, _scores_table(cards)),
        ("Correlations of the score", "Pearson / Spearman, over all responses.", _correlation_table(cards)),
    ):
        parts += [f"## {title}", *([text] if text else []), table]
    return "\n\n".join(parts) + "\n"


ACCURACY = (
    "Share of pairs ranked right, %, with its 95 % interval over prompts. *label-only* and *length-only* are scorers "
    "that see nothing but the printed answer, or the length."
)
BEST = (
    "How often a right answer scores highest among one right and three wrong answers to one prompt, %: the mean over "
    "all draws of four from the answers in all sets. Ties are shared, so chance is 25. The 95 % interval is over rows. "
    "Rows: those with three different wrong answers, of all with a right one."
)
CALIBRATION = (
    "ECE: mean distance between confidence and accuracy; over-confidence: its mean with its sign. Brier: mean squared "
    "distance of σ(margin) from 1, 0.25 is guessing. AURC: share of pairs ranked wrong among the surest ones, mean "
    "over how many these are. Left out: pairs over the token budgets, and pairs whose prompt is trained on."
)
SCORES = "Raw scores of right and of other answers: mean ± standard deviation (responses)."


def accuracy_table(cards: Cards) -> str:
    """A line a set, task and reward model."""
    titles = ("pairs", "task", "reward model", "accuracy", "label-only", "length-only", "n")
    lines = [
        [
            Cell(TEST_SETS[name]),
            Cell(task),
            Cell(f"{model} RM"),
            _interval(cell),
            *(Cell(_percent(cell[baseline])) for baseline in ("label_only", "length_only")),
            Cell(f"{cell['n']}"),
        ]
        for name, task, model, cell in _cells(cards, "tasks")
    ]
    return _table(titles, 3, lines)


def best_table(cards: Cards) -> str:
    """A line a task and reward model: best-of-4 accuracy beside chance."""
    listed = list(dict.fromkeys(task for card in cards.values() for task in card["best_of_4"]))
    lines = [
        [Cell(task), Cell(f"{model} RM"), _interval(cell), Cell("25.0"), Cell(f"{cell['n']} of {cell['of']}")]
        for task in listed
        for model, card in cards.items()
        if (cell := card["best_of_4"].get(task)) is not None
    ]
    if not lines:
        return "No row has a right and three different wrong answers."
    return _table(("task", "reward model", "best of 4", "chance", "rows"), 2, lines)


def accuracy_rows(cards: Cards) -> list[dict[str, Any]]:
    """The same as rows of plain values, shares of 1."""
    return [
        {
            "pairs": name,
            "task": task,
            "reward_model": model,
            "accuracy": cell["value"],
            "low": cell["low"],
            "high": cell["high"],
            **{key: cell[key] for key in ("label_only", "length_only", "n")},
        }
        for name, task, model, cell in _cells(cards, "tasks")
    ]


def calibration_table(cards: Cards) -> str:
    """A line a set and reward model."""
    titles = (
        "pairs",
        "reward model",
        "ECE",
        "over-confidence",
        "Brier",
        "AURC",
        "mean margin",
        "sd of margins",
        "left out",
    )
    lines = []
    for name in _sets(cards):
        for model, found in _having(cards, name):
            numbers = [found["calibration"].get(each) for each in ("ece", "overconfidence", "brier", "aurc")]
            numbers += [found["margins"][each] for each in ("mean", "sd")]
            shown = [MISSING if number is None else f"{number:.3f}" for number in numbers]
            left_out = f"{found['dropped']} + {found['trained_prompts']}"
            lines.append([Cell(text) for text in (TEST_SETS[name], f"{model} RM", *shown, left_out)])
    return _table(titles, 2, lines)


def draw_cards(cards: Cards, path: Path) -> Path:
    """Accuracy per set, margins, reliability, and each model's scores per gold label, in a panel each."""
    panels = 3 + len(cards)
    figure = _new_figure(-(-panels // 3), 3)
    axes = figure.subplots(-(-panels // 3), 3, squeeze=False).flatten()
    _draw_accuracy(axes[0], cards)
    _draw_margins(axes[1], cards)
    _draw_reliability(axes[2], cards)
    for panel, (model, card) in zip(axes[3:], cards.items(), strict=False):
        _draw_scores(panel, f"{model} RM", card["scores_by_gold"])
    for empty in axes[panels:]:
        empty.set_axis_off()
    return _save_figure(figure, path)


def _new_figure(rows: int, columns: int) -> Figure:
    """A figure for so many panels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows), dpi=DPI, layout="constrained")


def _save_figure(figure: Figure, path: Path) -> Path:
    """Write a PNG, its folder made when missing; returns ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
    return path


def _draw_accuracy(axes: Axes, cards: Cards) -> None:
    names = _sets(cards)
    for number, (model, card) in enumerate(cards.items()):
        accuracies = [(place, _pooled(card["sets"][name])) for place, name in enumerate(names) if name in card["sets"]]
        shift = 0.16 * (number - (len(cards) - 1) / 2)
        axes.plot(
            [place + shift for place, _ in accuracies], [value for _, value in accuracies], "o", label=f"{model} RM"
        )
    axes.axhline(0.5, color="gray", linewidth=0.8, linestyle=":")
    titles = [name.removeprefix("held_out_").replace("_", "\n") for name in names]
    axes.set(title="accuracy, all tasks", ylim=(0, 1), xlim=(-0.5, len(names) - 0.5))
    axes.set_xticks(range(len(names)), titles)
    axes.legend(frameon=False, fontsize=8)


def _draw_margins(axes: Axes, cards: Cards) -> None:
    name = _headline(cards)
    for number, (model, found) in enumerate(_having(cards, name)):
        counts, edges = found["margins"]["counts"], found["margins"]["edges"]
        axes.stairs(counts, edges, label=f"{model} RM", color=f"C{number}", fill=True, alpha=0.4)
    axes.axvline(0, color="gray", linewidth=0.8)
    axes.set(title=f"margins, {_title(name)}", xlabel="chosen minus rejected score")
    axes.legend(frameon=False, fontsize=8)


def _draw_reliability(axes: Axes, cards: Cards) -> None:
    name = _headline(cards)
    axes.plot([0.5, 1], [0.5, 1], color="gray", linewidth=0.8, linestyle=":")
    for model, found in _having(cards, name):
        bins = found["calibration"]["bins"]
        axes.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], "o-", label=f"{model} RM")
    axes.set(title=f"reliability, {_title(name)}", xlabel="confidence", ylabel="accuracy", xlim=(0.48, 1.02))
    axes.set(ylim=(0, 1.05))
    axes.legend(frameon=False, fontsize=8)


def _draw_scores(axes: Axes, title: str, scores: Mapping[str, Any]) -> None:
    """A box per gold label and side, from the stored quantiles."""
    boxes, colours = [], []
    for labels in scores.values():
        for label, sides in labels.items():
            for side, found in sides.items():
                boxes.append(_box(f"{label}\n{side}", found))
                colours.append("tab:green" if side == "right" else "tab:red")
    axes.set(title=f"scores per gold label, {title}", ylabel="raw score")
    if not boxes:
        return
    drawn = axes.bxp(boxes, showfliers=False, patch_artist=True)
    for patch, colour in zip(drawn["boxes"], colours, strict=True):
        patch.set(facecolor=colour, alpha=0.4)
    axes.tick_params(axis="x", labelsize=6, rotation=60)


def _box(label: str, spread: Mapping[str, float]) -> dict[str, Any]:
    names = {"whislo": "q5", "q1": "q25", "med": "q50", "q3": "q75", "whishi": "q95"}
    return {"label": label, **{name: spread[quantile] for name, quantile in names.items()}}


def _by_gold_table(cards: Cards) -> str:
    titles = ("pairs", "task", "gold label", "reward model", "accuracy", "n")
    lines = [
        [Cell(TEST_SETS[name]), Cell(task), Cell(label), Cell(f"{model} RM"), _interval(cell), Cell(f"{cell['n']}")]
        for name, task, model, labels in _cells(cards, "by_gold")
        for label, cell in labels.items()
    ]
    return _table(titles, 4, lines)


def _scores_table(cards: Cards) -> str:
    titles = ("task", "gold label", "reward model", "right answers", "other answers")
    lines = [
        [Cell(task), Cell(label), Cell(f"{model} RM"), *(_spread(sides.get(side)) for side in ("right", "wrong"))]
        for model, card in cards.items()
        for task, labels in card["scores_by_gold"].items()
        for label, sides in labels.items()
    ]
    return _table(titles, 3, lines)


def _correlation_table(cards: Cards) -> str:
    lines = [
        [Cell(title), Cell(f"{model} RM"), Cell(" / ".join(map(_number, card["correlations"][name].values())))]
        for name, title in CORRELATIONS.items()
        for model, card in cards.items()
    ]
    return _table(("correlation", "reward model", "value"), 2, lines)


def _cells(cards: Cards, part: str) -> Iterator[tuple[str, str, str, Any]]:
    """(set, task, model, entry), models of one set and task beside each other."""
    for name in _sets(cards):
        having = _having(cards, name)
        for task in dict.fromkeys(task for _, found in having for task in found[part]):
            yield from ((name, task, model, found[part][task]) for model, found in having if task in found[part])


def _sets(cards: Cards) -> list[str]:
    return [name for name in TEST_SETS if any(name in card["sets"] for card in cards.values())]


def _having(cards: Cards, name: str | None) -> list[tuple[str, Mapping[str, Any]]]:
    return [(model, card["sets"][name]) for model, card in cards.items() if name in card["sets"]]


def _headline(cards: Cards) -> str | None:
    return next((name for name in HEADLINE if name in _sets(cards)), None)


def _title(name: str | None) -> str:
    return TEST_SETS.get(name or "", "no pairs")


def _pooled(measured: Mapping[str, Any]) -> float:
    cells = measured["tasks"].values()
    return float(sum(cell["value"] * cell["n"] for cell in cells) / sum(cell["n"] for cell in cells))


def _table(titles: Sequence[str], texts: int, lines: Sequence[Sequence[Cell]]) -> str:
    headings = [Heading(title, is_number=place >= texts) for place, title in enumerate(titles)]
    return markdown_grid(Grid(headings, lines)) if lines else "No pairs."


def _interval(cell: Mapping[str, Any]) -> Cell:
    return Cell(_percent(cell["value"]), f"[{_percent(cell['low'])}, {_percent(cell['high'])}]")


def _spread(spread: Mapping[str, float] | None) -> Cell:
    return Cell(f"{spread['mean']:.2f} ± {spread['sd']:.2f} ({spread['n']})" if spread else MISSING)


def _percent(value: float | None) -> str:
    return MISSING if value is None else shown_value(value)


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"
