"""The code behind each kind of stage as hashes, for the test that asks for a new version when it changes.

``python -m tests.support.stage_code`` records the code as it stands. Hashed are syntax trees: comments, docstrings,
type hints, messages of errors and of the log do not count. Followed are imports inside rewardlab, those inside
functions too, up to :data:`BOUNDS`: modules that cannot change what a stage produces, or whose part of it stands in
the fingerprint by content (settings, prompts, rows).
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from rewardlab.pipeline.kinds import stage_kinds
from rewardlab.training.methods import methods

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "tests" / "unit" / "recorded" / "stage_code.json"
COMMAND = "python -m tests.support.stage_code"
WORK = "rewardlab.pipeline.stages"

ROOTS: dict[str, tuple[str, ...]] = {
    "annotate": (f"{WORK}.annotate:annotate",),
    "sft": (f"{WORK}.sft:sft",),
    "samples": (f"{WORK}.samples:samples",),
    "pairs": (
        f"{WORK}.pairs:pairs",
        f"{WORK}.sampled_pairs:sampled_pairs",
        "rewardlab.pairs.foreign",
        "rewardlab.pairs.imported",
    ),
    "rm": (f"{WORK}.reward_model:reward_model",),
    "card": (f"{WORK}.reward_model:card",),
    **{name: (f"{WORK}.train:train",) for name in methods if methods.get(name).family == "online"},
    **{name: (f"{WORK}.preference:train_on_pairs",) for name in methods if methods.get(name).family == "preference"},
    "raft": (f"{WORK}.raft:raft", "rewardlab.training.raft"),
    "encoder": (f"{WORK}.encoder:fit", "rewardlab.training.encoder"),
    "scored": (f"{WORK}.scored:scored",),
    "eval": (f"{WORK}.evaluate:evaluate", f"{WORK}.encoder:evaluate", "rewardlab.sandbox.quality"),
    "submit": (f"{WORK}.submit:answer",),
    "validate": (f"{WORK}.evaluate:validate", f"{WORK}.encoder:validate", "rewardlab.sandbox.quality"),
}
"""Stage -> the function that does its work, and modules that it reaches through a registry."""

BOUNDS = (
    *("rewardlab.cli", "rewardlab.suites", "rewardlab.reports", "rewardlab.doctor", "rewardlab.pipeline"),
    *("rewardlab.claims", "rewardlab.judge", "rewardlab.comparison"),
    *("rewardlab.reward_models.card_files", "rewardlab.reward_models.table"),  # tables of what a card measured
    *("rewardlab.config", "rewardlab.config_loading", "rewardlab.presets", "rewardlab.section"),  # settings
    *("rewardlab.online_config", "rewardlab.preference_config", "rewardlab.raft_config"),
    *("rewardlab.encoder_config", "rewardlab.rubric_config", "rewardlab.sampler_config"),
    *("rewardlab.training.methods",),
    *("rewardlab.errors", "rewardlab.registry", "rewardlab.runs", "rewardlab.outputs", "rewardlab.processes"),
    *("rewardlab.disk", "rewardlab.provenance"),
    *("rewardlab.code_identity", "rewardlab.training.progress", "rewardlab.training.trackers"),
    *("rewardlab.annotate.preview", "rewardlab.annotate.money"),
    *(f"rewardlab.tasks.{name}" for name in ("rllr", "glue", "superglue", "unseen", "templates")),  # prompts
    *(f"rewardlab.tasks.{name}" for name in ("user", "hub", "sources", "rows", "division")),  # rows
)
"""Modules and packages that are not followed."""

_TEXTS = frozenset({"type_comment", "kind", "type_params", "ctx", "returns"})
_LOGS = frozenset({"debug", "info", "warning", "error", "exception"})


def stage_code() -> dict[str, Any]:
    """Hash of each module, and of each stage its version and modules."""
    stages = {kind: sorted(_reached(roots)) for kind, roots in ROOTS.items()}
    hashes = {name: _hash(name) for names in stages.values() for name in names}
    return {
        "modules": dict(sorted(hashes.items())),
        "stages": {kind: {"version": stage_kinds()[kind].version, "modules": names} for kind, names in stages.items()},
    }


def complaints(recorded: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One line for each stage whose code or version is not what was recorded."""
    found = []
    for kind, stage in now["stages"].items():
        before = recorded["stages"].get(kind, {"version": 0, "modules": []})
        old = {name: recorded["modules"].get(name) for name in before["modules"]}
        new = {name: now["modules"][name] for name in stage["modules"]}
        changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        home = "rewardlab/training/methods.py" if kind in methods else "rewardlab/pipeline/kinds.py"
        if before["version"] != stage["version"]:
            found.append(
                f"stage {kind}: its version was {before['version']} and is {stage['version']}; run `{COMMAND}`"
            )
        elif changed:
            found.append(
                f"stage {kind}: its code changed ({', '.join(changed)}). Raise its version in {home} where its "
                f"output can change, then record with `{COMMAND}`; where the output cannot change, record alone and "
                "say why in the commit"
            )
    return found


def record() -> None:
    """Write the code as it stands."""
    RECORD.write_text(json.dumps(stage_code(), indent=1) + "\n", encoding="utf-8")


def normalised(node: ast.AST) -> str:
    """A syntax tree as text, the same in every version of Python, without what is only read by people."""
    match node:
        case ast.Raise(exc=ast.Call(func=kind)):
            return f"raise {normalised(kind)}"
        case ast.Expr(value=ast.Constant(value=str())):
            return ""
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="logger"), attr=name))) if name in _LOGS:
            return ""
        case ast.Constant(value=value):
            return repr(value)
        case ast.arg(arg=name):
            return name
    fields = ((name, _field(value)) for name, value in ast.iter_fields(node) if name not in _TEXTS)
    return f"{type(node).__name__}({','.join(f'{name}={text}' for name, text in fields if text)})"


def _field(value: Any) -> str:
    if isinstance(value, ast.AST):
        return normalised(value)
    if isinstance(value, list):
        return "[" + ";".join(filter(None, map(_field, value))) + "]" if value else ""
    return "" if value is None else str(value)


def _hash(name: str) -> str:
    text = "\n".join(map(normalised, _nodes(name)))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _reached(roots: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [other for other in _imported(name) if not other.startswith(BOUNDS) or other.startswith(WORK)]
    return found


def _imported(name: str) -> Iterator[str]:
    """Modules of rewardlab, and functions of the work modules, that a module or function imports."""
    module, _, function = name.partition(":")
    for node in _nodes(name):
        yield from _imports(node)
    if function:
        used = {each.id for node in _nodes(name) for each in ast.walk(node) if isinstance(each, ast.Name)}
        for node in _tree(module).body:
            yield from (other for other in _imports(node, used) if isinstance(node, ast.Import | ast.ImportFrom))


def _imports(node: ast.AST, used: set[str] | None = None) -> Iterator[str]:
    """Modules that statements import; ``used`` leaves out names that are not among them."""
    for each in _outside_type_checking(node):
        if isinstance(each, ast.ImportFrom) and each.module and each.module.startswith("rewardlab"):
            names = [alias.name for alias in each.names if used is None or (alias.asname or alias.name) in used]
            for alias in names:
                is_module = _file(f"{each.module}.{alias}") is not None
                is_work = each.module.startswith(WORK) and not is_module
                yield f"{each.module}.{alias}" if is_module else f"{each.module}:{alias}" if is_work else each.module
                yield from _late_homes(each.module).get(alias, [])


@cache
def _late_homes(package: str) -> dict[str, list[str]]:
    """Name -> the module that a package imports it from when somebody asks, as it tells type checkers."""
    blocks = [node for node in _tree(package).body if isinstance(node, ast.If)]
    imports = [each for block in blocks for each in ast.walk(block) if isinstance(each, ast.ImportFrom)]
    return {alias.name: [str(each.module)] for each in imports for alias in each.names if _is_package(package)}


def _is_package(module: str) -> bool:
    file = _file(module)
    return file is not None and file.stem == "__init__"


def _outside_type_checking(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _outside_type_checking(child)


def _nodes(name: str) -> list[ast.stmt]:
    """What is hashed of a module: all of it; of a function, with the functions and constants beside it that it uses."""
    module, _, function = name.partition(":")
    body = _tree(module).body
    if not function:
        return body
    named = {target: node for node in body for target in _targets(node)}
    found: dict[str, ast.stmt] = {}
    waiting = [function]
    while waiting:
        each = waiting.pop()
        if each in named and each not in found:
            found[each] = named[each]
            waiting += [inner.id for inner in ast.walk(named[each]) if isinstance(inner, ast.Name)]
    return [found[each] for each in sorted(found)]


def _targets(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    return [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]


@cache
def _tree(module: str) -> ast.Module:
    file = _file(module)
    if file is None:
        raise ValueError(f"{module}: no such module; mend ROOTS in {Path(__file__).name}")
    return ast.parse(file.read_text(encoding="utf-8"))


def _file(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


if __name__ == "__main__":
    record()
    sys.stdout.write(f"recorded: {RECORD.relative_to(ROOT)}\n")
