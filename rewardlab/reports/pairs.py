"""Tables about preference pairs: what a folder holds, and the kinds of pairs that a model samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.comparison.numbers import shown_value


def pairs_table(summaries: Mapping[Path, Mapping[str, Any]]) -> str:
    """One line a folder and task; accuracies and lengths that leak are marked.

    Args:
        summaries: Folder -> what :func:`rewardlab.pairs.summary.summarise` found in it.
    """
    titles = ("pairs", "task", "kind", "train", "held out", "dropped", "words", "length alone", "length-only",
              "label-only")  # fmt: skip
    headings = [Heading(title, is_number=place > 2) for place, title in enumerate(titles)]
    lines = [
        _line(folder, task, summary["kind"], found)
        for folder, summary in summaries.items()
        for task, found in summary["tasks"].items()
    ]
    return markdown_grid(Grid(headings, lines))


def pairs_rows(summaries: Mapping[Path, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same as rows of plain values, shares of 1; None where nothing measures one."""
    return [
        {
            "pairs": str(folder),
            "task": task,
            "kind": summary["kind"],
            "train": found["outcomes"]["written"],
            "held_out": found["held_out_outcomes"]["written"],
            "chosen_words": found["lengths"].get("chosen_words_mean"),
            "rejected_words": found["lengths"].get("rejected_words_mean"),
            "length_alone": found["lengths"].get("length_alone"),
            "length_only": found["baselines"]["length_only"],
            "label_only": found["baselines"]["label_only"],
        }
        for folder, summary in summaries.items()
        for task, found in summary["tasks"].items()
    ]


def kinds_table(sampled: Mapping[str, Mapping[str, Any]]) -> str:
    """Kinds of all pairs of samples, a line a task (RLLR figure 2); see ``pairs.summary.sampled_kinds``."""
    titles = ("task", "rationale-sensitive", "label-sensitive", "malformed", "rationale-sensitive of the readable",
              "pairs of samples")  # fmt: skip
    headings = [Heading(title, is_number=place > 0) for place, title in enumerate(titles)]
    return markdown_grid(Grid(headings, [_kinds(task, found) for task, found in sampled.items()]))


def _line(folder: Path, task: str, kind: str, counts: Mapping[str, Any]) -> list[Cell]:
    lengths, baselines = counts["lengths"], counts["baselines"]
    texts = [folder.name, task, kind, *(str(counts[name]["written"]) for name in ("outcomes", "held_out_outcomes"))]
    words = f"{lengths['chosen_words_mean']:.1f} / {lengths['rejected_words_mean']:.1f}" if lengths else MISSING
    alone = f"{_shown(lengths.get('length_alone'))}{' leaks' if lengths.get('leaks') else ''}"
    shown = [*texts, _dropped(counts), words, alone, _shown(baselines["length_only"]), _shown(baselines["label_only"])]
    return [Cell(text) for text in shown]


def _dropped(summary: Mapping[str, Any]) -> str:
    """What the rules of today would drop."""
    counts = {
        name: summary["outcomes"].get(name, 0) + summary["held_out_outcomes"].get(name, 0)
        for name in sorted({*summary["outcomes"], *summary["held_out_outcomes"]} - {"written"})
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "0"


def _kinds(task: str, shares: Mapping[str, Any]) -> list[Cell]:
    return [
        Cell(task),
        _interval_cell(shares["interval"]),
        *(Cell(_shown(shares[kind])) for kind in ("label_sensitive", "malformed")),
        _interval_cell(shares.get("readable")),
        Cell(f"{shares['n']:.0f}"),
    ]


def _interval_cell(interval: Mapping[str, float] | None) -> Cell:
    """A share with its interval; a dash where there is none."""
    if interval is None:
        return Cell(MISSING)
    return Cell(_shown(interval["value"]), f"[{_shown(interval['low'])}, {_shown(interval['high'])}]")


def _shown(value: float | None) -> str:
    return MISSING if value is None else shown_value(value)
