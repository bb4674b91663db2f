"""Trained policies as files that transformers, PEFT and vLLM load, with a model card."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rewardlab.config import RunConfig
from rewardlab.disk import full_disk, is_disk_full, read_json
from rewardlab.errors import InputError, RunFolderError, UnknownNameError
from rewardlab.lab.asked import RUNS
from rewardlab.lab.stored import stored_config
from rewardlab.runs import ADAPTER, check_outputs, input_folder, stage_of
from rewardlab.training.methods import methods

if TYPE_CHECKING:
    from rewardlab.comparison.evaluations import EvalRun
    from rewardlab.models.codec import Codec
    from rewardlab.pipeline.stages.shared import Policy
    from rewardlab.reports.model_card import Exported

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
CHECKPOINTS = ("best", "last")
CARD = "README.md"


def export_policy(
    run: Path,
    to: Path,
    *,
    merge: bool = False,
    checkpoint: str | None = None,
    dtype: str = "auto",
    root: Path = RUNS,
) -> Exported:
    """Store a trained policy as one adapter of its base model, or as whole weights, with a model card.

    Args:
        run: Folder of a finished run of sft or a training method.
        to: New folder for the model.
        merge: Whole weights in place of an adapter.
        checkpoint: ``best`` or ``last``; None: the one that an evaluation takes.
        dtype: With ``merge``: auto (the base model's), float32, bfloat16, float16.
        root: Where run folders live, the SFT run that it started from among them.
    Returns:
        What was exported; its ``folder`` holds the files, README.md is the card.
    Raises:
        InputError: The run has no such policy, the folder holds files already, the dtype is unknown, or the disk is
            full.
        RunFolderError: The SFT run that it started from is not there.
    """
    from rewardlab.pipeline.stages.shared import policy_of

    config = stored_config(run)
    wanted = _policy(run, config, checkpoint)
    if dtype not in get_args(Dtype):
        raise UnknownNameError("dtype", dtype, get_args(Dtype))
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"--to {to}: holds files already; choose a new folder")
    start = _start(run, root)
    for folder in (start, run):
        if folder is not None:
            check_outputs(folder)
    folders = [policy_of(start).adapter, wanted.adapter] if start else [wanted.adapter]
    with _whole_folder(to):
        codec = _write(folders, config, to, dtype if merge else None)
        return _write_card(run, start, config, to, codec, checkpoint=_name(wanted), is_merged=merge)


@contextmanager
def _whole_folder(path: Path) -> Iterator[None]:
    """Around filling a new folder: half of a model is removed again, so that the same command can go on.

    Raises:
        InputError: The disk is full, whichever library says so.
    """
    existed = path.exists()
    try:
        yield
    except BaseException as error:
        is_full = is_disk_full(error) or (path.is_dir() and full_disk(path) is not None)
        for each in path.iterdir() if path.is_dir() else ():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        if path.is_dir() and not existed:
            path.rmdir()
        if is_full and isinstance(error, Exception):
            raise InputError(f"--to {path}: the disk is full; make room or choose another folder") from error
        raise


def _policy(run: Path, config: RunConfig, asked: str | None) -> Policy:
    """The policy that is exported."""
    from rewardlab.pipeline.kinds import trained_kinds
    from rewardlab.pipeline.stages.shared import policy_of

    if (stage := stage_of(run)) not in trained_kinds():
        raise InputError(
            f"{run}: a {stage} run has no policy; export takes a run of `rewardlab sft` or of a training method that "
            "is installed, such as `rewardlab ppo`"
        )
    if stage in methods and not methods.get(stage).trains_policy:
        raise InputError(
            f"{run}: an encoder, stored as transformers reads it: AutoModelForSequenceClassification.from_pretrained"
            f"({str(run / ADAPTER)!r}); with encoder.tuning = lora an adapter for PEFT"
        )
    if asked not in (None, *CHECKPOINTS):
        raise UnknownNameError("checkpoint", asked, CHECKPOINTS)
    found = policy_of(run, "last" if (asked or config.eval.checkpoint) == "last" else "best")
    if asked == "best" and found.checkpoint != "best":
        raise InputError(f"{run}: keeps the last policy only; leave --checkpoint out")
    return found


def _name(policy: Policy) -> str:
    if policy.checkpoint == "best":
        return f"best on validation rows, after step {policy.step} of {policy.last_step}"
    return f"after the last step, {policy.last_step}"


def _start(run: Path, root: Path) -> Path | None:
    """The SFT run that the run started from; None when it started from the base model.

    Raises:
        RunFolderError: The SFT run is in none of the places where it should be.
    """
    from rewardlab.models.stored import stored_inputs

    wanted = stored_inputs(run).get("start")
    if wanted is None:
        return None
    if (place := input_folder(run, wanted)) is not None:
        return place
    places = {root, run.parent.parent, run.parent}
    found = (
        config.parent for place in places for config in (*place.glob("*/config.json"), *place.glob("*/*/config.json"))
    )
    start = next((folder for folder in found if _fingerprint(folder) == wanted), None)
    if start is None:
        raise RunFolderError(
            f"{run}: started from SFT run {wanted}, which is not in {root}; name its folder with --runs"
        )
    return start


def _fingerprint(folder: Path) -> Any:
    """Fingerprint of an SFT run; None of others and of damaged ones, which are no concern of this run."""
    return read_json(folder / "config.json").get("fingerprint") if stage_of(folder) == "sft" else None


def _write(folders: list[Path], config: RunConfig, to: Path, merged_dtype: str | None) -> Codec:
    from rewardlab.models.export import read_adapter, write_adapter, write_merged, write_tokenizer
    from rewardlab.models.names import find_model
    from rewardlab.models.trunk import load_codec

    adapters = [read_adapter(folder) for folder in folders]
    if merged_dtype:
        write_merged(adapters, config.model, merged_dtype, to)
    else:
        write_adapter(adapters, find_model(config.model.name).location, to)
    codec = load_codec(config.model)
    write_tokenizer(codec, to)
    return codec


def _method_text(kind: str, config: RunConfig) -> str:
    """What trained the policy, as the model card says it."""
    if kind == "sft":
        return "Supervised fine-tuning"
    method = methods.get(kind)
    if method.family == "preference":
        section = method.section(config)
        return f"{section.loss_title or method.title} on {section.pairs_title(config.reward.expression)}"
    return f"{method.title} on the reward `{config.reward.expression}`"


def _write_card(
    run: Path, start: Path | None, config: RunConfig, to: Path, codec: Codec, *, checkpoint: str, is_merged: bool
) -> Exported:
    from rewardlab.models.names import find_model
    from rewardlab.reports.model_card import Exported, model_card
    from rewardlab.tasks import resolve_tasks

    kind, evaluations = stage_of(run) or "", _evaluations(run)
    found = Exported(
        folder=to,
        method=_method_text(kind, config),
        start=f"the SFT model {start.name}" if start else "the base model",
        base=find_model(config.model.name).location,
        tasks=[task.name for task in resolve_tasks(config.task)],
        format=config.format,
        checkpoint=checkpoint,
        is_merged=is_merged,
        prompt=_prompt(config, codec),
        new_tokens=config.new_tokens,
        gold=sum(evaluations[0].cost.gold.values()) if evaluations else None,
        measured=[read_json(found.path / "result.json")["columns"] for found in evaluations],
        provenance=read_json(run / "provenance.json") if (run / "provenance.json").exists() else {},
    )
    (to / CARD).write_text(model_card(found), encoding="utf-8")
    return found


def _prompt(config: RunConfig, codec: Codec) -> str:
    """One whole prompt as the model reads it: of a row of the first task."""
    from rewardlab.tasks import resolve_tasks
    from rewardlab.tasks.sources import load_splits
    from rewardlab.tasks.task import with_format

    task = resolve_tasks(config.task)[0]
    splits = load_splits(task, source=config.data.source, data_dir=config.data.dir, format=config.format)
    rows = [*splits.validation, *(row for column in splits.tests.values() for row in column)]
    ids = codec.prompt_ids(with_format(rows[:1], config.format)[0])
    text: str = codec.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _evaluations(run: Path) -> list[EvalRun]:
    from rewardlab.comparison.runs import collect

    try:
        return collect([run]).runs
    except InputError:
        return []
