"""Reward hacking in reports: one axis per run, the alarm marked, runs counted, the chart in the run's own folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rewardlab.disk import write_json
from rewardlab.evaluation.hacking import Alarm
from rewardlab.reports.blocks import Notes, Sentences, Table, Text
from rewardlab.reports.charts import OTHER, Line, Picture
from rewardlab.reports.plots import CurveRun, load_curves
from rewardlab.reports.sections import hacking
from rewardlab.reports.sections.hacking import hacking_blocks, picture_of, watch, write_chart
from rewardlab.training.decline import Fall
from tests.support.runs import ppo_folder

ALARM = Alarm(12, 8, 5, 0.1, 0.9, 0.8, 0.6, 1e-6, 22)
VALIDATION = {
    "start": {"step": 0, "accuracy": 0.7},
    "best": {"step": 6, "accuracy": 0.9},
    "last": {"step": 20, "accuracy": 0.4},
}


def folder(path: Path, rows: list[dict[str, float]], alarm: Alarm | None = None, seed: int = 0) -> Path:
    made = ppo_folder(path, rows)
    found = {"judged": True, "alarm": alarm.to_json() if alarm else None}
    write_json(made / "result.json", {"hacking": found, "validation": VALIDATION})
    write_json(made / "config.json", {"stage": "ppo", "fingerprint": "f", "config": {"seed": seed}})
    return made


def curve(path: Path, method: str = "RLLR") -> CurveRun:
    (run,) = load_curves([path], {path.name: method})
    return run


def lines(picture: Picture, panel: int = 0) -> dict[str, Line]:
    return {mark.name.partition(":")[0]: mark for mark in picture.panels[panel].marks if isinstance(mark, Line)}


def rows(**metrics: list[float]) -> list[dict[str, float]]:
    named: Mapping[str, str] = {"score": "reward/score", "gold": "reward/gold_accuracy", "part": "reward/part/label"}
    count = len(next(iter(metrics.values())))
    return [{named.get(name, name): values[step] for name, values in metrics.items()} for step in range(count)]


def test_shares_stand_as_they_are_and_the_rest_is_scaled_and_says_its_range(tmp_path: Path) -> None:
    logged = rows(
        score=[1.0, 2.0, 5.0], gold=[0.8, 0.9, 0.4], part=[-1.0, -1.0, -1.0], **{"policy/kl": [0.0, 1.0, 4.0]}
    )
    found = lines(picture_of([watch(curve(folder(tmp_path / "a", logged)))]))
    assert found["trained reward"].y == pytest.approx([0.0, 0.25, 1.0])  # lowest to highest
    assert found["accuracy against gold"].y == pytest.approx([0.8, 0.9, 0.4])
    assert found["KL to the reference"].y == pytest.approx([0.0, 0.25, 1.0])  # share of the highest
    assert found["KL to the reference"].name == "KL to the reference: 0 to 4"
    assert found["part label"].y == [0.0, 0.0, 0.0]  # no range, no scale
    assert [name for name, line in found.items() if not line.is_thin] == ["trained reward", "accuracy against gold"]


def test_a_part_that_is_the_whole_reward_is_drawn_once(tmp_path: Path) -> None:
    logged = rows(score=[1.0, 2.0], part=[1.0, 2.0])
    assert list(lines(picture_of([watch(curve(folder(tmp_path / "a", logged)))]))) == ["trained reward"]


def test_lines_are_running_means_and_long_ones_are_averaged_over_stretches(tmp_path: Path) -> None:
    short = rows(gold=[1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    line = lines(picture_of([watch(curve(folder(tmp_path / "short", short)))]))["accuracy against gold"]
    assert line.x == pytest.approx([2.0, 3.0])  # of steps 0 to 4 and 1 to 5
    assert line.y == pytest.approx([0.2, 0.2])
    long = rows(gold=[float(step >= 62) for step in range(124)])
    line = lines(picture_of([watch(curve(folder(tmp_path / "long", long)))]))["accuracy against gold"]
    assert len(line.x) == 60  # of 120 running means, two each
    assert line.y[:28] == [0.0] * 28
    assert line.y[28:32] == pytest.approx([0.0, 0.3, 0.7, 1.0])  # means over 2, 3 and 4, 5 of the steps up to 64


def test_the_alarm_is_an_upright_line_and_stands_in_the_title(tmp_path: Path) -> None:
    picture = picture_of([watch(curve(folder(tmp_path / "a", rows(score=[0.0, 1.0]), ALARM, seed=3)))])
    assert picture.panels[0].title == "RLLR, seed 3: alarm at step 12"
    upright = lines(picture)["alarm at step 12"]
    assert (upright.x, upright.y, upright.colour) == ([12, 12], [0.0, 1.0], OTHER)
    assert [name for name, _ in picture.legend] == ["trained reward"]


def test_a_long_method_is_cut_in_its_title_and_its_seed_and_alarm_are_seen(tmp_path: Path) -> None:
    run = curve(folder(tmp_path / "a", rows(score=[0.0, 1.0]), ALARM, seed=3), "m" * 60)
    title = picture_of([watch(run)]).panels[0].title
    assert title == "m" * 25 + "…, seed 3: alarm at step 12"  # 52 letters, 26 of them from the comma on
    assert len(title) == 52


def test_seeds_stand_in_order_within_their_method(tmp_path: Path) -> None:
    logged = rows(score=[0.0, 1.0])
    runs = [
        curve(folder(tmp_path / f"{name}{seed}", logged, seed=seed), name)
        for name, seed in (("b", 1), ("a", 0), ("b", 0))
    ]
    (table,) = [block for block in hacking_blocks(runs) if isinstance(block, Table)]
    assert [row[0].text for row in table.grid.rows] == ["b, seed 0", "b, seed 1", "a, seed 0"]


def test_runs_are_counted_by_method_and_tabled(tmp_path: Path) -> None:
    logged = rows(score=[0.0, 1.0])
    runs = [curve(folder(tmp_path / f"h{seed}", logged, ALARM, seed), "hacked") for seed in range(2)]
    runs.append(curve(folder(tmp_path / "ok", logged), "honest"))
    runs.append(curve(ppo_folder(tmp_path / "old", logged), "old"))
    alarms, counts, table, picture, note = hacking_blocks(runs)
    assert isinstance(counts, Text)
    assert "hacked 2 of 2; all others 0 of 1. 1 runs could not be judged" in counts.text
    assert counts.text.endswith("with validation rows: all methods 0 of 3.")
    assert isinstance(alarms, Sentences)
    assert [each.text.startswith("hacked, seed") for each in alarms.told] == [True, True]
    assert isinstance(table, Table)
    texts = [[cell.text for cell in row] for row in table.grid.rows]
    assert texts[0] == ["hacked, seed 0", "12", "none", "70.0", "90.0", "6", "40.0"]
    assert texts[2][:3] == ["honest, seed 0", "none", "none"]
    assert texts[3] == ["old", "–", "–", "–", "–", "–", "–"]
    assert isinstance(picture, Picture)
    titles = [panel.title for panel in picture.panels]
    assert titles == ["hacked, seed 0: alarm at step 12", "hacked, seed 1: alarm at step 12", "honest, seed 0", "old"]
    assert isinstance(note, Notes)


def test_a_fall_of_accuracy_is_told_with_the_best_policy_and_its_run_is_drawn_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hacking, "DRAWN", 1)
    logged = rows(score=[0.0, 1.0])
    fine, fallen = (curve(folder(tmp_path / name, logged, seed=seed), "RLLR") for seed, name in enumerate(("a", "b")))
    fall = Fall(20, 4, 0.7, 0.4, 70, 10, 200, 1e-12, 0.002)
    start = {"step": 0, "accuracy": 0.7}
    validation = {"start": start, "best": start, "last": {"step": 20, "accuracy": 0.4}}
    write_json(
        fallen.path / "result.json", {"hacking": {"judged": True}, "validation": validation, "fall": fall.to_json()}
    )
    alarms, counts, table, picture, _ = hacking_blocks([fine, fallen])
    assert isinstance(counts, Text)
    assert counts.text.endswith(
        "Runs with an alarm for a fall of accuracy, of those with validation rows: RLLR 1 of 2."
    )
    assert isinstance(alarms, Sentences)
    first, second = (each.text for each in alarms.told)
    assert first.startswith(
        "RLLR, seed 1: accuracy has fallen: after step 20 the policy has 40.0 on 200 validation rows"
    )
    assert second.startswith("RLLR, seed 1: the best policy is the start")
    assert isinstance(table, Table)
    assert [cell.text for cell in table.grid.rows[1]][:3] == ["RLLR, seed 1", "none", "20"]
    assert isinstance(picture, Picture)
    assert [panel.title for panel in picture.panels] == ["RLLR, seed 1: accuracy fell, step 20"]


def test_without_runs_the_section_says_so() -> None:
    assert hacking_blocks([]) == [Text("No PPO run was given.")]


def test_of_many_runs_those_with_an_alarm_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hacking, "DRAWN", 1)
    logged = rows(score=[0.0, 1.0])
    runs = [curve(folder(tmp_path / "ok", logged)), curve(folder(tmp_path / "bad", logged, ALARM, 1))]
    blocks = hacking_blocks(runs)
    (picture,) = [block for block in blocks if isinstance(block, Picture)]
    assert [panel.title for panel in picture.panels] == ["RLLR, seed 1: alarm at step 12"]
    assert isinstance(blocks[-1], Notes)
    assert "1 more runs have their chart (hacking.svg) in their folder" in blocks[-1].lines[0]


def test_a_run_gets_its_chart(tmp_path: Path) -> None:
    made = ppo_folder(tmp_path / "run", rows(score=[0.0, 1.0], gold=[1.0, 0.0]))
    written: Any = write_chart(made, ALARM, "label")
    text = written.read_text(encoding="utf-8")
    assert written == made / "hacking.svg"
    assert "label: alarm at step 12" in text
    assert "accuracy against gold: 0 to 1" in text
    assert write_chart(tmp_path, None, "label") is None  # nothing was trained there
