"""Registries: a name, what it builds, and a helpful error when the name is unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from rewardlab.errors import ConfigError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Named values of one kind, with plug-ins from entry points.

    Args:
        kind: What error messages call an entry, such as ``"task"``.
        group: Entry-point group that other packages can add to; loaded on the first unknown name.
    """

    def __init__(self, kind: str, group: str | None = None) -> None:
        self.kind = kind
        self._group = group
        self._entries: dict[str, T] = {}

    def add(self, name: str, value: T, *, replace: bool = False) -> T:
        """Register ``value``; raises ConfigError when the name is taken by something else."""
        if not replace and self._entries.get(name, value) is not value:
            raise ConfigError(f"{self.kind} {name!r} is registered already; choose another name")
        self._entries[name] = value
        return value

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of :meth:`add`."""
        return lambda value: self.add(name, value)

    def get(self, name: str) -> T:
        """The entry of that name; raises UnknownNameError with the nearest names."""
        if name not in self._entries:
            self._load_plugins()
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name]

    def names(self) -> list[str]:
        """All registered names, in registration order."""
        return list(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def _load_plugins(self) -> None:
        if self._group is None:
            return
        group, self._group = self._group, None
        for point in entry_points(group=group):
            if point.name not in self._entries:
                self._entries[point.name] = point.load()
