"""The page of all claims: a row each, in both places, from the claims.json of suites."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from experiments.tools.claims_page import claims_page, main, read_findings, read_list
from rewardlab.disk import write_json
from rewardlab.errors import ConfigError, DataError
from rewardlab.suites.file import load_suite

LIST = Path(__file__).parents[3] / "experiments" / "claims" / "claims.toml"


def finding(
    id: str, verdict: str, text: str = "+1.0 points [+0.5, +1.5]", reason: str = "", **more: Any
) -> dict[str, Any]:
    size = (
        None if reason else {"value": 1.0, "low": 0.5, "high": 1.5, "sd": None, "seeds": 5, "basis": "seeds and items"}
    )
    told = {"id": id, "verdict": verdict, "text": text, "reason": reason, "size": size, "model": "sandbox-tiny"}
    told |= {"p_holm": None if reason else 0.0123, "family": 3}
    return {**told, "differs": False, "compared": "A against B, average, sampled", **more}


def suite(folder: Path, *claims: dict[str, Any], name: str = "claims-sandbox", model: str = "sandbox-tiny") -> Path:
    about = {"suite": name, "title": "T", "command": f"rewardlab suite run experiments/{name}.toml"}
    write_json(folder / name / "claims.json", {**about, "models": [model], "seeds": [0, 1], "claims": list(claims)})
    return folder / name / "claims.json"


def rows(text: str) -> dict[str, list[str]]:
    """Claim -> its cells."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| C\d", line)]
    return {cells[0]: cells for cells in found}


def test_the_list_has_all_fourteen_claims() -> None:
    assert [claim.id for claim in read_list(LIST).claim] == [f"C{number}" for number in range(1, 15)]


def test_suites_speak_of_listed_claims_and_are_called_like_their_files() -> None:
    listed = {claim.id for claim in read_list(LIST).claim}
    suites = {path: load_suite(path) for path in sorted(LIST.parents[1].glob("*.toml"))}
    speaking = {path: suite for path, suite in suites.items() if suite.claim}
    assert {"claims-sandbox", "claims-smollm2"} <= {suite.name for suite in speaking.values()}
    for path, suite in speaking.items():
        assert suite.name == path.stem  # README names a suite by its file
        papers = {claim.id for claim in suite.claim if not claim.id.startswith("Q")}  # Q: a question of ours
        assert papers <= listed


def test_findings_stand_in_their_row_and_place(tmp_path: Path) -> None:
    paths = [
        suite(tmp_path, finding("C1", "holds"), finding("C12a", "undecided"), finding("C12b", "holds")),
        suite(tmp_path, finding("C1", "does not hold", model="smollm2-135m-q4"), name="s", model="smollm2-135m-q4"),
        suite(tmp_path, finding("C8", "holds", model=""), name="rm"),
    ]
    text = claims_page(read_list(LIST), [read_findings(path) for path in paths])
    found = rows(text)
    told = "+1.0 points [+0.5, +1.5], p = 0.012, 5 seeds; A against B, average, sampled"
    assert found["C1"][3:] == [f"**holds**: {told} *(claims-sandbox)*", f"**does not hold**: {told} *(s)*"]
    assert found["C12"][3].split("<br>")[0].startswith("**undecided**")
    assert found["C8"][3] == f"**holds**: {told} *(rm)*"
    assert found["C2"][3:] == ["not measured", "not measured"]
    assert found["C13"][3] == (
        "**not testable here**: no row of these suites trains with GRPO or DPO; estimators-sandbox.toml compares them"
    )
    tested = "T (smollm2-135m-q4; seeds 0, 1; 1 claims tested together)"
    assert f"* **s**, {tested}: `rewardlab suite run experiments/s.toml`" in text
    assert "T (sandbox-tiny; seeds 0, 1; 3 claims tested together)" in text


def test_what_a_size_leaves_out_stands_beside_it(tmp_path: Path) -> None:
    """The share of rationale-sensitive pairs is one of the readable pairs, which may be few."""
    made = finding("C7", "holds", note="79.0 % of all pairs are malformed")
    text = claims_page(read_list(LIST), [read_findings(suite(tmp_path, made))])
    told = "5 seeds; 79.0 % of all pairs are malformed; A against B, average, sampled"
    assert told in rows(text)["C7"][3]


def test_findings_from_before_the_correction_say_so(tmp_path: Path) -> None:
    made = finding("C1", "holds")
    del made["p_holm"]
    text = claims_page(read_list(LIST), [read_findings(suite(tmp_path, made))])
    assert "**holds**: +1.0 points [+0.5, +1.5], not corrected, 5 seeds" in text


def listed(folder: Path, more: str) -> Path:
    """A list of one claim."""
    (folder / "list.toml").write_text(f'[[claim]]\nid = "C4"\nsays = "A and B"\npublished = "1"\n{more}\n')
    return folder / "list.toml"


def test_reasons_stand_below_the_table_where_something_was_measured(tmp_path: Path) -> None:
    made = read_list(listed(tmp_path, '[claim.why]\nsandbox = "SFT ends early"\nsmollm2 = "nothing was learned"'))
    text = claims_page(made, [read_findings(suite(tmp_path, finding("C4", "does not hold")))])
    assert text.split("## Why\n")[1].split("##")[0].strip() == "* **C4**, sandbox: SFT ends early."
    assert "## Why" not in claims_page(made, [])


def test_the_untested_part_of_a_claim_stands_beside_what_was_tested(tmp_path: Path) -> None:
    made = read_list(listed(tmp_path, 'untested = "B, for want of it"'))
    found = rows(claims_page(made, [read_findings(suite(tmp_path, finding("C4", "holds")))]))
    assert found["C4"][3].split("<br>")[1] == "**not tested**: B, for want of it"
    assert found["C4"][4] == "not measured"
    assert "above BERT-large" in {claim.id: claim.untested for claim in read_list(LIST).claim}["C4"]


def test_an_undecided_difference_is_told_apart(tmp_path: Path) -> None:
    path = suite(tmp_path, finding("C1", "undecided", differs=True), finding("C2", "undecided"))
    found = rows(claims_page(read_list(LIST), [read_findings(path)]))
    assert found["C1"][3].startswith("**undecided**, differs from 0: +1.0 points")
    assert found["C2"][3].startswith("**undecided**: +1.0 points")


def test_models_without_a_column_stand_below_the_table(tmp_path: Path) -> None:
    large = suite(tmp_path, finding("C1", "holds", model=""), name="large", model="meta-llama/Llama-2-7b")
    small = suite(
        tmp_path, finding("C1", "undecided", model="HuggingFaceTB/SmolLM2-135M-Instruct"), name="hub", model="x"
    )
    text = claims_page(read_list(LIST), [read_findings(large), read_findings(small)])
    assert rows(text)["C1"][3] == "not measured"
    assert rows(text)["C1"][4].startswith("**undecided**")
    below = text.split("## With other models\n")[1].split("##")[0].strip()
    assert below.startswith("* **C1**, meta-llama/Llama-2-7b: **holds**: +1.0 points")
    assert "## With other models" not in claims_page(read_list(LIST), [read_findings(small)])


def test_reasons_for_unknown_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no place 'sandbx'; known: sandbox, smollm2"):
        read_list(listed(tmp_path, '[claim.why]\nsandbx = "x"'))


def test_what_a_suite_could_not_test_says_why(tmp_path: Path) -> None:
    path = suite(tmp_path, finding("C3", "not testable here", reason="no rows are called BERT"))
    found = rows(claims_page(read_list(LIST), [read_findings(path)]))
    assert found["C3"][3] == "**not testable here**: no rows are called BERT *(claims-sandbox)*"


def test_claims_of_no_list_and_other_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="claim C99 is not in the list of claims; add it"):
        claims_page(read_list(LIST), [read_findings(suite(tmp_path, finding("C99", "holds")))])
    write_json(tmp_path / "other.json", {"suite": "x"})
    with pytest.raises(DataError, match=r"other\.json: no claims.json of a report"):
        read_findings(tmp_path / "other.json")
    (tmp_path / "bad.toml").write_text('[[claim]]\nid = "C1"\n')
    with pytest.raises(ConfigError, match=r"claim\.0\.says: field required"):
        read_list(tmp_path / "bad.toml")
    assert main([str(tmp_path / "none.toml")]) == 2
    assert "give the list of claims" in capsys.readouterr().err
    assert main([str(LIST)]) == 0
    assert "None has been run yet." in capsys.readouterr().out
