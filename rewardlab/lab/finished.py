"""``Run``: a finished run folder read back, its numbers and samples as data frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.config import RunConfig
from rewardlab.disk import read_jsonl
from rewardlab.errors import RunFolderError
from rewardlab.lab.stored import stored_config
from rewardlab.runs import OUTPUTS, read_result, stage_of

if TYPE_CHECKING:
    import polars

PREFIXES: Mapping[str, str] = {"parts": "part", "terms": "term"}
"""What columns of a nested field begin with, where that is not the field's own name."""


class Run:
    """A finished run: what a :class:`~rewardlab.lab.lab.Lab` gives, or any run folder that a command has made.

    Frames are read from the folder each time that they are asked for.

    Args:
        folder: A run folder.

    Attributes:
        folder: The folder.
        stage: What was run: sft, ppo, rm, pairs, eval and so on.

    Raises:
        RunFolderError: The folder holds no finished run.

    Example:
        >>> import rewardlab as rl
        >>> try:
        ...     rl.Run("runs/ppo/no-such-run")
        ... except rl.RewardlabError as error:
        ...     print(error)
        runs/ppo/no-such-run: no finished run; give a folder below runs/ that holds a result.json
        >>> import tempfile
        >>> lab = rl.Lab(tempfile.mkdtemp(), task="sandbox-topic", format="label", quiet=True)
        >>> run = lab.evaluate(limit=8)
        >>> run.stage, run.predictions["decoding"].unique(maintain_order=True).to_list()
        ('eval', ['sampled', 'greedy'])
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        stage = stage_of(self.folder)
        if stage is None or not (self.folder / "result.json").is_file():
            raise RunFolderError(f"{self.folder}: no finished run; give a folder below runs/ that holds a result.json")
        self.stage = stage

    def __repr__(self) -> str:
        return f"Run({self.stage!r}, {str(self.folder)!r})"

    @property
    def config(self) -> RunConfig:
        """The whole configuration it was made with."""
        return stored_config(self.folder)

    @property
    def result(self) -> dict[str, Any]:
        """What it measured and cost: ``result.json``."""
        return {name: value for name, value in read_result(self.folder).items() if name != OUTPUTS}

    @property
    def metrics(self) -> polars.DataFrame:
        """Of a run that trained: one row a step, ``step`` and a column a metric (docs/ppo.md); null where not measured.

        Raises:
            RunFolderError: Its stage has no metrics.
        """
        return self.rows("metrics.jsonl", "runs that train have them")

    @property
    def samples(self) -> polars.DataFrame:
        """Of a method that samples while it trains: one row a response, with all that its score was made of.

        Columns: ``step``, ``task``, ``id``, ``sample``, ``response``, ``answer`` and ``strict`` (the two readings),
        ``gold``, ``correct`` or ``error``, ``score``, ``part/NAME`` (raw score of a named reward), ``term/TEXT`` (share
        of an additive term), ``shaped/score``, ``shaped/kl`` and ``shaped/penalty``, which sum to ``total``, the reward
        that was trained on, and ``reason``. Answers and gold are text where some of them are no numbers.

        Raises:
            RunFolderError: Its stage has no samples.
        """
        return self.rows("samples.jsonl", "methods that sample while they train have them")

    @property
    def predictions(self) -> polars.DataFrame:
        """Of an evaluation: one row a test row and decoding: column, id, prompt, response, answer, gold, is_correct.

        Raises:
            RunFolderError: It is no evaluation.
        """
        return self.rows("predictions.jsonl", "evaluations have them, as `lab.evaluate(run)` returns one")

    @property
    def adapter(self) -> Path:
        """Folder of the policy that an evaluation takes: the best one on validation rows, or the last one.

        Raises:
            RunFolderError: It has trained no policy.
        """
        from rewardlab.pipeline.kinds import trained_kinds
        from rewardlab.pipeline.stages.shared import policy_of

        if self.stage not in trained_kinds():
            raise RunFolderError(f"{self.folder}: a run of stage {self.stage} has trained no policy")
        return policy_of(self.folder, self.config.eval.checkpoint).adapter

    def rows(self, file: str, hint: str = "") -> polars.DataFrame:
        """Any JSON Lines file of the folder, such as ``pairs.jsonl``; nested fields are columns ``field/name``.

        Args:
            file: Its name.
            hint: Stands behind the message that there is none.
        Raises:
            RunFolderError: The run has no such file.
        """
        path = self.folder / file
        if not path.is_file():
            there = ", ".join(sorted(each.name for each in self.folder.glob("*.jsonl"))) or "none"
            why = f"; {hint}" if hint else f"; its files of rows: {there}"
            raise RunFolderError(f"{self.folder}: a run of stage {self.stage} has no {file}{why}")
        return frame_of(list(read_jsonl(path)))


def folder_of(run: Run | Path | str) -> Path:
    """The folder of a run that is given as one, or by its folder."""
    return run.folder if isinstance(run, Run) else Path(run)


def frame_of(rows: list[dict[str, Any]]) -> polars.DataFrame:
    """Rows as a data frame: nested fields as columns of their own, columns of mixed kinds as text."""
    import polars

    nested = {name for row in rows for name, value in row.items() if isinstance(value, Mapping)}
    flat = [_flat(row, nested) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    return polars.DataFrame({name: _of_one_kind([row.get(name) for row in flat]) for name in names}, strict=False)


def _flat(row: Mapping[str, Any], nested: Iterable[str]) -> dict[str, Any]:
    """The row with its nested fields, which are None in some rows, taken apart."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name in nested:
            flat |= {f"{PREFIXES.get(name, name)}/{inner}": each for inner, each in (value or {}).items()}
        else:
            flat[name] = value
    return flat


def _of_one_kind(values: list[Any]) -> list[Any]:
    """The values, all as text where some are text and others are not."""
    kinds = {type(value) for value in values if value is not None}
    if str in kinds and len(kinds) > 1:
        return [value if value is None else str(value) for value in values]
    return values
