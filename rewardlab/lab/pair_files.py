"""Folders of preference pairs: what they are made of, and their pairs in the form that other libraries read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rewardlab.errors import InputError
from rewardlab.lab.finished import Run, folder_of

if TYPE_CHECKING:
    import polars

Part = Literal["train", "held-out", "all"]
"""Which pairs of a folder."""


@dataclass(frozen=True, slots=True)
class PairSummary:
    """What folders of pairs hold: what :func:`pair_summary` gives. ``print`` shows the table.

    Attributes:
        folders: Folder -> its kind, counts, lengths and baselines by task, and the kinds of pairs among the samples
            behind it.
    """

    folders: Mapping[Path, Mapping[str, Any]]

    @property
    def sampled(self) -> dict[str, Mapping[str, Any]]:
        """Task -> shares of the kinds of all pairs of samples (RLLR figure 2); empty where no samples are stored."""
        return {task: found for each in self.folders.values() for task, found in each["sampled"].items()}

    def frame(self) -> polars.DataFrame:
        """One row a folder and task: kind, train and held_out pairs, mean words, what length or label alone tell."""
        import polars

        from rewardlab.reports.pairs import pairs_rows

        return polars.DataFrame(pairs_rows(self.folders), infer_schema_length=None)

    def __str__(self) -> str:
        from rewardlab.reports.pairs import pairs_table

        return pairs_table(self.folders)


def pair_summary(*pairs: Run | Path | str, task: str | Path | None = None) -> PairSummary:
    """Look at folders of pairs: ``rewardlab pairs stats DIR`` in Python. ``Lab.samples`` draws a model's own.

    Args:
        pairs: Runs of ``Lab.pairs`` or ``Lab.import_pairs``, or their folders.
        task: File of their task, for pairs that lie apart from any run.
    Raises:
        InputError: A folder holds no pairs, or labels of a task that is not known.

    Example:
        >>> import tempfile, rewardlab as rl
        >>> lab = rl.Lab(tempfile.mkdtemp(), task="sandbox-topic", quiet=True)
        >>> summary = rl.pair_summary(lab.pairs(limit=40))
        >>> summary.frame().select("task", "kind").rows()
        [('sandbox-topic', 'label')]
    """
    from rewardlab.pairs.summary import summarise
    from rewardlab.tasks import resolve_tasks

    if not pairs:
        raise InputError("pairs stats: no folder of pairs given")
    if task is not None:
        resolve_tasks(str(task))
    return PairSummary({folder: summarise(folder) for folder in map(folder_of, pairs)})


def export_pairs(
    pairs: Run | Path | str, file: Path | str, *, part: Part = "train", conversational: bool = False
) -> int:
    """Write pairs as TRL's trainers and the hub read them: ``rewardlab pairs export`` in Python.

    Args:
        pairs: A run of ``Lab.pairs`` or ``Lab.import_pairs``, or its folder.
        file: Where to: .jsonl, .json or .parquet, with the columns prompt, chosen, rejected.
        part: Training pairs, held-out ones, or all.
        conversational: Messages in place of texts, for chat templates.
    Returns:
        How many pairs were written.
    Raises:
        InputError: The folder holds no pairs, there is no such part, or the file cannot be written.

    Example:
        >>> import pathlib, tempfile, rewardlab as rl
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> pairs = rl.Lab(folder / "runs", task="sandbox-topic", quiet=True).pairs(limit=40)
        >>> rl.export_pairs(pairs, folder / "pairs.jsonl") == len((folder / "pairs.jsonl").read_text().splitlines())
        True
    """
    from rewardlab.pairs.files import read_folder
    from rewardlab.pairs.preferences import write_preferences

    if part not in get_args(Part):
        raise InputError(f"export_pairs: part = {part!r}; expected {', '.join(get_args(Part))}")
    train, held_out = read_folder(folder_of(pairs))
    chosen = {"train": train, "held-out": held_out, "all": [*train, *held_out]}[part]
    return write_preferences(chosen, Path(file), conversational=conversational)
