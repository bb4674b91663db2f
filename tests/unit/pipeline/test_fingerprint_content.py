"""What a fingerprint must see through a name: the code of a user's reward, an annotator's weights, its endpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rewardlab.cli.main import run
from rewardlab.code_identity import code_hash
from rewardlab.config_loading import load_config
from rewardlab.pipeline import Pipeline, Stage
from rewardlab.rewards.functions import load_reference
from rewardlab.rewards.registry import find_reward
from rewardlab.runs import write_json
from tests.support.models import tiny_llama

SMALL = {"data.labelled": 4, "data.prompts": 4, "data.validation": 2, "data.test": 2, "task": "agnews"}
REWARD = "def polite(examples, responses):\n    return [float('please' in text) for text in responses]\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))
    for name in ("REWARDLAB_DATA", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    sys.modules.pop("kind_words", None)


def pipeline(**settings: Any) -> Pipeline:
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    return Pipeline(load_config({"data.source": "bundled", **SMALL, **dotted}), Path("runs"))


def ppo(expression: str) -> Stage:
    sys.modules.pop("kind_words", None)  # every command is a process of its own
    return pipeline(init="base", reward__expression=expression).train()


class TestRewardCode:
    @pytest.mark.parametrize("expression", ["kind_words:polite", "rule + 0.5 * kind_words:polite"])
    def test_an_edited_reward_is_another_run(self, expression: str) -> None:
        source = Path("kind_words.py")
        source.write_text(REWARD)
        before = ppo(expression).fingerprint
        assert ppo(expression).fingerprint == before
        source.write_text(REWARD.replace("please", "kindly"))
        assert ppo(expression).fingerprint != before

    def test_rewards_of_our_own_are_covered_by_the_version_of_the_stage(self) -> None:
        assert "reward_code" not in ppo("rule - 0.1 * length").settings

    def test_the_file_is_found_behind_wrappers_and_instances(self) -> None:
        Path("kind_words.py").write_text(REWARD + "class Judge:\n    def __call__(self, a, b):\n        return []\n")
        load_reference("kind_words:polite")
        kind_words = sys.modules["kind_words"]
        codes = (kind_words.polite, partial(kind_words.polite), kind_words.Judge())
        before = [code_hash(code) for code in codes]
        assert None not in before
        Path("kind_words.py").write_text(REWARD.replace("please", "kindly"))
        sys.modules.pop("kind_words")
        assert not set(before) & {code_hash(code) for code in codes}

    def test_rewards_of_our_own_have_no_hash(self) -> None:
        assert find_reward("rule").code_hash() is None

    def test_an_older_run_is_evaluated_after_its_reward_was_edited(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Evaluation runs the policy, not the reward, so that an old reward's run stays comparable with the new."""
        source = Path("kind_words.py")
        source.write_text(REWARD)
        sys.modules.pop("kind_words", None)
        trained = pipeline(task="sandbox-sentiment", init="base", reward__expression="kind_words:polite").train()
        folder = trained.folder(Path("runs"))
        folder.open()
        write_json(folder.path / "result.json", {})
        source.write_text(REWARD.replace("please", "kindly"))
        sys.modules.pop("kind_words", None)
        assert run(["eval", "--run", str(folder.path), "--dry-run"]) == 0
        assert f"[done] PPO on kind_words:polite (sandbox-sentiment)\n   {folder.path}" in capsys.readouterr().out


class TestAnnotator:
    def test_other_weights_under_the_local_annotators_name_annotate_anew(self, tmp_path: Path) -> None:
        def annotate(seed: int) -> Stage:
            folder = tiny_llama(tmp_path / "writer", seed=seed)
            return pipeline(annotate__annotator="local", annotate__model=str(folder)).annotate()

        first, same, other = annotate(0), annotate(0), annotate(1)
        assert first.fingerprint == same.fingerprint
        assert first.fingerprint != other.fingerprint

    def test_two_endpoints_are_two_annotators(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def annotate(url: str | None) -> Stage:
            settings = {} if url is None else {"annotate.base_url": url}
            return pipeline(annotate__annotator="openai", annotate__model="writer", **settings).annotate()

        default, here, there = annotate(None), annotate("http://localhost:1/v1"), annotate("http://localhost:2/v1")
        assert len({default.fingerprint, here.fingerprint, there.fingerprint}) == 3
        assert annotate("http://localhost:1/v1/").fingerprint == here.fingerprint
        monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
        assert annotate(None).fingerprint == here.fingerprint
