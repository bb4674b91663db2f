"""The ``bundled`` annotator hands out what was written, leaves the rest to the template, and says which is which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rewardlab.annotate.base import RankingRequest, RationaleRequest
from rewardlab.annotate.bundled import BundledAnnotator, written_tasks
from rewardlab.annotate.registry import choose_annotator
from rewardlab.annotate.stage import assignments
from rewardlab.annotate.written import written_row
from rewardlab.cli import main as cli
from rewardlab.config import RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.errors import InputError
from rewardlab.tasks import tasks
from rewardlab.tasks.rows import read_rows
from rewardlab.tasks.sources import bundled_file, load_splits
from rewardlab.types import Example


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def row(task: str, number: int) -> Example:
    return read_rows(bundled_file(tasks.get(task)), tasks.get(task), "rationale").examples[number]


def test_written_rationales_are_handed_out_and_others_come_from_the_template() -> None:
    known, unknown = row("mr", 0), row("mr", 47)
    annotator = BundledAnnotator({"mr": [known, unknown]})
    texts = annotator.rationales([RationaleRequest(unknown, "positive"), RationaleRequest(known, "negative")])
    assert [text.annotator for text in texts] == ["template", "bundled"]
    assert texts[1].text.startswith("Twice the critic says the film mistakes a fault for a virtue")
    assert texts[1].model == "written for this project"


def test_a_row_whose_label_changed_is_not_known() -> None:
    assert written_row(row("mr", 0)) is not None
    assert written_row(replace(row("mr", 0), label="positive")) is None
    assert written_row(Example("sandbox-topic", "mr-bundled-000", {}, "negative")) is None


def test_written_rankings_serve_any_of_their_answers() -> None:
    example = row("mr", 8)
    written = written_row(example)
    assert written is not None
    assert written.ranking is not None
    answers = written.ranking.answers  # ranking 2>5>1=3>4
    requests = [RankingRequest(example, answers), RankingRequest(example, (answers[3], answers[0], answers[4]))]
    whole, part = BundledAnnotator({}).rank_many(requests)
    assert whole.places == (3, 1, 3, 4, 2)
    assert part.places == (3, 2, 1)
    assert part.annotation.annotator == "bundled"
    (other,) = BundledAnnotator({}).rank_many([RankingRequest(example, (answers[0], "own words"))])
    assert other.annotation.annotator == "template"


def test_written_answers_take_the_place_of_samples_where_there_are_any() -> None:
    asked: list[str] = []

    def sample(examples: Sequence[Example], count: int) -> list[list[str]]:
        asked.extend(example.id for example in examples)
        return [["sampled"] * count for _ in examples]

    ranked, bare, other_format = row("mr", 8), row("mr", 47), replace(row("mr", 8), format="label")
    drawn = BundledAnnotator({}).with_own_answers(sample)([bare, ranked, other_format], 3)
    assert drawn[0] == drawn[2] == ["sampled"] * 3
    assert len(drawn[1]) == 3
    assert drawn[1][0].endswith("The answer is: positive")
    assert asked == ["mr-bundled-047", "mr-bundled-008"]


def test_auto_takes_what_was_written_before_the_template() -> None:
    tiny, real = RunConfig(), load_config({"model.name": "some/model"}, NO_FILE)
    assert choose_annotator(tiny, ["mr"], {"mr"}).name == "bundled"
    assert choose_annotator(tiny, ["mr", "cola"], {"mr"}).name == "template"
    assert choose_annotator(real, ["mr"], {"mr"}).name == "local"
    with pytest.raises(InputError, match="nothing was written for the rows of cola"):
        choose_annotator(load_config({"annotate.annotator": "bundled"}, NO_FILE), ["mr", "cola"], {"mr"})


def test_only_bundled_rows_count_as_written_for() -> None:
    mr = tasks.get("mr")
    splits = load_splits(mr, source="bundled")
    assert written_tasks({"mr": splits}) == {"mr"}
    assert written_tasks({"cola": splits}) == frozenset()
    local = replace(splits, origin=replace(splits.origin, kind="local"))
    assert written_tasks({"mr": local}) == frozenset()


def test_wrong_labels_are_those_that_were_written_for() -> None:
    splits = load_splits(tasks.get("stsb"), source="bundled")
    drawn = {a.example.id: a.label for a in assignments("stsb", splits, RunConfig()) if not a.is_gold}
    known = {a.example.id: a.label for a in assignments("stsb", splits, RunConfig(), lambda _: 9.0) if not a.is_gold}
    assert set(known.values()) == {9.0}
    assert 9.0 not in drawn.values()


@pytest.mark.parametrize("command", [["annotate"], ["pair-gen", "--kind", "ranked"]])
def test_a_dry_run_plans_with_it(
    command: list[str],
    film_llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [
        "--task",
        "agnews",
        "--model",
        str(film_llama),
        "--source",
        "bundled",
        "--annotator",
        "bundled",
        "--dry-run",
    ]
    assert cli.run([*command, *options]) == 0, capfd.readouterr().err
    assert "bundled" in capfd.readouterr().out
