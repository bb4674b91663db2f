"""An annotator that another package brings, as on ``docs/annotate.md``: its runs, its identity, what it can do."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rewardlab.annotate.base import Annotation, Annotator, Progress, RankingRequest, RationaleRequest, silent
from rewardlab.annotate.preview import preview_rationales
from rewardlab.annotate.registry import annotators, choose_annotator
from rewardlab.config import RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.disk import read_json, read_jsonl
from rewardlab.errors import ConfigError
from rewardlab.pipeline import Pipeline
from rewardlab.pipeline.stage import Stage
from rewardlab.pipeline.stages.judge import has_judge
from rewardlab.types import Example
from tests.support.commands import SMALL, Command

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "annotate.md").read_text(encoding="utf-8")
SOURCE = PAGE.split("```python\n# my_package.py\n")[1].split("```")[0]
SOURCE = SOURCE.replace("    def ", '    needs = "patience"\n    settings = ("temperature",)\n\n    def ', 1)
ROW = Example("sandbox-sentiment", "1", {"text": "a dull film"}, "negative")
TERSE = ("--annotator", "terse", *SMALL, "--set", "annotate.filter_threshold=0")


@pytest.fixture(autouse=True)
def package(rewardlab: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package with the annotator ``terse``, as a new process sees it."""
    folder = Path("terse").resolve()
    (info := folder / "terse_annotator-1.0.dist-info").mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: terse-annotator\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rewardlab.annotators]\nterse = terse_annotator:Terse\n")
    (folder / "terse_annotator.py").write_text(SOURCE)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    _start_anew(monkeypatch)
    yield folder / "terse_annotator.py"
    sys.modules.pop("terse_annotator", None)


def _start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.invalidate_caches()
    sys.modules.pop("terse_annotator", None)
    own = {name: annotators.get(name) for name in annotators if name != "terse"}
    monkeypatch.setattr(annotators, "_entries", own)
    monkeypatch.setattr(annotators, "_plugins", {})
    monkeypatch.setattr(annotators, "_group", "rewardlab.annotators")


def config(**settings: object) -> RunConfig:
    data = {f"data.{part}": 4 for part in ("labelled", "prompts", "validation", "test")}
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    return load_config({"annotate.annotator": "terse", "init": "base", **data, **dotted}, NO_FILE)


def stages(**settings: object) -> tuple[Stage, Stage]:
    made = Pipeline(config(**settings), Path("runs"))
    return made.annotate(), made.pairs("ranked")


class TestRuns:
    def test_it_writes_the_rationales_of_label_pairs(self, rewardlab: Command) -> None:
        done = rewardlab("pair-gen", *TERSE)
        assert done.code == 0, done.err
        [folder] = Path("runs/annotate").glob("*-terse-*")
        rows = list(read_jsonl(folder / "rationales.jsonl"))
        assert {row["rationale"] for row in rows} == {"It is positive.", "It is negative."}
        assert {row["annotator"] for row in rows} == {"terse"}
        manifest = read_json(folder / "manifest.json")
        assert (manifest["annotator"], manifest["model"], manifest["spent"]) == ("terse", "own code", {})
        [pairs] = Path("runs/pairs").glob("*")
        assert list(read_jsonl(pairs / "pairs.jsonl"))

    def test_it_ranks_the_samples_of_ranked_pairs(self, rewardlab: Command) -> None:
        done = rewardlab("pair-gen", "--kind", "ranked", *TERSE, "--set", "init=base", "--set", "pairs.samples=3")
        assert done.code == 0, done.err
        [pairs] = Path("runs/pairs").glob("*")
        rows = list(read_jsonl(pairs / "pairs.jsonl"))
        assert rows
        assert all(len(row["chosen"]) < len(row["rejected"]) for row in rows)

    def test_the_list_says_what_it_can_do_and_the_help_where_the_list_is(self, rewardlab: Command) -> None:
        said = " ".join(rewardlab("annotators").out.split())
        assert "terse says the label; likes short answers can: write, rank; needs: patience; free" in said
        assert (
            "openai a hosted model behind any OpenAI-compatible endpoint can: write, rank, judge, grade; needs: OPENAI"
            in said
        )
        assert said.index("sandbox ") < said.index("openai ") < said.index("template ") < said.index("terse ")
        assert "`rewardlab annotators`" in " ".join(rewardlab("annotate", "--help").out.split())


class TestIdentity:
    def test_its_code_and_its_package_are_part_of_it(self, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before, same = stages(), stages()
        for stage in before:
            assert stage.settings["annotator"] == "terse"
            assert stage.settings["annotator_code"]["terse"].endswith(" terse-annotator 1.0")
        package.write_text(SOURCE.replace("It is", "Surely"))
        _start_anew(monkeypatch)
        other = stages()
        assert [stage.fingerprint for stage in before] == [stage.fingerprint for stage in same]
        assert not {stage.fingerprint for stage in before} & {stage.fingerprint for stage in other}

    def test_only_the_settings_that_it_names_count(self) -> None:
        plain, warm, other = stages(), stages(annotate__temperature=0.1), stages(annotate__max_new_tokens=7)
        assert plain[0].settings["temperature"] == 0.7
        assert plain[0].fingerprint == other[0].fingerprint != warm[0].fingerprint

    def test_rewardlabs_own_have_no_code_in_it(self) -> None:
        assert all("annotator_code" not in stage.settings for stage in stages(annotate__annotator="sandbox"))


class TestAbilities:
    def test_what_it_cannot_do_is_refused_before_anything_runs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(annotators._entries, "writer", Writer)
        pipeline = Pipeline(config(annotate__annotator="writer"), Path("runs"))
        assert pipeline.annotate().settings["annotator"] == "writer"
        with pytest.raises(ConfigError, match="annotator writer cannot rank; expected one of sandbox, openai, local"):
            pipeline.pairs("ranked")
        with pytest.raises(ConfigError, match="annotator writer ranks nothing"):
            Writer().rank_many([RankingRequest(ROW, ("a", "b"))])

    def test_what_each_can_do_is_read_off_its_methods(self) -> None:
        able = {name: "".join(each[0] for each in annotators.get(name).abilities()) for name in annotators.every()}
        expected = {
            "sandbox": "wrjg",
            "openai": "wrjg",
            "local": "wrg",
            "bundled": "wr",
            "template": "wr",
            "terse": "wr",
        }
        assert able == expected
        assert {name for name in annotators if annotators.get(name).is_paid} == {"openai"}

    @pytest.mark.parametrize("found", [Path, Annotator, len, 3])
    def test_what_is_no_annotator_is_named(self, found: object, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(annotators._entries, "odd", found)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"annotator 'odd': found .*, expected a subclass of rewardlab"):
            choose_annotator(config(annotate__annotator="odd"), ["mr"])

    def test_auto_never_takes_it(self) -> None:
        assert "terse" in annotators.every()
        assert choose_annotator(RunConfig(), ["mr"]).name == "template"

    @pytest.mark.parametrize(("name", "judges"), [("terse", False), ("sandbox", True), ("bundled", False)])
    def test_suites_have_claims_judged_by_those_that_judge(self, name: str, judges: bool) -> None:
        assert has_judge(config(annotate__annotator=name)) is judges

    def test_a_dry_run_counts_the_requests_of_one_that_is_paid(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(annotators._entries, "writer", Writer)
        splits = Pipeline(config(annotate__annotator="writer"), Path("runs")).splits
        assert preview_rationales(config(), splits, Path("runs")) is None
        preview = preview_rationales(config(annotate__annotator="writer"), splits, Path("runs"))
        assert preview is not None
        assert (preview.requests, preview.cost_usd) == (4 * 2 + 4 * 2, None)  # a right and a wrong label of each row


class Writer(Annotator):
    """Writes and ranks nothing."""

    name, is_paid = "writer", True

    def rationales(self, requests: Sequence[RationaleRequest], progress: Progress = silent) -> list[Annotation]:
        raise AssertionError("nobody asks it here")


def test_an_answer_is_known_by_who_was_asked_what() -> None:
    first, second = Writer().answered("a", ROW, "negative"), Writer().answered("b", ROW, "negative")
    assert first.key == second.key != Writer().answered("a", ROW, "positive").key
