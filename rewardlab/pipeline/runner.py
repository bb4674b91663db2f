"""Runs a chain of stages: finished ones are read, missing ones are run, nothing is run twice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab import processes
from rewardlab.annotate.money import Purse
from rewardlab.disk import is_disk_full
from rewardlab.errors import RewardlabError, RunFolderError
from rewardlab.pipeline.alone import alone, unused
from rewardlab.pipeline.attempts import Taken, attempt
from rewardlab.pipeline.kinds import stage_kinds
from rewardlab.pipeline.stage import AS_LONG_AS, JOURNALS, Stage, Work
from rewardlab.runs import CHECKPOINTS, RunFolder, check_outputs, make_anew

if TYPE_CHECKING:
    from rewardlab.training.progress import Recorder

logger = logging.getLogger(__name__)

Say = Callable[[str], None]
Report = Callable[[str, int, int], None]


class Runner:
    """Executes stages under one root folder, which all processes of a run share.

    Args:
        root: Where run folders live.
        say: Told one line per stage.
        make_recorder: Makes a recorder for a stage, of how lines about it begin; None records in the run folder alone.
        make_report: The same for stages that do not train: what it makes is called with (what, done, total).
        track: Makes a further recorder for a stage's run folder; None makes none.
    Attributes:
        purse: What the command spends on annotators.
    """

    def __init__(
        self,
        root: Path,
        say: Say = logger.info,
        make_recorder: Callable[[str], Recorder] | None = None,
        make_report: Callable[[str], Report] | None = None,
        track: Callable[[Path], Recorder] | None = None,
    ) -> None:
        self.root = root
        self._say = say
        self._make_recorder = make_recorder
        self._make_report = make_report
        self._track = track
        self.purse = Purse()

    def plan(self, goal: Stage) -> list[tuple[Stage, RunFolder]]:
        """All stages behind ``goal`` with their folders, inputs first."""
        return [(stage, stage.folder(self.root)) for stage in goal.chain()]

    def execute(self, goal: Stage, *, fresh: bool = False) -> RunFolder:
        """Run what is missing and return the goal's folder.

        Args:
            goal: What is wanted.
            fresh: Move a finished or unfinished goal aside and run it anew; what it needs stays.
        Raises:
            RunFolderError: The goal's folder holds something else; nothing has run then.
            InputError: A stage that is to run lacks something it needs, such as a server; nothing has run then.
        """
        plan = self.plan(goal)
        for stage, folder in plan:
            if not folder.is_done or (fresh and stage is plan[-1][0]):
                stage.check()
        if fresh and processes.is_main():
            _set_aside(plan[-1][1])
        processes.wait()
        plan[-1][1].check()
        processes.wait()  # before the main one writes: half of a new folder is no run yet
        for number, (stage, folder) in enumerate(plan, 1):
            head = f"[{number}/{len(plan)}] {stage.title}"
            if processes.gather(folder.is_done)[0]:
                folder.tidy()
                self._say(f"{head}: done before, {folder.path}")
                self.count(stage)
            else:
                self.build(stage, head)
        check_outputs(plan[-1][1].path)
        return plan[-1][1]

    def count(self, stage: Stage) -> None:
        """Count what a finished stage cost towards the budget of the command that builds on it.

        Raises:
            RunFolderError: Its result is damaged.
        """
        folder = stage.folder(self.root)
        result = folder.result()
        if "stage_seconds" not in result:  # every stage has them
            raise RunFolderError(f"{folder.result_path}: is not what a stage stores; {make_anew(folder.path)}")
        self.purse.remember(stage.fingerprint, result.get("spent"))

    def build(self, stage: Stage, head: str) -> None:
        """Build one stage whose inputs are finished; a command that is at it already is waited for.

        Args:
            stage: What is wanted.
            head: How lines about it begin.
        Raises:
            RunFolderError: Its folder holds something else.
        """
        folder = stage.folder(self.root)
        self._say(f"{head} ...")
        with alone(folder, self._say) if processes.is_main() else nullcontext():
            processes.wait()
            if processes.gather(folder.is_done)[0]:
                self._say(f"{head}: done by another command, {folder.path}")
                self.count(stage)
            else:
                self._build(stage, folder, head)

    def _build(self, stage: Stage, folder: RunFolder, head: str) -> None:
        inputs = {name: needed.folder(self.root).path for name, needed in stage.inputs.items()}
        for name, path in inputs.items():
            if not name.startswith(AS_LONG_AS):  # of those only the seconds are read
                check_outputs(path)
        recorder = self._recorder(head, folder)
        report = self._make_report(head) if self._make_report else _unseen
        with _writing_into(folder), attempt(folder) as taken:
            work = Work(folder, inputs, recorder, report, self.purse, self._say, self.root / JOURNALS)
            result: Mapping[str, Any] = {}
            if stage_kinds()[stage.kind].is_shared:
                result = stage.run(work)
            elif processes.is_main():
                with processes.alone():  # the others wait below: nothing may be dealt out to them or asked of them
                    result = stage.run(work)
        with _writing_into(folder):
            folder.finish({**result, **_times(stage, taken)})
        processes.wait()
        self._say(f"{head}: {taken.seconds:.1f} s, {folder.path}")

    def _recorder(self, head: str, folder: RunFolder) -> Recorder:
        """What the stage's numbers go to beside its folder's own file; of several processes only the main one's."""
        from rewardlab.training.progress import Several

        shown = [self._make_recorder(head)] if self._make_recorder else []
        tracked = [self._track(folder.path)] if self._track and processes.is_main() else []
        return Several(*shown, *tracked)


def _unseen(what: str, done: int, total: int) -> None:
    """Progress that is not shown."""


@contextmanager
def _writing_into(folder: RunFolder) -> Iterator[None]:
    """Turn what the operating system says of a file in the folder into a line that says what to do."""
    try:
        yield
    except RewardlabError:
        raise
    except Exception as error:
        # of a full disk every library has an error of its own
        if is_disk_full(error):
            raise RunFolderError(_full(folder)) from error
        if not isinstance(error, OSError):
            raise
        if error.filename is None or not Path(str(error.filename)).resolve().is_relative_to(folder.path.resolve()):
            raise
        raise RunFolderError(
            f"{error.filename}: {error.strerror}; make room, remove what is in the way, or start anew with --fresh"
        ) from error


def _full(folder: RunFolder) -> str:
    """What to do about a full disk, and what is safe."""
    stored = sorted(path.name for path in (folder.path / CHECKPOINTS).glob("*") if path.name != "unfinished")
    safe = f"its checkpoints ({', '.join(stored)})" if stored else "what it had not stored yet is lost"
    kept = f"finished stages and {safe} are whole" if stored else f"finished stages are whole, {safe}"
    return f"{folder.path}: the disk is full; {kept}. Make room, and the same command goes on from there"


def _times(stage: Stage, taken: Taken) -> dict[str, float]:
    """A stage's seconds by the clock, and as its device counts them: a CPU in processor time."""
    from rewardlab.models.names import resolve_device

    model = stage.config.get("model", {})
    is_on_cpu = resolve_device(model.get("device", "auto")) == "cpu"
    device_seconds = taken.processor_seconds if is_on_cpu else taken.seconds
    return {"stage_seconds": round(taken.seconds, 2), "stage_device_seconds": round(device_seconds, 2)}


def _set_aside(folder: RunFolder) -> None:
    """Rename a run folder, so that a new run can take its place and nothing is lost."""
    _check_own(folder)
    if not folder.path.exists():
        return
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    with unused(folder):
        folder.path.rename(folder.path.with_name(f"{folder.path.name}.before-{stamp}"))


def _check_own(folder: RunFolder) -> None:
    if folder.is_foreign:
        raise RunFolderError(f"{folder.path}: holds files that are no rewardlab run; choose an empty --out folder")


def plan_rows(plan: list[tuple[Stage, RunFolder]], *, fresh: bool = False) -> list[dict[str, Any]]:
    """A plan as rows for printing: stage, title, state, folder, preview; raises what :meth:`Runner.execute` would."""
    goal = plan[-1][1]
    if fresh:
        _check_own(goal)
    else:
        goal.check()
    rows = []
    for stage, folder in plan:
        is_done = folder.is_done and not (fresh and folder is goal)
        row = {"stage": stage.kind, "title": stage.title, "state": "done" if is_done else "to run"}
        preview = None if is_done else stage.preview()
        rows.append({**row, "folder": str(folder.path), "preview": preview})
    return rows
