"""The trunk and its roles, the codec, and the sampler. Importing this imports torch; ``names`` and ``stored``
alone do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardlab.models.codec import Codec
    from rewardlab.models.roles import Roles, peft_config
    from rewardlab.models.sampler import Sample, SamplingConfig, row_key, sample
    from rewardlab.models.trunk import Trunk, load_codec, load_trunk

__all__ = [
    "Codec",
    "Roles",
    "Sample",
    "SamplingConfig",
    "Trunk",
    "load_codec",
    "load_trunk",
    "peft_config",
    "row_key",
    "sample",
]

_HOMES = {
    "Codec": "codec",
    "Roles": "roles",
    "peft_config": "roles",
    "Sample": "sampler",
    "SamplingConfig": "sampler",
    "row_key": "sampler",
    "sample": "sampler",
    "Trunk": "trunk",
    "load_codec": "trunk",
    "load_trunk": "trunk",
}


def __getattr__(name: str) -> Any:
    """Import lazily, so that names and hashes of models can be looked up without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"rewardlab.models.{_HOMES[name]}"), name)
