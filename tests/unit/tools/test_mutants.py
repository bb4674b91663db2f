"""``make mutants``: what is changed and what is left alone, what is drawn, and which tests are run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "experiments" / "mutants"


@pytest.fixture(scope="module")
def run() -> Iterator[ModuleType]:
    """``experiments/mutants/run.py``, imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        spec = importlib.util.spec_from_file_location("mutants_run", FOLDER / "run.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "mutants_run", module)
        spec.loader.exec_module(module)
        yield module


def changes(run: ModuleType, code: str) -> set[str]:
    """Every change of a line of code, as the changed text."""
    return {mutant.after.strip() for mutant in run.mutants("m.py", code)}


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("x = a < b", {"x = a <= b", "x = a >= b"}),
        ("x = a is not b", {"x = a is b"}),
        ("x = a - b", {"x = a + b"}),
        ("x = a * b", {"x = a / b"}),
        ("x += a", {"x -= a"}),
        ("x = a and b", {"x = a or b"}),
        ("x = not a", {"x = (a)"}),
        ("x = -a", {"x = (a)"}),
        ("x = True", {"x = False"}),
        ("x = 3", {"x = 4", "x = 0"}),
        ("x = max(a, b)", {"x = min(a, b)"}),
        ("x = a.mean()", {"x = a.sum()"}),
        ("x = a if b else c", {"x = (c if b else a)"}),
        ("x = {'a': b, 'c': d}", {"x = {'c': d}", "x = {'a': b}"}),
        ("x = {'a', 'b'}", {"x = {'b'}", "x = {'a'}"}),
        ("f(a)", {"pass"}),
        ("del a", {"pass"}),
        ("if a: b = c", {"if not (a): b = c"}),
    ],
)
def test_what_is_changed(run: ModuleType, code: str, changed: set[str]) -> None:
    assert changes(run, code) == changed


@pytest.mark.parametrize(
    "code",
    [
        "'a text'",
        "x = f'{a + 1} of {b}'",
        "x = 'a' + b",
        "raise ValueError(a + 1)",
        "logger.info('%d', a + 1)",
        "x: int | None = Field(3, gt=0, description='a')",
        "def f(a: int | None) -> dict[str, 3]: return a",
        "@dataclass(frozen=True)\nclass A: a: Literal[1, 2]",
        "x = zip(a, b, strict=True)",
        "Values = float | None",
        "if TYPE_CHECKING:\n    x = 1",
    ],
)
def test_what_no_test_should_notice_is_left_alone(run: ModuleType, code: str) -> None:
    assert changes(run, code) == set()


def test_a_sample_is_the_same_for_the_same_seed(run: ModuleType) -> None:
    first, again, other = (run.drawn(5, seed, "functional") for seed in (0, 0, 1))
    assert first == again != other
    assert all(mutant.before != mutant.after for mutant in first)


def test_a_listed_mutant_is_not_drawn(run: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    equivalent = sys.modules["equivalent"]
    first, *others = run.drawn(10**6, 0, "functional/gae")
    path = tmp_path / "equivalent.toml"
    path.write_text(f"entries = [\n  {[*equivalent.key(first), 'same']!r},\n]\n")
    known = equivalent.listed(path)
    monkeypatch.setattr(equivalent, "listed", lambda: known)
    left = run.drawn(10**6, 0, "functional/gae")
    assert first not in left
    assert {equivalent.key(mutant) for mutant in left} == {equivalent.key(m) for m in others} - {equivalent.key(first)}


def test_each_listed_mutant_is_still_a_change_of_the_code_and_has_a_reason(run: ModuleType) -> None:
    equivalent = sys.modules["equivalent"]
    modules = {module for module, *_ in equivalent.listed()}
    keys = {equivalent.key(mutant) for module in modules for mutant in run.every_mutant(module)}
    assert [key for key in equivalent.listed() if key not in keys] == []
    assert all(len(reason.split()) >= 3 for reason in equivalent.listed().values())


def test_every_module_has_tests_that_import_it(run: ModuleType) -> None:
    for pattern in run.MODULES:
        assert list(ROOT.glob(pattern)), f"{pattern}: no such module"
    names = {path.relative_to(ROOT).as_posix() for pattern in run.MODULES for path in ROOT.glob(pattern)}
    assert [name for name in names if run.mutants(name, (ROOT / name).read_text()) and not run.tests_of(name)] == []


def test_the_tests_of_a_module_are_those_nearest_to_it(run: ModuleType) -> None:
    """shaping.py is imported by test_used_scores.py, and advantages.py by the loop, which test_ppo.py imports."""
    assert "tests/unit/training/test_used_scores.py" in run.tests_of("rewardlab/training/shaping.py")[:4]
    assert "tests/unit/training/test_ppo.py" in run.tests_of("rewardlab/training/advantages.py")
    assert run.tests_of("rewardlab/functional/preference.py")[0].startswith("tests/")
    assert run.tests_of("rewardlab/no_such_module.py") == []
