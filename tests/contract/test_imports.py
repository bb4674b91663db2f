"""Every module imports, documents itself and exports what it says; here, too, a warning is an error."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import rewardlab


def module_names() -> list[str]:
    """All modules of the package but the one that runs on import."""
    found = pkgutil.walk_packages(rewardlab.__path__, "rewardlab.")
    return [module.name for module in found if not module.name.endswith("__main__")]


@pytest.mark.parametrize("name", module_names())
def test_module_says_what_lives_in_it_and_exports_what_exists(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip()
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    for entry in exported:
        assert getattr(module, entry, None) is not None, f"{name}.__all__ lists {entry}"


def test_the_package_exports_what_it_says() -> None:
    assert len(set(rewardlab.__all__)) == len(rewardlab.__all__) >= 15
    assert rewardlab.__all__ == sorted(rewardlab.__all__)
    loaded = {name for names in rewardlab._MODULES.values() for name in names}
    assert loaded | {"__version__"} == set(rewardlab.__all__) == set(dir(rewardlab))
    for name in rewardlab.__all__:
        assert getattr(rewardlab, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        rewardlab.no_such_name  # noqa: B018


def test_a_public_name_is_no_module_too() -> None:
    """A module of that name would take its place on the package when it is first imported."""
    modules = {module.name for module in pkgutil.iter_modules(rewardlab.__path__)}
    assert modules & set(rewardlab.__all__) == set()


def test_type_checkers_see_the_names_that_are_loaded() -> None:
    """The imports under TYPE_CHECKING say the same as the table of modules."""
    tree = ast.parse(Path(rewardlab.__file__).read_text(encoding="utf-8"))
    seen = {
        (node.module, alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {(module, name) for module, names in rewardlab._MODULES.items() for name in names}
