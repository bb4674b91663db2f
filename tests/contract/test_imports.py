"""Every module imports, documents itself and exports what it says; here, too, a warning is an error."""

from __future__ import annotations

import importlib
import pkgutil

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
    assert set(rewardlab.__all__) == {"__version__", "as_trl_reward"}
    assert callable(rewardlab.as_trl_reward)
    with pytest.raises(AttributeError, match="no_such_name"):
        rewardlab.no_such_name  # noqa: B018
