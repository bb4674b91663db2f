"""``rewardlab judge``: verdicts in both orders, their counts, and the command over two evaluated runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from typer.testing import CliRunner, Result

from rewardlab.annotate.base import Annotation, Annotator, Outcome, Ranking, RankingRequest
from rewardlab.annotate.pairwise import Judgement, JudgeRequest, judge_pairs
from rewardlab.annotate.registry import annotators
from rewardlab.cli import main as cli
from rewardlab.cli.main import app
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import build_table
from rewardlab.config import RunConfig
from rewardlab.disk import read_json, write_json
from rewardlab.errors import DataError, InputError
from rewardlab.judge.contests import Contest, Verdict, judge_contests, read_contests
from rewardlab.judge.counts import judged_lines, tallies
from rewardlab.judge.verdicts import NET, load_judged
from rewardlab.pipeline import Pipeline
from rewardlab.reports.blocks import Section, Table, to_markdown
from rewardlab.reports.charts import Picture
from rewardlab.reports.sections.judged import judged_blocks
from rewardlab.tasks.task import tasks
from rewardlab.types import Example
from tests.servers.chat_server import ChatServer
from tests.support.runs import eval_folder

NO_VERDICT = "no verdict such as 'Answer 1 is better'"
EXAMPLE = Example("agnews", "1", {"text": "A long story about a match."}, "Sports")


def note(text: str, outcome: Outcome = "answered") -> Annotation:
    return Annotation("key", text, outcome, "fake", "fake-1")


class Ranker(Annotator):
    """Likes the longer response, or, where one says FIRST, whatever stands first; cannot read what says BROKEN."""

    name, model = "fake", "fake-1"

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def rank_many(self, requests: Sequence[RankingRequest], progress: object = None) -> list[Ranking]:
        self.asked += [request.responses for request in requests]
        return [self._rank(*request.responses) for request in requests]

    def _rank(self, first: str, second: str) -> Ranking:
        if "BROKEN" in first:
            return Ranking((), Annotation("key", "?", "unparsable", "fake", "fake-1", NO_VERDICT))
        if "FIRST" in first + second:
            return Ranking((1, 2), note(""))
        places = (1, 1) if len(first) == len(second) else (1, 2) if len(first) > len(second) else (2, 1)
        return Ranking(places, note(""))


class Writer(Ranker):
    """The same likings, told as verdicts on appendix G's question."""

    def judge_many(
        self, requests: Sequence[JudgeRequest], progress: object = None, *, both_orders: bool = False
    ) -> list[Judgement]:
        return judge_pairs(requests, lambda prompts: [self._told(p) for p in prompts], both_orders=both_orders)

    def _told(self, prompt: str) -> Annotation:
        first, second = (part.split("\n\n")[0].strip() for part in prompt.split("[Answer ")[1:])
        places = self._rank(first, second).places
        if not places:
            return note("I cannot say.")
        return note("Equal." if places == (1, 1) else f"Answer {places.index(1) + 1} is better. It is longer.")


def contest(a: str, b: str, *, column: str = "toy", same: bool = False) -> Contest:
    return Contest(column, EXAMPLE, a, b, same)


@pytest.mark.parametrize("make", [Ranker, Writer])
def test_a_winner_wins_in_both_orders(make: type[Ranker]) -> None:
    contests = [
        contest("longer", "short"),
        contest("short", "longer"),
        contest("alike", "equal"),
        contest("FIRST one", "other"),
        contest("BROKEN", "longer one"),
        contest("same words", " same words\n"),
    ]
    found = judge_contests(make(), contests)
    assert found == [
        Verdict("a", True),
        Verdict("b", True),
        Verdict("tie", True),
        Verdict("tie", False),
        Verdict(None, None, "unparsable", NO_VERDICT),
        Verdict("tie", None),
    ]


@pytest.mark.parametrize("make", [Ranker, Writer])
def test_in_one_order_it_is_drawn_and_undone(make: type[Ranker]) -> None:
    """Whoever stands first wins: a coin; a preference for the longer one stays a preference. Each is asked once."""
    rows = [Example("agnews", f"{n}", {"text": "A story."}, "Sports") for n in range(100)]
    coins = [Contest("toy", row, "FIRST one", "other", False) for row in rows]
    judge = make()
    won = judge_contests(judge, coins, both_orders=False)
    assert 30 < sum(each == Verdict("a", None) for each in won) < 70
    assert {each.winner for each in won} == {"a", "b"}
    if make is Ranker:
        assert len(judge.asked) == 100
    longer = [Contest("toy", row, "short", "a longer one", False) for row in rows]
    assert set(judge_contests(make(), longer, both_orders=False)) == {Verdict("b", None)}
    assert judge_contests(make(), [contest("BROKEN", "BROKEN one")], both_orders=False)[0].reason == "unparsable"


def test_equal_responses_are_not_asked_about() -> None:
    ranker = Ranker()
    judge_contests(ranker, [contest("same", "same"), contest("x", "yy")])
    assert ranker.asked == [("x", "yy"), ("yy", "x")]


def test_verdicts_are_counted_by_hand() -> None:
    contests = [contest("", "", column="one" if n < 6 else "two", same=n % 2 == 0) for n in range(10)]
    winners: list[Literal["a", "b", "tie"] | None] = ["a", "a", "a", "a", "tie", "b", "a", "a", "a", None]
    verdicts = [Verdict(winner, True if winner else None, "" if winner else "refused") for winner in winners]
    verdicts[4] = Verdict("tie", False)
    found = {tally.name: tally for tally in tallies(contests, verdicts)}
    assert list(found) == ["all", "one", "two", "same answer"]
    total = found["all"]
    assert (total.items, total.swayed, total.unjudged) == (9, 1, {"refused": 1})
    assert [total.win.value, total.tie.value, total.lose.value] == pytest.approx([7 / 9, 1 / 9, 1 / 9])
    assert total.net.value == pytest.approx(6 / 9)
    # 7 to 1 of 9: squares 8 less 36/9 make 4, over 9 * 8, and one item more, 1/81: se 0.2606; t = 2.558 on 8 df
    assert total.p == pytest.approx(0.034, abs=0.005)
    assert total.is_real is (total.net.low > 0)
    lines = list(judged_lines("A", "B", tallies(contests, verdicts)))
    assert lines[5] == "each line is a test of its own: its p is not corrected for the other lines"
    assert found["two"].items == 3
    assert [found["same answer"].win.value, found["same answer"].items] == [pytest.approx(4 / 5), 5]


def test_the_page_names_the_better_one_only_where_it_is_significant() -> None:
    def page(wins: int, losses: int) -> list[str]:
        verdicts = [Verdict("a", True)] * wins + [Verdict("b", True)] * losses
        contests = [contest("", "")] * len(verdicts)
        return list(judged_lines("RLLR", "SFT", tallies(contests, verdicts)))

    assert page(20, 4)[1].startswith("RLLR is liked significantly better than SFT (one run each")
    assert page(4, 20)[1].startswith("SFT is liked significantly better than RLLR")
    assert page(5, 4)[1].startswith("RLLR and SFT do not differ significantly")
    assert page(20, 4)[0].startswith("all: win 83 % [")
    assert page(0, 0) == ["RLLR against SFT: nothing was judged"]


@pytest.fixture(scope="module")
def config() -> RunConfig:
    small = {"labelled": 20, "prompts": 20, "validation": 10, "test": 40}
    return RunConfig.model_validate({"task": "sandbox-sentiment", "data": small})


def _evaluation(path: Path, config: RunConfig, method: str, *, is_right: bool, detail: str) -> Path:
    """An evaluation of the sandbox: right or wrong labels behind the same sentence."""
    column, rows = next(iter(Pipeline(config, path).splits["sandbox-sentiment"].tests.items()))
    labels = tasks.get("sandbox-sentiment").labels
    gold = [str(row.label) for row in rows]
    answers = [label if is_right else labels[1 - labels.index(label)] for label in gold]
    cells = {column: {"greedy": (gold, answers)}}
    folder = eval_folder(path, method=method, columns=cells, ids=[row.id for row in rows], labels=labels)
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    told = [{**line, "response": f"{detail}\n\n The answer is: {line['answer']}"} for line in lines]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    stored = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**stored, "config": config.model_dump(mode="json")})
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, config: RunConfig) -> Path:
    root = tmp_path_factory.mktemp("judged")
    _evaluation(root / "eval" / "right", config, "PPO", is_right=True, detail="It reads so.")
    _evaluation(root / "eval" / "wrong", config, "SFT", is_right=False, detail="It reads so.")
    return root


def _invoke(runs: Path, *options: str) -> Result:
    folders = [str(runs / "eval" / name) for name in ("right", "wrong")]
    return CliRunner().invoke(app, ["judge", *folders, "--runs", str(runs), *options], catch_exceptions=False)


def test_the_command_judges_two_runs_by_the_oracle(runs: Path) -> None:
    done = _invoke(runs, "--out", str(runs / "verdicts.jsonl"))
    assert done.exit_code == 0
    assert "40 pairs, judged by sandbox" in done.stderr
    # the oracle weighs correctness with 0.8 against noise of 0.1: the right answers win nearly all
    assert (
        "PPO is liked significantly better than SFT (one run each: tested over new items, not over new seeds)"
        in done.stdout
    )
    assert "(40 items)" in done.stdout
    rows = [json.loads(line) for line in (runs / "verdicts.jsonl").read_text().splitlines()]
    assert len(rows) == 40
    assert sum(row["winner"] == "a" for row in rows) >= 36


def test_verdicts_are_stored_and_found_beside_their_evaluations(runs: Path) -> None:
    _invoke(runs)
    _invoke(runs)  # the same question, the same folder
    evals = collect([runs / "eval"]).runs
    (judged,) = [run for run in load_judged(evals) if "at most" not in run.judge]
    assert judged.path.parent == runs / "judge"
    assert (judged.a.path.name, judged.b.path.name, judged.decoding) == ("right", "wrong", "greedy")
    assert (judged.judge, judged.columns) == ("sandbox (oracle weight 0.8)", ["sandbox-sentiment"])
    assert sum(judged.values(NET, "sandbox-sentiment").values()) >= 32  # 36 won, 4 lost
    assert load_judged(evals[:1]) == []
    table = build_table(evals, resamples=50)
    text = to_markdown("T", [Section("Judged", judged_blocks([judged], table))])
    assert re.search(r"\| PPO \| SFT \| greedy \| \d+\.\d \[.*\] \| 40 \| 1 \| sandbox \(oracle weight 0\.8\) \|", text)
    stored = (judged.path / "result.json").read_text()
    (judged.path / "result.json").write_text("{}")
    assert judged.path not in [run.path for run in load_judged(evals)]
    (judged.path / "result.json").write_text(stored)


def test_a_limit_and_another_judge_are_comparisons_of_their_own(runs: Path) -> None:
    _invoke(runs)
    _invoke(runs, "--limit", "7")
    _invoke(runs, "--annotator", "template", "--limit", "6")
    evals = collect([runs / "eval"]).runs
    found = {run.judge: run for run in load_judged(evals)}
    limited = found["sandbox (oracle weight 0.8), at most 7 items a column"]
    assert len(limited.items) == 7
    assert "template, at most 6 items a column" in found
    picture, listed, _ = judged_blocks(list(found.values()), build_table(evals, resamples=50))
    assert isinstance(picture, Picture)
    assert isinstance(listed, Table)
    assert [row[-1].text for row in listed.grid.rows] == list(found)
    assert [len(panel.marks) for panel in picture.panels] == [1] * len(found)


class Lengthy(Annotator):
    """Likes the longer answer."""

    name, settings = "lengthy", ("temperature", "max_new_tokens")

    def rank_many(self, requests: Sequence[RankingRequest], progress: object = None) -> list[Ranking]:
        return [self.ranked(each, [len(text) for text in each.responses]) for each in requests]


def test_a_judge_of_another_package_is_told_by_its_settings_and_its_code(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(annotators._entries, "lengthy", Lengthy)
    _invoke(runs, "--annotator", "lengthy", "--limit", "3")
    judges = [run.judge for run in load_judged(collect([runs / "eval"]).runs)]
    (told,) = [judge for judge in judges if judge.startswith("lengthy")]
    settings = "temperature 0.7, max new tokens 160"
    assert re.fullmatch(rf"lengthy \({settings}, annotator code [0-9a-f]{{16}}\), at most 3 items a column", told)


def test_verdicts_between_two_seeds_are_left_out(
    runs: Path, tmp_path: Path, config: RunConfig, caplog: pytest.LogCaptureFixture
) -> None:
    for name, method, seed in (("a0", "PPO", 0), ("b0", "SFT", 0), ("b1", "SFT", 1)):
        folder = _evaluation(tmp_path / "eval" / name, config, method, is_right=seed == 0, detail="It reads so.")
        write_json(folder / "result.json", {**read_json(folder / "result.json"), "seed": seed})
    for other in ("b0", "b1"):
        folders = [str(tmp_path / "eval" / name) for name in ("a0", other)]
        CliRunner().invoke(app, ["judge", *folders, "--runs", str(tmp_path)], catch_exceptions=False)
    (kept,) = load_judged(collect([tmp_path / "eval"]).runs)
    assert kept.b.path.name == "b0"
    assert "left out, seed 0 was judged against seed 1" in caplog.text


def test_a_limit_draws_items(runs: Path) -> None:
    assert "(7 items)" in _invoke(runs, "--limit", "7").stdout


def test_settings_reach_the_annotator(runs: Path) -> None:
    with pytest.raises(InputError, match="annotator local"):
        _invoke(runs, "--annotator", "local")
    assert "judged by template" in _invoke(runs, "--set", "annotate.annotator=template", "--limit", "5").stderr


def test_runs_that_share_nothing_are_refused(runs: Path, tmp_path: Path, config: RunConfig) -> None:
    other = eval_folder(tmp_path / "other", columns={"toy": {"greedy": (["yes"], ["no"])}}, ids=["x"])
    with pytest.raises(InputError, match="share no test item under greedy decoding"):
        read_contests(runs / "eval" / "right", other, {}, "greedy")
    with pytest.raises(InputError, match="share no test item under sampled decoding"):
        read_contests(runs / "eval" / "right", runs / "eval" / "wrong", {}, "sampled")
    with pytest.raises(InputError, match="40 of its test items are not in the data"):
        read_contests(runs / "eval" / "right", runs / "eval" / "wrong", {}, "greedy")


def _toy(path: Path, gold: Sequence[str], ids: Sequence[str] = ("0", "1", "2")) -> Path:
    return eval_folder(path, columns={"toy": {"greedy": (gold, ["yes"] * len(gold))}}, ids=ids)


def _rows(gold: Sequence[str]) -> dict[str, dict[str, Example]]:
    return {"toy": {f"{n}": Example("agnews", f"{n}", {"text": "A story."}, label) for n, label in enumerate(gold)}}


def test_items_with_one_id_and_two_gold_labels_are_refused(tmp_path: Path) -> None:
    """Ids 0, 1, 2 of two data folders are not the same items; items that only one was asked do not matter."""
    mine, other = _toy(tmp_path / "a", ["yes", "no", "yes"]), _toy(tmp_path / "b", ["yes", "yes", "no"])
    with pytest.raises(InputError, match=r"a and .*b: 2 gold labels differ, such as toy 1; evaluate both on the same"):
        read_contests(mine, other, _rows(["yes", "no", "yes"]), "greedy")
    shared = _toy(tmp_path / "c", ["no", "yes", "no"], ids=("1", "2", "9"))
    assert len(read_contests(mine, shared, _rows(["yes", "no", "yes"]), "greedy")) == 2


def test_data_with_other_gold_labels_are_refused(tmp_path: Path) -> None:
    mine, other = _toy(tmp_path / "a", ["yes", "no", "yes"]), _toy(tmp_path / "b", ["yes", "no", "yes"])
    with pytest.raises(InputError, match=r"a and the data: 1 gold labels differ, such as toy 2; give the --data it"):
        read_contests(mine, other, _rows(["yes", "no", "no"]), "greedy")


@pytest.mark.parametrize(
    "changes", [{"response": None}, {"response": 5}, {"column": None}, {"answer": ["yes"]}, {"gold": {}}]
)
def test_a_line_that_is_no_prediction_is_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    folders = [_toy(tmp_path / name, ["yes", "no", "yes"]) for name in "ab"]
    path = folders[0] / "predictions.jsonl"
    first, *others = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in [first, {**others[0], **changes}, others[1]]))
    with pytest.raises(DataError, match=r"a/predictions.jsonl row 2: (response|column|answer|gold) is "):
        read_contests(*folders, _rows(["yes", "no", "yes"]), "greedy")


def test_several_evaluations_behind_one_path_are_refused(runs: Path) -> None:
    folder = str(runs / "eval")
    with pytest.raises(InputError, match=r"stands for 2 evaluations \(right, wrong, \.\.\.\); name one of them"):
        CliRunner().invoke(app, ["judge", folder, folder], catch_exceptions=False)


class TestHosted:
    """The command with a judge that costs money: 40 items, both orders."""

    @pytest.fixture
    def hosted(self, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Iterator[Any]:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-judge")
        folders = [str(runs / "eval" / name) for name in ("right", "wrong")]
        options = ["--annotator", "openai", "--set", "annotate.backoff_s=0.01", "--set", "annotate.attempts=1"]
        with ChatServer() as server:

            def judge(behaviour: str, *more: str) -> tuple[int, str, str]:
                where = ["--runs", str(tmp_path), "--base-url", server.url(behaviour)]
                code = cli.run(["judge", *folders, *where, *options, *more])
                return code, *capfd.readouterr()

            judge.server = server  # type: ignore[attr-defined]  # for the tests to look at
            yield judge

    def test_a_dry_run_prices_both_orders_asks_nobody_and_writes_nothing(
        self, hosted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))
        before = sorted(tmp_path.rglob("*"))
        code, out, _ = hosted("ok", "--dry-run", "--limit", "7")
        assert code == 0
        assert out.startswith("14 requests to gpt-4o-mini (0 more are in the journal)")
        assert f" {14 * 4 * 160} response tokens, $" in out
        assert hosted("ok", "--dry-run", "--limit", "7", "--orders", "one")[1].startswith("7 requests to")
        assert hosted.server.requests == 0
        assert sorted(tmp_path.rglob("*")) == before

    def test_prompt_model_endpoint_and_orders_make_the_folder(
        self, hosted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def folders(*more: str, behaviour: str = "ok") -> int:
            assert hosted(behaviour, "--limit", "2", *more)[0] == 0
            return len(list((tmp_path / "judge").iterdir()))

        assert [folders(), folders(), folders("--orders", "one"), folders(behaviour="first")] == [1, 1, 2, 3]
        monkeypatch.setattr("rewardlab.annotate.hosted.prompt_versions", lambda: {"judge": "2-other"})
        assert folders() == 4

    def test_the_bill_is_one_line_and_the_second_run_is_free(self, hosted: Any) -> None:
        # 7 and 5 tokens each, at 0.15 and 0.6 USD per million: 80 * 4.05e-6
        assert "80 requests, 560 + 400 tokens, $0.0003; answers of earlier runs $0.0000" in hosted("ok")[2]
        assert "0 requests, 0 + 0 tokens, $0.0000; answers of earlier runs $0.0003" in hosted("ok")[2]

    def test_too_many_failures_end_it_with_what_to_do(self, hosted: Any) -> None:
        code, _, err = hosted("500", "--limit", "4")
        assert code == 1
        assert "4 of 4 requests failed" in err
        assert "broken" in err  # the endpoint's own word
        assert hosted("500", "--limit", "4", "--max-failed", "1")[0] == 0

    def test_the_budget_is_kept(self, hosted: Any) -> None:
        code, _, err = hosted("ok", "--budget-usd", "0.00001")
        assert (code, hosted.server.requests) == (1, 0)
        assert "raise --budget-usd" in err

    def test_batches(self, hosted: Any) -> None:
        code, out, err = hosted("ok", "--batch", "submit")
        assert (code, out.split(" (")[0]) == (0, "80 requests submitted")
        assert "error" not in err
        hosted.server.batches.finish()
        code, out, _ = hosted("ok", "--batch", "fetch")
        assert code == 0
        assert "(40 items)" in out
        assert hosted.server.requests == 0
