"""What a fingerprint must see through a name: the code of a user's reward, an annotator's weights, its endpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from rewardlab.annotate.prompting import prompt_versions
from rewardlab.annotate.registry import annotators
from rewardlab.cli.main import run
from rewardlab.code_identity import code_hash
from rewardlab.config import SFTConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.disk import write_json
from rewardlab.pipeline import Pipeline, Stage
from rewardlab.pipeline.context import dumped, slug_of
from rewardlab.pipeline.kinds import stage_kinds
from rewardlab.pipeline.rows import Rows
from rewardlab.rewards.functions import load_reference
from rewardlab.rewards.registry import find_reward
from rewardlab.section import STORING
from tests.support.models import tiny_llama

SMALL = {"data.labelled": 4, "data.prompts": 4, "data.validation": 2, "data.test": 2, "task": "agnews"}
PROMPT = prompt_versions()["judge"]
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

    @pytest.mark.parametrize(
        ("settings", "names"),
        [
            ({"task": "sandbox-sentiment", "annotate__annotator": "sandbox"}, {"refusal_rate", "mismatch_rate"}),
            ({"annotate__annotator": "template"}, set()),
            ({"annotate__annotator": "bundled"}, {"written"}),
            (
                {"annotate__annotator": "local"},
                {"prompts", "annotator_model", "temperature", "annotator_tokens"},
            ),
            (
                {"annotate__annotator": "openai", "annotate__model": "gpt-4o"},
                {"prompts", "annotator_model", "endpoint", "temperature", "annotator_tokens"},
            ),
            (
                {"annotate__annotator": "openai", "annotate__model": "o3", "annotate__extra_body": {"top_p": 1}},
                {"prompts", "annotator_model", "endpoint", "temperature", "annotator_tokens", "reasoning_tokens"}
                | {"extra_body"},
            ),
        ],
    )
    def test_each_annotator_is_told_by_what_its_answers_depend_on(
        self, settings: dict[str, Any], names: set[str], film_llama: Path
    ) -> None:
        made = pipeline(**{"annotate__model": str(film_llama), **settings})
        written, ranked = (made.context.annotator_settings(ability) for ability in ("write", "rank"))
        assert set(written) == {"annotator", "annotator_seed", *names}
        ranks = {"oracle_weight"} if written["annotator"] == "sandbox" else set()
        assert set(ranked) == {*written, *ranks}

    @pytest.mark.parametrize(
        ("name", "settings"),
        [
            ("sandbox", {}),
            ("template", {}),
            ("bundled", {}),
            ("openai", {"annotator_model": "gpt-4o-mini", "endpoint": None, "prompt": PROMPT}),
            ("local", {"annotator_model": ANY, "prompt": PROMPT}),
        ],
    )
    def test_a_judge_that_reads_the_prompt_is_told_by_it(
        self, name: str, settings: dict[str, Any], film_llama: Path
    ) -> None:
        """Beside these, the judge's stage has the annotator's name, model, temperature and weight for every judge."""
        config = load_config({"model.name": str(film_llama)}, NO_FILE)
        assert annotators.get(name).identity(config, "judge") == settings


class TestSettings:
    def test_a_model_is_its_weights_its_lengths_its_adapter_and_the_seed(self) -> None:
        names = {"model", "max_prompt_tokens", "max_new_tokens", "lora", "seed"}
        assert set(pipeline(init="base").context.model) == names

    def test_rows_are_told_by_format_questions_and_content(self) -> None:
        assert set(pipeline().context.data("labelled")) == {"format", "tasks", "rows"}

    def test_how_often_state_is_stored_is_no_part_of_it(self) -> None:
        every = {name for name in SFTConfig.model_fields if name not in SFTConfig.later()}
        assert every > STORING
        assert set(dumped(SFTConfig())) == every - STORING
        assert set(dumped(SFTConfig(), ("epochs",))) == every - STORING - {"epochs"}

    def test_a_later_setting_counts_once_it_is_set(self) -> None:
        later = {"dropout": 0.1, "words": {"sst2": {"negative": "No"}}, "patience": 3, "gradient_checkpointing": True}
        assert set(SFTConfig.later()) == set(later)
        for name, value in later.items():
            assert dumped(SFTConfig.model_validate({name: value}))[name] == value

    @pytest.mark.parametrize(
        ("text", "slug"),
        [
            ("min(label, λ) + ranked", "min-label-lam-ranked"),
            ("Rule - 0.1", "rule-0.1"),
            ("x" * 50, "x" * 48),
            ("+ *", "run"),
        ],
    )
    def test_a_text_as_part_of_a_name(self, text: str, slug: str) -> None:
        assert slug_of(text) == slug

    def test_pipelines_may_share_the_rows_they_read(self) -> None:
        rows = Rows()
        assert Pipeline(pipeline().config, Path("runs"), rows).rows is rows

    def test_tasks_as_part_of_a_name(self) -> None:
        assert pipeline(task="agnews").context.slug == "agnews"
        assert pipeline(task="agnews,mr,sst2").context.slug == "agnews-and-2"


def step(kind: str, inputs: dict[str, Stage] | None = None, **settings: Any) -> Stage:
    return Stage(kind, kind, f"a-{kind}", settings, inputs or {}, lambda work: {})


class TestStage:
    def test_what_a_fingerprint_is_made_of(self) -> None:
        """A rival that a stage takes its time from stands in its settings alone."""
        model, rival = step("sft"), step("rm")
        trained = step("ppo", {"model": model, "as_long_as_rm": rival}, steps=3)
        assert trained.identity == {
            "version": stage_kinds()["ppo"].version,
            "settings": {"steps": 3},
            "inputs": {"model": model.fingerprint},
        }
        others = [step("ppo", {"model": model}, steps=4), step("eval", {"model": model}, steps=3), step("ppo", steps=3)]
        assert trained.fingerprint == step("ppo", {"model": model}, steps=3).fingerprint
        assert trained.fingerprint not in {each.fingerprint for each in others}

    def test_a_folder_is_under_the_root_unless_it_has_a_place(self, tmp_path: Path) -> None:
        one = step("sft")
        assert one.folder(tmp_path).path == tmp_path / "sft" / f"a-sft-{one.fingerprint}"
        placed = Stage("sft", "", "s", {}, {}, lambda work: {}, at=tmp_path / "here")
        assert placed.folder(tmp_path).path == tmp_path / "here"

    def test_a_chain_has_each_stage_once_inputs_first(self) -> None:
        notes, pairs, rival = step("annotate"), step("pairs"), step("rm")
        model = step("sft", {"notes": notes})
        trained = step(
            "ppo", {"notes": notes, "model": model, "held_out_label": pairs, "as_long_as_rm": rival, "again": model}
        )
        assert [each.kind for each in trained.chain()] == ["annotate", "sft", "pairs", "rm", "ppo"]
        assert [each.kind for each in trained.chain(measuring=False)] == ["annotate", "sft", "ppo"]

    def test_rows_that_are_not_here_are_told_by_every_stage_that_needs_them(self) -> None:
        lacking, there = step("sft", rows={"a": "12ab", "b": "unread-1"}), step("sft", rows={"a": "12ab", "b": "34cd"})
        assert (lacking.has_rows, step("ppo", {"model": lacking}).has_rows) == (False, False)
        assert (there.has_rows, step("ppo", {"model": there}).has_rows) == (True, True)
