"""``report.html``: what it says and links to; and in Chromium: no errors, tables sort, links list their runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from rewardlab.comparison.differences import default_against, gains
from rewardlab.comparison.grid import Source
from rewardlab.comparison.runs import Related, collect, related
from rewardlab.comparison.table import build_table
from rewardlab.disk import read_json, write_json
from rewardlab.reports.page import write_page, write_report
from rewardlab.reports.report import Report
from rewardlab.reports.sections.suite import suite_sections
from rewardlab.reports.sections.tradeoffs import final_kl, kl_picture, quality_picture
from tests.support.browser import CHROMIUM, Browser
from tests.support.runs import both, eval_folder, pairs_folder, ppo_folder, reward_model_folder

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt-get install chromium")
RIGHT = {"SFT w. rationale": (70, 80), "RLLR": (120, 110), "PPO <rule>": (90, 100)}
"""Method -> right answers of 200, sampled and greedy."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about three methods of two seeds on two columns, in a folder beside the runs."""
    return make_page(tmp_path_factory.mktemp("page"))


def make_page(root: Path) -> Path:
    """Write runs below ``root`` and the page ``out/report.html``."""
    logs = [{"reward/score": 0.1 * step, "policy/kl": 0.5 * step, "reward/part/a": 0.1} for step in range(8)]
    for place, (method, (sampled, greedy)) in enumerate(RIGHT.items()):
        for seed in (0, 1):
            trained = ppo_folder(root / "ppo" / f"m {place}-{seed}", logs) if place else None
            columns = {name: both(sampled + seed, greedy + place * seed, 200) for name in ("toy", "other")}
            folder = eval_folder(
                root / "eval" / f"m {place}-{seed}",
                method=method,
                seed=seed,
                reward="label" if place else None,
                columns=columns,
                model_run=trained,
            )
            _with_quality(folder, 0.4 + 0.2 * seed)
    made = Related(
        sorted((root / "ppo").iterdir()),
        [reward_model_folder(root / "rm" / "label-0", "label", 0.9)],
        [pairs_folder(root / "pairs" / "p-0", "toy", 0.8, 50)],
    )
    table = build_table(collect([root]).runs, resamples=200)
    found = gains(table, default_against(table))
    return write_page(root / "out" / "report.html", Report(root / "out", table, found, made, command="compare <x>"))


def _with_quality(folder: Path, value: float) -> None:
    stored = read_json(folder / "result.json")
    for decodings in stored["columns"].values():
        for cell in decodings.values():
            cell["quality"] = {"value": value, "low": value - 0.1, "high": value + 0.1}
    write_json(folder / "result.json", stored)


def test_every_link_leads_to_a_folder_or_a_config(page: Path) -> None:
    text = page.read_text()
    targets = {unquote(found) for found in re.findall(r'href="(\.\.[^"]*)"', text)}
    assert {"../eval/m 0-0/", "../eval/m 0-0/config.json", "../ppo/m 2-1/config.json", "../pairs/p-0/"} <= targets
    missing = {target for target in targets if not (page.parent / target).exists()}
    assert missing == {"../rm/label-0/config.json", "../pairs/p-0/config.json"}  # made without one
    numbers = {int(found) for runs in re.findall(r'data-runs="([^"]*)"', text) for found in re.findall(r"(\d+)=", runs)}
    assert numbers == {int(found) for found in re.findall(r'id="run-(\d+)"', text)}


def test_a_report_that_brings_its_runs_travels_alone(tmp_path: Path) -> None:
    """The folder of the report alone reaches the reader, as it does in a clone of a repository."""
    runs, out = tmp_path / "machine", tmp_path / "machine" / "out"
    make_page(runs)
    (runs / "rm" / "label-0" / "config.json").write_text("{}")
    made = [sorted((runs / kind).iterdir()) for kind in ("eval", "ppo", "rm", "pairs")]
    page = write_report(out, *made, command="x", resamples=50, brings_runs=True)
    shutil.copytree(out, tmp_path / "clone")
    shutil.rmtree(runs)
    html, markdown = ((tmp_path / "clone" / page.with_suffix(end).name).read_text() for end in (".html", ".md"))
    links = {unquote(found) for found in re.findall(r' href="([^"#][^"]*)"', html)} - {"data:,"}
    links |= set(re.findall(r"\]\(<([^>]*)>\)", markdown)) | set(re.findall(r"\]\(([^<)]*)\)", markdown))
    dead = {link for link in links if not (tmp_path / "clone" / link).exists()}
    assert dead == {"../pairs/p-0/", "../pairs/p-0/config.json"}  # made without configuration and result
    assert {"run-files/eval/m 0-0/", "run-files/ppo/m 2-1/config.json", "run-files/rm/label-0/config.json"} <= links
    stored = read_json(tmp_path / "clone" / "run-files" / "eval" / "m 2-1" / "result.json")
    assert stored["model_run"] == "run-files/ppo/m 2-1"
    assert str(tmp_path) not in html + markdown


def test_a_number_names_its_runs_with_their_own_values(page: Path) -> None:
    # greedy: 100 and 102 of 200 right
    assert re.search(r'data-runs="\d+=50\.0 \d+=51\.0"><strong>|data-runs="\d+=50\.0 \d+=51\.0"><u>', page.read_text())


def test_nothing_is_loaded_from_elsewhere_and_names_are_escaped(page: Path) -> None:
    text = page.read_text()
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)
    assert not re.findall(r"<(?:link|script|img)[^>]*(?:src|href)=\"(?!data:)", text)
    assert "PPO &lt;rule&gt;" in text
    assert "<rule>" not in text
    assert "compare &lt;x&gt;" in text


def test_the_page_has_what_the_papers_show(page: Path) -> None:
    text = page.read_text()
    assert re.findall(r"<h2[^>]*>([^<]*)", text) == [
        "The answer",
        "Differences between methods",
        "Costs",
        "Training curves",
        "Reward hacking",
        "Accuracy against KL",
        "Label shares of answers",
        "Answers that could not be read, and rationale quality",
        "How much of each gain is sharpening",
        "Reward models",
        "Pairs among samples of the SFT model",
        "Runs",
    ]  # and no section that only says why it is empty: no run uses λ, nothing beside accuracy was compared
    assert "RLLR is significantly better than SFT w. rationale on average: +25.0 points [" in text
    assert re.search(r'<use [^>]*style="fill: var\(--c0\); fill-opacity: 0.18"', text)
    assert "80.0 % rationale-sensitive of 50 pairs" in text


def test_kl_is_that_of_the_last_five_steps(page: Path) -> None:
    from rewardlab.comparison.table import method_names
    from rewardlab.reports.plots import load_curves

    table = build_table(collect([page.parent.parent]).runs, resamples=50)
    curves = load_curves(sorted((page.parent.parent / "ppo").iterdir()), method_names(table))
    # steps 3 to 7 at 0.5 a step: 2.5
    assert final_kl(curves) == pytest.approx({"RLLR": 2.5, "PPO <rule>": 2.5})
    picture = kl_picture(table, curves, {"RLLR": 0, "PPO <rule>": 1})
    assert picture is not None
    assert [panel.title for panel in picture.panels] == [
        "average times 100, sampled decoding",
        "average times 100, greedy decoding",
    ]
    assert kl_picture(table, [], {}) is None


def test_quality_bars_span_one_standard_deviation(page: Path) -> None:
    picture = quality_picture(build_table(collect([page.parent.parent]).runs, resamples=50))
    assert picture is not None
    bar = picture.panels[0].marks[0]
    # 0.4 and 0.6: mean 0.5, sd 0.1414
    assert getattr(bar, "interval", None) == pytest.approx((0.5 - 0.141421, 0.5 + 0.141421), abs=1e-6)
    single = quality_picture(build_table(collect([page.parent.parent / "eval" / "m 0-0"]).runs, resamples=50))
    assert single is not None
    assert getattr(single.panels[0].marks[0], "interval", None) == pytest.approx((0.3, 0.5))


def test_related_runs_are_found_by_their_fingerprints(tmp_path: Path) -> None:
    def stage(kind: str, name: str, **inputs: str) -> Path:
        folder = tmp_path / "runs" / kind / name
        write_json(folder / "config.json", {"stage": kind, "identity": {"inputs": inputs}})
        return folder

    pairs, unused = stage("pairs", "toy-label-aaa"), stage("pairs", "toy-label-zzz")
    rm = stage("rm", "toy-label-bbb", pairs="aaa")
    ppo = stage("ppo", "toy-label-ccc", rm_label="bbb", start="gone")
    moved = Path("elsewhere") / "ppo" / ppo.name
    folder = eval_folder(tmp_path / "runs" / "eval" / "toy-ddd", columns={"toy": both(1, 1, 4)}, model_run=moved)
    found = related(collect([folder]).runs)
    assert found == Related([ppo], [rm], [pairs], [])
    assert related(collect([folder]).runs, [unused]).pairs == [pairs, unused]


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Browser]:
    """One browser for all tests of this file, showing the page."""
    with Browser() as found:
        found.open(page)
        yield found


def _column(browser: Browser, place: int) -> list[str]:
    script = f"[...document.querySelectorAll('section')[0].querySelectorAll('tbody tr')].map(r => r.cells[{place}]"
    values: list[str] = browser.run(f"{script}.dataset.value)")
    return values


@needs_chromium
def test_tables_sort_by_value_and_back(browser: Browser) -> None:
    button = "document.querySelectorAll('section')[0].querySelectorAll('thead tr:last-child th button')"
    browser.run(f"{button}[0].click()")
    before = _column(browser, 0)
    place = 1  # method, then its average
    browser.run(f"{button}[{place}].click()")
    values = [float(value) for value in _column(browser, place)]
    assert values == sorted(values, reverse=True)
    assert _column(browser, 0) != before
    browser.run(f"{button}[{place}].click()")
    assert [float(value) for value in _column(browser, place)] == values[::-1]
    browser.run(f"{button}[0].click()")
    assert _column(browser, 0) == ["PPO <rule>", "RLLR", "SFT w. rationale"]
    assert browser.run(f"{button}[0].closest('th').getAttribute('aria-sort')") == "ascending"


@needs_chromium
def test_minus_signs_and_missing_values_sort(browser: Browser) -> None:
    cells = "".join(f'<tr><td data-value="{value}"></td></tr>' for value in ("–", "+2.0", "−10.0", "12.0", "3.5"))
    table = f'<table id="t"><thead><tr><th class="number"><button></button></th></tr></thead><tbody>{cells}</tbody>'
    browser.run(f"document.body.insertAdjacentHTML('beforeend', {json.dumps(table + '</table>')})")
    browser.run("document.querySelector('#t button').click()")
    values = browser.run("[...document.querySelectorAll('#t td')].map(c => c.dataset.value)")
    assert values == ["12.0", "3.5", "+2.0", "−10.0", "–"]


@needs_chromium
def test_a_number_opens_the_list_of_its_runs(browser: Browser) -> None:
    browser.run("document.querySelector('td.number a[data-runs*=\"=5\"]').click()")
    listed = browser.run("[...document.querySelectorAll('dialog[open] li')].map(item => item.innerText)")
    assert len(listed) == 2
    assert re.fullmatch(r".*, seed 0: \d+\.\d folder config", listed[0])
    links = browser.run("[...document.querySelectorAll('dialog[open] li a')].map(link => link.getAttribute('href'))")
    assert links[1].endswith("/config.json")
    browser.run("document.querySelector('dialog').close()")


@needs_chromium
def test_the_page_is_silent_and_fits_a_phone(browser: Browser, page: Path) -> None:
    for dark in (False, True):
        browser.open(page, width=390, height=800, dark=dark)
        root = "document.documentElement"
        assert browser.run(f"{root}.scrollWidth - {root}.clientWidth") == 0
    paper = "getComputedStyle(document.body).backgroundColor"
    assert browser.run(paper) == "rgb(21, 24, 28)"
    assert browser.errors == []
    assert {address.split(":")[0] for address in browser.requested} <= {"file", "data", "about"}


def test_sources_of_one_folder_are_listed_once(tmp_path: Path) -> None:
    from rewardlab.reports.html import Runs
    from rewardlab.reports.links import Links

    runs = Runs(Links(tmp_path), {tmp_path / "a b": "A"})
    assert str(runs.link([Source(tmp_path / "a b", "1.0"), Source(tmp_path / "c")])) == (
        'href="#run-0" data-runs="0=1.0 1="'
    )
    runs.link([Source(tmp_path / "a b")])
    assert [(run.title, run.folder) for run in runs.listed()] == [("A", "a%20b/"), ("c", "c/")]
    assert runs.link([]) == ""


def test_cells_that_failed_stand_open_in_the_page(tmp_path: Path) -> None:
    for name, right in (("SFT", 5), ("PPO", 6)):
        eval_folder(tmp_path / "eval" / name, method=name, columns={"toy": both(right, right, 10)})
    more = suite_sections([("RLLR, toy, tiny, seed 0", "out of memory")], [])
    page = write_report(tmp_path / "out", [tmp_path / "eval"], resamples=50, more=more).with_suffix(".html").read_text()
    before, _, after = page.partition("out of memory")
    assert before.count("<details") == before.count("</details>")
    assert "<h2>Missing cells</h2>" in before
    assert "<details" in after
