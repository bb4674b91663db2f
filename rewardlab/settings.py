"""Every setting of a run as one list: key, default, what it may be, what it does, and which stages read it.

Read from the configuration's own fields, so that ``rewardlab config``, the page ``docs/settings.md`` and messages about
unknown keys cannot say anything else than what is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rewardlab.config import ONLINE, RunConfig

STAGES: Mapping[str, str] = {
    "": "all stages",
    "data": "all stages",
    "model": "all stages that load a model",
    "lora": "sft, rm train, training methods",
    "annotate": "annotate, pair-gen",
    "sft": "sft",
    "pairs": "pair-gen",
    "rm": "rm train",
    "reward": "training methods that take a reward",
    "rubric": "training methods, pairs, best-of-N and `reward score`, whose reward names rubric",
    "ppo": "ppo; what the others share with it: grpo, rloo, reinforce, too",
    "grpo": "grpo",
    "rloo": "rloo",
    "reinforce": "reinforce",
    "sampler": "ppo, grpo, rloo, reinforce",
    "dpo": "dpo",
    "raft": "raft",
    "encoder": "encoder",
    "eval": "eval",
}
"""Section -> the commands whose outcome its settings decide."""
_SIGNS: tuple[tuple[type, str, str], ...] = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the configuration.

    Attributes:
        key: Dotted, as ``--set`` takes it.
        default: As TOML writes it; empty where there is none.
        values: What it may be: a range, a list of words, or a kind.
        meaning: Its description.
        stages: The commands that read it.
    """

    key: str
    default: str
    values: str
    meaning: str
    stages: str


def settings() -> list[Setting]:
    """All settings, section by section."""
    return list(_of(RunConfig, ""))


def nearest(key: str) -> list[str]:
    """The keys that a mistyped one may have meant: alike as a whole, or of that name in another section.

    >>> nearest("ppo.step"), nearest("steps")
    (['ppo.steps'], ['ppo.steps', 'dpo.steps'])
    """
    keys = [setting.key for setting in settings()]
    section, _, name = key.rpartition(".")
    same = [each for each in keys if each.rpartition(".")[2] == name]
    alike = same or get_close_matches(key, keys, n=6, cutoff=0.75)
    own = [each for each in alike if each.rpartition(".")[0] == section]
    # what training methods share is given under [ppo]
    others = [each for each in alike if each.partition(".")[0] not in ONLINE or f"ppo.{name}" not in keys]
    return (own or others or alike)[:3]


def as_markdown() -> str:
    """The page of all settings."""
    lines = [
        "# Settings",
        "",
        "Made by `rewardlab config list --markdown`. Any of them can be given as `--set KEY=VALUE`, and as a key of",
        "`rewardlab.toml`. `rewardlab config explain KEY` prints one.",
    ]
    section = None
    for setting in settings():
        own = setting.key.rpartition(".")[0]
        if own != section:
            section = own
            lines += ["", f"## {own or 'the run'}", "", f"Read by: {setting.stages}.", ""]
            lines += ["| key | default | values | meaning |", "|---|---|---|---|"]
        cells = (f"`{setting.key}`", f"`{setting.default}`" if setting.default else "", setting.values, setting.meaning)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _of(model: type[BaseModel], prefix: str) -> Iterator[Setting]:
    """Plain fields first, then the sections below."""
    sections = {name: field for name, field in model.model_fields.items() if _is_section(field)}
    for name, field in model.model_fields.items():
        if name not in sections:
            section = prefix.split(".")[0]
            yield Setting(prefix + name, _default(field), _values(field), field.description or "", STAGES[section])
    for name, field in sections.items():
        yield from _of(field.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]  # a section is a model


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _values(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(mark, name):g}"
        for mark in field.metadata
        for kind, name, sign in _SIGNS
        if type(mark) is kind
    ]
    return " ".join((_kind(field.annotation), *bounds))


def _kind(annotation: Any) -> str:
    """A type in words: the words of a Literal, a list of something, a number."""
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_kind(part) for part in get_args(annotation) if part is not NoneType)
    if get_origin(annotation) is tuple:
        return f"list of {_kind(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return "table"
    names = {bool: "true, false", int: "whole number", float: "number", str: "text", date: "date"}
    return names.get(annotation, "path" if getattr(annotation, "__name__", "") == "Path" else str(annotation))
