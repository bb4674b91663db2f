"""Claims against measurements: size with its interval, verdict, and the table of all claims of a suite.

One rule gives every verdict. A claim says in which range its size lies: a difference above 0, a ratio or a share
between two numbers. It holds when the whole interval lies in that range, it does not hold when the whole interval lies
outside, and where the interval reaches over an end the claim is undecided; that a difference is statistically
significant all the same is said then.

The claims of a suite are one family: of twenty that were true of nothing, one would hold at 95 % by chance. The
p-value of a claim is that of "its size is the nearest end of its range". These are corrected together (Holm), and each
interval is widened to the level that its p-value was compared with, so that a claim is decided exactly where its
corrected p-value is below 0.05.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rewardlab.claims.claim import Claim, Unit, claims_sha256
from rewardlab.claims.measures import Evidence, measure
from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, Source
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.comparison.numbers import p_number
from rewardlab.comparison.paired import Corrected, holm
from rewardlab.comparison.statistics import Estimate
from rewardlab.disk import write_atomic, write_json
from rewardlab.errors import RewardlabError
from rewardlab.reward_models.table import TEST_SETS

Verdict = Literal["holds", "does not hold", "undecided", "not testable here"]
DIFFERS = "differs from 0"
VERDICTS: Mapping[Verdict, str] = {
    "holds": "the whole interval lies where the claim says, and its corrected p is below 0.05",
    "does not hold": "the whole interval lies elsewhere",
    "undecided": f"the interval lies on both sides of a bound; {DIFFERS} is added where it lies on one side of 0",
    "not testable here": "it cannot be measured here, for the reason beside it",
}
"""The words and what they mean."""
EXPLAINED = "Verdicts: " + "; ".join(f"**{word}**, {meaning}" for word, meaning in VERDICTS.items()) + "."
FAMILY = (
    "Claims tested together: {family}. p is that of the nearest end of the range that the claim names, usually 0, "
    "corrected for their number (Holm); the intervals are widened to the same levels, from 95 % for one claim alone. "
    "A difference that is listed elsewhere in a report is corrected there for another number of comparisons, so its p "
    "and interval differ."
)

WRITTEN = (
    "Claims and bounds as they were read: sha256 {hash}. `rewardlab suite run FILE --dry-run` prints the hash of a "
    "file, so that a file of before the run can be compared."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim and what was measured of it with one base model.

    Attributes:
        claim: What was claimed.
        model: The base model.
        estimate: Its size in the claim's unit, with the interval that its verdict is read from; None when ``reason``
            says why.
        sources: The runs behind it.
        note: What a reader must know to read its size.
        p_holm: Of the nearest end of the claim's range, corrected over ``family`` claims.
    """

    claim: Claim
    model: str
    estimate: Estimate | None
    reason: str = ""
    sources: Sequence[Source] = ()
    note: str = ""
    p_holm: float | None = None
    family: int = 1

    @property
    def verdict(self) -> Verdict:
        """The word for it."""
        return "not testable here" if self.estimate is None else verdict(self.estimate, self.claim.range)

    @property
    def differs(self) -> bool:
        """True when the claim is undecided though the interval of the difference lies on one side of 0."""
        is_open = self.verdict == "undecided" and self.claim.unit == "points"
        return is_open and self.estimate is not None and self.estimate.excludes_zero

    @property
    def told(self) -> str:
        """The verdict as printed, with what is certain of an undecided difference, or why there is none."""
        more = f", {DIFFERS}" if self.differs else ""
        more += f"; {self.note}" if self.note else ""
        return self.verdict + (f": {self.reason}" if self.reason else more)

    @property
    def size(self) -> str:
        """The measured size as printed, such as ``+1.8 points [+0.4, +3.3]``; a dash without one."""
        return MISSING if self.estimate is None else size_text(self.estimate, self.claim.unit, self.claim.range)


def verdict(size: Estimate, where: tuple[float, float]) -> Verdict:
    """The word for an interval against the range that a claim names, both in the same unit."""
    low, high = where
    if low < size.low and size.high < high:
        return "holds"
    return "does not hold" if size.high <= low or size.low >= high else "undecided"


def size_text(size: Estimate, unit: Unit, where: tuple[float, float]) -> str:
    """A size with its interval; an end that would be rounded to an end of ``where``, beside which it lies, has more
    decimals.
    """
    ends = [(end, bound) for end in (size.low, size.high) for bound in where]
    decimals = 2 if unit == "times" else 1
    more = next((each for each in (decimals, decimals + 1) if not _hides(ends, each)), decimals + 2)
    shown = [_number(each, unit, more) for each in (size.value, size.low, size.high)]
    return f"{shown[0]} {'%' if unit == 'per cent' else unit} [{shown[1]}, {shown[2]}]"


def _hides(ends: Sequence[tuple[float, float]], decimals: int) -> bool:
    """True when an end of an interval is printed like a bound that it is not."""
    return any(end != bound and round(end, decimals) == bound for end, bound in ends)


def findings(claims: Sequence[Claim], evidence: Evidence) -> list[Finding]:
    """Every claim with every base model of the table and of the report cards, corrected over all that are tested."""
    named = (*(row.key.model for row in evidence.table.rows), *(run.model for run in evidence.cards.runs))
    models = dict.fromkeys(filter(None, named)) or ("",)
    return corrected([finding(claim, model, evidence) for claim in claims for model in models])


def finding(claim: Claim, model: str, evidence: Evidence) -> Finding:
    """One claim with one base model, not corrected; without an estimate where it cannot be measured."""
    try:
        measured = measure(claim, model, evidence)
    except RewardlabError as error:
        return Finding(claim, model, None, str(error))
    return Finding(claim, model, measured.estimate, sources=measured.sources, note=measured.note)


def corrected(findings: Sequence[Finding]) -> list[Finding]:
    """The same findings, their p-values and intervals corrected over all that have a size (Holm)."""
    p_values = [_p_value(each.estimate, each.claim) for each in findings if each.estimate is not None]
    steps = iter(holm(p_values))
    return [each if each.estimate is None else _at(each, next(steps), len(p_values)) for each in findings]


def _p_value(size: Estimate, claim: Claim) -> float:
    """Of the nearest end of the claim's range."""
    return max(size.p_value(end) for end in claim.range if math.isfinite(end))


def _at(finding: Finding, step: Corrected, family: int) -> Finding:
    widened = None if finding.estimate is None else finding.estimate.at(step.level)
    return replace(finding, estimate=widened, p_holm=step.p, family=family)


def family_text(findings: Sequence[Finding]) -> str:
    """How many claims were tested together, and what that does to p and intervals; empty where none was."""
    family = sum(each.estimate is not None for each in findings)
    return FAMILY.format(family=family) if family else ""


def written_text(findings: Sequence[Finding]) -> str:
    """The hash of the claims behind the findings, and what it is good for; empty without any."""
    return WRITTEN.format(hash=claims_sha256(each.claim for each in findings)) if findings else ""


def claims_grid(findings: Sequence[Finding]) -> Grid:
    """A line a claim: what it says, its published size, the measured one, the verdict."""
    models = len({each.model for each in findings}) > 1
    tested = ["verdict", "measured", "p", "seeds"]
    titles = ["claim", "says", *(["model"] if models else []), *tested, "published", "compared"]
    headings = [Heading(title, is_number=title in ("p", "seeds")) for title in titles]
    return Grid(headings, [_line(each, models) for each in findings])


def write_claims(findings: Sequence[Finding], folder: Path, about: Mapping[str, Any]) -> list[Path]:
    """Write ``claims.md`` and ``claims.json``; ``about`` names the suite, its title and its command."""
    explained = " ".join(filter(None, (EXPLAINED, family_text(findings), written_text(findings))))
    text = f"# Claims: {about['title'] or about['suite']}\n\n{explained}\n\n{markdown_grid(claims_grid(findings))}\n"
    write_atomic(folder / "claims.md", text)
    hashed = {"claims_sha256": claims_sha256(each.claim for each in findings)}
    write_json(folder / "claims.json", {**about, **hashed, "claims": [_stored(each) for each in findings]})
    return [folder / "claims.md", folder / "claims.json"]


def _line(finding: Finding, with_model: bool) -> list[Cell]:
    claim, size = finding.claim, finding.estimate
    return [
        Cell(claim.id),
        Cell(claim.says),
        *([Cell(finding.model)] if with_model else []),
        Cell(finding.told, mark="best" if finding.verdict == "holds" else ""),
        Cell(finding.size, sources=finding.sources),
        Cell(MISSING if finding.p_holm is None else p_number(finding.p_holm)),
        Cell(MISSING if size is None else seeds_text(size)),
        Cell(_true_minus(claim.published) or MISSING),
        Cell(compared_text(claim)),
    ]


def compared_text(claim: Claim) -> str:
    """What stands against what, and where the claim holds unless that is above 0."""
    between = f"{claim.better} against {claim.than}, " if claim.methods and claim.than else ""
    what = "" if claim.measure == "accuracy" else f"{claim.measure}, "
    low, high = claim.range
    wanted = "" if claim.range == (0.0, float("inf")) else f"; holds {_range_text(low, high)}"
    return MISSING if claim.not_testable else f"{between}{what}{_where(claim)}{wanted}"


def _where(claim: Claim) -> str:
    """Test set, column and decoding, as far as the measure has them."""
    if claim.measure == "seconds":
        return "training alone"
    if claim.measure == "rm accuracy":
        return f"{TEST_SETS.get(claim.test_set, claim.test_set)}, {claim.column}"
    is_decoded = claim.measure in ("accuracy", "quality", "judged", "label shift")
    return f"{claim.column}, {claim.decoding}" if is_decoded else claim.column


def seeds_text(size: Estimate) -> str:
    """How many seeds, and whether the interval covers items only."""
    return f"{size.seeds}" if size.basis == "seeds and items" else f"{size.seeds}, items only"


def _range_text(low: float, high: float) -> str:
    return _true_minus(f"above {low:g}" if high == math.inf else f"between {low:g} and {high:g}")


def _true_minus(text: str) -> str:
    """Numbers with the minus sign that sizes have.

    >>> _true_minus("-1.9 with LLaMA2-7B")
    '−1.9 with LLaMA2-7B'
    """
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


def _number(value: float, unit: Unit, decimals: int) -> str:
    """
    >>> _number(1.84, "points", 1), _number(-0.02, "points", 1), _number(1.318, "times", 2)
    ('+1.8', '0.0', '1.32')
    """
    text = f"{value:+.{decimals}f}"
    return text.lstrip("+-") if unit != "points" or float(text) == 0 else text.replace("-", "−")


def _stored(finding: Finding) -> dict[str, Any]:
    """As ``claims.json`` holds it; numbers are in the claim's unit."""
    size = None if finding.estimate is None else finding.estimate.stored()
    return {
        **finding.claim.model_dump(mode="json"),
        "unit": finding.claim.unit,
        "model": finding.model,
        "compared": compared_text(finding.claim),
        "size": size,
        "text": finding.size,
        "verdict": finding.verdict,
        "p_holm": finding.p_holm,
        "family": finding.family,
        "differs": finding.differs,
        "reason": finding.reason,
        "note": finding.note,
    }
