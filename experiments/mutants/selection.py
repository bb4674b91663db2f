"""Which test files are run for a module: those that import it, by the shortest chain of imports, nearest first.

Files named after the module come first, then those that name most of what it defines: a package that imports its
modules makes all of them near. A chain leads from a test over helpers in ``tests/support`` and modules of the package.
Direct imports count as 1; a module that a test's helper or another module brings along is further away.
"""

from __future__ import annotations

import ast
from collections import deque
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEAREST = 12
"""Most test files that are run for one mutant."""
FARTHEST = 3


def tests_of(module: str) -> list[str]:
    """Test files to run for a module, both relative to the root; files named after it first."""
    names = {path: _distance(path, module) for path in _test_files()}
    near = [path for path, away in names.items() if away is not None and away <= FARTHEST]
    stem, defined = Path(module).stem, _defined(module) if near else set()

    def order(path: str) -> tuple[bool, int, int, int]:
        named = len(defined & _named(path))
        return stem not in Path(path).stem, -named, names[path] or 0, (ROOT / path).stat().st_size

    return sorted(near, key=order)[:NEAREST]


@cache
def _test_files() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py"))


def _defined(module: str) -> set[str]:
    """Functions, classes and constants at the top of a module."""
    body = ast.parse((ROOT / module).read_text(encoding="utf-8")).body
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in body if isinstance(node, ast.AnnAssign)]
    return functions | {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}


@cache
def _named(path: str) -> frozenset[str]:
    """Every name that a file uses, also behind a dot."""
    nodes = list(ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))))
    plain = {node.id for node in nodes if isinstance(node, ast.Name)}
    return frozenset(plain | {node.attr for node in nodes if isinstance(node, ast.Attribute)})


def _distance(start: str, target: str) -> int | None:
    """Imports between two files; None when there is no chain."""
    return _distances(start).get(target)


@cache
def _distances(start: str) -> dict[str, int]:
    found, waiting = {start: 0}, deque([start])
    while waiting:
        path = waiting.popleft()
        for other in imports(path):
            if other not in found:
                found[other] = found[path] + 1
                waiting.append(other)
    return found


@cache
def imports(path: str) -> frozenset[str]:
    """Files of this project that a file imports, anywhere in it: names are followed through packages, which run too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {file for alias in node.names if (file := _file(alias.name))}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {file for alias in node.names if (file := _origin(node.module, alias.name))}
    packages = {f"{folder.as_posix()}/__init__.py" for file in found for folder in Path(file).parents}
    return frozenset((found | {package for package in packages if (ROOT / package).is_file()}) - {path})


def _origin(module: str, name: str) -> str | None:
    """The file behind ``from module import name``."""
    if file := _file(f"{module}.{name}"):
        return file
    file = _file(module)
    if file is None or not file.endswith("__init__.py"):
        return file
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == name for alias in node.names):
            return _origin(node.module, name) or file
    return file


def _file(module: str) -> str | None:
    if module.split(".")[0] not in ("rewardlab", "tests"):
        return None
    stem = module.replace(".", "/")
    return next((path for path in (f"{stem}.py", f"{stem}/__init__.py") if (ROOT / path).is_file()), None)
