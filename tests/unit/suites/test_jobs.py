"""How many processes ``--jobs auto`` chooses, and with how many threads each; machines are made up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rewardlab import container_limits
from rewardlab.annotate.preview import Preview
from rewardlab.errors import InputError
from rewardlab.pipeline.stage import Stage, asks_nothing
from rewardlab.suites.jobs import PROCESS_BYTES, THREADS, TIMES_WEIGHTS, Machine, jobs_for, read_jobs, share_processors
from rewardlab.suites.local import Worker
from rewardlab.suites.scheduler import Job

ROOMY = Machine(processors=4, free_bytes=1 << 40)


def stages(count: int, model: dict[str, Any] | None = None, **more: Any) -> list[Stage]:
    config: dict[str, Any] = {"model": model or {"name": "sandbox-tiny"}, **more}
    return [Stage("sft", "", str(number), {"number": number}, {}, lambda job: {}, config) for number in range(count)]


class TestAuto:
    def test_one_for_each_processor_and_no_more_than_there_are_stages(self) -> None:
        assert jobs_for(stages(9), ROOMY) == 4
        assert jobs_for(stages(3), ROOMY) == 3

    def test_a_finished_suite_has_nothing_to_start_a_process_for(self) -> None:
        assert jobs_for([], ROOMY) == 1

    def test_memory_is_for_the_largest_model(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "model.safetensors").write_bytes(bytes(1000))
        large = stages(1, {"name": str(tmp_path)})
        need = PROCESS_BYTES + TIMES_WEIGHTS * 1000
        assert jobs_for([*large, *large, *large], Machine(4, 3 * need)) == 3
        assert jobs_for([*large, *large, *large], Machine(4, 3 * need - 1)) == 2
        assert jobs_for([*large, *large, *large], Machine(4, 10)) == 1

    def test_a_model_that_is_not_here_has_no_size(self) -> None:
        assert jobs_for([*stages(3), *stages(1, {"name": "somebody/model"})], ROOMY) == 1

    def test_a_gpu_is_not_shared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rewardlab.suites.jobs.resolve_device", lambda name: "cuda")
        assert jobs_for(stages(3), ROOMY) == 1

    def test_a_budget_is_kept_by_one_process_while_there_is_something_to_ask(self) -> None:
        [free, paid] = stages(2, annotate={"budget_usd": 1.0})
        assert paid.preview is asks_nothing
        assert jobs_for([free, paid], ROOMY) == 2
        asks = Stage("annotate", "", "a", {}, {}, lambda job: {}, paid.config, preview=lambda: Preview(3, 0.5, ""))
        assert jobs_for([free, asks], ROOMY) == 1

    def test_this_machine_has_processors_and_memory(self) -> None:
        here = Machine.here()
        assert 1 <= here.processors <= (os.cpu_count() or 1)
        assert here.free_bytes > 1 << 20

    def test_a_container_has_less_of_both(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(container_limits, "usable_processors", lambda: 3)
        monkeypatch.setattr(container_limits, "usable_memory", lambda: 5 << 30)
        assert Machine.here() == Machine(3, 5 << 30)


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "", "²"])
def test_anything_but_auto_and_a_number_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=rf"--jobs {text}: expected auto, or a number from 1 on"):
        read_jobs(text)


class TestThreads:
    @pytest.mark.parametrize(("asked", "jobs", "expected"), [(None, 2, "1"), (1, 1, "1"), (2, 2, "1"), (None, 1, None)])
    def test_one_thread_each_but_for_the_only_process_of_auto(
        self, asked: int | None, jobs: int, expected: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(THREADS, "")
        monkeypatch.delenv(THREADS)
        share_processors(asked, jobs)
        assert os.environ.get(THREADS) == expected

    def test_the_user_decides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(THREADS, "3")
        share_processors(None, 2)
        assert os.environ[THREADS] == "3"

    @pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("3", "3")])
    def test_a_worker_has_one_thread_unless_the_user_says_otherwise(
        self, given: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(THREADS, given or "")
        if given is None:
            monkeypatch.delenv(THREADS)
        answer = (
            f"import json, os; input(); print(json.dumps({{'error': os.environ['{THREADS}']}}), flush=True); input()"
        )
        worker = Worker([sys.executable, "-c", answer])
        try:
            assert worker.build(Job(stages(1)[0], "")) == expected
        finally:
            worker.end()


def test_the_command_waits_passively_before_torch_is_there() -> None:
    """The OpenMP library reads its policy once, when torch is imported."""
    code = (
        "import os, sys; from rewardlab.cli import main; sys.argv = ['rewardlab', '--version']\n"
        "try: main.main()\n"
        "except SystemExit: print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'], os.environ['KMP_BLOCKTIME'])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP", "KMP"))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False PASSIVE 0"
