"""A report in Chromium: hostile names stay text, rows filter, columns hide, a method is shown alone, phones scroll."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardlab.comparison.differences import gains
from rewardlab.comparison.runs import Related, collect
from rewardlab.comparison.table import build_table
from rewardlab.reports.page import write_page
from rewardlab.reports.report import Report
from tests.support.browser import CHROMIUM, Browser
from tests.support.runs import eval_folder, pairs_folder, ppo_folder

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt-get install chromium")
SCRIPT = "</script><script>hits.push('{}')</script>"
TASK, LABEL, RESPONSE = (SCRIPT.format(each) for each in ("task", "label", "response"))
METHOD = "PPO <img src=x onerror=\"hits.push('method')\"> \"'& $\\frac{1}{2}$"
METHODS = {"SFT w. rationale": 80, METHOD: 150, "RLLR": 90, "unread": 0}
TABLE = "document.querySelector('[data-tools] table')"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about methods and a task whose names and answers are markup."""
    root = tmp_path_factory.mktemp("hostile")
    for place, (method, right) in enumerate(METHODS.items()):
        logs = [{"reward/score": place + 0.1 * step, "policy/kl": 0.5 * step} for step in range(8)]
        trained = ppo_folder(root / "ppo" / f"{place}", logs) if place else None
        folder = eval_folder(
            root / "eval" / f"{place}", method=method, reward="label" if place else None, model_run=trained,
            columns={TASK: _answers(right), "other": _answers(right)}, labels=["no", LABEL],
            start_accuracy=0.4,
        )  # fmt: skip
        if method == "unread":
            file, said = folder / "predictions.jsonl", json.dumps({"response": RESPONSE})[1:-1]
            file.write_text(file.read_text().replace('"response": "None"', said))
    table = build_table(collect([root]).runs, resamples=100)
    made = Related(sorted((root / "ppo").iterdir()), [], [pairs_folder(root / "pairs" / "p", TASK, 0.8, 50)])
    report = Report(root / "out", table, gains(table), made, command=f"compare {SCRIPT.format('command')}")
    return write_page(root / "out" / "report.html", report)


def _answers(right: int) -> dict[str, tuple[list[str], list[str | None]]]:
    gold = ["no", LABEL] * 100
    answers = [label if number < right else "no" for number, label in enumerate(gold)] if right else [None] * 200
    return dict.fromkeys(("sampled", "greedy"), (gold, answers))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        # before any script of the page: what a hostile name would write to
        found.ask("Page.addScriptToEvaluateOnNewDocument", source="window.hits = [];")
        yield found


def rows(browser: Browser) -> list[str]:
    lines = f"[...{TABLE}.tBodies[0].rows].filter(r => !r.hidden)"
    shown: list[str] = browser.run(f"{lines}.map(r => r.cells[0].innerText)")
    return shown


def columns(browser: Browser) -> list[str]:
    heads = f"[...{TABLE}.tHead.rows[0].cells].filter(c => !c.hidden)"
    shown: list[str] = browser.run(f"{heads}.map(c => c.innerText.trim())")
    return shown


@pytest.mark.parametrize("dark", [False, True])
def test_names_and_answers_of_others_stay_text(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, dark=dark)
    browser.run("for (const each of document.querySelectorAll('details')) each.open = true")
    assert browser.run("hits") == []
    text = browser.run("document.body.innerText")
    for name in (TASK, RESPONSE, METHOD, SCRIPT.format("command")):
        assert name in text
    drawn = browser.run(
        "[...document.querySelectorAll('svg text, svg title')].map(each => each.textContent).join('\\n')"
    )
    assert METHOD[:20] in drawn
    assert TASK in drawn
    assert LABEL in browser.run("[...document.querySelectorAll('.key')].map(each => each.innerText).join('\\n')")
    assert browser.run("document.querySelectorAll('script').length") == 1
    assert browser.run("document.querySelectorAll('img, iframe, object, embed').length") == 0
    assert browser.errors == []
    assert {address.split(":")[0] for address in browser.requested} <= {"file", "data", "about"}


def test_rows_are_filtered(browser: Browser, page: Path) -> None:
    browser.open(page)
    everything = rows(browser)
    assert everything == [METHOD, "RLLR", "SFT w. rationale", "unread"]  # the highest average first
    field = "document.querySelector('[data-tools] input[type=search]')"
    for typed, expected in (("sft W.", ["SFT w. rationale"]), ("nothing of this name", []), ("", everything)):
        browser.run(f"{field}.value = '{typed}'; {field}.dispatchEvent(new Event('input'))")
        assert rows(browser) == expected


def test_columns_are_hidden_and_shown(browser: Browser, page: Path) -> None:
    browser.open(page)
    before = columns(browser)
    assert before[:3] == ["method", "average, greedy", "average, sampled"]
    assert "start" not in before
    for name in ("average, sampled", "start"):
        browser.run(
            "[...document.querySelectorAll('[data-tools] .choices label')]"
            f".find(each => each.textContent.trim() === '{name}').querySelector('input').click()"
        )
    after = columns(browser)
    assert set(before) - set(after) == {"average, sampled"}
    assert set(after) - set(before) == {"start"}
    widths = browser.run(f"[...{TABLE}.rows].map(r => [...r.cells].filter(c => !c.hidden).length)")
    assert set(widths) == {len(after)}


def test_one_method_of_a_curve_is_shown_alone_and_all_again(browser: Browser, page: Path) -> None:
    browser.open(page)
    key = (
        "[...document.querySelectorAll('#figure-reward_curves button.key')].find(each => each.dataset.alone === 'RLLR')"
    )
    faint = (
        "[...new Set([...document.querySelectorAll('#figure-reward_curves svg [data-method].dim')]"
        ".map(each => each.dataset.method))].sort()"
    )
    browser.run(f"{key}.click()")
    assert browser.run(faint) == sorted([METHOD, "unread"])
    assert browser.run(f"{key}.getAttribute('aria-pressed')") == "true"
    browser.run(f"{key}.click()")
    assert browser.run(faint) == []


def test_few_figures_are_open_and_nothing_stands_there_twice(browser: Browser, page: Path) -> None:
    browser.open(page)
    open_ones = "[...document.querySelectorAll('figure')].filter(each => each.checkVisibility()).map(each => each.id)"
    figures = browser.run(open_ones)
    assert figures[0] == "figure-forest"
    assert len(figures) <= 6
    assert browser.run("[...document.querySelectorAll('figure')].length") > len(figures)
    texts = browser.run("[...document.querySelectorAll('table, p, li, figure')].map(each => each.textContent.trim())")
    repeated = {text for text in texts if len(text) > 40 and texts.count(text) > 1}
    assert repeated == set()
    ids = browser.run("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))


def test_the_answer_figure_and_table_are_the_first_screen(browser: Browser, page: Path) -> None:
    browser.open(page)
    order = browser.run(
        "[...document.querySelectorAll('.answer, figure, table, nav')].slice(0, 5).map(each => each.tagName)"
    )
    assert order == ["P", "P", "P", "FIGURE", "TABLE"]
    assert browser.run(f"{TABLE}.getBoundingClientRect().top") < 900


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_keeps_the_method_in_sight(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, width=390, height=800, dark=dark)
    root = "document.documentElement"
    assert browser.run(f"{root}.scrollWidth - {root}.clientWidth") == 0
    browser.run(f"{TABLE}.parentNode.scrollLeft = 200")
    left = browser.run(f"{TABLE}.tBodies[0].rows[0].cells[0].getBoundingClientRect().left")
    frame = browser.run(f"{TABLE}.parentNode.getBoundingClientRect().left")
    assert browser.run(f"{TABLE}.parentNode.scrollLeft") > 0
    assert 0 <= left - frame <= 2  # a border
    assert browser.run("[...document.querySelectorAll('.wide')].every(each => !each.checkVisibility())")
    ink = browser.run("getComputedStyle(document.querySelector('.narrow svg text')).fill")
    assert ink == ("rgb(227, 230, 234)" if dark else "rgb(31, 35, 40)")


def test_a_link_into_what_is_folded_away_opens_it(browser: Browser, page: Path) -> None:
    browser.visit("about:blank")  # from the page itself, this would be no visit
    browser.visit(page.resolve().as_uri() + "#run-0")
    assert browser.run("document.getElementById('run-0').checkVisibility()")
