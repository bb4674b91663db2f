"""What a reader must know to read a comparison: notes under the table, rows without a readable answer among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from rewardlab.comparison.evaluations import MethodKey, Position
from rewardlab.comparison.grid import OTHER_FORMAT, SIGNS, TIED, UNTESTED, is_troubled, sign_of
from rewardlab.comparison.table import AVERAGE, ComparisonTable, Row
from rewardlab.disk import read_jsonl
from rewardlab.errors import RewardlabError
from rewardlab.evaluation.answers import PREDICTIONS_FILE

FEW_SEEDS = 3
"""Up to so many seeds, the variance between them is hardly known."""


def notes(table: ComparisonTable, *, is_brief: bool = False, compares_formats: bool = False) -> list[str]:
    """What a reader must know to read the numbers, one sentence a line.

    Args:
        table: The comparison.
        is_brief: It is shown without the spread over seeds and without the accuracy at step 0.
        compares_formats: Differences stand beside the values, some of them between two answer formats.
    """
    scores = [score for row in table.rows for score in row.scores.values()]
    signs = _signs(table)
    lines = [
        *unread_lines(table),
        "Values times 100, each with its own 95 % interval. The best is bold, the second underlined (equal as printed, "
        "equal in rank; none where all are equal or the best is 0.0).",
    ]
    if TIED in signs:
        lines.append(
            f"{TIED}: {SIGNS[TIED]}, which does not mean that they are equal. Paired by item and seed, p >= 0.05 after "
            "Holm's correction over all pairs of rows in the table. The best one was picked from the table, so the "
            "correction is larger than for a rival that was named before."
        )
    if UNTESTED in signs:
        lines.append(f"{UNTESTED}: {SIGNS[UNTESTED]}; whether it is worse is not known.")
    if OTHER_FORMAT in signs or compares_formats:
        rival = ", or than the method it is compared with," if compares_formats else ","
        told = SIGNS[OTHER_FORMAT].replace(",", rival, 1)
        lines.append(f"{OTHER_FORMAT}: {told}; such a difference tests no claim.")
    if is_troubled(table):
        lines.append(
            "Malformed: share of answers that could not be read. Cut: share that ended at their token budget. "
            "Both times 100, mean over columns."
        )
    if not is_brief and any(row.start_accuracy is not None for row in table.rows):
        lines.append(
            "Accuracy at step 0: of a trained policy before its first update, in the row's own answer format, greedy "
            "on validation rows, times 100."
        )
    if any(score.basis == "seeds and items" for score in scores):
        mean = "mean over seeds" if is_brief else "mean ± standard deviation over seeds"
        lines.append(f"Two seeds or more: {mean}, interval over new seeds and new test items.")
    lines += [
        f"{few} seeds: the variance between them is hardly known, so intervals are wide and few differences can be "
        "significant. Use five seeds or more."
        for few in sorted({score.seeds for score in scores if 1 < score.seeds <= FEW_SEEDS})
    ]
    if any(score.basis == "items" for score in scores):
        lines.append("One seed: the interval covers test items only, not training seeds.")
    lines.append(
        f"Convention {table.convention}; cost per seed, gold labels as read in training and "
        "annotation, device seconds (of a CPU its processor time)."
    )
    lines += seeds_notes({row.name: {run.seed: run.data_seed for run in row.runs} for row in table.rows})
    policies = policies_line([row.key for row in table.rows], {row.key: row.name for row in table.rows})
    lines += [policies] if policies else []
    aside = [column for column in table.metrics if column not in table.averaged]
    if aside and AVERAGE in table.columns:
        lines.append(f"The average is without {', '.join(aside)}, as published.")
    if AVERAGE in table.columns:
        lines += [
            f"{' and '.join(columns)} are one task of the average." for columns in table.tasks if len(columns) > 1
        ]
    return [*lines, *(f"Note: {warning}" for warning in table.warnings)]


def _signs(table: ComparisonTable) -> set[str]:
    """The signs that some value has; the best one has none."""
    places = (place for place in table.ties | table.untested | table.other_format if table.marks.get(place) != "best")
    return {sign for place in places for sign in sign_of(table, place)}


DataSeeds = Mapping[int, int | None]
"""Seed of a run -> the seed that drew its rows; None where the run does not store it."""
Shared = Literal["none", "all", "some", "unknown"]
OWN_ROWS = (
    "Seeds differ in labelled rows, prompts, pairs and their order, in initialisation and in sampling; test and "
    "validation rows are the same for all."
)
SHARED_ROWS = (
    "Seeds share labelled rows, prompts and label pairs (data.seed is set); they differ in the order of training, in "
    "initialisation and in sampling. Intervals over seeds do not cover another draw of the rows."
)


def seeds_notes(rows: Mapping[str, DataSeeds]) -> list[str]:
    """One sentence for all rows, or one for those whose seeds draw their rows and one for those that share them.

    Args:
        rows: Name of a method -> its seeds; methods of one seed, or of unknown rows, are passed over.
    """
    kinds = {name: shared_rows(seeds) for name, seeds in rows.items()}
    groups = {kind: [name for name, each in kinds.items() if each == kind] for kind in ("none", "all", "some")}
    texts = {"none": OWN_ROWS, "all": SHARED_ROWS, "some": "Some seeds share labelled rows, prompts and label pairs."}
    told = {kind: names for kind, names in groups.items() if names}
    if len(told) < 2:
        return [texts[kind] for kind in told]
    return [f"{texts[kind]} This holds for {', '.join(names)}." for kind, names in told.items()]


def shared_rows(seeds: DataSeeds) -> Shared:
    """Whether the seeds of one method share their rows."""
    drawn = list(seeds.values())
    if len(drawn) < 2 or None in drawn:
        return "unknown"
    different = len(set(drawn))
    return "all" if different == 1 else "none" if different == len(drawn) else "some"


NEARLY_ALL = 0.95
"""Share of malformed answers from which a row is named."""
SHOWN = 2
LONGEST = 80
"""Characters of an answer that are shown."""


def unread_lines(table: ComparisonTable) -> list[str]:
    """One line for each row that has nearly nothing but malformed answers in some column under some decoding."""
    places = [(column, decoding) for column in table.metrics for decoding in table.decodings]
    unread_places = ((row, [place for place in places if _share(row, place) >= NEARLY_ALL]) for row in table.rows)
    return [_line(row, unread) for row, unread in unread_places if unread]


def _line(row: Row, places: Sequence[Position]) -> str:
    counts = [_count(row, place) for place in places]
    malformed, total = (sum(count[number] for count in counts) for number in (0, 1))
    how_many = f"all {total}" if malformed == total else f"{malformed} of {total}"
    where = ", ".join(f"{column} {decoding}" for column, decoding in places)
    shown = list(_examples(row, places))
    such = f"; such as {' and '.join(shown)}" if shown else ""
    return f"{row.name}: {how_many} answers malformed in {where}, nothing could be read in them{such}."


def _share(row: Row, place: Position) -> float:
    malformed, total = _count(row, place)
    return malformed / total if total else 0.0


def _count(row: Row, place: Position) -> tuple[int, int]:
    """Malformed answers and all answers of a row at one position, over its seeds."""
    cells = row.cells.get(place, {}).values()
    return sum(round(cell.summary["malformed"] * len(cell.ids)) for cell in cells), sum(len(c.ids) for c in cells)


def _examples(row: Row, places: Sequence[Position]) -> Iterator[str]:
    """The first different answers that could not be read; none where the texts were not brought along."""
    seen: set[str] = set()
    for run in row.runs:
        for text in _unread(run.path / PREDICTIONS_FILE, places):
            if text not in seen:
                seen.add(text)
                yield text
            if len(seen) == SHOWN:
                return


def _unread(file: Path, places: Sequence[Position]) -> Iterator[str]:
    try:
        for prediction in read_jsonl(file) if file.exists() else ():
            if prediction["is_malformed"] and (prediction["column"], prediction["decoding"]) in places:
                yield one_line(prediction["response"])
    except (RewardlabError, LookupError, AttributeError):
        return  # the table is made from other files; a damaged record of texts does not stop it


def one_line(text: str) -> str:
    """A text as Markdown code on one line, cut; what a terminal or Markdown would act on is replaced.

    >>> one_line("**no**\\x1b[2J\\n`maybe`")
    "`**no**�[2J 'maybe'`"
    """
    words = " ".join(text.split()).replace("`", "'")
    printable = "".join(char if char.isprintable() else "�" for char in words)
    cut = printable if len(printable) <= LONGEST else f"{printable[: LONGEST - 1]}…"
    return f"`{cut}`" if cut else "an empty answer"


BEST_RULE = (
    "the policies with the best greedy accuracy on validation rows, of equals the earliest; "
    "SFT of one epoch has only one"
)


def policies_line(keys: Sequence[MethodKey], names: Mapping[MethodKey, str]) -> str | None:
    """Which policies of trained runs a table shows; None where no row says so.

    Args:
        keys: Its rows.
        names: What it calls them.
    """
    rows = {each: [names[key] for key in keys if key.checkpoint == each] for each in ("best", "last")}
    if not rows["last"]:
        return f"Trained rows are {BEST_RULE}." if rows["best"] else None
    if not rows["best"]:
        return "Trained rows are the policies after their last step."
    return f"After their last step: {', '.join(rows['last'])}. The other trained rows are {BEST_RULE}."
