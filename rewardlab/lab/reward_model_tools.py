"""What a trained reward model is worth, and where to cap it: report cards, calibrated lambdas, a sweep over lambda."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.disk import read_json, writing
from rewardlab.errors import InputError
from rewardlab.lab.finished import Run, folder_of
from rewardlab.runs import check_outputs, renew_output, stage_of

if TYPE_CHECKING:
    import polars

    from rewardlab.reward_models.lambda_sweep import Row


@dataclass(frozen=True, slots=True)
class ReportCards:
    """Report cards of reward models side by side: what :func:`report_cards` gives. ``print`` shows its tables.

    Attributes:
        cards: Name of the reward model -> everything that was measured, as ``report.json`` holds it.
    """

    cards: Mapping[str, Mapping[str, Any]]

    def frame(self) -> polars.DataFrame:
        """One row a set of pairs, task and reward model.

        ``pairs``, ``task``, ``reward_model``; ``accuracy``, the share of pairs that it ranks right, with its interval
        over prompts from ``low`` to ``high``; ``label_only`` and ``length_only``, the accuracy of scorers that see only
        the printed answer, or only the length; ``n`` pairs.
        """
        import polars

        from rewardlab.reward_models.card_files import accuracy_rows

        return polars.DataFrame(accuracy_rows(self.cards), infer_schema_length=None)

    def write(self, folder: Path | str) -> list[Path]:
        """Write the cards side by side, and each one's own in a folder of its name; returns the files.

        Raises:
            InputError: They cannot be written there.
        """
        from rewardlab.reward_models.card_files import write_each

        with writing(place := Path(folder)):
            return write_each(self.cards, place)

    def __str__(self) -> str:
        from rewardlab.reward_models.card_files import accuracy_table, best_table, calibration_table

        return "\n\n".join(table(self.cards) for table in (accuracy_table, best_table, calibration_table))


@dataclass(frozen=True, slots=True)
class Calibration:
    """The raw scores of SFT samples: what :func:`calibrate` gives. ``print`` shows what lambda can name.

    Attributes:
        path: The file that they are stored in.
        stored: ``mean`` and ``sd``, ``quantiles`` and ``zscores`` by name, and all ``scores``; logits.
        replaced: How many scores were stored before.
    """

    path: Path
    stored: Mapping[str, Any]
    replaced: int

    def __str__(self) -> str:
        from rewardlab.reward_models.lambda_table import calibration_table

        return calibration_table(self.stored)


@dataclass(frozen=True, slots=True)
class LambdaSweep:
    """What each lambda would prefer among stored samples: what :func:`sweep` gives. ``print`` shows its table.

    Attributes:
        rows: One a lambda, after the four totals that it is compared with.
    """

    rows: Sequence[Row]

    def frame(self) -> polars.DataFrame:
        """One row a total.

        ``name``; ``lambda``, raw; ``saturated``, the share of samples with r1 at or above it; ``accuracy`` and
        ``quality`` of the preferred samples, each with ``_low`` and ``_high``; their mean ``r2``.
        """
        import polars

        from rewardlab.reward_models.lambda_table import sweep_rows

        return polars.DataFrame(sweep_rows(self.rows), infer_schema_length=None)

    def __str__(self) -> str:
        from rewardlab.reward_models.lambda_table import sweep_table

        return sweep_table(self.rows)


def report_cards(*models: Run | Path | str, pairs: Sequence[Run | Path | str] = ()) -> ReportCards:
    """Measure reward models: ``rewardlab rm report`` in Python. Accuracy, calibration, margins, biases.

    Args:
        models: Reward models, as ``Lab.reward_model`` or ``rewardlab rm train`` make them.
        pairs: Pairs to measure them on; none: those that each model was trained on and measured with.
    Raises:
        InputError: A folder is no finished reward model, or there are no pairs.
        ModelError: The trunk of a model has changed.

    Example:
        >>> import rewardlab as rl
        >>> try:
        ...     rl.report_cards("runs/rm/none")
        ... except rl.InputError as error:
        ...     print(error)
        runs/rm/none: no finished reward model; name folders made by `rewardlab rm train`
    """
    if not models:
        raise InputError("rm report: no reward model given; name folders made by `rewardlab rm train`")
    folders = [folder_of(model) for model in models]
    check_trained(*folders)
    from rewardlab.reward_models import card

    return ReportCards(card.report_cards(folders, [folder_of(each) for each in pairs]))


def calibrate(model: Run | Path | str, *, samples: int | None = None) -> Calibration:
    """Store quantiles and z-scores of a reward model's raw scores: ``rewardlab rm calibrate`` in Python.

    They are what ``lam="q90"`` and ``lam="1.5z"`` mean. What was stored is replaced. Runs that are done keep the lambda
    that they resolved.

    Args:
        model: The reward model.
        samples: Most SFT samples to score; None: all that are stored with it.
    Raises:
        InputError: The folder is no finished reward model.

    Example:
        >>> import rewardlab as rl
        >>> try:
        ...     rl.calibrate("runs/rm/none")
        ... except rl.RewardlabError as error:
        ...     print(error)
        runs/rm/none: no sft_samples.jsonl; expected a finished reward model, made by `rewardlab rm train`
    """
    from rewardlab.training.stored_samples import check_samples, read_samples

    folder = folder_of(model)
    check_samples(folder)
    check_trained(folder)
    from rewardlab.models.scoring import load_scorers
    from rewardlab.models.stored import SFT_SCORES_FILE, read_sft_scores
    from rewardlab.training.rm_evaluation import store_sft_scores

    stored, before = read_samples(folder), len(read_sft_scores(folder))
    store_sft_scores(folder, load_scorers({"model": folder}).trunk, "rm-model", stored, samples)
    renew_output(folder, SFT_SCORES_FILE)
    return Calibration(folder / SFT_SCORES_FILE, read_json(folder / SFT_SCORES_FILE), before)


def sweep(
    label: Run | Path | str,
    r2: Run | Path | str,
    *,
    lambdas: Sequence[str | float] = ("q10", "q25", "q50", "q75", "q90", "q99"),
) -> LambdaSweep:
    """What each lambda of ``min(label, lambda) + r2`` would prefer among stored samples: ``rewardlab rm sweep``.

    Args:
        label: The label RM, r1 of the mixed reward, with its stored samples.
        r2: The second reward model, trained on the same start.
        lambdas: ``5``, ``"q90"`` or ``"1.5z"``.
    Raises:
        InputError: A folder is no finished reward model, or a lambda cannot be read.
        ModelError: The two stand on different trunks.

    Example:
        >>> import rewardlab as rl
        >>> try:
        ...     rl.sweep("runs/rm/none", "runs/rm/none")
        ... except rl.RewardlabError as error:
        ...     print(error)
        runs/rm/none: no sft_samples.jsonl; expected a finished reward model, made by `rewardlab rm train`
    """
    from rewardlab.rewards import parse_lambda
    from rewardlab.training.stored_samples import check_samples

    first, second = folder_of(label), folder_of(r2)
    check_samples(first)
    check_trained(first, second)
    asked = [str(each) for each in lambdas]
    for text in asked:
        parse_lambda(text)
    from rewardlab.reward_models import lambda_sweep

    scored, context = lambda_sweep.score_samples(first, second)
    return LambdaSweep(lambda_sweep.sweep(scored, lambda_sweep.resolved(asked, context)))


def check_trained(*models: Path) -> None:
    """Name the first folder that is no finished reward model, before torch is imported, which takes seconds."""
    for model in models:
        if not (model / "result.json").is_file():
            raise InputError(f"{model}: no finished reward model; name folders made by `rewardlab rm train`")
        stage = stage_of(model)
        if stage != "rm":
            raise InputError(f"{model}: its stage is {stage}, not rm; name folders made by `rewardlab rm train`")
        check_outputs(model)
