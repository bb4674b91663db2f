"""What a callable is, as a hash: so that an edited reward, or measure of a task, is another one.

* Code in a file is that file with all it imports from the user's own folders, transitively (found in the source, so
  imports inside functions count). An installed package that was named is its version, others are not followed, and
  rewardlab's own code is left to the versions of its stages. Files of data that the code opens, and modules it imports
  by a computed name, are not seen.
* Code without a file (a notebook cell, ``exec``, a prompt) is its code object, with the functions, classes and plain
  values it refers to.
* To both come defaults, closures, bound arguments and attributes, where they are plain values or code again.

What is none of these, such as a loaded model in a closure, has no hash: :class:`UnknownCodeError`. Nothing that depends
on it may be taken from a cache.
"""

from __future__ import annotations

import ast
import contextlib
import datetime
import dis
import enum
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import logging
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path, PurePath
from typing import Any
from weakref import WeakKeyDictionary

from rewardlab.errors import RewardlabError

OWN_CODE = Path(__file__).resolve().parent
INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Names of the folders that packages are installed in."""
DIGITS = 16
"""Hexadecimal digits of a hash."""

_SCALARS = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented), range)
_SPELLED = (
    Decimal,
    Fraction,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.timezone,
    re.Pattern,
    PurePath,
)
"""Plain values that their ``repr`` spells in full."""
_OF_NO_MATTER = frozenset(
    {
        *("__dict__", "__weakref__", "__module__", "__qualname__", "__doc__", "__firstlineno__", "_abc_impl"),
        *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__static_attributes__"),
        *("__parameters__", "__orig_bases__", "__dataclass_fields__", "__dataclass_params__"),
    }
)
"""Attributes of a class that do not change what it does, or whose order Python draws."""
_SLOTS = frozenset({"member_descriptor", "getset_descriptor", "_tuplegetter"})
"""Types of class attributes that only say where an object keeps a value."""
_GLOBAL_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8
"""Flags of classes: a ``class`` statement sets the first and never the second."""

logger = logging.getLogger(__name__)
_loaded: WeakKeyDictionary[types.ModuleType, tuple[object, bytes]] = WeakKeyDictionary()
"""Module -> what its import is known by, and the text of its file when it was first read after that."""


class UnknownCodeError(RewardlabError):
    """A callable refers to something that has no hash; the message says to what."""


def code_hash(code: object, module: str | None = None) -> str | None:
    """Hash (16 hexadecimal digits) of a callable and all it is made of; None for rewardlab's own.

    Args:
        code: The callable.
        module: The module that it was taken from by name, whose import makes it as it is.
    Raises:
        UnknownCodeError: Something it refers to is neither code nor a plain value.
    """
    plain = code
    while isinstance(plain, types.MethodType):
        plain = plain.__func__
    if isinstance(plain, types.FunctionType | type) and is_own(file_of(plain)):
        return None
    return _Digests(code, module).of_all(code)[:DIGITS]


def code_hashes(asked: Mapping[str, Callable[[], str | None]]) -> tuple[dict[str, str], dict[str, str]]:
    """Hashes by name, rewardlab's own left out, and by name why there is none."""
    known: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for name, hash_of in asked.items():
        try:
            if found := hash_of():
                known[name] = found
        except UnknownCodeError as error:
            unknown[name] = str(error)
    return known, unknown


def names_read(code: Callable[..., Any]) -> set[str]:
    """Attributes, keys and parameters that a callable names, in its own code and in the user's functions it reaches.

    Reached are functions, methods and classes that the code names, closes over or wraps, in modules of the user's own;
    code of installed packages counts only where the callable itself is one of theirs. Texts in globals, closures and
    defaults count as names. One that is computed when the code runs is not seen.

    >>> sorted(names_read(lambda answers, **columns: columns["label"]))
    ['answers', 'columns', 'label']
    """
    found: set[str] = set()
    done: set[int] = set()
    waiting: list[Any] = [code]
    while waiting:
        each = innermost(waiting.pop())
        if isinstance(each, str):
            found.add(each)
        if not isinstance(each, types.FunctionType | type):
            each = type(each)
        is_passed_over = done and (is_own(file_of(each)) or _is_installed(file_of(each)))
        if id(each) in done or is_passed_over or (isinstance(each, type) and _is_builtin(each)):
            continue
        done.add(id(each))
        if isinstance(each, type):
            parts = (part for name, part in vars(each).items() if name not in _OF_NO_MATTER)
            waiting += [*each.__mro__[1:], *(getattr(part, "fget", part) for part in parts)]
        else:
            found |= _names(each.__code__)
            waiting += [*_globals_named(each), *_carried(each)]
    return found


class _Digests:
    """Hashes of values that refer to each other, circles included.

    Args:
        top: The value that is asked for. Of its package the version counts, of other installed ones the name.
        module: Where it was taken from, or None.
    """

    def __init__(self, top: object, module: str | None) -> None:
        self._tops = (top, innermost(top))
        self._from = module
        self._asked_for = {module, getattr(self._tops[1], "__module__", None)}
        self._done: dict[int, tuple[object, str]] = {}  # holds the value too: its id must not be used again
        self._path: list[int] = []

    def of(self, value: object, where: str = "it") -> str:
        """Hash of one value; ``where`` says in an error what it is."""
        if type(value) in _SCALARS or isinstance(value, _SPELLED):
            return _sha256([type(value).__name__, repr(value)])
        if id(value) in self._done:
            return self._done[id(value)][1]
        if id(value) in self._path:
            return f"circle of {len(self._path) - self._path.index(id(value))}"
        self._path.append(id(value))
        try:
            digest = _sha256(self._parts(value, where))
        finally:
            self._path.pop()
        self._done[id(value)] = (value, digest)
        return digest

    def of_all(self, code: object) -> str:
        """Hash of the value that is asked for, and of the module it was taken from."""
        module = sys.modules.get(self._from or "")
        return _sha256([self.of(code), *([self.of(module)] if module else [])])

    def _parts(self, value: Any, where: str) -> Iterator[str]:
        yield type(value).__name__
        match value:
            case types.CodeType():
                yield from self._code(value, where)
            case types.FunctionType():
                yield from self._function(value, where)
            case types.MethodType():
                yield self.of(value.__func__, where)
                yield from self._state(value, {f"{where}.__self__": value.__self__})
            case functools.partial():
                state = {"an argument of": value.args, "an argument by name of": value.keywords}
                yield self.of(value.func, f"the function of {where}")
                yield from self._state(value, {f"{what} {where}": each for what, each in state.items()})
            case property():
                yield from (self.of(part, where) for part in (value.fget, value.fset, value.fdel))
            case functools.cached_property() | staticmethod() | classmethod():
                yield self.of(getattr(value, "func", None) or getattr(value, "__func__", None), where)
            case types.ModuleType():
                yield from self._module(value.__name__, real_file(getattr(value, "__file__", None)))
            case type():
                yield from self._class(value, where)
            case enum.Enum():
                yield from (self.of(type(value), where), value.name)
            case logging.Logger():
                yield value.name
            case list() | tuple():
                yield from (self.of(item, f"{where}[{number}]") for number, item in enumerate(value))
                yield from self._own_state(value, where)
            case set() | frozenset():
                yield from sorted(self.of(item, where) for item in value)
                yield from self._own_state(value, where)
            case dict() | types.MappingProxyType():
                yield from sorted(
                    self.of(key, where) + self.of(each, f"{where}[{key!r}]") for key, each in value.items()
                )
                yield from self._own_state(value, where)
            case types.BuiltinFunctionType() | types.MethodDescriptorType() | types.WrapperDescriptorType():
                yield f"{getattr(value, '__module__', '')}.{value.__qualname__}"
            case _ if hasattr(value, "__wrapped__"):
                yield self.of(value.__wrapped__, where)
            case _:
                yield from self._instance(value, where)

    def _code(self, code: types.CodeType, where: str) -> Iterator[str]:
        yield code.co_code.hex() + code.co_exceptiontable.hex()
        yield repr((code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags))
        yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
        yield from (self.of(constant, where) for constant in code.co_consts)

    def _function(self, function: types.FunctionType, where: str) -> Iterator[str]:
        file = file_of(function)
        if file is not None:
            yield from self._module(function.__module__ or "", file)
            yield function.__qualname__
            if is_own(file) or (_is_installed(file) and function is not self._tops[1]):
                return
        else:
            yield self.of(function.__code__, where)
            for name in sorted(_global_names(function.__code__)):
                if name in function.__globals__:
                    yield name + self.of(function.__globals__[name], f"{name} in {where}")
        free = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        state: dict[str, Any] = {f"{name} around {where}": cell.cell_contents for name, cell in free}
        state |= {
            f"a default of {where}": function.__defaults__,
            f"a default by name of {where}": function.__kwdefaults__,
        }
        yield from self._state(function, state)

    def _class(self, kind: type, where: str) -> Iterator[str]:
        file = file_of(kind)
        yield f"{kind.__module__}.{kind.__qualname__}" if is_own(file) or _is_builtin(kind) else kind.__qualname__
        if file is not None:
            yield from self._module(kind.__module__, file)
        elif not _is_builtin(kind):
            yield from (self.of(base, where) for base in kind.__bases__)
            for name, value in sorted(vars(kind).items()):
                if name not in _OF_NO_MATTER:
                    is_slot = type(value).__name__ in _SLOTS
                    yield name if is_slot else name + self.of(value, f"{where}.{name}")

    def _instance(self, value: object, where: str) -> Iterator[str]:
        """An object of a class that the user wrote: its class and its attributes."""
        kind = type(value)
        attributes = _attributes(value)
        file = file_of(kind)
        is_foreign = _is_installed(file) and value is not self._tops[1]
        is_mark = not attributes and file is not None and file.is_relative_to(_standard_library())
        if (is_foreign and not is_mark) or any(map(_is_builtin, kind.__mro__[:-1])):
            raise UnknownCodeError(f"{where} is {_article(kind)}, which has no hash")
        yield self.of(kind, where)
        yield from self._state(value, {f"{where}.{name}": each for name, each in attributes})

    def _own_state(self, value: object, where: str) -> Iterator[str]:
        """What a container of the user's own class has beside its items."""
        if type(value).__flags__ & _HEAP_TYPE:
            yield self.of(type(value), where)
            yield from (name + self.of(each, f"{where}.{name}") for name, each in _attributes(value))

    def _state(self, owner: object, state: Mapping[str, Any]) -> Iterator[str]:
        """Values that a callable carries; importing a file makes those without a hash, where it makes the callable."""
        is_made_by_import = (self._from is not None and any(owner is top for top in self._tops)) or _is_attribute(owner)
        for where, value in state.items():
            try:
                yield self.of(value, where)
            except UnknownCodeError:
                if not is_made_by_import:
                    raise

    def _module(self, name: str, file: Path | None) -> Iterator[str]:
        """A file with all that it imports; of what is installed the name, and the version where it was asked for."""
        yield name
        if file is None or is_own(file):
            return
        if _is_installed(file):
            if name not in self._asked_for:
                return
            if version := _distribution(name):
                yield version
                return
        yield from (each + hashlib.sha256(_text(each, path)).hexdigest() for each, path in _with_imports(name, file))


def _with_imports(name: str, file: Path) -> list[tuple[str, Path]]:
    """A module and all it imports that is not installed, with their files, by name."""
    found: dict[str, Path] = {}
    waiting = [(name, file), *((each, path) for each in _parents(name) if (path := _find(each)))]
    while waiting:
        each, path = waiting.pop()
        if each in found or is_own(path) or (_is_installed(path) and path != file):
            continue
        found[each] = path
        waiting += [(other, where) for other in _imported(each, path) if (where := _find(other))]
    return sorted(found.items())


def _imported(name: str, file: Path) -> Iterator[str]:
    """Names that may be modules, in the import statements of a file."""
    try:
        tree = ast.parse(_text(name, file))
    except (SyntaxError, ValueError):  # compiled, or of another language
        return
    package = name if file.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from (*_parents(alias.name), alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base:
                yield from (*_parents(base), base, *(f"{base}.{alias.name}" for alias in node.names))


def _parents(name: str) -> list[str]:
    """The packages around a module: a.b.c -> a, a.b."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _find(name: str) -> Path | None:
    """The Python file of a module, which is not imported for that; None for what has none."""
    top, *rest = name.split(".")
    module = sys.modules.get(top)
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None if rest else real_file(getattr(module, "__file__", None))
    if spec is None:
        return None
    if not rest:
        return real_file(spec.origin)
    for folder in spec.submodule_search_locations or ():
        for tail in (f"{rest[-1]}.py", f"{rest[-1]}/__init__.py"):
            if found := real_file(str(Path(folder, *rest[:-1], tail))):
                return found
    return None


def _text(name: str, file: Path) -> bytes:
    """The text of a module's file, as it was when it was imported; said when it has been edited since.

    Raises:
        UnknownCodeError: It cannot be read.
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UnknownCodeError(f"{file} cannot be read ({error.strerror})") from error
    module = sys.modules.get(name)
    if module is None or real_file(getattr(module, "__file__", None)) != file:
        return text
    spec = getattr(module, "__spec__", None)
    known = _loaded.get(module)
    if known is None or known[0] is not spec:  # a reload makes another spec
        _loaded[module] = (spec, text)
    elif known[1] != text:
        logger.warning("%s was edited after it was imported; importlib.reload(%s) takes the new code", file, name)
        return known[1]
    return text


def _global_names(code: types.CodeType) -> set[str]:
    """Global names that a code object reads, functions inside it included."""
    names = {str(each.argval) for each in dis.get_instructions(code) if each.opname in _GLOBAL_LOADS}
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return names.union(*map(_global_names, inner))


def _names(code: types.CodeType) -> set[str]:
    """Parameters, attributes, globals and whole texts in a code object and those inside it."""
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
    found = {*code.co_names, *code.co_varnames[: count + bool(code.co_flags & inspect.CO_VARKEYWORDS)]}
    waiting: list[Any] = list(code.co_consts)
    while waiting:
        match waiting.pop():
            case str() as text:
                found.add(text)
            case types.CodeType() as inner:
                found |= _names(inner)
            case tuple() | frozenset() as several:
                waiting += several
    return found


def _globals_named(function: types.FunctionType) -> Iterator[Any]:
    """Values of the globals that a function names, and what it names in modules among them."""
    names = _names(function.__code__)
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        yield from (vars(value).get(each) for each in names) if isinstance(value, types.ModuleType) else (value,)


def _carried(function: types.FunctionType) -> Iterator[Any]:
    """Defaults of a function, values in its closure, and the function that it wraps by name."""
    yield from (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # a cell that is filled later
            yield cell.cell_contents
    yield getattr(function, "__wrapped__", None)


def _attributes(value: object) -> list[tuple[str, Any]]:
    """Name and value of all attributes, those in slots included."""
    slots = [
        name
        for kind in type(value).__mro__
        for name, each in vars(kind).items()
        if isinstance(each, types.MemberDescriptorType) and hasattr(value, name)
    ]
    return sorted({**{name: getattr(value, name) for name in slots}, **getattr(value, "__dict__", {})}.items())


def _is_attribute(value: object) -> bool:
    """True for what a module other than ``__main__`` holds under a name: importing its file makes it as it is."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    if module is None or module.__name__ == "__main__" or real_file(getattr(module, "__file__", None)) is None:
        return False
    return any(each is value for each in vars(module).values())


def innermost(code: Any) -> Any:
    """The function, class or object behind methods, bound arguments and wrappers that are not written in Python."""
    while True:
        if isinstance(code, types.MethodType):
            code = code.__func__
        elif isinstance(code, functools.partial):
            code = code.func
        elif not isinstance(code, types.FunctionType | type) and hasattr(code, "__wrapped__"):
            code = code.__wrapped__
        else:
            return code


def file_of(code: types.FunctionType | type) -> Path | None:
    """Where a function or class was written; None for a notebook cell."""
    if isinstance(code, types.FunctionType):
        return real_file(code.__code__.co_filename)
    return real_file(getattr(sys.modules.get(code.__module__), "__file__", None))


def real_file(file: str | None) -> Path | None:
    """A path that is a file; None for the names of notebook cells and the like."""
    if not file or file.startswith("<"):
        return None
    path = Path(file)
    return path.resolve() if path.is_file() else None


def is_own(file: Path | None) -> bool:
    """True for rewardlab's own files."""
    return file is not None and file.is_relative_to(OWN_CODE)


def _is_installed(file: Path | None) -> bool:
    if file is None:
        return False
    return bool(INSTALLED.intersection(file.parts)) or file.is_relative_to(_standard_library())


@functools.cache
def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib")).resolve()


def _is_builtin(kind: type) -> bool:
    """True for classes that are not written in Python, whose objects may hold more than their attributes."""
    if not kind.__flags__ & _HEAP_TYPE or kind.__flags__ & _IMMUTABLE_TYPE:
        return True
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    return file.endswith(tuple(EXTENSION_SUFFIXES))


@functools.cache
def _distribution(module: str) -> str:
    """Name and version of the distribution that installed a module; empty when none did."""
    names = importlib.metadata.packages_distributions().get(module.partition(".")[0], [])
    return ", ".join(sorted(f"{name} {importlib.metadata.version(name)}" for name in set(names)))


def _article(kind: type) -> str:
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _sha256(parts: Iterable[str]) -> str:
    """Hash of texts in their order, each with its length, so that none runs into the next."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(content) + content)
    return digest.hexdigest()
