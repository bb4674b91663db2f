"""``Compared``: the table of methods and their differences, from run folders, as a frame, as text and as pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from rewardlab.disk import writing
from rewardlab.errors import InputError, UnknownNameError
from rewardlab.lab.finished import Run, folder_of

if TYPE_CHECKING:
    import polars

    from rewardlab.comparison.differences import Gain
    from rewardlab.comparison.evaluations import EvalRun
    from rewardlab.comparison.table import ComparisonTable

Convention = Literal["rllr", "ppo-nlu", "leaderboard"]
"""Which published rule makes a column's number."""
CONVENTIONS = get_args(Convention)
DECODINGS = ("sampled", "greedy")


@dataclass(frozen=True, slots=True)
class Compared:
    """Methods side by side: what :func:`compare` gives. A notebook shows it as its table.

    Attributes:
        table: Rows are methods, columns tasks, each value with its 95 % interval.
        gains: Paired differences of every method to those it is compared with.
        runs: The evaluations behind it.
        paths: What was named to find them.

    Example:
        >>> import tempfile, rewardlab as rl
        >>> lab = rl.Lab(tempfile.mkdtemp(), task="sandbox-topic", format="label", quiet=True)
        >>> compared = lab.compare(lab.evaluate(limit=8))
        >>> compared.frame().select("method", "decoding", "metric").rows()
        [('zero-shot', 'sampled', 'accuracy'), ('zero-shot', 'greedy', 'accuracy')]
    """

    table: ComparisonTable
    gains: Sequence[Gain]
    runs: Sequence[EvalRun]
    paths: Sequence[Path]

    def frame(self) -> polars.DataFrame:
        """One line a method, decoding, column and measured metric: what ``table.csv`` of the command line holds.

        Values are shares of 1 (not times 100): ``value`` with the interval ``low`` to ``high``, ``seeds``, the shares
        ``malformed`` and ``unfinished``, and what the method cost.
        """
        from rewardlab.comparison.frames import frame

        return frame(self.table)

    def differences(self) -> polars.DataFrame:
        """One line a comparison, with interval, tests and the sentence that says it; without columns if there is none.

        It is what ``differences.csv`` of the command line holds.
        """
        import polars

        from rewardlab.comparison.difference_text import gain_row

        return polars.DataFrame([gain_row(gain) for gain in self.gains], infer_schema_length=None)

    def markdown(self) -> str:
        """The table and its notes in GitHub's Markdown; values times 100."""
        from rewardlab.comparison.markdown import to_markdown

        return to_markdown(self.table)

    def latex(self) -> str:
        """The table in LaTeX (booktabs)."""
        from rewardlab.comparison.latex import to_latex

        return to_latex(self.table)

    def html(self, path: Path | str) -> Path:
        """Write the whole report, with the runs behind the evaluations, into one file; returns it.

        Its pictures lie beside it as PDF, in a folder called after the file.

        Raises:
            InputError: It cannot be written there.
        """
        return self.write(html=path)[0]

    def figure(self, path: Path | str) -> Path:
        """Draw the differences with their intervals (a forest plot) into a PDF, SVG or PNG file; returns it.

        Raises:
            InputError: Another ending, nothing to compare, or it cannot be written there.
        """
        return self.write(figure=path)[0]

    def write(
        self, folder: Path | str | None = None, *, html: Path | str | None = None, figure: Path | str | None = None
    ) -> list[Path]:
        """Write table (md, tex, csv), differences and pictures into a folder, the report into a file, the forest plot
        into another; returns the files.

        Raises:
            InputError: They cannot be written there.
        """
        return _write(self, *(None if each is None else Path(each) for each in (folder, html, figure)))

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return self.markdown()


def compare(
    *runs: Run | Path | str,
    against: str | Sequence[str] | None = None,
    convention: Convention = "rllr",
    decoding: str | Sequence[str] | None = None,
) -> Compared:
    """Compare what was evaluated: ``rewardlab compare`` in Python.

    Args:
        runs: Evaluations, trained runs that were evaluated, or folders of runs.
        against: Method or methods that all others are compared with, item by item; default: SFT w. rationale, or the
            first row. The first words of a name are enough where they begin one method only.
        convention: Pearson and accuracy (``rllr``); Spearman, F1 and averages without WNLI and AX (``ppo-nlu``); or
            what GLUE and SuperGLUE score (``leaderboard``).
        decoding: ``sampled`` or ``greedy``; default: both.
    Raises:
        InputError: No run is given or could be used, none is of a method in ``against``, or a name is unknown.

    Example:
        >>> import rewardlab as rl
        >>> try:
        ...     rl.compare("no-such-run")
        ... except rl.InputError as error:
        ...     print(str(error)[:28])
        no evaluation to compare, gi
    """
    if not runs:
        raise InputError("compare: no runs given; name evaluations, trained runs or a folder of runs such as runs/")
    paths = [*map(folder_of, runs)]
    rivals = [against] if isinstance(against, str) else against
    decodings = [decoding] if isinstance(decoding, str) else decoding
    for kind, named, there in (("decoding", decodings or (), DECODINGS), ("convention", (convention,), CONVENTIONS)):
        if unknown := [name for name in named if name not in there]:
            raise UnknownNameError(kind, unknown[0], there)
    return compare_runs(paths, convention=convention, decodings=decodings, against=rivals)


def compare_runs(
    paths: Sequence[Path],
    *,
    convention: str,
    decodings: Sequence[str] | None = None,
    against: Sequence[str] | None = None,
    wanted: Sequence[str] = (),
) -> Compared:
    """The table of the evaluations behind ``paths``, and the differences.

    Args:
        paths: As :func:`~rewardlab.comparison.runs.collect` takes them.
        convention: ``rllr``, ``ppo-nlu`` or ``leaderboard``.
        decodings: To show; None is both.
        against: Methods to compare all others with; None is what is ``wanted``.
        wanted: The same, as far as there are rows of them; none is the usual one.
    Raises:
        InputError: No evaluation could be used, or none is of a method in ``against``.
    """
    from rewardlab.comparison.differences import default_against, gains
    from rewardlab.comparison.runs import collect
    from rewardlab.comparison.table import build_table

    collected = collect(paths)
    table = build_table(
        collected.runs, convention=convention, decodings=decodings or DECODINGS, warnings=collected.warnings
    )
    found = gains(table, default_against(table, wanted) if against is None else against)
    return Compared(table, found, collected.runs, paths)


def _write(compared: Compared, out: Path | None, html: Path | None, figure: Path | None) -> list[Path]:
    """The table, its differences and pictures into the folder ``out``, the report into ``html``, the forest plot into
    ``figure``."""
    from rewardlab.claims.rivals import measure_gains
    from rewardlab.comparison.differences import rivals_of
    from rewardlab.comparison.runs import LeftOut, related
    from rewardlab.judge.verdicts import load_judged
    from rewardlab.reports.page import write_comparison, write_forest, write_page
    from rewardlab.reports.report import Report
    from rewardlab.reward_models.over_seeds import load_cards

    table, runs, left_out = compared.table, compared.runs, LeftOut()
    behind, judged = related(runs, compared.paths, left_out), load_judged(runs, left_out)
    cards = load_cards(behind.card, left_out)
    measures = measure_gains(table, rivals_of(compared.gains), judged, left_out)
    place = html.parent if html else Path()
    report = Report(place, table, compared.gains, behind, None, "rewardlab compare", judged=judged)
    report = replace(report, cards=cards, left_out=left_out, measures=measures)
    if html is not None:
        report = replace(report, figures=f"{html.stem}_figures")
    written = []
    if out is not None:
        with writing(out):
            written += write_comparison(report, out)
    if html is not None:
        with writing(html):
            written.append(write_page(html, report))
    if figure is not None:
        with writing(figure):
            written.append(write_forest(report, figure))
    return written
