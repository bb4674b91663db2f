"""The real scheduler on a simulated cluster, the arithmetic of large models, and the page that quotes both."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.simulations.roles import GPU_BYTES, MODELS, adapter_bytes, cache, gpus_for, step, tables
from experiments.simulations.scale import SEEDS, Cluster, Suite, robustness, simulate, table
from rewardlab.pipeline.stage import Stage
from rewardlab.suites.cells import Cell
from rewardlab.suites.run import build
from rewardlab.suites.scheduler import Scheduler
from rewardlab.training.memory import GIB, OWN

PAGE = (Path(__file__).parents[3] / "docs" / "scale.md").read_text(encoding="utf-8")


def stage(name: str, *inputs: Stage) -> Stage:
    return Stage("ppo", name, name, {"id": name, "seed": 0}, {each.slug: each for each in inputs}, lambda work: {})


def in_order(goals: list[Stage], seconds: dict[str, float] | None = None) -> list[str]:
    """The order in which one worker gets the stages."""
    cells = [Cell(goal.slug, "toy", "tiny", 0, (goal,), "ppo") for goal in goals]
    scheduler, taken = Scheduler(cells, Path("no-such-runs")), []
    if seconds is not None:
        scheduler.longest_first(lambda stage: seconds[stage.slug])
    while (job := scheduler.take()) is not None:
        taken.append(job.stage.slug)
        scheduler.finish(job.stage, None)
    return taken


class TestOrder:
    def test_is_that_of_the_cells_unless_the_longest_chain_comes_first(self) -> None:
        """From the start of each to its end: short 1, long 2 + 7 = 9, middle 5; 7 is left of long when it began."""
        start = stage("start")
        goals = [stage("short"), stage("long", start), stage("middle")]
        seconds = {"short": 1.0, "start": 2.0, "long": 7.0, "middle": 5.0}
        assert in_order(goals) == ["short", "start", "long", "middle"]
        assert in_order(goals, seconds) == ["start", "long", "middle", "short"]

    def test_a_stage_for_which_there_is_no_room_lets_others_pass(self) -> None:
        goals = [stage("large"), stage("small")]
        cells = [Cell(goal.slug, "toy", "tiny", 0, (goal,), "ppo") for goal in goals]
        scheduler = Scheduler(cells, Path("no-such-runs"))
        job = scheduler.take(lambda stage: stage.slug == "small")
        assert job is not None
        assert job.stage.slug == "small"
        assert scheduler.take(lambda stage: stage.slug == "small") is None
        job = scheduler.take()
        assert job is not None
        assert job.stage.slug == "large"


class TestSimulation:
    def test_two_workers_take_as_long_as_the_longer_half(self) -> None:
        first, beside = stage("a"), stage("b")
        suite = Suite(
            [Cell("m", "toy", "tiny", 0, (stage("c", first), beside), "ppo")], {"a": 10.0, "b": 3.0, "c": 4.0}
        )
        cluster = Cluster(suite, 2)
        build(Scheduler(suite.cells, Path("no-such-runs")), cluster, lambda line: None)
        a, b, c = (cluster.taken[each.fingerprint] for each in (first, beside, suite.cells[0].goals[0]))
        assert cluster.clock == pytest.approx(max(a + c, b))
        assert 0.5 < a / 10.0 < 4.0

    def test_some_stages_fail_and_some_begin_again(self) -> None:
        """Of 1 440 stages 14 fail and 29 are lost once, or so; what needs a failed one is not built."""
        suite = Suite.of(40)
        scheduler, cluster = Scheduler(suite.cells, Path("no-such-runs")), Cluster(suite, 64)
        build(scheduler, cluster, lambda line: None)
        fractions = [
            cluster.taken[each.fingerprint] / suite.estimate(each)
            for each in {stage.fingerprint: stage for cell in suite.cells for stage in cell.chain()}.values()
            if each.fingerprint in cluster.taken
        ]
        assert 1440 * 0.9 < len(fractions) < 1440
        assert 5 < len(scheduler.failures()) < len(suite.cells) / 4
        assert sum(each > 1.5 for each in fractions) > 5  # of the spread alone one in 300 would

    @pytest.mark.parametrize("seeds", SEEDS)
    @pytest.mark.parametrize("workers", [2, 16, 32, 128])
    def test_the_suite_takes_no_longer_than_the_bound_by_more_than_a_sixth(self, seeds: int, workers: int) -> None:
        """85 % of what no order of the stages could beat."""
        found = simulate(Suite.of(seeds), workers, longest_first=True)
        assert found.makespan >= found.bound * (1 - 1e-9)
        assert found.efficiency >= 0.85

    def test_the_order_of_the_cells_would_not_do(self) -> None:
        assert simulate(Suite.of(40), 128, longest_first=False).efficiency < 0.85


class TestRoles:
    def test_models_have_the_sizes_that_are_published(self) -> None:
        """Llama 3.1: 8.03 and 70.55 billion; Qwen3-30B-A3B: 30.5, of which 3.3 are used for a token."""
        assert [round(model.total / 1e9, 1) for model in MODELS] == [8.0, 70.6, 30.5]
        assert [round(model.active / 1e9, 1) for model in MODELS] == [8.0, 70.6, 3.3]

    def test_a_cache_of_8b(self) -> None:
        """Keys and values: 2 x 32 layers x 8 heads x 128 x 2 bytes x 768 tokens a row = 96 MiB."""
        assert cache(MODELS[0], 1) == 96 * 2**20

    def test_time_of_8b_by_hand(self) -> None:
        """Scoring: 5 roles x 2 x 8.03e9 x 64 rows x 768 tokens / 395.6e12 = 9.98 s; update 1.2 times that.

        Decoding: 256 steps x 16.06 GB / 2.01 TB/s = 2.05 s, and the cache of 64 rows, 5.4 GB on average: 0.68 s.
        """
        found = step(MODELS[0])
        assert found.scoring == pytest.approx(9.98, abs=0.01)
        assert found.update == pytest.approx(11.97, abs=0.01)
        assert found.decoding == pytest.approx(2.05 + 0.68, abs=0.01)

    def test_a_mixture_reads_nearly_all_experts_for_64_rows_and_an_eighth_of_its_numbers_for_one(self) -> None:
        """One row misses 120 of 128 experts; 64 rows miss (15 / 16) ** 64 = 1.6 % of them."""
        mixture = MODELS[2]
        assert mixture.read(1) == pytest.approx(2 * mixture.active)
        assert mixture.read(64) / (2 * mixture.total) == pytest.approx(1 - 0.016 * 29 / 30.5, abs=0.002)

    @pytest.mark.parametrize(("model", "gpus"), [(0, 1), (1, 4), (2, 1)])
    def test_fewest_gpus(self, model: int, gpus: int) -> None:
        found = MODELS[model]
        assert gpus_for(found) == gpus
        assert 2 * found.total / gpus + OWN < GPU_BYTES
        assert adapter_bytes(found) < 2 * GIB


class TestPage:
    @pytest.mark.parametrize("text", tables())
    def test_has_the_tables_of_the_roles(self, text: str) -> None:
        assert text in PAGE, "copy the output of `python experiments/simulations/roles.py` into docs/scale.md"

    @pytest.mark.parametrize("seeds", SEEDS)
    def test_has_the_tables_of_the_scheduler(self, seeds: int) -> None:
        assert table(seeds) in PAGE, "copy the output of `python experiments/simulations/scale.py` into docs/scale.md"

    def test_has_the_table_of_what_is_expected(self) -> None:
        assert robustness() in PAGE, "copy the output of `python experiments/simulations/scale.py` into docs/scale.md"
