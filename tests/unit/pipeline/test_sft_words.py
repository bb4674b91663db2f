"""``sft.words`` on its way into the stage: part of its identity where it is given, refused for labels there are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.errors import ConfigError
from rewardlab.pipeline import Pipeline


def fingerprint(root: Path, **words: Any) -> str:
    config = load_config({"task": "sandbox-sentiment", "format": "label", "sft.words": words}, NO_FILE)
    return Pipeline(config, root).sft(rationales=False).fingerprint


def test_other_words_make_another_run(tmp_path: Path) -> None:
    plain = Pipeline(load_config({"task": "sandbox-sentiment", "format": "label"}, NO_FILE), tmp_path).sft(False)
    assert "words" not in plain.settings["sft"]
    assert fingerprint(tmp_path) == plain.fingerprint
    assert fingerprint(tmp_path, **{"sandbox-sentiment": {"negative": "No"}}) != plain.fingerprint


def test_a_label_that_the_task_does_not_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sft\.words: Negative is no label of sandbox-sentiment; expected some of "):
        fingerprint(tmp_path, **{"sandbox-sentiment": {"Negative": "No"}})
