"""``rewardlab config``: all settings there are, and what one of them means."""

from __future__ import annotations

from typing import Annotated

import typer

from rewardlab.cli.output import echo
from rewardlab.errors import ConfigError
from rewardlab.settings import Setting, as_markdown, nearest, settings

app = typer.Typer(help="List the settings, or explain one.", no_args_is_help=True)


@app.command("list")
def list_settings(
    section: Annotated[str, typer.Argument(help="Only keys that begin so, such as ppo.")] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="The page docs/settings.md.")] = False,
) -> None:
    """All settings, one a line: key, default, values, meaning."""
    if markdown:
        echo(as_markdown().removesuffix("\n"))
        return
    shown = [setting for setting in settings() if setting.key.startswith(section)]
    if not shown:
        raise _unknown(section)
    width = max(len(setting.key) for setting in shown)
    for setting in shown:
        echo(f"{setting.key:<{width}}  {setting.default or '-':<12}  {setting.values}; {setting.meaning}")


@app.command("explain")
def explain(key: Annotated[str, typer.Argument(help="A setting, such as ppo.steps.")]) -> None:
    """What one setting means, and how to give it."""
    found = next((setting for setting in settings() if setting.key == key), None)
    if found is None:
        raise _unknown(key)
    echo("\n".join(_explained(found)))


def _explained(setting: Setting) -> list[str]:
    section, _, name = setting.key.rpartition(".")
    example = setting.default or "..."
    is_word = example.replace("-", "").replace("_", "").isalpha() and example not in ("true", "false")
    in_toml = f'"{example}"' if is_word else example
    in_file = f"[{section}] {name} = {in_toml}" if section else f"{name} = {in_toml}"
    return [
        f"{setting.key}: {setting.meaning}",
        f"default   {setting.default or 'none'}",
        f"values    {setting.values}",
        f"read by   {setting.stages}",
        f"give it   --set {setting.key}={example}",
        f"          rewardlab.toml: {in_file}",
    ]


def _unknown(key: str) -> ConfigError:
    near = nearest(key)
    hint = f"did you mean {', '.join(near)}?" if near else "`rewardlab config list` shows them all"
    return ConfigError(f"unknown setting {key!r}; {hint}")
