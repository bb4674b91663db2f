"""The page of all published claims: one row each, with what every suite measured of it on the sandbox and on SmolLM2.

Run as ``python -m experiments.tools.claims_page LIST CLAIMS...``; LIST is the TOML list of claims, CLAIMS are the
``claims.json`` that reports leave; the Markdown goes to standard output. A claim that no suite speaks of has the
reason that the list gives for it. What other models showed stands below the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from rewardlab.claims.findings import DIFFERS, VERDICTS
from rewardlab.comparison.grid import Cell, Grid, Heading
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.comparison.numbers import p_text
from rewardlab.config import TINY_MODEL
from rewardlab.disk import read_json
from rewardlab.errors import ConfigError, DataError, RewardlabError
from rewardlab.reading import parse_toml, told
from rewardlab.section import Section

PLACES: Mapping[str, str] = {"sandbox": "sandbox", "smollm2": "SmolLM2-135M"}
"""Where claims are measured -> the column's title."""
SMOLLM2 = "smollm2-135m"
"""Stands in the names of the second place's model, whatever its weights are kept in."""
ELSEWHERE = ""
"""Where models belong that have no column."""
BREAK = "<br>"


class Published(Section):
    """One published claim."""

    id: str = Field(description="its number")
    says: str = Field(description="the claim")
    published: str = Field(description="the published size")
    not_testable: dict[str, str] = Field(default_factory=dict, description="place and why nothing is measured there")
    untested: str = Field("", description="the part of it that no suite measures, and why")
    why: dict[str, str] = Field(
        default_factory=dict, description="place and what is known of why it fails, or comes out as it does, there"
    )

    @field_validator("not_testable", "why")
    @classmethod
    def _places_are_known(cls, given: dict[str, str]) -> dict[str, str]:
        if unknown := given.keys() - PLACES:
            raise ValueError(f"no place {min(unknown)!r}; known: {', '.join(PLACES)}")
        return given


class PublishedList(Section):
    """The list of claims."""

    claim: tuple[Published, ...] = Field(min_length=1, description="all claims, in order")
    note: str = Field("", description="what a reader must know of all that was measured; stands above the table")


@dataclass(frozen=True, slots=True)
class SuiteFindings:
    """What one suite found: the head of its ``claims.json``, and its findings."""

    about: Mapping[str, Any]
    findings: Sequence[Mapping[str, Any]]

    def of(self, id: str, place: str) -> list[Mapping[str, Any]]:
        """Findings of a claim in one place; a letter behind the number (C12a) is a part of it."""
        return [each for each in self.findings if _number(each["id"]) == id and _place(self.model(each)) == place]

    @property
    def tested(self) -> int:
        """How many of its claims have a size, all base models together."""
        return sum(each["size"] is not None for each in self.findings)

    def model(self, finding: Mapping[str, Any]) -> str:
        """The base model of a finding: its own, or that of the suite."""
        return str(finding["model"] or next(iter(self.about["models"]), ""))


def read_list(path: Path) -> PublishedList:
    """Read the list of claims; raises ConfigError that names all its problems."""
    try:
        return PublishedList.model_validate(parse_toml(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the list of claims (TOML)") from error
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, item['loc']))}: {item['msg'].lower()}" for item in error.errors())
        raise ConfigError(f"{path}: {told(problems, error.error_count())}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def read_findings(path: Path) -> SuiteFindings:
    """Read a ``claims.json``; raises DataError when it is none."""
    stored = read_json(path)
    try:
        about = {name: stored[name] for name in ("suite", "title", "command", "models", "seeds")}
        return SuiteFindings(about, [{**each, "verdict": str(each["verdict"])} for each in stored["claims"]])
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: no claims.json of a report ({type(error).__name__}: {error}); run the suite"
        ) from error


def claims_page(listed: PublishedList, suites: Sequence[SuiteFindings]) -> str:
    """The page.

    Raises:
        ConfigError: A suite speaks of a claim that the list does not have.
    """
    known = {claim.id for claim in listed.claim}
    for suite in suites:
        if unknown := [each["id"] for each in suite.findings if _number(each["id"]) not in known]:
            raise ConfigError(f"suite {suite.about['suite']}: claim {unknown[0]} is not in the list of claims; add it")
    titles = ["claim", "says", "published", *PLACES.values()]
    grid = Grid([Heading(title, is_number=False) for title in titles], [_line(each, suites) for each in listed.claim])
    words = [f"* **{word}**: {meaning}." for word, meaning in VERDICTS.items()]
    parts = [
        "# The published claims, measured",
        *([f"**{listed.note}**"] if listed.note else []),
        INTRODUCTION,
        markdown_grid(grid),
        "\n".join(words),
        *_listed("Why", [line for each in listed.claim for line in _reasons(each, suites)]),
        *_listed("With other models", [line for each in listed.claim for line in _elsewhere(each, suites)]),
        *_listed("Experiments", list(_experiments(suites))),
        f"Made by `{COMMAND}`.",
    ]
    return "\n\n".join(parts) + "\n"


COMMAND = (
    "python -m experiments.tools.claims_page experiments/claims/claims.toml experiments/results/*/claims.json "
    "> experiments/claims/README.md"
)
INTRODUCTION = (
    "Sizes stand with their intervals. From two seeds on an interval covers training seeds and test items, with one "
    "seed items alone. Points are hundredths of a metric. Differences are paired by item and seed. The claims that one "
    "suite tests are one family: their p-values are corrected together (Holm), and their intervals are widened to the "
    "same levels, from 95 % for one claim alone. How many each suite tested stands under Experiments. The rule of the "
    "verdicts stands below the table."
)


def _line(claim: Published, suites: Sequence[SuiteFindings]) -> list[Cell]:
    cells = [Cell(claim.id), Cell(claim.says), Cell(claim.published)]
    for place in PLACES:
        told = _told(claim, place, suites)
        left_out = [f"**not tested**: {claim.untested}"] if claim.untested and told else []
        cells.append(Cell(BREAK.join([*told, *left_out] or [_unmeasured(claim.not_testable.get(place, ""))])))
    return cells


def _told(claim: Published, place: str, suites: Sequence[SuiteFindings]) -> list[str]:
    return [_finding_text(suite, each) for suite in suites for each in suite.of(claim.id, place)]


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    """A section; none without lines."""
    return [f"## {title}", "\n".join(lines)] if lines else []


def _reasons(claim: Published, suites: Sequence[SuiteFindings]) -> Iterator[str]:
    """What is known of the outcome, where there is one."""
    for place, reason in claim.why.items():
        if _told(claim, place, suites):
            yield f"* **{claim.id}**, {PLACES[place]}: {reason}."


def _elsewhere(claim: Published, suites: Sequence[SuiteFindings]) -> Iterator[str]:
    """What was found with models that have no column."""
    for suite in suites:
        for each in suite.of(claim.id, ELSEWHERE):
            yield f"* **{claim.id}**, {suite.model(each) or 'no model named'}: {_finding_text(suite, each)}"


def _finding_text(suite: SuiteFindings, found: Mapping[str, Any]) -> str:
    """Verdict, size and seeds, what was compared, and the suite that did."""
    size = found["size"]
    if size is None:
        return f"**{found['verdict']}**: {found['reason']} *({suite.about['suite']})*"
    seeds = f"{size['seeds']} seed{'' if size['seeds'] == 1 else 's'}"
    word = f"**{found['verdict']}**" + (f", {DIFFERS}" if found["differs"] else "")
    p = "not corrected" if found.get("p_holm") is None else p_text(float(found["p_holm"]))
    note = f"; {found['note']}" if found.get("note") else ""
    return f"{word}: {found['text']}, {p}, {seeds}{note}; {found['compared']} *({suite.about['suite']})*"


def _unmeasured(reason: str) -> str:
    return f"**not testable here**: {reason}" if reason else "not measured"


def _experiments(suites: Sequence[SuiteFindings]) -> Iterator[str]:
    for suite in suites:
        seeds, models = ", ".join(map(str, suite.about["seeds"])), ", ".join(suite.about["models"])
        title = suite.about["title"] or suite.about["suite"]
        tested = f"{suite.tested} claims tested together"
        yield f"* **{suite.about['suite']}**, {title} ({models}; seeds {seeds}; {tested}): `{suite.about['command']}`"
    if not suites:
        yield "None has been run yet."


def _place(model: str) -> str:
    """
    >>> _place("sandbox-tiny"), _place("HuggingFaceTB/SmolLM2-135M-Instruct"), _place("llama-2-7b")
    ('sandbox', 'smollm2', '')
    """
    if model == TINY_MODEL:
        return "sandbox"
    return "smollm2" if SMOLLM2 in model.lower() else ELSEWHERE


def _number(id: str) -> str:
    """
    >>> _number("C12a"), _number("C8")
    ('C12', 'C8')
    """
    return id.rstrip("abcdefghijklmnopqrstuvwxyz")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="experiments.tools.claims_page", description=__doc__)
    parser.add_argument("list", type=Path, help="the list of claims (TOML), experiments/claims/claims.toml")
    parser.add_argument("claims", nargs="*", type=Path, help="claims.json of the suites' reports")
    given = parser.parse_args(arguments)
    try:
        text = claims_page(read_list(given.list), [read_findings(path) for path in given.claims])
    except RewardlabError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
