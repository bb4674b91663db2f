"""The alarm for a fall of accuracy: an exact test over the same rows, a level that looks share, silence on noise."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from rewardlab.disk import read_jsonl
from rewardlab.errors import DataError
from rewardlab.models.sampler import Sample
from rewardlab.training.decline import Change, Fall, level_of, raises_alarm, told_best, told_fall
from rewardlab.training.loop import OnlineTrainer
from rewardlab.training.validation import Cadence, Validation
from rewardlab.types import Example
from tests.support.models import tiny_llama
from tests.support.training import ppo_trainer

SCRIPT = Path(__file__).resolve().parents[3] / "experiments" / "simulations" / "accuracy_alarm.py"
RUNS = 1500
MANY = [Example("sst2", f"v{n}", {"text": f"film {n}"}, ("negative", "positive")[n % 2], "label") for n in range(40)]


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("accuracy_alarm", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model") / "model")


def trainer(model: Path, folder: Path, rows: Sequence[Example] = MANY, **settings: object) -> OnlineTrainer:
    folder.mkdir(exist_ok=True)
    if not (folder / "model").exists():
        (folder / "model").symlink_to(model)
    return ppo_trainer(folder, lambda example, text: float(len(text)), validation=rows, **settings)


def answering(monkeypatch: pytest.MonkeyPatch, right: dict[int, int]) -> None:
    """The first ``right[step]`` rows are answered rightly after that many steps, the others not at all."""
    original = Validation._measure

    def measure(self: Validation, step: int) -> object:
        texts = [str(row.label) if n < right[step] else "?" for n, row in enumerate(self.examples)]
        monkeypatch.setattr(Validation, "_answers", lambda self: [Sample((1,), text, True) for text in texts])
        return original(self, step)

    monkeypatch.setattr(Validation, "_measure", measure)


@pytest.mark.parametrize(
    ("worse", "better", "expected"),
    [
        (5, 0, 1 / 32),
        (4, 1, 6 / 32),  # C(5,4) + C(5,5) = 6 of 2^5
        (8, 2, 56 / 1024),  # C(10,8) + C(10,9) + C(10,10) = 45 + 10 + 1
        (2, 8, 1013 / 1024),  # all but C(10,0) + C(10,1) = 11
        (0, 0, 1.0),
    ],
)
def test_the_p_value_is_the_upper_tail_of_a_fair_coin(worse: int, better: int, expected: float) -> None:
    assert Change(worse, better).p_value == pytest.approx(expected, rel=1e-12)


def test_changes_are_counted_row_by_row() -> None:
    assert Change.between([1, 1, 0, 0, 1], [0, 0, 1, 0, 1]) == Change(worse=2, better=1)
    assert Change.between([-0.5, -2.0], [-1.5, -1.0]) == Change(worse=1, better=1)  # distances to gold
    with pytest.raises(DataError, match="2 rows at the start and 1 now"):
        Change.between([1, 1], [1])


def test_looks_share_one_percent() -> None:
    assert level_of(1, 5) == level_of(5, 5) == pytest.approx(0.002)
    assert [level_of(look, None) for look in (1, 2, 3)] == pytest.approx([0.005, 0.01 / 6, 0.01 / 12])
    assert sum(level_of(look, None) for look in range(1, 10_000)) < 0.01


def test_nine_rows_are_enough_for_five_looks_and_eight_are_not() -> None:
    """1 / 2^9 = 0.00195 lies below 0.002, 1 / 2^8 = 0.0039 above."""
    assert raises_alarm(Change(9, 0), 1, 5)
    assert not raises_alarm(Change(8, 0), 1, 5)


@pytest.mark.parametrize(
    ("every", "steps", "looks"), [(None, 10**9, 5), (6, 30, 5), (2, 7, 4), (3, 10**9, None), (1, 3, 3)]
)
def test_the_number_of_looks_is_known_where_it_can_be(every: int | None, steps: int, looks: int | None) -> None:
    assert Cadence(every, steps).looks == looks


def test_a_fall_is_reported_once_whatever_the_reward_did(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Four looks at level 0.0025: 8 rows worse have p = 0.0039, 9 have 0.00195."""
    answering(monkeypatch, {0: 30, 1: 22, 2: 21, 3: 20, 4: 28})
    with caplog.at_level(logging.WARNING):
        result = trainer(model, tmp_path, steps=4, validate_every=1).train()
    expected = Fall(2, 2, 0.75, 0.525, 9, 0, 40, 1 / 512, 0.0025)
    assert result.to_json()["fall"] == pytest.approx(expected.to_json())
    lines = [record.getMessage() for record in caplog.records if "accuracy has fallen" in record.getMessage()]
    assert len(lines) == 1
    assert "after step 2 the policy has 52.5 on 40 validation rows, greedy, and had 75.0 at the start" in lines[0]
    assert "9 answers became worse, 0 better" in lines[0]
    rows = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    assert [row["validation/fall_alarm"] for row in rows] == [0.0, 1.0, 1.0, 1.0]
    assert [row["validation/change"] for row in rows] == pytest.approx([-0.2, -0.225, -0.25, -0.05])
    measured = list(read_jsonl(tmp_path / "run" / "validation.jsonl"))
    assert [(row["worse"], row["better"]) for row in measured] == [(0, 0), (8, 0), (9, 0), (10, 0), (2, 0)]


def test_noise_draws_no_alarm(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {0: 30, 1: 23, 2: 31, 3: 22, 4: 30})
    assert trainer(model, tmp_path, steps=4, validate_every=1).train().fall is None


def test_a_resumed_run_compares_with_the_same_start(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, {0: 30, 1: 30, 2: 29, 3: 20, 4: 20})
    first = trainer(model, tmp_path, steps=4, validate_every=1)
    first.validation.ensure(0)
    for step in (0, 1):
        first.step(step)
    first.store(2)
    result = trainer(model, tmp_path, steps=4, validate_every=1).train()
    assert result.fall is not None
    assert (result.fall["step"], result.fall["worse"], result.fall["level"]) == (3, 10, 0.0025)


def test_the_alarm_itself_survives_a_resume(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {0: 30, 1: 10, 2: 30, 3: 30, 4: 30})
    first = trainer(model, tmp_path, steps=4, validate_every=1)
    first.validation.ensure(0)
    first.step(0)
    first.store(1)
    fall = trainer(model, tmp_path, steps=4, validate_every=1).train().fall
    assert fall is not None
    assert fall["step"] == 1


def test_numbers_are_worse_when_they_lie_further_from_gold(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"text1": "a film", "text2": "a movie"}
    rows = [Example("stsb", str(n), fields, gold, "label") for n, gold in enumerate((1.0, 2.0, 4.0, 5.0))]
    watching = trainer(model, tmp_path, rows, steps=1).validation
    answers = {0: ["1.0", "3.0", "?", "5.0"], 1: ["2.0", "2.0", "0.0", "5.0"]}  # worse, better, better, the same
    for step, texts in answers.items():
        monkeypatch.setattr(Validation, "_answers", lambda self, texts=texts: [Sample((1,), t, True) for t in texts])
        found = watching._measure(step)
    assert (found.worse, found.better) == (1, 2)


def test_the_last_lines_say_that_the_start_is_the_best() -> None:
    measured = {name: {"step": step, "accuracy": 0.915} for name, step in (("start", 0), ("best", 0), ("last", 30))}
    told = told_best(measured)
    assert told is not None
    assert told.startswith("the best policy is the start: no measure after a training step is above its 91.5")
    assert told_best({**measured, "best": {"step": 6, "accuracy": 0.92}}) is None
    assert told_best({**measured, "last": {"step": 0, "accuracy": 0.915}}) is None  # a run without a step


def test_told_fall_says_what_to_do() -> None:
    told = told_fall(Fall(30, 5, 0.915, 0.83, 20, 3, 200, 0.0002, 0.002))
    assert "has 83.0 on 200 validation rows, greedy, and had 91.5 at the start" in told
    assert "20 answers became worse, 3 better (sign test p = 0.0002, alarm at 0.002 or below)" in told
    assert "ppo.kl_coef" in told


@pytest.mark.parametrize("accuracy", [0.6, 0.85])
@pytest.mark.parametrize("churn", [0.2, 1.0])
def test_healthy_runs_stay_silent(simulation: ModuleType, accuracy: float, churn: float) -> None:
    """At most 1 % by the bound: 15 of 1 500; 27 or more would have a probability below 0.003."""
    shifts = [0.0] * 5
    assert simulation.alarm_share(shifts, accuracy=accuracy, churn=churn, runs=RUNS) <= 26 / RUNS
    assert simulation.alarm_share(shifts * 4, accuracy=accuracy, churn=churn, runs=RUNS, knows_looks=False) <= 26 / RUNS


def test_a_rise_that_is_lost_again_is_no_fall(simulation: ModuleType) -> None:
    assert simulation.alarm_share(simulation.up_and_back(5, 5), runs=RUNS) <= 26 / RUNS


def test_falls_of_ten_points_are_found(simulation: ModuleType) -> None:
    """200 rows and five looks; the table in experiments/LOG.md has what 5 and 10 points give."""
    assert simulation.alarm_share(simulation.at_once(10, 5), runs=RUNS) > 0.6
    assert simulation.alarm_share(simulation.slowly(15, 5), runs=RUNS) > 0.6
