"""Kinds of sampled pairs over seeds: pooled, each seed's samples counted once, intervals over seeds and rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.claims.claim import Claim
from rewardlab.disk import read_json, write_json, write_jsonl
from rewardlab.pairs.statistics import kind_shares
from rewardlab.pairs.summary import sampled_kinds
from rewardlab.reports.blocks import Sentences
from rewardlab.reports.page import SuiteFacts, write_report
from rewardlab.reports.pairs import kinds_table
from rewardlab.reports.sections.pair_kinds import distributions, pair_blocks, rationale_sensitive
from tests.support.runs import both, eval_folder, pairs_folder


def sampled_folder(path: Path, seed: int, labels: dict[str, list[list[str | None]]], model: str = "") -> Path:
    """A folder of ranked pairs with its samples: task -> per row, what was read in each."""
    write_json(path / "config.json", {"config": {"seed": seed, "model": {"name": model}}})
    shares = {task: kind_shares(rows) for task, rows in labels.items()}
    write_json(path / "manifest.json", {"kind": "ranked", "distribution": shares})
    rows = [
        {"task": task, "id": str(number), "labels": found}
        for task, listed in labels.items()
        for number, found in enumerate(listed)
    ]
    write_jsonl(path / "samples.jsonl", rows)
    return path


def sentences(folders: list[Path]) -> list[str]:
    (found,) = (block for block in pair_blocks(folders) if isinstance(block, Sentences))
    return [told.text for told in found.told]


def test_shares_are_pooled_by_their_numbers(tmp_path: Path) -> None:
    folders = [pairs_folder(tmp_path / "a", "toy", 0.9, 300), pairs_folder(tmp_path / "b", "toy", 0.5, 100)]
    folders.append(pairs_folder(tmp_path / "label pairs", "other", 0.0, 0))
    # (0.9 * 300 + 0.5 * 100) / 400
    assert sentences([*folders, tmp_path / "missing"]) == ["toy: 80.0 % rationale-sensitive of 400 pairs"]
    assert [part.path.name for part in distributions(folders)["", "toy"]] == ["a", "b"]


@pytest.mark.parametrize("shares", [3, {"n": 100}, {"rationale_sensitive": "most"}])
def test_a_manifest_that_is_none_is_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, shares: object
) -> None:
    good, bad = (pairs_folder(tmp_path / name, "toy", 0.5, 100) for name in ("good", "bad"))
    write_json(bad / "manifest.json", {"kind": "ranked", "distribution": {"toy": shares}})
    assert sentences([bad, good]) == ["toy: 50.0 % rationale-sensitive of 100 pairs"]
    assert f"{bad}: left out of the pair distribution" in caplog.text


def test_pairs_that_were_not_ranked_samples_have_no_shares_and_are_not_called_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_json(tmp_path / "imported" / "manifest.json", {"kind": "ranked", "pairs": 3})
    assert distributions([tmp_path / "imported"]) == {}
    assert caplog.text == ""


def test_rankings_of_the_same_samples_count_once(tmp_path: Path) -> None:
    """Another weight of the oracle, or another kind, ranks the same samples; the held-out part is in them."""
    whole = {"toy": [["x", "x"], ["x", "y"]]}
    folders = [
        sampled_folder(tmp_path / "held-out", 0, {"toy": [["x", "x"]]}),
        sampled_folder(tmp_path / "w0", 0, whole),
        sampled_folder(tmp_path / "w1", 0, whole),
        sampled_folder(tmp_path / "other seed", 1, whole),
    ]
    assert [part.path.name for part in distributions(folders)["", "toy"]] == ["w0", "other seed"]
    assert sentences(folders)[0].startswith("toy: 50.0 % [")


def test_mean_over_seeds_with_its_interval(tmp_path: Path) -> None:
    """Per seed: 3 of 4 rows agree, 4 of 4, 2 of 4; all rows of a task are the same rows."""
    agree, differ = ["x", "x"], ["x", "y"]
    seeds = [[agree, agree, agree, differ], [agree] * 4, [agree, agree, differ, differ]]
    folders = [sampled_folder(tmp_path / f"{n}", n, {"toy": rows}) for n, rows in enumerate(seeds)]
    found = rationale_sensitive(distributions(folders))["", "toy"]
    assert found.value == pytest.approx((0.75 + 1.0 + 0.5) / 3)
    assert (found.seeds, found.basis, found.sd) == (3, "seeds and items", pytest.approx(0.25))
    # Student's t on 2 degrees of freedom is 4.303; rows add to the variance over seeds, and never take from it
    assert found.spread is not None
    assert found.spread.half_width(0.05) >= 4.302 * 0.25 / 3**0.5
    assert (found.low, found.high) == (0.0, 1.0)  # a share
    assert sentences(folders)[0].endswith("rationale-sensitive of 12 pairs (3 seeds, interval over seeds and items)")


def test_rows_of_many_pairs_weigh_more(tmp_path: Path) -> None:
    """Three samples make three pairs, two make one: 3 + 0 of 4 pairs, not the mean of the rows' shares."""
    folder = sampled_folder(tmp_path / "a", 0, {"toy": [["x", "x", "x"], ["x", "y"]]})
    found = rationale_sensitive(distributions([folder]))["", "toy"]
    assert (found.value, found.low, found.high) == (0.75, 0.0, 1.0)  # rows drawn: one kind alone, or both


def test_a_malformed_pair_is_a_kind_of_its_own_and_counts_for_neither_of_the_others(tmp_path: Path) -> None:
    """Five samples with two read make one readable pair of ten: rationale-sensitive in two rows of three."""
    rows = [[None, None, None, "x", "x"], [None, None, None, "y", "y"], [None, None, None, "x", "y"]]
    folder = sampled_folder(tmp_path / "a", 0, {"toy": rows})
    assert rationale_sensitive(distributions([folder]))["", "toy"].value == pytest.approx(2 / 3)
    (told,) = sentences([folder])
    assert told.startswith("toy: 66.7 % [")
    assert "rationale-sensitive of 3 readable pairs (90.0 % of all pairs are malformed; 1 seed, " in told
    (folder / "samples.jsonl").unlink()
    assert sentences([folder]) == [
        "toy: 66.7 % rationale-sensitive of 3 readable pairs (90.0 % of all pairs are malformed)"
    ]


def test_where_no_pair_could_be_read_there_is_no_share(tmp_path: Path) -> None:
    folder = sampled_folder(tmp_path / "a", 0, {"toy": [[None, None]], "other": [["x", "x"], [None, "x"]]})
    assert rationale_sensitive(distributions([folder])).keys() == {("", "other")}
    assert sentences([folder])[0] == "toy: 100.0 % of all pairs are malformed"


def test_the_claim_is_measured_on_readable_pairs_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    # of three rows no p-value is below 0.05, of 40 that all agree it is far below
    rows: list[list[str | None]] = [[None, None, "x", "x"]] * 40
    folders = [sampled_folder(tmp_path / f"{seed}", seed, {"toy": rows}) for seed in range(3)]
    claim = Claim(id="C7", says="Most are", measure="pair kinds", column="toy", above=75)
    page = write_report(
        tmp_path / "out",
        [eval_folder(tmp_path / "eval" / "a", columns={"toy": both(5, 5, 10)}, model="")],
        pair_runs=folders,
        resamples=50,
        suite=SuiteFacts("s", claims=(claim,)),
    )
    (found,) = read_json(page.parent / "claims.json")["claims"]
    # one readable pair of six in each row
    assert (found["size"]["value"], found["note"]) == (100.0, "83.3 % of all pairs are malformed")
    assert "holds; 83.3 % of all pairs are malformed" in page.read_text()


def test_pairs_stats_show_the_third_kind_and_the_share_of_the_readable() -> None:
    shown = kinds_table(sampled_kinds({"toy": [[None, "x", "x"], ["x", "y"]], "lost": [[None, "x"]]}))
    assert "| malformed | rationale-sensitive of the readable |" in shown
    # toy: pairs xx, None x twice, xy: 1 of 4 rationale-sensitive, 2 malformed; 1 of 2 readable
    (line,) = (line for line in shown.splitlines() if line.startswith("| toy"))
    assert [cell.strip().split(" ")[0] for cell in line.split("|")[1:-1]] == [
        "toy",
        "25.0",
        "25.0",
        "50.0",
        "50.0",
        "4",
    ]
    (lost,) = (line for line in shown.splitlines() if line.startswith("| lost"))
    assert lost.endswith("| 100.0 | – | 1 |")


def test_the_average_is_over_tasks(tmp_path: Path) -> None:
    folder = sampled_folder(tmp_path / "a", 0, {"one": [["x", "x"]] * 30, "two": [["x", "y"]] * 10})
    # no row differs from the others of its task; one row more of each, (1/900 + 1/100) / 4, and t on 38 df: 10.7 points
    assert sentences([folder])[-1].startswith("average over tasks: 50.0 % [39.3, 60.7] rationale-sensitive (1 seed, ")


def test_the_average_takes_the_same_seeds_of_every_task(tmp_path: Path) -> None:
    """Tasks sampled one by one: as many seeds of each, but others, have no average."""
    rows = [["x", "x"], ["x", "y"]]
    folders = [sampled_folder(tmp_path / f"one-{seed}", seed, {"one": rows}) for seed in (0, 1)]
    other = [sampled_folder(tmp_path / f"two-{seed}", seed, {"two": rows}) for seed in (1, 2)]
    assert sorted(task for _, task in rationale_sensitive(distributions([*folders, *other]))) == ["one", "two"]


def test_the_average_pairs_seeds_whatever_the_order_of_folders(tmp_path: Path) -> None:
    """Shares 1, 0 and 0 in seeds 0 to 2 of one task, 0, 1 and 1 of the other: their mean is 1/2 in every seed."""
    agree, differ = [["x", "x"]] * 20, [["x", "y"]] * 20
    folders = [
        sampled_folder(tmp_path / f"one-{n}", n, {"one": rows}) for n, rows in enumerate((agree, differ, differ))
    ]
    folders += [
        sampled_folder(tmp_path / f"two-{n}", n, {"two": rows}) for n, rows in ((2, agree), (1, agree), (0, differ))
    ]
    found = rationale_sensitive(distributions(folders))["", "average"]
    assert (found.value, found.sd) == (0.5, 0.0)


def test_base_models_are_counted_apart(tmp_path: Path) -> None:
    """Equal seeds of two models: neither's samples stand for the other's, however many pairs they make."""
    agree, differ = ["x", "x"], ["x", "y"]
    folders = [
        sampled_folder(tmp_path / "a", 0, {"one": [agree] * 2, "two": [differ]}, model="tiny"),
        sampled_folder(tmp_path / "b", 0, {"one": [differ] * 9, "two": [differ]}, model="large"),
    ]
    found = {place: each.value for place, each in rationale_sensitive(distributions(folders)).items()}
    assert found == {
        ("tiny", "one"): 1.0,
        ("tiny", "two"): 0.0,
        ("tiny", "average"): 0.5,
        ("large", "one"): 0.0,
        ("large", "two"): 0.0,
        ("large", "average"): 0.0,
    }
    told = sentences(folders)
    assert told[0].startswith("one (tiny): 100.0 % [")
    assert told[-1].startswith("average over tasks (large): 0.0 % [")
