"""From ``rewardlab.toml`` and the command line to one checked configuration.

The command line stands above the file. Presets stand below both, wherever they are named; :class:`RunConfig` applies
them. All problems are reported at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rewardlab.config import RunConfig
from rewardlab.errors import ConfigError
from rewardlab.presets import merge
from rewardlab.reading import MAX_DEPTH, parse_toml, told
from rewardlab.secret_values import SECRET, SECRET_NAME
from rewardlab.settings import nearest

LONGEST_SHOWN = 200
"""Characters of a value that an error quotes."""
CONFIG_FILE = "rewardlab.toml"
NO_FILE = Path("-")
"""Given in place of a file to read none."""


def load_config(
    overrides: Mapping[str, Any] | None = None, file: Path | None = None, stored: RunConfig | None = None
) -> RunConfig:
    """Build the run configuration.

    Args:
        overrides: Dotted key -> value, as the command line gives them; None values are left out.
        file: TOML file; None reads ``rewardlab.toml`` in the current folder when it exists, :data:`NO_FILE` reads none.
        stored: The configuration of an earlier run, beneath both; all its values stay unless they are given anew.
    Raises:
        ConfigError: All problems, each with its key, the value found and what was expected.
    """
    given = _nest({key: value for key, value in (overrides or {}).items() if value is not None})
    asked = merge(_read_toml(file), given)
    if stored is None:
        return _validated(asked)
    if asked.get("preset", stored.preset) != stored.preset:
        raise ConfigError(f"preset = {asked['preset']!r}: the run has its own settings; change single ones with --set")
    return _validated(merge(stored.model_dump(), asked))


def parse_setting(text: str) -> tuple[str, Any]:
    """Read one ``--set key=value``; values are TOML, bare words are strings.

    >>> parse_setting("ppo.clip_ratio=0.1")
    ('ppo.clip_ratio', 0.1)
    """
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {_shown('', text)}: expected key=value, such as --set ppo.clip_ratio=0.1")
    if key.count(".") >= MAX_DEPTH:
        raise ConfigError(f"--set {key[:40]}...: a key of more than {MAX_DEPTH} parts; `rewardlab config list` has all")
    try:
        table = parse_toml(f"value = {value}")
    except tomllib.TOMLDecodeError:
        table = {}
    except ValueError as error:
        raise ConfigError(f"--set {key.strip()}: {error}") from error
    return key.strip(), table["value"] if list(table) == ["value"] else value.strip()


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys; None values stay out."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping):
            flat |= flattened(value, name)
        elif value is not None:
            flat[name] = value
    return flat


def _read_toml(file: Path | None) -> dict[str, Any]:
    if file is NO_FILE:
        return {}
    path = file or Path(CONFIG_FILE)
    if file is None and not path.exists() and not path.is_symlink():
        return {}
    try:
        return parse_toml(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give an existing TOML file") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as sections; raises ConfigError when a key is both a value and a section."""
    nested: dict[str, Any] = {}
    inner = {key[:place]: key for key in flat for place, mark in enumerate(key) if mark == "."}
    for dotted, value in flat.items():
        inside = inner.get(dotted)
        if inside and not isinstance(value, Mapping):
            raise ConfigError(
                f"configuration: {dotted} is given as {_shown(dotted, value)} and as a section, in {inside}; keep one"
            )
        for part in reversed(dotted.split(".")):
            value = {part: value}
        nested = merge(nested, value)
    return nested


def _validated(values: Mapping[str, Any]) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"configuration: {problems_of(error)}") from error


def problems_of(error: ValidationError) -> str:
    """What is wrong with settings, each once: what ``[ppo]`` hands on to other sections is told of ``[ppo]``."""
    found = {item["loc"]: item for item in error.errors()}
    own = [item for place, item in found.items() if place[:1] == ("ppo",) or ("ppo", *place[1:]) not in found]
    return told(map(_problem, own), len(own))


def _problem(item: ErrorDetails) -> str:
    """One problem: its key, what was expected, what was found; of settings that do not fit each other, what is said."""
    if not item["loc"]:
        return item["msg"].removeprefix("Value error, ")
    key = ".".join(map(str, item["loc"]))
    if item["type"] != "extra_forbidden":
        said = item["msg"].removeprefix("Value error, ")
        return f"{key}: {said[:1].lower()}{said[1:]}, found {_shown(key, item['input'])}"
    near = nearest(key)
    hint = f"did you mean {', '.join(near)}?" if near else "`rewardlab config list` shows all settings"
    return f"unknown setting {key} = {_shown(key, item['input'])}; {hint}"


def _shown(key: str, value: Any) -> str:
    """A value as an error quotes it, without what may be somebody's key: by the name of the setting or by its form."""
    return SECRET.sub("...", repr(_masked(key, value)))[:LONGEST_SHOWN]


def _masked(key: str, value: Any) -> Any:
    """The value, in which "..." stands for every text whose name says that it is a secret."""
    if isinstance(value, Mapping):
        return {name: _masked(str(name), each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(key, each) for each in value]
    return "..." if isinstance(value, str) and SECRET_NAME.search(key) else value
