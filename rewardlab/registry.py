"""Registries: a name, what it builds, and a helpful error when the name is unknown."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from rewardlab.code_identity import code_hash, file_of, innermost, is_own, real_file
from rewardlab.errors import ConfigError, UnknownNameError

T = TypeVar("T")

PASS_ON = frozenset({__name__, "rewardlab.tasks.task", "rewardlab.rewards.registry"})
"""Modules whose functions register what their callers hand them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was registered.

    Attributes:
        file: The file; None for a notebook cell or other code without one.
        name: Qualified name of the registered function; empty when it is a value.
        is_main: True in a script or notebook that runs as ``__main__``.
        run: Another object for each time that the file's module was executed.
    """

    file: Path | None
    name: str = ""
    is_main: bool = False
    run: object = None

    def may_replace(self, earlier: Place | None) -> bool:
        """True when a registration from here is the earlier one, made again: of a cell, function or file."""
        if earlier is None or is_own(self.file):
            return False
        if earlier.file is None or earlier.is_main:
            return True
        is_run_again = self.run is not earlier.run or (self.name != "" and self.name == earlier.name)
        return self.file == earlier.file and is_run_again

    def __str__(self) -> str:
        if is_own(self.file):
            return "rewardlab itself"
        return str(self.file) if self.file else "code without a file"


def place_of(function: Callable[..., Any]) -> Place:
    """Where a function was written; of a callable without code of its own, its class."""
    code = innermost(function)
    defined = code if isinstance(code, types.FunctionType | type) else type(code)
    run = getattr(sys.modules.get(defined.__module__), "__spec__", None)
    return Place(file_of(defined), defined.__qualname__, defined.__module__ == "__main__", run)


def _calling_place() -> Place:
    """Where the running code was called from, by way of the modules that only pass the call on."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") in PASS_ON:
        frame = frame.f_back
    if frame is None:
        return Place(None)
    known = frame.f_globals
    return Place(real_file(frame.f_code.co_filename), "", known.get("__name__") == "__main__", known.get("__spec__"))


@dataclass(frozen=True, slots=True)
class Plugin:
    """Where an entry point comes from.

    Attributes:
        module: The module that it names.
        distribution: Name and version of the installed package.
    """

    module: str
    distribution: str


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
        self._places: dict[str, Place] = {}
        self._plugins: dict[str, Plugin] = {}

    def add(self, name: str, value: T, *, replace: bool = False, place: Place | None = None) -> T:
        """Register ``value``.

        Args:
            name, value: The entry.
            replace: Take the name whoever has it.
            place: Where it was written; None is where this was called from. What was registered in a notebook cell, or
                in the same file as before, is replaced: the cell was run again, the file loaded again.
        Raises:
            ConfigError: The name is taken by something else.
        """
        place = place or _calling_place()
        is_taken = self._entries.get(name, value) is not value
        earlier = self._places.get(name)
        if is_taken and not replace and not place.may_replace(earlier):
            where = f" by {earlier}" if earlier else ""
            raise ConfigError(f"{self.kind} {name!r} is registered already{where}; choose another name")
        self._entries[name] = value
        self._places[name] = place
        self._plugins.pop(name, None)
        return value

    @contextmanager
    def lent(self, entries: Mapping[str, T]) -> Iterator[None]:
        """Inside the block names that are not registered stand for these entries."""
        if not entries.keys() <= self._entries.keys():
            self._load_plugins()
        added = [name for name in entries if name not in self._entries]
        self._entries.update({name: entries[name] for name in added})
        try:
            yield
        finally:
            for name in added:
                self._entries.pop(name, None)

    def place(self, name: str) -> Place | None:
        """Where an entry was written; None for one of an installed package."""
        return self._places.get(name)

    def plugin(self, name: str) -> Plugin | None:
        """The installed package that brought an entry; None for others."""
        return self._plugins.get(name)

    def code_hash(self, name: str, code: object, module: str | None = None) -> str | None:
        """Hash of the code of an entry and the version of the package that brought it; None for rewardlab's own.

        Args:
            name: The entry.
            code: The callable or class that its author wrote.
            module: The module that it was found in by a reference, of an entry that no package brought.
        Raises:
            UnknownCodeError: As :func:`rewardlab.code_identity.code_hash` does.
        """
        plugin = self.plugin(name)
        own = code_hash(code, plugin.module if plugin else module)
        return f"{own or ''} {plugin.distribution}".strip() if plugin else own

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

    def every(self) -> list[str]:
        """The same, those of installed packages included."""
        self._load_plugins()
        return self.names()

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
                made_by = f"{point.dist.name} {point.dist.version}" if point.dist else ""
                self._plugins[point.name] = Plugin(point.module, made_by)
