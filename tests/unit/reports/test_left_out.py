"""Whatever a report cannot use is named on its page: reward models, curves, cards, verdicts, pairs, evaluations."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardlab.disk import write_json, write_jsonl
from rewardlab.reports.page import write_report
from tests.support.commands import Command
from tests.support.runs import both, eval_folder, pairs_folder, ppo_folder, reward_model_folder

KINDS = ("eval", "ppo", "rm", "pairs", "card")


def runs_of(root: Path) -> Path:
    """Two evaluated methods, a PPO run behind one, a reward model, pairs, and a judge's comparison."""
    logs = [{"reward/score": 0.1 * step, "policy/kl": 0.5 * step} for step in range(6)]
    trained = ppo_folder(root / "ppo" / "p-0", logs)
    eval_folder(root / "eval" / "sft", columns={"toy": both(5, 6, 10)})
    eval_folder(
        root / "eval" / "rllr", method="RLLR", columns={"toy": both(7, 6, 10)}, reward="label", model_run=trained
    )
    reward_model_folder(root / "rm" / "label-0", "label", 0.9)
    pairs_folder(root / "pairs" / "p-0", "toy", 0.8, 50)
    identity = {"decoding": "sampled", "annotator": "template", "annotate": {}, "limit": None}
    write_json(root / "judge" / "j-0" / "config.json", {"identity": identity})
    write_json(root / "judge" / "j-0" / "result.json", {"a": {"eval": "rllr"}, "b": {"eval": "sft"}, "items": 2})
    verdicts = [{"column": "toy", "id": f"{n:04d}", "winner": "a", "orders_agree": True, "reason": ""} for n in (0, 1)]
    write_jsonl(root / "judge" / "j-0" / "verdicts.jsonl", verdicts)
    return root


def report_of(root: Path, *, brings_runs: bool = False) -> dict[str, str]:
    """Markdown and HTML of a report over all runs, as texts."""
    folders = {kind: sorted((root / kind).glob("*")) for kind in KINDS}
    page = write_report(
        root.parent / "out",
        folders["eval"],
        folders["ppo"],
        folders["rm"],
        folders["pairs"],
        card_runs=folders["card"],
        resamples=50,
        brings_runs=brings_runs,
    )
    return {"md": page.read_text(), "html": html.unescape(page.with_suffix(".html").read_text())}


def cut(file: str) -> Callable[[Path], None]:
    """Half of a file is lost."""

    def damage(root: Path) -> None:
        text = (root / file).read_text()
        (root / file).write_text(text[: len(text) // 2])

    return damage


def without_last_line(root: Path) -> None:
    file = root / "judge/j-0/verdicts.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def broken_alarm(root: Path) -> None:
    write_json(root / "ppo/p-0/result.json", {"steps": 6, "hacking": {"judged": True, "alarm": {"no such": 1}}})


def broken_card(root: Path) -> None:
    write_json(root / "card/c-0/config.json", {"stage": "card"})


DAMAGE = {
    "reward model": (cut("rm/label-0/result.json"), "rm/label-0: left out, not a finished reward model"),
    "curve": (cut("ppo/p-0/metrics.jsonl"), "ppo/p-0: left out of the curves"),
    "result of PPO": (cut("ppo/p-0/result.json"), "ppo/p-0: what result.json says is left out"),
    "alarm": (broken_alarm, "ppo/p-0: its alarm and validation are left out"),
    "card": (broken_card, "card/c-0: left out, not a finished report card"),
    "verdicts": (cut("judge/j-0/verdicts.jsonl"), "judge/j-0: left out, not a finished comparison by a judge"),
    "lost verdicts": (without_last_line, "verdicts.jsonl has 1 verdicts, result.json says 2"),
    "pairs": (cut("pairs/p-0/manifest.json"), "pairs/p-0: left out of the pair distribution"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_damaged_is_named_on_the_page_and_the_rest_is_there(tmp_path: Path, kind: str) -> None:
    root = runs_of(tmp_path / "runs")
    damage, told = DAMAGE[kind]
    damage(root)
    for text in report_of(root).values():
        assert "Left out" in text
        assert text.count(told) == 1
        assert "RLLR" in text


def test_where_all_is_whole_there_is_no_such_section(tmp_path: Path) -> None:
    for text in report_of(runs_of(tmp_path / "runs")).values():
        assert "Left out" not in text
        assert "left out" not in text


def test_a_page_that_travels_tells_no_path_of_this_machine(tmp_path: Path) -> None:
    root = runs_of(tmp_path / "runs")
    cut("rm/label-0/result.json")(root)
    texts = report_of(root, brings_runs=True)
    assert "* rm/label-0: left out, not a finished reward model" in texts["md"]
    assert str(tmp_path) not in texts["md"] + texts["html"]


def test_the_page_of_compare_names_them_too(rewardlab: Command) -> None:
    root = runs_of(Path("runs").resolve())
    cut("judge/j-0/verdicts.jsonl")(root)
    cut("ppo/p-0/metrics.jsonl")(root)
    done = rewardlab("compare", "runs", "--html", "page.html")
    assert done.code == 0, done.err
    text = html.unescape(Path("page.html").read_text())
    assert "<h2>Left out" in text
    assert "judge/j-0: left out, not a finished comparison by a judge" in text
    assert "ppo/p-0: left out of the curves" in text


def test_a_trained_run_whose_configuration_is_damaged_is_named(rewardlab: Command) -> None:
    root = runs_of(Path("runs").resolve())
    cut("ppo/p-0/config.json")(root)
    assert rewardlab("compare", "runs", "--html", "page.html").code == 0
    assert "ppo/p-0: left out, with what it was made from" in html.unescape(Path("page.html").read_text())
