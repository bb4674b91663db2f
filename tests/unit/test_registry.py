"""Registries: unique names, the nearest ones for a typing error, plug-ins from entry points loaded once."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from rewardlab import registry
from rewardlab.errors import ConfigError, UnknownNameError
from rewardlab.registry import Registry


@dataclass
class Point:
    """An entry point that counts how often it is loaded."""

    name: str
    value: object
    module: str = "words_of_mine"
    dist: None = None
    loads: list[str] = field(default_factory=list)

    def load(self) -> object:
        self.loads.append(self.name)
        return self.value


@pytest.fixture
def words() -> Registry[object]:
    made: Registry[object] = Registry("word")
    made.add("label", 1)
    made.add("ranked", 2)
    return made


def test_names_keep_their_order_and_values(words: Registry[object]) -> None:
    assert words.names() == list(words) == ["label", "ranked"]
    assert (words.get("label"), words.get("ranked")) == (1, 2)
    assert "label" in words
    assert "rule" not in words
    assert 3 not in words


def test_decorator_form(words: Registry[object]) -> None:
    @words.register("rule")
    def rule() -> None: ...

    assert words.get("rule") is rule


def test_a_taken_name_is_refused_and_kept(words: Registry[object]) -> None:
    with pytest.raises(ConfigError, match="word 'label' is registered already"):
        words.add("label", 3)
    assert words.get("label") == 1


def test_the_same_value_may_be_added_again(words: Registry[object]) -> None:
    words.add("label", words.get("label"))
    assert words.names() == ["label", "ranked"]


def test_replacing_is_asked_for(words: Registry[object]) -> None:
    words.add("label", 3, replace=True)
    assert words.get("label") == 3
    assert words.names() == ["label", "ranked"]


def test_a_typing_error_gets_the_nearest_names(words: Registry[object]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        words.get("lable")
    assert str(caught.value) == "unknown word 'lable'; did you mean label?"
    assert caught.value.near == ["label"]


def test_capitals_do_not_hide_the_nearest_name(words: Registry[object]) -> None:
    with pytest.raises(UnknownNameError, match="did you mean ranked"):
        words.get("RANKED")


def test_a_name_near_nothing_gets_all_names(words: Registry[object]) -> None:
    with pytest.raises(UnknownNameError, match=r"known: label, ranked$"):
        words.get("xyzzy")


def test_plugins_are_loaded_on_the_first_unknown_name_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [Point("mine", 7), Point("label", 8)]
    asked: list[str] = []

    def entry_points(group: str) -> list[Point]:
        asked.append(group)
        return points

    monkeypatch.setattr(registry, "entry_points", entry_points)
    words: Registry[object] = Registry("word", group="rewardlab.words")
    words.add("label", 1)
    assert words.get("label") == 1
    assert asked == []
    assert words.get("mine") == 7
    with pytest.raises(UnknownNameError):
        words.get("other")
    assert asked == ["rewardlab.words"]
    assert words.get("label") == 1  # a plug-in cannot take a name that is there
    assert [point.loads for point in points] == [["mine"], []]
