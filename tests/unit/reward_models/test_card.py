"""Report cards: measures by hand, sets without leaks, files and pictures, several models side by side."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rewardlab as rl
from rewardlab.cli import main as cli
from rewardlab.disk import read_json, write_json, write_jsonl
from rewardlab.errors import InputError
from rewardlab.models.scoring import load_scorers
from rewardlab.pipeline.stage import Work
from rewardlab.pipeline.stages import reward_model
from rewardlab.reward_models import measures
from rewardlab.reward_models.card import Judged, card_of, names_of, report_cards
from rewardlab.reward_models.card_files import markdown
from rewardlab.reward_models.lambda_sweep import Scored, _accuracy, picked, sweep
from rewardlab.reward_models.over_seeds import load_cards
from rewardlab.reward_models.pair_sets import PairSet, pair_folders, pair_sets
from rewardlab.reward_models.trained_prompts import store_trained_prompts
from rewardlab.runs import RunFolder
from rewardlab.training.progress import Silent
from rewardlab.training.reward_model import train_reward_model
from rewardlab.training.rm_evaluation import SampledAnswer
from rewardlab.training.stored_samples import read_samples, write_samples
from rewardlab.types import Example, Pair
from tests.support.models import tiny_llama, tiny_tokenizer
from tests.support.reward_models import HELD_OUT, MARK, PAIRS, TEXTS, make_config, make_pair
from tests.support.runs import STORED_RM

SAMPLES = [
    SampledAnswer(
        Example("mr", f"s-{number}", {"text": f"the film {number}"}, "positive", evidence={"cite": ["a"]}),
        (f"it is good{MARK}positive", f"it is bad{MARK}negative", f"it is fine{MARK}positive"),
    )
    for number in (*range(300, 307), 0)
]


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


class TestMeasures:
    def test_accuracy_counts_ties_as_half_and_draws_prompts(self) -> None:
        margins = np.array([1.0, -1.0, 0.0, 2.0])
        assert measures.accuracy(margins, "abcd")["value"] == pytest.approx((1 + 0 + 0.5 + 1) / 4)
        # all pairs of one example: it is one thing, of which no more is known
        assert (measures.accuracy(margins, "aaaa")["low"], measures.accuracy(margins, "aaaa")["high"]) == (0.0, 1.0)

    @pytest.mark.parametrize(
        ("right", "wrong", "share"),
        [
            ([2.0], [1.0, 0.0, -1.0], 1.0),
            ([2.0], [1.0, 3.0, -1.0], 0.0),
            ([2.0], [1.0, 2.0, -1.0], 1 / 2),
            ([2.0], [2.0, 2.0, 2.0], 1 / 4),
            # one of the four triples is without the 3
            ([2.0], [1.0, 0.0, -1.0, 3.0], 1 / 4),
            # of the four triples one has no tie, three have one: (1 + 3 / 2) / 4
            ([2.0], [1.0, 0.0, -1.0, 2.0], 5 / 8),
            # the right answer is drawn, too: 1 for 5.0 and 1/4 for 2.0
            ([2.0, 5.0], [1.0, 0.0, -1.0, 3.0], 5 / 8),
        ],
    )
    def test_best_of_four_by_hand(self, right: list[float], wrong: list[float], share: float) -> None:
        assert measures.best_of_four(np.array(right), np.array(wrong)) == pytest.approx(share)

    def test_calibration_by_hand(self) -> None:
        margins = np.array([logit(0.92), logit(0.92), logit(0.08), logit(0.62)])
        found = measures.calibration(margins)
        # distances from 1: 0.08, 0.08, 0.92, 0.38
        assert found["brier"] == pytest.approx((0.0064 + 0.0064 + 0.8464 + 0.1444) / 4)
        # confidences 0.92, 0.92, 0.92 (wrong), 0.62: bins of width 0.05 from 0.5
        assert [(round(b["confidence"], 6), round(b["accuracy"], 6), b["n"]) for b in found["bins"]] == [
            (0.62, 1.0, 1),
            (0.92, 0.666667, 3),
        ]
        assert found["ece"] == pytest.approx((0.38 * 1 + (0.92 - 2 / 3) * 3) / 4)
        assert found["overconfidence"] == pytest.approx((3 * 0.92 + 0.62) / 4 - 3 / 4)
        # of the three surest one is wrong, in any order: 1/3 of the first, second and third; of all four 1/4
        assert found["aurc"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 3 + 1 / 4) / 4)

    def test_a_win_is_a_positive_margin_however_small(self) -> None:
        assert measures.wins(np.array([0.3, -0.3, 0.0, 5.0, -1.0])).tolist() == [1.0, 0.0, 0.5, 1.0, 0.0]
        assert measures.accuracy(np.ones(3), "abc")["n"] == 3

    def test_confidence_has_ten_bins_from_a_half_to_one(self) -> None:
        sure = [0.51, 0.549, 0.551, 0.599, 0.93, 0.949, 0.951, 0.999]
        found = measures.calibration(np.array([logit(probability) for probability in sure]))
        assert [each["n"] for each in found["bins"]] == [2, 2, 2, 2]

    def test_calibration_at_the_ends(self) -> None:
        sure = measures.calibration(np.array([1e6, 1e6]))
        assert (sure["brier"], sure["ece"]) == (0.0, 0.0)
        assert sure["bins"] == [{"confidence": 1.0, "accuracy": 1.0, "n": 2}]
        assert measures.calibration(np.array([-1e6]))["brier"] == pytest.approx(1.0)
        blind = measures.calibration(np.zeros(3))
        assert (blind["brier"], blind["ece"], blind["bins"][0]["accuracy"]) == (0.25, 0.0, 0.5)

    def test_margins(self) -> None:
        found = measures.margin_histogram(np.array([-1.0, 0.0, 1.0, 4.0]))
        assert found["mean"] == 1.0
        assert found["sd"] == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 4))
        assert sum(found["counts"]) == 4
        assert (len(found["edges"]), len(found["counts"])) == (25, 24)

    def test_by_gold_label(self) -> None:
        pairs = [replace(make_pair(n), gold_label=gold) for n, gold in enumerate(["x", "y", "x", None])]
        found = measures.accuracy_by_gold(np.array([1.0, -1.0, -1.0, 1.0]), pairs)
        assert {label: (cell["value"], cell["n"]) for label, cell in found.items()} == {"x": (0.5, 2), "y": (0.0, 1)}

    def test_scores_by_gold_label(self) -> None:
        found = measures.scores_by_gold(np.array([1.0, 3.0, -2.0, 9.0]), ["x", "x", None, "x"], ["x", "x", "x", None])
        assert found["x"]["right"]["mean"] == 2.0
        assert found["x"]["right"]["q50"] == 2.0
        assert (found["x"]["wrong"]["n"], found["x"]["wrong"]["mean"]) == (1, -2.0)

    def test_gold_numbers_are_rounded_and_right_within_a_half(self) -> None:
        found = measures.scores_by_gold(np.array([1.0, 3.0, 5.0]), [2.2, 3.2, 2.5], [2.6, 2.6, 2.4])
        assert found["3"]["right"]["n"] == 1
        assert found["3"]["wrong"]["mean"] == 3.0
        assert found["2"]["right"]["mean"] == 5.0

    def test_the_spread_of_scores_by_hand(self) -> None:
        found = measures.spread(np.arange(101.0))
        assert found.pop("sd") == pytest.approx(math.sqrt((101**2 - 1) / 12))
        assert found == {"n": 101, "mean": 50.0, "q5": 5.0, "q25": 25.0, "q50": 50.0, "q75": 75.0, "q95": 95.0}

    def test_a_number_half_a_step_away_is_right_and_none_is_wrong(self) -> None:
        found = measures.scores_by_gold(np.array([1.0, 2.0, 4.0]), [3.0, None, 2.0], [2.5, 2.5, 2.5])
        assert {side: (cell["n"], cell["mean"]) for side, cell in found["3"].items()} == {
            "right": (2, 2.5),
            "wrong": (1, 2.0),
        }

    def test_correlations(self) -> None:
        found = measures.correlation(np.array([1.0, 2.0, 9.0]), np.array([1.0, 2.0, 3.0]))
        assert found["spearman"] == pytest.approx(1.0)
        # covariance sums: (-3)(-1) + (-2)(0) + (5)(1) = 8; spreads 38 and 2
        assert found["pearson"] == pytest.approx(8 / math.sqrt(38 * 2))
        assert measures.correlation(np.ones(3), np.arange(3.0)) == {"pearson": None, "spearman": None}
        assert measures.correlation(np.ones(0), np.ones(0)) == {"pearson": None, "spearman": None}
        assert measures.correlation(np.arange(3.0), np.ones(3)) == {"pearson": None, "spearman": None}
        two = measures.correlation(np.array([1.0, 2.0]), np.array([3.0, 2.0]))
        assert two == {"pearson": pytest.approx(-1.0), "spearman": pytest.approx(-1.0)}

    def test_label_prior(self) -> None:
        pairs = [replace(make_pair(n), gold_label=gold) for n, gold in enumerate(["x", "x", "y", None])]
        assert measures.label_prior(pairs) == {("mr", "x"): pytest.approx(2 / 3), ("mr", "y"): pytest.approx(1 / 3)}


def ranked(number: int, *, same: bool) -> Pair:
    """A ranked pair; ``same``: both answers are positive."""
    pair = replace(make_pair(number), kind="ranked")
    return replace(pair, rejected=f"it is {number}{MARK}positive", rejected_label="positive") if same else pair


def folder_of(path: Path, train: list[Pair], held_out: list[Pair]) -> Path:
    write_jsonl(path / "pairs.jsonl", [pair.to_json() for pair in train])
    write_jsonl(path / "held_out.jsonl", [pair.to_json() for pair in held_out])
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of label and ranked pairs, a reward model that learned the pairs, and one that learned the opposite."""
    root = tmp_path_factory.mktemp("runs")
    model = tiny_llama(root / "llama", tiny_tokenizer(TEXTS))
    flipped = [make_pair(number, flipped=True) for number in range(32)]
    folder_of(root / "pairs" / "label-0a", PAIRS, [*HELD_OUT, PAIRS[0]])
    mixed = [ranked(number, same=number % 2 == 0) for number in range(200, 220)]
    folder_of(root / "pairs" / "ranked-0b", [ranked(number, same=True) for number in range(32)], mixed)
    for kind, pairs in (("label", PAIRS), ("ranked", flipped)):
        place = RunFolder(root / "rm" / kind, "rm", {"inputs": {"pairs": "0a", "held_out_ranked": "0b", "start": "x"}})
        place.open()
        write_samples(place.path, SAMPLES)
        place.finish(train_reward_model(place, make_config(model), kind, None, pairs, {}, SAMPLES))  # type: ignore[arg-type]
    return root


class TestSets:
    def test_no_pair_whose_prompt_is_trained_on(self, runs: Path) -> None:
        sets = {each.name: each for each in pair_sets(pair_folders(runs / "rm" / "label"), runs / "rm" / "label")}
        assert list(sets) == ["held_out_label", "held_out_ranked", "held_out_rationale", "policy_sampled"]
        assert (len(sets["held_out_label"].pairs), sets["held_out_label"].trained_prompts) == (20, 1)
        assert (len(sets["held_out_ranked"].pairs), len(sets["held_out_rationale"].pairs)) == (20, 10)
        # 8 prompts, one wrong answer against two right ones; the last prompt is trained on
        assert (len(sets["policy_sampled"].pairs), sets["policy_sampled"].trained_prompts) == (14, 2)
        assert {pair.kind for pair in sets["held_out_label"].training} == {"label"}
        assert {pair.kind for pair in sets["held_out_rationale"].training} == {"ranked"}

    def test_samples_come_back_as_they_were(self, runs: Path) -> None:
        assert read_samples(runs / "rm" / "label") == SAMPLES

    def test_what_the_model_was_trained_on_is_never_unseen(
        self, runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its own training pairs, called held out: told by the pairs beside it, by stored hashes, or not at all."""
        folder = folder_of(tmp_path / "theirs", [make_pair(400)], [*PAIRS, *HELD_OUT])
        (seen, sampled) = pair_sets([folder], runs / "rm" / "label")
        assert (seen.name, len(seen.pairs), seen.trained_prompts) == ("held_out_label", 20, 32)
        assert sampled.trained_prompts == 2
        moved = tmp_path / "moved" / "rm"
        write_samples(moved, SAMPLES)
        write_json(moved / "config.json", {"identity": {"inputs": {"pairs": "0a"}}})
        (unknown, _) = pair_sets([folder], moved)
        assert unknown.trained_prompts == 0
        assert "which prompts it was trained on is not known" in caplog.text
        store_trained_prompts(moved, PAIRS)
        caplog.clear()
        (known, _) = pair_sets([folder], moved)
        assert (known.trained_prompts, caplog.text) == (32, "")
        assert [each.name for each in pair_sets([folder_of(tmp_path / "own", [], PAIRS)], moved)] == ["policy_sampled"]
        assert "trained on the prompts of all 32 pairs of held_out_label" in caplog.text

    def test_without_the_pairs_beside_it_folders_must_be_named(self, runs: Path, tmp_path: Path) -> None:
        write_json(tmp_path / "rm" / "x" / "config.json", {"identity": {"inputs": {"pairs": "ff"}}})
        with pytest.raises(InputError, match="--pairs DIR"):
            pair_folders(tmp_path / "rm" / "x")


class TestCards:
    def test_every_model_has_a_name_of_its_own(self, tmp_path: Path) -> None:
        def model(path: str, kind: str) -> Path:
            write_json(tmp_path / path / "result.json", {**STORED_RM, "kind": kind})
            return tmp_path / path

        label, other, ranked_rm = model("s0/rm", "label"), model("s1/rm", "label"), model("s1/ranked", "ranked")
        assert names_of([label, ranked_rm]) == {"label": label, "ranked": ranked_rm}
        assert names_of([label, other, ranked_rm]) == {"s0-rm": label, "s1-rm": other, "ranked": ranked_rm}
        assert names_of([label, label]) == {"label": label}
        third = model("s2/ranked", "label")  # its folder is called as the kind of another
        assert names_of([label, third, ranked_rm]) == {"rm": label, "s2-ranked": third, "s1-ranked": ranked_rm}

    def test_pairs_of_one_prompt_are_one_draw_whatever_their_ids(self) -> None:
        """Ten pairs of two prompts, five right and five wrong: as in imported data each has an id of its own."""
        pairs = [replace(make_pair(0), id=f"{n}", prompt=f"film {n // 5}") for n in range(10)]
        margins = np.array([1.0] * 5 + [-1.0] * 5)
        judged = Judged(pairs, margins, np.zeros(10), 0)
        sets = [PairSet("held_out_label", pairs, [make_pair(300)], 0)]
        cell = card_of({"held_out_label": judged}, sets)["sets"]["held_out_label"]
        # two prompts, drawn with replacement: both right, both wrong, or one of each
        assert (cell["tasks"]["mr"]["low"], cell["tasks"]["mr"]["high"]) == (0.0, 1.0)
        assert (cell["by_gold"]["mr"]["positive"]["low"], cell["by_gold"]["mr"]["positive"]["high"]) == (0.0, 1.0)

    def test_best_of_four_takes_the_answers_of_a_row_from_all_sets(self) -> None:
        """Four rows: the best is wrong, right, shared by two; the last has two wrong answers and one unreadable."""
        margins = {
            0: (2.0, [1.0, 0.0, 3.0]),
            1: (2.0, [1.0, 0.0, -1.0]),
            2: (2.0, [1.0, 2.0, 0.0]),
            3: (2.0, [1, 0, 5]),
        }
        pairs, chosen, rejected = [], [], []
        for row, (right, wrong) in margins.items():
            for number, score in enumerate(wrong):
                label = None if (row, number) == (3, 2) else "negative"
                text = f"wrong {number}{MARK}negative"
                pairs.append(replace(make_pair(row), id=f"{row}", rejected=text, rejected_label=label))
                chosen.append(right)
                rejected.append(float(score))
        first, second = slice(0, 10), slice(8, 12)  # one set ends within a row, and two pairs stand in both
        judged = {
            name: Judged(pairs[part], np.array(chosen[part]), np.array(rejected[part]), 0)
            for name, part in (("held_out_label", first), ("policy_sampled", second))
        }
        sets = [PairSet(name, each.pairs, [make_pair(300)], 0) for name, each in judged.items()]
        found = card_of(judged, sets)["best_of_4"]["mr"]
        assert (found["value"], found["n"], found["of"]) == (pytest.approx((0 + 1 + 1 / 2) / 3), 3, 4)
        assert (found["low"], found["high"]) == (0.0, 1.0)
        assert "| mr | label RM | 50.0 [0.0, 100.0] | 25.0 | 3 of 4 |" in markdown({"label": {**card_of(judged, sets)}})

    def test_a_card_without_four_answers_says_so(self) -> None:
        judged = {"held_out_label": Judged([make_pair(0)], np.ones(1), np.zeros(1), 0)}
        card = card_of(judged, [PairSet("held_out_label", [make_pair(0)], [make_pair(300)], 0)])
        assert card["best_of_4"] == {}
        assert "No row has a right and three different wrong answers." in markdown({"label": card})

    def test_two_models_side_by_side(self, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        models = [str(runs / "rm" / kind) for kind in ("label", "ranked")]
        pairs = [f"--pairs={folder}" for folder in sorted((runs / "pairs").iterdir())]
        assert cli.run(["rm", "report", *models, *pairs, "--out", str(tmp_path)]) == 0
        cards = read_json(tmp_path / "report.json")
        assert list(cards) == ["label", "ranked"]
        for name in cards:
            own = tmp_path / name
            assert read_json(own / "report.json") == {name: cards[name]}
            assert {path.name for path in own.iterdir()} == {"report.json", "report.md", "report.png"}
        learned, opposite = (cards[name]["sets"]["held_out_label"] for name in cards)
        assert learned["tasks"]["mr"]["value"] > 0.9
        assert opposite["tasks"]["mr"]["value"] < 0.1
        assert (learned["tasks"]["mr"]["n"], learned["tasks"]["mr"]["label_only"]) == (20, 1.0)
        assert learned["calibration"]["brier"] < 0.25 < opposite["calibration"]["brier"]
        assert learned["margins"]["mean"] > 0 > opposite["margins"]["mean"]
        scores = cards["label"]["scores_by_gold"]["mr"]["positive"]
        assert scores["right"]["mean"] > scores["wrong"]["mean"]
        assert cards["label"]["correlations"]["score_and_label_prior"] == {"pearson": None, "spearman": None}
        page, printed = (tmp_path / "report.md").read_text(), capsys.readouterr().out
        for text in ("label RM", "ranked RM", "held-out label-sensitive pairs", "policy samples ordered by gold"):
            assert text in page
            assert text in printed
        assert (tmp_path / "report.png").read_bytes()[1:4] == b"PNG"

    def test_python_has_the_card_as_a_frame(self, runs: Path) -> None:
        models = [runs / "rm" / kind for kind in ("label", "ranked")]
        found = rl.report_cards(*models, pairs=sorted((runs / "pairs").iterdir()))
        cell = found.cards["label"]["sets"]["held_out_label"]["tasks"]["mr"]
        row = found.frame().filter(pairs="held_out_label", task="mr", reward_model="label").row(0, named=True)
        assert (row["low"], row["accuracy"], row["high"]) == (cell["low"], cell["value"], cell["high"])
        assert row["low"] < row["high"]
        assert (row["label_only"], row["length_only"], row["n"]) == (1.0, cell["length_only"], 20)
        assert set(found.frame()["reward_model"]) == {"label", "ranked"}

    def test_scores_are_those_of_the_scorer(self, runs: Path) -> None:
        """The policy samples, scored through the examples that PPO scores, give the card's margins."""
        card = report_cards([runs / "rm" / "label"], [])["label"]
        score = load_scorers({"label": runs / "rm" / "label"}).scorers["label"]
        good, bad, fine = (
            score([s.example for s in SAMPLES[:7]], [s.responses[n] for s in SAMPLES[:7]]) for n in range(3)
        )
        gaps = [g - b for g, b in zip([*good, *fine], [*bad, *bad], strict=True)]
        assert card["sets"]["policy_sampled"]["margins"]["mean"] == pytest.approx(sum(gaps) / 14, abs=1e-4)

    def test_the_stage_leaves_a_line_a_pair_for_reports(self, runs: Path, tmp_path: Path) -> None:
        """What a report reads from it, over seeds, is the card's own accuracy; the folder is a card for people, too."""
        pairs = sorted((runs / "pairs").iterdir())
        inputs = {"model": runs / "rm" / "label", "held_out_label": pairs[0], "held_out_ranked": pairs[1]}
        place = RunFolder(tmp_path / "card-0c", "card", {"inputs": {name: path.name for name, path in inputs.items()}})
        place.open()
        place.finish(reward_model.card(Work(place, inputs, Silent(), lambda what, done, total: None), "my RM", 7))
        own = report_cards([inputs["model"]], pairs)["label"]["sets"]
        assert {name: found["tasks"] for name, found in place.result()["sets"].items()} == {
            name: found["tasks"] for name, found in own.items()
        }
        cards = load_cards([place.path])
        assert [(run.method, run.kind, run.seed) for run in cards.runs] == [("my RM", "label", 7)]
        assert cards.runs[0].judged_on["mr"] == {"held_out_label": pairs[0].name, "held_out_ranked": pairs[1].name}
        for name, found in own.items():
            read = cards.accuracy("my RM", name, "mr")
            assert read is not None
            assert read.value == pytest.approx(found["tasks"]["mr"]["value"])
            assert cards.pair_count("my RM", name) == found["tasks"]["mr"]["n"]
        assert {"report.json", "report.md", "report.png"} <= {path.name for path in place.path.iterdir()}
        # a row has one right and one wrong answer, or two right ones: never three wrong
        assert cards.best_of_four("my RM", "mr") is None
        assert (place.path / "best_of_4.jsonl").read_text() == ""

    @pytest.mark.parametrize("command", [["report"], ["calibrate"], ["sweep", "--r2", "sft"]])
    def test_a_run_of_another_stage_is_named(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        command: list[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        place = RunFolder(Path("sft"), "sft", {})
        place.open()
        place.finish({})
        write_samples(place.path, SAMPLES)
        assert cli.run(["rm", command[0], "sft", *command[1:]]) == 2
        assert "error: sft: its stage is sft, not rm; name folders" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("report",), "no reward model given"),
            (("report", "absent"), "absent"),
            (("calibrate", "absent"), "absent: no sft_samples.jsonl"),
            (("sweep", "absent", "--r2", "absent"), "absent: no sft_samples.jsonl"),
        ],
    )
    def test_bad_input_is_one_line(
        self, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
    ) -> None:
        assert cli.run(["rm", *arguments]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


class TestLambda:
    def test_the_best_of_each_prompt_is_picked_and_ties_are_shared(self) -> None:
        groups = np.array([0, 0, 0, 1, 1])
        assert picked(np.array([1.0, 3.0, 3.0, 2.0, 1.0]), groups).tolist() == [0, 0.5, 0.5, 1, 0]

    def test_a_sweep_by_hand(self) -> None:
        """Prompt 0: right (r1 4, r2 0) and wrong (r1 1, r2 2); prompt 1: right (3, 0) and right, better (2, 2)."""
        nan = math.nan
        scored = Scored(
            groups=np.array([0, 0, 1, 1]),
            r1=np.array([4.0, 1.0, 3.0, 2.0]),
            r2=np.array([0.0, 2.0, 0.0, 2.0]),
            accuracy=np.array([1.0, 0.0, 1.0, 1.0]),
            quality=np.array([0.2, 0.8, nan, nan]),
        )
        rows = {row.name: row for row in sweep(scored, {"low": 1.5, "high": 3.5})}
        # any sample: a half and one; r2 alone: the wrong one and the better one
        assert rows["any sample"].accuracy.value == pytest.approx(0.75)  # type: ignore[union-attr]
        assert rows["r2 alone"].accuracy.value == pytest.approx(0.5)  # type: ignore[union-attr]
        assert rows["r1 alone"].accuracy.value == 1.0  # type: ignore[union-attr]
        # cap 1.5: 1.5 against 3, and 1.5 against 3.5: three of four samples are capped
        assert (rows["low"].saturation, rows["low"].accuracy.value, rows["low"].r2) == (0.75, 0.5, 2.0)  # type: ignore[union-attr]
        # cap 3.5: 3.5 against 3, and 3 against 4
        assert (rows["high"].saturation, rows["high"].accuracy.value, rows["high"].r2) == (0.25, 1.0, 1.0)  # type: ignore[union-attr]
        # only the first prompt knows the quality of its rationales
        assert rows["low"].quality.value == pytest.approx(0.8)  # type: ignore[union-attr]
        assert rows["high"].quality.value == pytest.approx(0.2)  # type: ignore[union-attr]
        assert rows["low"].lam == 1.5

    def test_calibrate_and_sweep(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        label, ranked_rm = (runs / "rm" / kind for kind in ("label", "ranked"))
        before = read_json(label / "sft_scores.json")
        assert len(before["scores"]) == 16
        assert cli.run(["rm", "calibrate", str(label)]) == 0
        stored = read_json(label / "sft_scores.json")
        assert len(stored["scores"]) == 24
        assert stored["scores"][:16] == pytest.approx(before["scores"], abs=1e-4)
        assert stored["zscores"]["1.5z"] == pytest.approx(np.mean(stored["scores"]) + 1.5 * np.std(stored["scores"]))
        shown = capsys.readouterr()
        assert f"| q90 | {stored['quantiles']['q90']:.3f} |" in shown.out
        assert "they replace those of 16 samples" in shown.err
        assert cli.run(["rm", "sweep", str(label), "--r2", str(ranked_rm), "--lambda", "q25, 1.5z,0.5"]) == 0
        out = capsys.readouterr().out
        assert f"| min(r1, q25) + r2 | {stored['quantiles']['q25']:.3f} | 75.0 |" in out
        # a third of the samples is wrong, and the label RM knows which; nothing measures rationales of mr
        # nothing varies between the 8 prompts; one prompt more, 1/8, times Student's t on 7 degrees of freedom, 2.3646
        assert "| any sample | – | – | 66.7 [37.1, 96.2] | – |" in out
        assert "| r1 alone | – | – | 100.0 [70.4, 100.0] | – |" in out
        assert cli.run(["rm", "sweep", str(label), "--r2", str(ranked_rm), "--lambda", "high"]) == 2
        swept = rl.sweep(label, ranked_rm, lambdas=["q25", 0.5])
        rows = {row["name"]: row for row in swept.frame().iter_rows(named=True)}
        assert (rows["q25"]["lambda"], rows["q25"]["saturated"]) == (stored["quantiles"]["q25"], 0.75)
        assert (rows["0.5"]["lambda"], rows["any sample"]["lambda"], rows["any sample"]["quality"]) == (0.5, None, None)
        alone = rows["r1 alone"]
        assert [round(alone[name], 3) for name in ("accuracy_low", "accuracy", "accuracy_high")] == [0.704, 1.0, 1.0]
        again = rl.calibrate(label, samples=10)
        assert (len(again.stored["scores"]), again.replaced) == (10, 24)

    def test_numbers_are_right_by_degrees(self) -> None:
        example = Example("stsb", "1", {"sentence1": "a", "sentence2": "b"}, 3.0)
        # 0 to 5: 1.5 away is 0.3 of the scale
        assert _accuracy(example, f"x{MARK}4.5") == pytest.approx(0.7)
        assert _accuracy(example, "no answer") == 0.0
        assert math.isnan(_accuracy(replace(example, label=None), f"x{MARK}4.5"))
