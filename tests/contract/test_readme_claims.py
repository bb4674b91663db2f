"""README claims nothing by hand: what compares methods stands in blocks that a command makes from published results.

A sentence with a comparing word, or an interval, outside such a block fails; a block that its command would not make
again fails. Pages of results that are not current say so.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from experiments.tools import label_budget, label_budget_study
from experiments.tools.readme_table import BLOCK, MODULE, main, parsed, readme_block, with_block
from tests.support.runs import answers_with, eval_folder

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
COMPARING = re.compile(
    r"\b(best|better|worse|worst|gain(?:s|ed)?|beat(?:s|en)?|outperform\w*|surpass\w*|superior|inferior|wins?|won"
    r"|loses?|lost|as (?:well|good|accurate) as|ahead of|improves?|level with|on par|not differ|higher|lower)\b",
    re.IGNORECASE,
)
INTERVAL = re.compile(r"\[[+−-]?\d+(?:\.\d+)?, ?[+−-]?\d+(?:\.\d+)?\]")
QUOTED = ("experiments/results/", "experiments/claims")


def unsupported(text: str) -> list[str]:
    """Sentences, and cells of tables, that compare methods or print an interval; code and made blocks may.

    Intervals in a code span are syntax (``[0, 5]`` of a scale).
    """
    plain = re.sub(r"```.*?```|`[^`\n]*`", "", BLOCK.sub("", text), flags=re.DOTALL)
    lines = re.split(r"\n\s*\n|\n(?=[*|#])|(?<=[.:!?])\s", plain)
    return [" ".join(line.split()) for line in lines if COMPARING.search(line) or INTERVAL.search(line)]


def stale(text: str, root: Path) -> list[str]:
    """Commands of blocks whose text they would not make; the runs they name are looked for below ``root``."""
    found = []
    for block in BLOCK.finditer(text):
        if made_again(block["command"], root).replace(f"{root.as_posix()}/", "") != block["text"]:
            found.append(block["command"])
    return found


def made_again(command: str, root: Path) -> str:
    """What one of the two commands that make blocks makes."""
    if command.startswith(f"{label_budget.MODULE} "):
        budgets = label_budget.parsed(shlex.split(command.removeprefix(label_budget.MODULE)))
        study = label_budget_study.read_study([root / folder for folder in budgets.folders], budgets.suites)
        return label_budget.readme_block(study, budgets.out.as_posix())
    assert command.startswith(f"{MODULE} "), command
    given = parsed(shlex.split(command.removeprefix(MODULE)))
    paths = [root / path for path in given.runs]
    return readme_block(paths, against=given.against, convention=given.convention, sentences=given.sentences)


def test_readme_compares_nothing_by_hand() -> None:
    assert unsupported(README.read_text(encoding="utf-8")) == []


def test_readmes_blocks_are_what_their_commands_make() -> None:
    assert stale(README.read_text(encoding="utf-8"), ROOT) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "The mixture has the best rationales.",
        "PPO on the rule reward gains little over SFT.",
        "A label RM does about as well as labels.",
        "RLLR beats\nRLHF in accuracy.",
        "* **More SFT gains far more.** SFT takes longer.",
        "Rule-PPO is 7.5 points [5.6, 9.4] above it.",
        "| RLHF | 77.1 [72.3, 82.0] |",
        "SFT w. rationale outperforms the rest.",
        "The two do not differ.",
    ],
)
def test_the_check_finds_what_readme_said_before(sentence: str) -> None:
    assert len(unsupported(f"# Title\n\nPlain words.\n\n{sentence}\n\nMore.")) >= 1


def test_code_may_compare() -> None:
    assert (
        unsupported(
            "```\nrewardlab judge A B  # which is better\n```\nSet `eval.checkpoint=best` and `range = [0, 5]`."
        )
        == []
    )


def test_what_was_measured_is_not_called_current() -> None:
    """Until it is measured again; the pages that hold numbers say it in their first lines."""
    results = ROOT / "experiments" / "results"
    listed = (results / "README.md").read_text(encoding="utf-8")
    old = re.findall(r"^\| \[([\w-]+)\]\(", listed, re.MULTILINE)
    reports = [page for name in old for page in (results / name).rglob("report.md")]
    pages = [*reports, results / "README.md", ROOT / "experiments" / "claims" / "README.md"]
    assert len(pages) >= 8
    for page in pages:
        assert "being measured again" in "\n".join(page.read_text(encoding="utf-8").splitlines()[:4]).lower(), page
    text = README.read_text(encoding="utf-8")
    section = text[text.index("## What came out") : text.index("## Who it is for")]
    assert "being measured again" in section.split("\n\n")[1]
    assert all(place in section for place in QUOTED)


class TestBlocks:
    """The mechanism, on runs made for it."""

    TEXT = "# Mine\n\nWords.\n\n<!-- results, made by: nobody -->\nold\n<!-- end of results -->\n\nMore words.\n"

    @pytest.fixture
    def runs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        for method, rights in {"SFT w. rationale": (50, 52, 51), "RLLR": (85, 86, 84)}.items():
            for seed, right in enumerate(rights):
                columns = {"toy": {each: answers_with(right, 100) for each in ("sampled", "greedy")}}
                eval_folder(Path("runs") / f"{method}-{seed}", method=method, seed=seed, columns=columns)
        (tmp_path / "README.md").write_text(self.TEXT, encoding="utf-8")
        return tmp_path

    def made(self, runs: Path) -> str:
        assert main(["runs", "--readme", "README.md"]) == 0
        return (runs / "README.md").read_text(encoding="utf-8")

    def test_a_block_is_made_in_its_place_with_its_sentences(self, runs: Path) -> None:
        text = self.made(runs)
        assert text.startswith(
            "# Mine\n\nWords.\n\n<!-- results, made by: python -m experiments.tools.readme_table runs"
        )
        assert text.endswith("<!-- end of results -->\n\nMore words.\n")
        assert "\nold\n" not in text
        assert "| RLLR | **85.0** [" in text
        assert re.search(
            r"^\* RLLR is (?:significantly )?better than SFT w\. rationale on toy: \+34\.0 points", text, re.MULTILINE
        )
        assert unsupported(text) == []
        assert stale(text, runs) == []
        assert self.made(runs) == text

    @pytest.mark.parametrize(
        ("said", "instead"), [("is better than", "is worse than"), ("85.0", "85.1"), ("toy:", "all:")]
    )
    def test_a_changed_block_is_found(self, runs: Path, said: str, instead: str) -> None:
        text = self.made(runs).replace("significantly ", "")
        changed = text.replace(said, instead, 1)
        assert changed != text
        assert len(stale(changed, runs)) == 1

    def test_new_results_make_an_old_block_stale(self, runs: Path) -> None:
        text = self.made(runs)
        columns = {"toy": {each: answers_with(20, 100) for each in ("sampled", "greedy")}}
        eval_folder(Path("runs") / "RLLR-1", method="RLLR", seed=1, columns=columns)
        assert len(stale(text, runs)) == 1

    def test_a_file_without_a_block_is_left_as_it_is(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (runs / "README.md").write_text("# Mine\n")
        assert main(["runs", "--readme", "README.md"]) == 2
        assert "found 0 blocks of results, expected one, or the heading '## What came out'" in capsys.readouterr().err
        assert (runs / "README.md").read_text() == "# Mine\n"
        assert main(["runs", "--readme", "nowhere.md"]) == 2
        assert "nowhere.md: No such file" in capsys.readouterr().err

    def test_a_short_block_goes_under_the_heading(self, runs: Path) -> None:
        (runs / "README.md").write_text("# Mine\n\n## What came out\n\nBy hand.\n\n## Next\n", encoding="utf-8")
        assert main(["runs", "--readme", "README.md", "--sentences", "1"]) == 0
        text = (runs / "README.md").read_text(encoding="utf-8")
        assert text.startswith("# Mine\n\n## What came out\n\n<!-- results, made by: python -m ")
        assert text.endswith("<!-- end of results -->\n\nBy hand.\n\n## Next\n")
        assert len(re.findall(r"^\* RLLR is ", text, re.MULTILINE)) == 1
        assert "[runs](runs/report.md)" in text
        assert "| RLLR |" not in text
        assert stale(text, runs) == []
        assert len(stale(text.replace("+34.0", "+35.0"), runs)) == 1

    def test_what_stands_around_a_block_stays(self) -> None:
        assert with_block(self.TEXT, "new \\1\n", "c").count("new \\1") == 1
