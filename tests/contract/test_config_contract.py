"""What every configuration section must do; a section joins by deriving from ``Section``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from rewardlab import config
from rewardlab.config import RunConfig, Section
from rewardlab.suites import file as suite_file


def sections() -> list[type[Section]]:
    """All sections of the two modules that declare some."""
    found = [value for module in (config, suite_file) for value in vars(module).values() if isinstance(value, type)]
    return sorted(
        {kind for kind in found if issubclass(kind, Section) and kind is not Section}, key=lambda k: k.__name__
    )


def leaves(section: type[Section], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """(dotted key, description) of every field that holds a value."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.description


def test_the_sections_are_found() -> None:
    assert {"PPOConfig", "RunConfig", "Method", "Suite"} <= {section.__name__ for section in sections()}


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
class TestEverySection:
    def test_is_frozen_and_refuses_unknown_keys(self, section: type[Section]) -> None:
        assert section.model_config["frozen"] is True
        with pytest.raises(ValidationError, match="no_such_key"):
            section.model_validate({"no_such_key": 1})

    def test_is_documented(self, section: type[Section]) -> None:
        assert section.__doc__
        assert section.__doc__ != Section.__doc__

    def test_describes_every_field_in_one_line(self, section: type[Section]) -> None:
        for key, text in leaves(section):
            assert text, f"{section.__name__}.{key} has no description"
            assert text == text.strip()
            assert "\n" not in text
            assert not text.endswith("."), f"{section.__name__}.{key}: {text!r}"


OF_SUITES = suite_file.Method | suite_file.Claim | suite_file.Suite
"""Sections that must be given something."""


@pytest.mark.parametrize("kind", [kind for kind in sections() if not issubclass(kind, OF_SUITES)])
def test_defaults_are_valid_and_survive_json(kind: type[Section]) -> None:
    built = kind()
    assert kind.model_validate(built.model_dump()) == built
    assert kind.model_validate_json(built.model_dump_json()) == built


def test_every_section_of_a_run_is_checked_here() -> None:
    kinds = [field.annotation for field in RunConfig.model_fields.values()]
    nested = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)}
    assert len(nested) == 18
    assert nested <= set(sections())
