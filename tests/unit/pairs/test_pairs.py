"""Pairs of each kind, their outcomes, and the files of the two stages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from rewardlab.annotate.base import Annotation, Annotator, Progress, Ranking, RankingRequest, silent
from rewardlab.annotate.ranking import parse_ranking
from rewardlab.annotate.stage import run_annotate
from rewardlab.config import RunConfig
from rewardlab.config_loading import load_config
from rewardlab.disk import read_json, read_jsonl
from rewardlab.errors import AnnotationError, InputError
from rewardlab.pairs.files import read_pairs
from rewardlab.pairs.rationale_sensitive import RankedSamples, pairs_from_ranking, rank_samples
from rewardlab.pairs.stage import run_pairs
from rewardlab.pairs.statistics import (
    kind_shares,
    label_only_accuracy,
    length_only_accuracy,
    length_statistics,
    rationale_sensitive_share,
)
from rewardlab.runs import RunFolder
from rewardlab.tasks.sources import Splits, load_splits
from rewardlab.tasks.task import tasks, with_format
from rewardlab.types import Example, Label, Pair

TASK = "sandbox-sentiment"
END = "\n\n The answer is: "
GOOD, BAD = f"x{END}positive", f"x{END}negative"
OTHER = f"y{END}positive"
BROKEN = "no answer at all"


class Scripted(Annotator):
    """Ranks by a script, one ranking text per request, and counts what it is asked."""

    name, model = "scripted", "s"

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.asked: list[RankingRequest] = []

    def rank_many(self, requests: Sequence[RankingRequest], progress: Progress = silent) -> list[Ranking]:
        self.asked += requests
        read = [parse_ranking(text, len(r.responses)) for text, r in zip(self.texts, requests, strict=False)]
        return [
            Ranking(
                p.places, Annotation("k", "", "answered" if p.places else "unparsable", self.name, self.model, p.reason)
            )
            for p in read
        ]


def example(id: str = "1") -> Example:
    return Example(TASK, id, {"text": f"review {id}"}, "positive")


def ranked(responses: Sequence[str], places: tuple[int, ...]) -> RankedSamples:
    answers = tuple(tasks.get(TASK).parse(text, "rationale").value for text in responses)
    return RankedSamples(example(), tuple(responses), answers, places, "answered", "", "a", "m")


def config(**settings: object) -> RunConfig:
    return load_config({"task": TASK, "pairs.held_out": 10, **{k.replace("__", "."): v for k, v in settings.items()}})


def splits(count: int = 20) -> dict[str, Splits]:
    return {TASK: load_splits(tasks.get(TASK), labelled=count, prompts=5, validation=10, test=5)}


def folder(path: Path) -> RunFolder:
    opened = RunFolder(path, "pairs", {})
    opened.open()
    return opened


def label_pair(gold: Label, wrong: Label, chosen: str = "", rejected: str = "") -> Pair:
    return Pair(TASK, "1", "label", "rationale", "q", chosen, rejected, gold, wrong, gold, "a", "m")


def test_a_ranking_gives_all_untied_pairs_of_different_texts() -> None:
    # places: GOOD 1, BAD 2, OTHER 2, GOOD again 1
    built = pairs_from_ranking([ranked([GOOD, BAD, OTHER, GOOD], (1, 2, 2, 1))], "ranked")
    assert [(pair.chosen, pair.rejected) for pair in built.pairs] == [(GOOD, BAD), (GOOD, OTHER)]
    # six pairs of samples: two written, BAD-OTHER tied, GOOD-GOOD and the two repeats of the second GOOD
    assert sorted(outcome for _, outcome in built.skipped) == ["duplicate", "duplicate", "duplicate", "tied"]


def test_the_better_place_is_chosen_whatever_the_order() -> None:
    (pair,) = pairs_from_ranking([ranked([GOOD, BAD], (2, 1))], "ranked").pairs
    assert (pair.chosen, pair.rejected) == (BAD, GOOD)
    assert (pair.chosen_label, pair.rejected_label, pair.gold_label) == ("negative", "positive", "positive")
    assert (pair.kind, pair.annotator, pair.model) == ("ranked", "a", "m")


def test_rationale_pairs_are_the_same_label_subset() -> None:
    samples = [ranked([GOOD, BAD, OTHER, BROKEN], (1, 2, 3, 4))]
    every = pairs_from_ranking(samples, "ranked").pairs
    same = pairs_from_ranking(samples, "rationale").pairs
    assert len(every) == 6
    assert [(pair.chosen, pair.rejected) for pair in same] == [(GOOD, OTHER)]
    assert (same[0].chosen, same[0].rejected) in [(pair.chosen, pair.rejected) for pair in every]


def test_equal_texts_are_ranked_once_and_rows_of_one_text_not_at_all() -> None:
    annotator = Scripted("Ranking: 2>1")
    samples = rank_samples([example("1"), example("2")], [[GOOD, BAD, GOOD], [GOOD, GOOD, GOOD]], annotator)
    assert [request.responses for request in annotator.asked] == [(GOOD, BAD)]
    assert samples[0].places == (2, 1, 2)
    assert (samples[1].places, samples[1].outcome) == ((), "duplicate")


def test_an_unreadable_ranking_gives_no_pair_and_is_counted() -> None:
    samples = rank_samples([example()], [[GOOD, BAD]], Scripted("Ranking: 1>1"))
    built = pairs_from_ranking(samples, "ranked")
    assert (built.pairs, built.skipped) == ([], [(TASK, "unparsable")])


def test_kind_shares_count_all_pairs_of_the_samples() -> None:
    # a, a, b: one same and two different; a, None: one malformed
    shares = kind_shares([["a", "a", "b"], ["a", None]])
    assert shares == {"n": 4, "rationale_sensitive": 0.25, "label_sensitive": 0.5, "malformed": 0.25}
    assert kind_shares([]) == {}


def test_the_share_of_rationale_sensitive_pairs_is_of_all_or_of_those_that_could_be_read() -> None:
    """a-a, a-b, a-b; a-none, a-a, none-a: two of six, and two of the four without a malformed answer."""
    answers = [["a", "a", "b"], ["a", None, "a"]]
    assert rationale_sensitive_share(answers).value == pytest.approx(2 / 6)
    assert rationale_sensitive_share(answers, readable=True).value == pytest.approx(2 / 4)


def test_length_statistics() -> None:
    pairs = [label_pair("a", "b", "one two three", "one"), label_pair("a", "b", "one", "two")]
    assert length_statistics(pairs) == {
        "chosen_words_mean": 2.0,
        "rejected_words_mean": 1.0,
        "chosen_words_median": 2.0,
        "rejected_words_median": 1.0,
        "chosen_is_longer": 0.75,
    }


def test_a_label_only_scorer_learns_a_prior_and_guesses_without_one() -> None:
    always_positive = [label_pair("positive", "negative")] * 10
    assert label_only_accuracy(always_positive, always_positive[:4]) == 1.0
    assert label_only_accuracy(always_positive, [label_pair("negative", "positive")]) == 0.0
    balanced = always_positive + [label_pair("negative", "positive")] * 10
    assert label_only_accuracy(balanced, balanced) == 0.5
    assert label_only_accuracy(always_positive, [label_pair("positive", "positive")]) == 0.5
    assert label_only_accuracy([], balanced) is None
    assert label_only_accuracy(balanced, []) is None


def test_a_label_only_scorer_knows_words_that_were_only_chosen_and_only_rejected() -> None:
    always_positive = [label_pair("positive", "negative")] * 10
    assert label_only_accuracy(always_positive, [label_pair("positive", "xyz")]) == 1.0
    assert label_only_accuracy(always_positive, [label_pair("xyz", "negative")]) == 1.0


def test_a_length_only_scorer_sees_lengths_alone() -> None:
    longer = [label_pair("a", "b", "one two three four", "one two")] * 5
    assert length_only_accuracy(longer, [label_pair("b", "a", "five six seven", "eight")]) == 1.0
    assert length_only_accuracy(longer, [label_pair("a", "b", "five", "six seven")]) == 0.0
    assert length_only_accuracy(longer, [label_pair("a", "b", "six seven", "five")]) == 1.0
    assert length_only_accuracy(longer, [label_pair("a", "b", "five", "nine")]) == 0.5


def test_annotate_and_label_pairs_end_to_end(tmp_path: Path) -> None:
    data = splits()
    settings = config(annotate__refusal_rate=0.2, annotate__mismatch_rate=0.2)
    first = run_annotate(folder(tmp_path / "a"), settings, data, tmp_path / "annotations")
    rows = list(read_jsonl(tmp_path / "a" / "rationales.jsonl"))
    assert len(rows) == first["requests"] == 2 * (20 + 10)
    assert {row["split"] for row in rows} == {"labelled", "validation"}
    assert all((row["rationale"] == "") == (row["outcome"] != "answered") for row in rows)
    assert all(rows[i]["is_gold"] and not rows[i + 1]["is_gold"] for i in range(0, len(rows), 2))
    assert all(rows[i]["label"] != rows[i + 1]["label"] for i in range(0, len(rows), 2))
    assert sum(first["outcomes"].values()) == 60
    assert first["outcomes"]["refused"] > 0
    assert first["outcomes"]["mismatched"] > 0

    manifest = run_pairs(folder(tmp_path / "p"), settings, "label", data, tmp_path / "a" / "rationales.jsonl")
    pairs, held_out = read_pairs(tmp_path / "p" / "pairs.jsonl"), read_pairs(tmp_path / "p" / "held_out.jsonl")
    assert manifest == read_json(tmp_path / "p" / "manifest.json")
    assert len(pairs) == manifest["outcomes"]["written"] == manifest["pairs"]
    assert sum(manifest["outcomes"].values()) == 20
    assert sum(manifest["held_out_outcomes"].values()) == 10
    assert all(pair.chosen_label == pair.gold_label != pair.rejected_label for pair in [*pairs, *held_out])
    assert all(pair.chosen.endswith(f"{END}{pair.gold_label}") for pair in pairs)
    assert not {pair.prompt for pair in pairs} & {pair.prompt for pair in held_out}
    assert 0 <= manifest["baselines"]["label_only"] <= 1


def test_a_limit_bounds_training_and_held_out_rows(tmp_path: Path) -> None:
    settings = config(annotate__limit=3, pairs__limit=2)
    manifest = run_annotate(folder(tmp_path / "a"), settings, splits(), tmp_path / "annotations")
    assert manifest["requests"] == 2 * (3 + 3)
    bare = {TASK: _with(splits()[TASK], "label")}
    made = run_pairs(folder(tmp_path / "p"), config(pairs__limit=2, format="label"), "label", bare)
    assert (made["pairs"], made["held_out_pairs"]) == (2, 2)


def test_the_same_run_gives_the_same_rationales(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_annotate(folder(tmp_path / name), config(), splits(), tmp_path / "annotations")
    assert (tmp_path / "a/rationales.jsonl").read_text() == (tmp_path / "b/rationales.jsonl").read_text()


def test_bare_pairs_need_no_annotator(tmp_path: Path) -> None:
    data = splits()
    for format, chosen in (("label", "positive"), ("judgement", " positive </Judgement>")):
        bare = {TASK: load_splits(tasks.get(TASK), labelled=20, prompts=5, validation=10, test=5, format=format)}
        run_pairs(folder(tmp_path / format), config(format=format), "label", bare)
        pairs = read_pairs(tmp_path / format / "pairs.jsonl")
        assert len(pairs) == 20
        assert {pair.chosen for pair in pairs if pair.gold_label == "positive"} == {chosen}
    assert with_format(data[TASK].labelled, "label")[0].id == data[TASK].labelled[0].id


def test_label_pairs_with_rationales_need_the_rationales(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rewardlab annotate"):
        run_pairs(folder(tmp_path), config(), "label", splits())


def test_ranked_pairs_need_samples(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sampled"):
        run_pairs(folder(tmp_path), config(), "ranked", splits())


def test_ranked_stage_samples_once_and_resumes(tmp_path: Path) -> None:
    calls: list[int] = []

    def sample(examples: Sequence[Example], count: int) -> list[list[str]]:
        calls.append(len(examples))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return [[GOOD, BAD, OTHER, GOOD, BROKEN][:count] for _ in examples]

    class Placed(Scripted):
        def rank_many(self, requests: Sequence[RankingRequest], progress: Progress = silent) -> list[Ranking]:
            self.texts = ["Ranking: 1>3>2>4"] * len(requests)
            return super().rank_many(requests, progress)

    data = splits(100)
    with pytest.raises(KeyboardInterrupt):
        run_pairs(folder(tmp_path), config(), "ranked", data, sample_answers=sample, annotator=Placed())
    with (tmp_path / "sampled.jsonl").open("a") as file:
        file.write('{"task": "sandbox-sen')  # as a crash leaves it
    manifest = run_pairs(folder(tmp_path), config(), "ranked", data, sample_answers=sample, annotator=Placed())
    assert calls == [64, 46, 46]  # 110 rows in chunks of 64; the second chunk is drawn again, the first is not
    # per row 10 pairs of 5 samples; GOOD twice: 4 different texts in 4 places give 6 pairs
    assert manifest["pairs"] == 600
    assert manifest["outcomes"]["duplicate"] == 400
    # answers + - + + none: of 10 pairs 3 are + +, 3 are + -, 4 hold the malformed one
    assert manifest["distribution"][TASK]["rationale_sensitive"] == pytest.approx(0.3)
    assert manifest["distribution"][TASK]["label_sensitive"] == pytest.approx(0.3)
    samples = list(read_jsonl(tmp_path / "samples.jsonl"))
    assert len(samples) == 110
    assert samples[0]["places"] == [1, 3, 2, 1, 4]
    assert {row["split"] for row in samples} == {"labelled", "validation"}


def test_held_out_pairs_alone_ask_about_validation_rows_alone(tmp_path: Path) -> None:
    asked: list[int] = []

    def sample(examples: Sequence[Example], count: int) -> list[list[str]]:
        asked.append(len(examples))
        return [[GOOD, OTHER][:count] for _ in examples]

    settings = config(pairs__only_held_out=True, pairs__samples=2)
    annotator = Scripted(*["Ranking: 1>2"] * 10)
    manifest = run_pairs(folder(tmp_path), settings, "ranked", splits(), sample_answers=sample, annotator=annotator)
    assert asked == [len(annotator.asked)] == [10]
    assert (manifest["pairs"], manifest["held_out_pairs"]) == (0, 10)
    assert manifest["tasks"][TASK]["held_out_kinds"] == {"rationale_sensitive": 10}
    assert (manifest["annotator_calls"], manifest["held_out_calls"]) == (0, 10)


def test_no_pair_at_all_is_an_error_that_says_why(tmp_path: Path) -> None:
    def sample(examples: Sequence[Example], count: int) -> list[list[str]]:
        return [[GOOD] * count for _ in examples]

    with pytest.raises(AnnotationError, match=r"not one ranked pair for sandbox-sentiment: 20 duplicate"):
        run_pairs(folder(tmp_path), config(), "ranked", splits(), sample_answers=sample, annotator=Scripted())
    assert json.loads((tmp_path / "manifest.json").read_text())["pairs"] == 0


def test_no_rationale_at_all_is_an_error_that_says_why(tmp_path: Path) -> None:
    settings = config(annotate__refusal_rate=1.0, annotate__mismatch_rate=0.0)
    with pytest.raises(AnnotationError, match="60 refused"):
        run_annotate(folder(tmp_path), settings, splits(), tmp_path / "annotations")


def test_held_out_pairs_share_no_prompt_with_training(tmp_path: Path) -> None:
    from dataclasses import replace

    one = splits()[TASK]
    same = {TASK: replace(one, validation=[*one.labelled[:4], *one.validation[:6]])}
    manifest = run_pairs(folder(tmp_path), config(format="label"), "label", {TASK: _with(same[TASK], "label")})
    assert manifest["held_out_outcomes"] == {
        "written": 6, "refused": 0, "mismatched": 0, "unparsable": 0, "duplicate": 0, "trained_prompt": 4,
    }  # fmt: skip


def _with(split: Splits, format: str) -> Splits:
    from dataclasses import replace

    return replace(
        split,
        labelled=with_format(split.labelled, format),  # type: ignore[arg-type]
        validation=with_format(split.validation, format),  # type: ignore[arg-type]
    )
