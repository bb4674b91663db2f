"""The library of a product: chosen by time, once for a machine, and the same after a resume."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rewardlab.errors import ConfigError
from rewardlab.models import products
from rewardlab.models.products import SWITCH, Choices

pytestmark = pytest.mark.skipif(not products.HAS_ONEDNN, reason="torch was built without oneDNN")
WEIGHT = torch.zeros(8, 4)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without choices, on which products are timed."""
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path))
    monkeypatch.setenv(SWITCH, "measured")
    return tmp_path


class Timings:
    """Stands in for the clock: says how long each library takes, and counts how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
        self.seconds, self.asked = seconds, 0
        monkeypatch.setattr(products, "_seconds", self._say)

    def _say(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Mapping[str, float]:
        self.asked += 1
        return self.seconds


def library(choices: Choices, rows: int = 16, weight: Tensor = WEIGHT) -> str:
    return choices.library(torch.zeros(rows, weight.shape[1]), weight, None)


@pytest.mark.parametrize(
    ("onednn", "own", "expected"), [(1.0, 0.8, "torch"), (1.0, 0.95, "onednn"), (1.0, 2.0, "onednn")]
)
def test_the_faster_library_is_taken_unless_the_gain_is_noise(
    monkeypatch: pytest.MonkeyPatch, onednn: float, own: float, expected: str
) -> None:
    Timings(monkeypatch, onednn=onednn, torch=own)
    assert library(Choices()) == expected


def test_what_was_chosen_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    Timings(monkeypatch, onednn=2.0, torch=1.0)
    monkeypatch.setattr(products, "choices", Choices())
    asked: list[str] = []
    spies = {
        name: lambda x, w, b, name=name: asked.append(name) or nn.functional.linear(x, w, b)
        for name in products.LIBRARIES
    }
    monkeypatch.setattr(products, "LIBRARIES", spies)
    products.multiply(torch.zeros(2, 4), WEIGHT, None)
    assert asked == ["torch"]


def test_each_kind_of_product_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    timings, choices = Timings(monkeypatch, onednn=2.0, torch=1.0), Choices()
    for rows in (16, 31, 17):
        library(choices, rows)
    assert timings.asked == 1
    library(choices, 32)
    library(choices, 16, WEIGHT.t())
    library(choices, 16, WEIGHT.t().contiguous())
    assert timings.asked == 4
    library(choices, 5000)
    library(choices, 2048)
    assert timings.asked == 5


def test_no_rows_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = Timings(monkeypatch, onednn=2.0, torch=1.0)
    assert library(Choices(), 0) == "onednn"
    assert timings.asked == 0


def test_another_process_takes_the_first_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    Timings(monkeypatch, onednn=2.0, torch=1.0)
    library(Choices())
    later = Timings(monkeypatch, onednn=1.0, torch=2.0)
    assert library(Choices()) == "torch"
    assert later.asked == 0


def test_a_resume_takes_the_choices_of_its_checkpoint(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    Timings(monkeypatch, onednn=2.0, torch=1.0)
    before = Choices()
    library(before)
    for file in (cache / "products").iterdir():
        file.unlink()
    Timings(monkeypatch, onednn=1.0, torch=2.0)
    resumed = Choices()
    assert library(resumed) == "onednn"
    resumed.adopt(before.state())
    assert library(resumed) == library(Choices()) == "torch"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"machine": "another"}, "made on another"),
        ({"libraries": "torch"}, f"made under another {SWITCH}"),
    ],
)
def test_a_resume_that_cannot_be_equal_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, change: dict[str, str], said: str
) -> None:
    Timings(monkeypatch, onednn=2.0, torch=1.0)
    choices = Choices()
    library(choices)
    choices.adopt(choices.state())
    assert not caplog.records
    choices.adopt({**choices.state(), **change})
    [record] = caplog.records
    assert said in record.getMessage()
    assert "no longer bit by bit" in record.getMessage()


def test_a_checkpoint_from_before_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Choices().adopt(None)
    assert "no longer bit by bit" in caplog.text


def test_the_environment_decides_for_all_products(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    timings = Timings(monkeypatch, onednn=1.0, torch=2.0)
    monkeypatch.setenv(SWITCH, "torch")
    choices = Choices()
    assert library(choices) == "torch"
    choices.adopt(choices.state())
    assert timings.asked == 0
    assert not caplog.records


def test_an_unknown_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "mkl")
    with pytest.raises(ConfigError, match="expected measured, onednn or torch"):
        library(Choices())


@pytest.mark.parametrize("text", ["", "[]", '{"libraries": 1}', '{"libraries": {"x": "cublas"}}'])
def test_a_damaged_file_of_choices_is_written_anew(monkeypatch: pytest.MonkeyPatch, cache: Path, text: str) -> None:
    Timings(monkeypatch, onednn=2.0, torch=1.0)
    library(Choices())
    [file] = (cache / "products").glob("*.json")
    good = file.read_text(encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    assert library(Choices()) == "torch"
    assert file.read_text(encoding="utf-8") == good


def test_a_cache_that_cannot_be_written_does_not_matter(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    (cache / "products").write_text("in the way", encoding="utf-8")
    timings, choices = Timings(monkeypatch, onednn=2.0, torch=1.0), Choices()
    assert [library(choices), library(choices)] == ["torch", "torch"]
    assert timings.asked == 1


@pytest.mark.parametrize("slow", products.LIBRARIES)
def test_the_clock_finds_the_slower_library(monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    def slowly(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.stack([nn.functional.linear(input, weight, bias) for _ in range(40)])[0]

    monkeypatch.setattr(
        products, "LIBRARIES", {name: slowly if name == slow else nn.functional.linear for name in products.LIBRARIES}
    )
    seconds = products._seconds(torch.zeros(64, 256), torch.zeros(256, 256), None)
    assert max(seconds, key=seconds.__getitem__) == slow


@pytest.mark.parametrize("name", products.LIBRARIES)
@pytest.mark.parametrize("is_transposed", [False, True])
def test_both_libraries_multiply(name: str, is_transposed: bool) -> None:
    input, bias = torch.tensor([[1.0, 2.0]]), torch.tensor([0.5, 0.0])
    weight = torch.tensor([[3.0, 5.0], [4.0, 6.0]]).t() if is_transposed else torch.tensor([[3.0, 4.0], [5.0, 6.0]])
    found = products.LIBRARIES[name](input, weight, bias)
    torch.testing.assert_close(found, torch.tensor([[11.5, 17.0]]))  # 3 + 8 + 0.5, 5 + 12
