"""Where the files under ``annotations/`` lie: prompts, prices, bundled annotations.

A checkout has them beside the package, a wheel has them inside it (``pyproject.toml``, ``force-include``).
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(*parts: str) -> Path:
    """Path of a file or folder below ``annotations/``, in a checkout or an installed package."""
    inside = _PACKAGE / "annotations"
    folder = inside if inside.is_dir() else _PACKAGE.parent / "annotations"
    return folder.joinpath(*parts)
