"""``Section``: the base of all sections of a configuration, and the marks that a setting can carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator

from rewardlab.reading import strange_value

LATER: dict[str, Any] = {"later": True}
"""Marks a setting that was added after results were stored: at its default it is no part of a stage's identity."""

PATIENCE = (
    "measures of validation accuracy in a row that are not above the best one, after which training ends; "
    "default: it goes on to its last step"
)
"""What the setting ``patience`` of every training method means: one rule by which all of them stop."""

STORING = frozenset({"checkpoint_every", "checkpoint_seconds"})
"""Settings of when a stage stores its state, which its outcome does not depend on."""


AUTO = 0
"""A batch that is chosen from the memory that is free; files and commands write ``auto``."""


def auto_is_a_word(value: object) -> object:
    """The number that stands for ``auto``; a validator."""
    return AUTO if value == "auto" else value


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys forbidden; ``none`` leaves a setting open, where that is no text."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # until one is made: --help makes none

    @model_validator(mode="before")
    @classmethod
    def _none_is_a_word(cls, values: object) -> object:
        """Neither TOML nor the command line can write null, which a preset's number must give way to."""
        if not isinstance(values, Mapping):
            return values
        kinds = {key: get_args(field.annotation) for key, field in cls.model_fields.items()}
        is_open = {key for key, kind in kinds.items() if type(None) in kind and str not in kind}
        return {key: None if key in is_open and value == "none" else value for key, value in values.items()}

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth(cls, value: Any, info: ValidationInfo) -> Any:
        """True would be taken for 1 where a number is expected."""
        annotation = cls.model_fields[info.field_name].annotation if info.field_name else None
        kinds = {annotation, *get_args(annotation)}
        parts = value if isinstance(value, list | tuple) else (value,)
        if not kinds.isdisjoint({int, float}) and any(isinstance(each, bool) for each in parts):
            raise ValueError("expected a number, not true or false")
        return value

    @field_validator("*")
    @classmethod
    def _is_stored_and_sent(cls, value: Any) -> Any:
        """JSON has no nan, no infinity and no dates, and devices count in 64 bits."""
        if strange := strange_value(value):
            raise ValueError(strange)
        return value

    @classmethod
    def later(cls) -> dict[str, Any]:
        """The default of each setting that is marked :data:`LATER`."""
        return {key: field.default for key, field in cls.model_fields.items() if field.json_schema_extra == LATER}
