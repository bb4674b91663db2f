"""A run's seed draws its labelled rows, prompts, pairs and order; test and validation rows are those of all seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from rewardlab.config import RunConfig
from rewardlab.config_loading import load_config
from rewardlab.pipeline import Pipeline
from rewardlab.pipeline.rows import Rows
from rewardlab.tasks import tasks
from rewardlab.tasks.checked import content_key
from rewardlab.tasks.sources import Splits

SIZES = {"data.labelled": 12, "data.prompts": 12, "data.validation": 6, "data.test": 8}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REWARDLAB_DATA", raising=False)


def reviews(folder: Path, sizes: Mapping[str, int]) -> Path:
    """A folder with files of different film reviews, whose ids count from 0 in each file, as numbered rows do."""
    for name, count in sizes.items():
        rows = [
            {"id": str(n), "text": f"{name} film {n}", "label": ("positive", "negative")[n % 2]} for n in range(count)
        ]
        (folder / "mr").mkdir(exist_ok=True)
        (folder / "mr" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(params=["generated", "three files", "train alone"])
def splits_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Splits]:
    """Rows under a seed, of a task that makes its own and of files with and without parts for tests."""
    files = {"three files": {"train": 120, "validation": 20, "test": 20}, "train alone": {"train": 160}}
    if request.param == "generated":
        settings: dict[str, object] = {"task": "sandbox-sentiment"}
    else:
        settings = {"task": "mr", "data.dir": str(reviews(tmp_path, files[request.param]))}

    def load(**more: object) -> Splits:
        dotted = {key.replace("__", "."): value for key, value in more.items()}
        config = load_config({**SIZES, **settings, **dotted})
        return Rows().splits(tasks.get(config.task), config.rows, "label")

    return load


def texts(rows: object) -> list[tuple[str, ...]]:
    return [content_key(example) for example in rows]  # type: ignore[attr-defined]


def eval_texts(splits: Splits) -> list[tuple[str, ...]]:
    return [text for rows in (splits.validation, *splits.tests.values()) for text in texts(rows)]


def train_texts(splits: Splits) -> list[tuple[str, ...]]:
    return texts(splits.labelled) + texts(splits.prompts)


def test_another_seed_trains_on_other_rows_and_is_tested_on_the_same_in_the_same_order(
    splits_of: Callable[..., Splits],
) -> None:
    first, second = splits_of(seed=0), splits_of(seed=1)
    assert len(first.labelled) == len(second.labelled) == 12
    assert set(texts(first.labelled)) != set(texts(second.labelled))
    assert set(texts(first.prompts)) != set(texts(second.prompts))
    assert eval_texts(first) == eval_texts(second)
    assert len(eval_texts(first)) == 6 + 8


def test_no_row_that_any_seed_trains_on_is_one_that_any_seed_is_tested_on(splits_of: Callable[..., Splits]) -> None:
    seeds = [splits_of(seed=seed) for seed in range(6)]
    assert not {text for each in seeds for text in train_texts(each)} & {
        text for each in seeds for text in eval_texts(each)
    }
    for each in seeds:
        assert len(set(train_texts(each))) == len(train_texts(each)) == 24


def test_a_data_seed_gives_all_seeds_the_same_rows(splits_of: Callable[..., Splits]) -> None:
    first, second = (splits_of(seed=seed, data__seed=3) for seed in (0, 1))
    assert train_texts(first) == train_texts(second) == train_texts(splits_of(seed=3))


def test_another_test_seed_tests_on_other_rows(splits_of: Callable[..., Splits]) -> None:
    assert set(eval_texts(splits_of(seed=0))) != set(eval_texts(splits_of(seed=0, data__test_seed=1)))


def label_pairs(root: Path, **settings: object) -> dict[str, str]:
    """Id of a row -> the wrong label that its pair gives it."""
    from rewardlab.pairs.files import read_pairs
    from rewardlab.pipeline.runner import Runner

    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    stage = Pipeline(load_config({**SIZES, "task": "sandbox-topic", "format": "label", **dotted}), root).pairs("label")
    folder = Runner(root, lambda line: None).execute(stage)
    return {pair.id: pair.rejected for pair in read_pairs(folder.path / "held_out.jsonl")}


def test_pairs_of_the_same_rows_have_wrong_labels_of_their_seed(tmp_path: Path) -> None:
    """Held-out pairs are made of the validation rows, which seeds share: topic has three wrong labels for each."""
    first, second = (label_pairs(tmp_path / "runs", seed=seed) for seed in (0, 1))
    assert first.keys() == second.keys()
    assert first != second
    assert first == label_pairs(tmp_path / "runs", seed=1, data__seed=0)


def test_a_configuration_stored_before_keeps_the_rows_it_was_made_with() -> None:
    stored = RunConfig().model_dump(mode="json")
    stored["data"] = {**stored["data"], "seed": 0}
    del stored["data"]["test_seed"]
    old = RunConfig.model_validate({**stored, "seed": 4})
    assert (old.data_seed, old.rows.seed, old.rows.test_seed) == (0, 0, 0)
    assert RunConfig(seed=4).data_seed == 4
