"""What a callable is: edited code has another hash, the same code the same, and what has none is never cached."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rewardlab.code_identity import OWN_CODE, UnknownCodeError, _distribution, code_hash
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.errors import ConfigError
from rewardlab.pipeline import Pipeline
from rewardlab.registry import Place, Registry
from rewardlab.rewards import find_reward, register_reward, rewards
from rewardlab.tasks import resolve_tasks, tasks

SMALL = {"data.source": "bundled", "data.labelled": 4, "data.prompts": 4, "data.validation": 2, "data.test": 2}
CELL = "def mine(examples, responses):\n    return [{body} for text in responses]\n"
TASK = """
from rewardlab.tasks.task import Task
from claims import claim
from measures import share
template = "{text} How warm is it?"
task = Task(
    name="warmth", fields=("text",), numeric_range=(-10, 40), metrics=("spearman",),
    templates={"label": template, "rationale": template, "judgement": template},
    quality=share, claim=claim,
)
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder that modules can be imported from; what a test imports or registers is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    modules, known = set(sys.modules), [(registry, set(registry.names())) for registry in (rewards, tasks)]
    yield
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    for registry, names in known:
        for name in set(registry.names()) - names:
            del registry._entries[name]  # type: ignore[attr-defined]  # registries have no public way to forget


def cell(text: str, name: str = "mine", **given: Any) -> Any:
    """What a notebook cell leaves under a name; ``given`` comes from cells before."""
    space = dict(given)
    exec(compile(textwrap.dedent(text), "<cell>", "exec"), space)
    return space[name]


def files(texts: Mapping[str, str]) -> None:
    """Modules of the current folder, as a new process finds them."""
    for name, text in texts.items():
        path = Path(f"{name}.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        sys.modules.pop(name.replace("/", "."), None)
    importlib.invalidate_caches()


def reference_hash(reference: str) -> str | None:
    """The hash of a reward that is named as module:callable, as a new process finds it."""
    for name in [name for name, module in sys.modules.items() if _is_here(module)]:
        del sys.modules[name]
    return find_reward(reference).code_hash()


def _is_here(module: object) -> bool:
    return str(getattr(module, "__file__", "")).startswith(str(Path.cwd()))


class TestCells:
    def test_the_same_cell_is_the_same_and_another_body_another(self) -> None:
        first = code_hash(cell(CELL.format(body="float(len(text))")))
        assert first == code_hash(cell("\n\n# a comment\n" + CELL.format(body="float( len(text) )")))
        assert first != code_hash(cell(CELL.format(body="-1000.0")))
        assert first != code_hash(cell(CELL.format(body="float(hash(text))")))

    @pytest.mark.parametrize(
        ("text", "one", "other"),
        [
            ("def mine(a, b):\n    return [WEIGHT] * len(b)", 1.0, 2.0),
            ("def mine(a, b):\n    return [w in WEIGHT for w in b]", {"good", "fine"}, {"good", "bad"}),
            (
                "def mine(a, b):\n    def inner(text):\n        return WEIGHT\n    return [inner(t) for t in b]",
                "x",
                "y",
            ),
            ("def mine(a, b, weight=WEIGHT):\n    return [weight] * len(b)", [1], [2]),
            ("def mine(a, b, *, weight=WEIGHT):\n    return [weight] * len(b)", {"a": 1}, {"a": 2}),
            ("def made(w):\n    def mine(a, b):\n        return [w]\n    return mine\nmine = made(WEIGHT)", 1, 1.5),
            ("from functools import partial\nmine = partial(max, WEIGHT)", (1,), (2,)),
            ("class Judge:\n    def __init__(self, w):\n        self.w = w\nmine = Judge(WEIGHT)", 1, 2),
            ("class Judge:\n    w = WEIGHT\n    def __call__(self, a, b):\n        return []\nmine = Judge()", 1, 2),
            ("class Judge:\n    __slots__ = ('w',)\nmine = Judge()\nmine.w = WEIGHT", 1, 2),
            ("from functools import cache\n@cache\ndef mine(a, b):\n    return WEIGHT", 1, 2),
            (
                "from dataclasses import dataclass\n@dataclass\nclass Judge:\n    w: float\n    n: int = 3\n"
                "    def score(self, a, b):\n        return [self.w]\nmine = Judge(WEIGHT).score",
                1,
                2,
            ),
        ],
        ids=range(12),
    )
    def test_what_it_refers_to_counts(self, text: str, one: object, other: object) -> None:
        hashes = [code_hash(cell(text, WEIGHT=weight)) for weight in (one, one, other)]
        assert hashes[0] == hashes[1] != hashes[2]

    def test_helpers_from_other_cells_count(self) -> None:
        def with_helper(body: str) -> str | None:
            helper = cell(f"def helper(text):\n    return inner(text)\ndef inner(text):\n    return {body}", "helper")
            return code_hash(cell(CELL.format(body="helper(text)"), helper=helper))

        assert with_helper("1.0") == with_helper("1.0") != with_helper("2.0")

    def test_functions_that_call_each_other_have_a_hash(self) -> None:
        text = "def mine(n):\n    return other(n - 1) if n else {end}\ndef other(n):\n    return mine(n)\n"
        assert code_hash(cell(text.format(end=0))) == code_hash(cell(text.format(end=0)))
        assert code_hash(cell(text.format(end=0))) != code_hash(cell(text.format(end=1)))

    def test_a_module_of_the_user_counts_with_its_file(self) -> None:
        def hashed() -> str | None:
            return code_hash(cell("import lexicon\n" + CELL.format(body="text in lexicon.WORDS")))

        files({"lexicon": "WORDS = ['please']\n"})
        before = hashed()
        files({"lexicon": "WORDS = ['damn']\n"})
        assert before != hashed()

    def test_sets_have_one_hash_in_every_process(self) -> None:
        """Python draws the order of a set of texts anew in each process."""
        code = (
            "from rewardlab.code_identity import code_hash; space = {'W': {'a', 'b', 'c', 'd', 'e'}};"
            'text = \'def f(a, b): return [t in {1, "x", "y", "z"} or t in W for t in b]\';'
            "exec(compile(text, '<cell>', 'exec'), space);"
            "print(code_hash(space['f']))"
        )
        found = {
            subprocess.run(
                [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
            ).stdout
            for seed in ("1", "2", "3")
        }
        assert len(found) == 1

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("def mine(a, b):\n    return LOCK", "LOCK in it is a _thread.lock"),
            ("def mine(a, b, lock=LOCK):\n    return lock", "default of it[0] is a _thread.lock"),
            ("def made(lock):\n    return lambda a, b: lock\nmine = made(LOCK)", "lock around it is a _thread.lock"),
            ("class Judge:\n    pass\nmine = Judge()\nmine.state = [LOCK]", "it.state[0] is a _thread.lock"),
        ],
    )
    def test_what_is_no_plain_value_has_no_hash(self, text: str, told: str) -> None:
        with pytest.raises(UnknownCodeError) as caught:
            code_hash(cell(text, LOCK=threading.Lock()))
        assert told in str(caught.value)


class TestFiles:
    @pytest.mark.parametrize(
        ("reward", "helper"),
        [
            ("from lexicon import WORDS\n", "lexicon"),
            ("import lexicon\n", "lexicon"),
            ("def late():\n    import lexicon\n", "lexicon"),
            ("import between\n", "lexicon"),
            ("from lists import words\n", "lists/words"),
            ("import lists.words as w\n", "lists/words"),
            ("from lists import nothing\n", "lists/__init__"),
            ("from lists import inside\n", "lists/words"),
        ],
    )
    def test_an_edited_helper_is_another_reward(self, reward: str, helper: str) -> None:
        files(
            {
                "lists/__init__": "nothing = 1\n",
                "lists/words": "WORDS = 1\n",
                "lists/inside": "from .words import WORDS\n",
                "lexicon": "WORDS = 1\n",
                "between": "from lexicon import WORDS\n",
                "polite": f"{reward}\ndef judge(examples, responses):\n    return []\n",
                "unused": "WORDS = 1\n",
            }
        )
        before = reference_hash("polite:judge")
        files({"unused": "WORDS = 2\n"})
        assert reference_hash("polite:judge") == before
        files({helper: "WORDS = nothing = 3\n"})
        assert reference_hash("polite:judge") != before

    def test_the_module_that_makes_an_object_counts(self) -> None:
        """The class stands in another file, and what the object holds has no hash."""
        files(
            {
                "judges": "class Judge:\n    def __init__(self, lock, w):\n        self.lock = lock\n"
                "    def __call__(self, a, b):\n        return []\n",
                "polite": "import threading\nfrom judges import Judge\njudge = Judge(threading.Lock(), 1)\n",
            }
        )
        before = reference_hash("polite:judge")
        assert before == reference_hash("polite:judge")
        files({"polite": "import threading\nfrom judges import Judge\njudge = Judge(threading.Lock(), 2)\n"})
        assert before != reference_hash("polite:judge")

    def test_a_file_that_is_edited_after_its_import_is_what_was_imported(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        files({"polite": "def judge(examples, responses):\n    return [1.0]\n"})
        before = reference_hash("polite:judge")
        Path("polite.py").write_text("def judge(examples, responses):\n    return [22.0]\n")
        with caplog.at_level(logging.WARNING):
            assert find_reward("polite:judge").code_hash() == before
        assert "polite.py was edited after it was imported; importlib.reload(polite) takes the new code" in caplog.text
        importlib.reload(sys.modules["polite"])
        assert find_reward("polite:judge").code_hash() != before


class TestPipelines:
    def fingerprint(self, expression: str = "mine", task: str = "agnews") -> str:
        given = {**SMALL, "init": "base", "task": task, "reward.expression": expression}
        return Pipeline(load_config(given, NO_FILE), Path("runs")).train().fingerprint

    def test_an_edited_cell_is_another_run(self) -> None:
        found = []
        for body in ("1.0", "1.0", "2.0"):
            register_reward("mine")(cell(CELL.format(body=body)))
            found.append(self.fingerprint())
        assert found[0] == found[1] != found[2]

    def test_what_has_no_hash_is_never_found_again_and_that_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        register_reward("mine")(cell("def mine(a, b):\n    return LOCK", LOCK=threading.Lock()))
        config = load_config({**SMALL, "init": "base", "task": "agnews", "reward.expression": "mine"}, NO_FILE)
        with caplog.at_level(logging.WARNING):
            pipeline = Pipeline(config, Path("runs"))
            first, again = pipeline.train().fingerprint, pipeline.train().fingerprint
        assert first == again  # within one command a stage is one stage
        assert [record.getMessage() for record in caplog.records] == [
            "reward mine: LOCK in it is a _thread.lock, which has no hash; the stages that use it run anew each time"
        ]
        assert self.fingerprint() != first

    @pytest.mark.parametrize(
        ("edit", "changed"),
        [
            ({"measures": "def share(text):\n    return 0.5\n"}, {"eval"}),
            ({"claims": "def claim(example, text):\n    return 2.0\n"}, {"annotate"}),
            ({"lengths": "def share(text):\n    return 0.5\n"}, set()),
        ],
    )
    def test_quality_and_claim_of_a_task_count(self, edit: dict[str, str], changed: set[str]) -> None:
        rows = "".join(f'{{"id": "{n}", "text": "t{n}", "label": {n}}}\n' for n in range(30))
        Path("train.jsonl").write_text(rows)
        texts = {
            "measures": "def share(text):\n    return 1.0\n",
            "claims": "def claim(example, text):\n    return 1.0\n",
            "lengths": "def share(text):\n    return 1.0\n",
        }
        Path("warmth.py").write_text(TASK)
        found = []
        for change in ({}, {}, edit):
            files({**texts, **change})
            config = load_config({**SMALL, "data.source": "auto", "task": "warmth.py", "init": "base"}, NO_FILE)
            pipeline = Pipeline(config, Path("runs"))
            stages = {"eval": pipeline.eval(None), "annotate": pipeline.annotate(), "sft": pipeline.sft(False)}
            found.append({name: stage.fingerprint for name, stage in stages.items()})
        assert found[0] == found[1]
        assert {name for name in found[0] if found[0][name] != found[2][name]} == changed

    def test_our_own_tasks_are_known_by_what_they_say(self) -> None:
        config = load_config({**SMALL, "task": "sandbox-similarity", "init": "base"}, NO_FILE)
        assert "task_code" not in Pipeline(config, Path("runs")).train().settings

    def test_the_version_of_a_plug_in_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The package has a list of words in a file of data, which nobody reads but the package itself."""
        files(
            {
                "plugged": "from rewardlab.rewards import RewardEntry\n"
                "from rewardlab.rewards.functions import FunctionReward\n"
                "def judge(a, b):\n    return [1.0] * len(b)\n"
                "entry = RewardEntry('plugged', lambda context: FunctionReward('plugged', judge), 'A reward.')\n"
            }
        )
        info = Path("plugged-1.0.dist-info")
        info.mkdir()
        (info / "entry_points.txt").write_text("[rewardlab.rewards]\nplugged = plugged:entry\n")
        found = []
        for version in ("1.0", "1.0", "1.1"):
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugged\nVersion: {version}\n")
            importlib.invalidate_caches()
            monkeypatch.setattr(rewards, "_group", "rewardlab.rewards")  # as in a new process
            rewards._entries.pop("plugged", None)
            found.append(self.fingerprint("plugged"))
        assert found[0] == found[1] != found[2]

    def test_an_installed_package_that_is_named_counts_by_its_version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        place = Path("site-packages").resolve()
        monkeypatch.setattr(sys, "path", [str(place), *sys.path])
        (place / "judges").mkdir(parents=True)
        (place / "judges/__init__.py").write_text("from judges.words import judge\n")
        (info := place / "judges-1.0.dist-info").mkdir()
        (info / "top_level.txt").write_text("judges\n")

        def hashed(version: str, weight: float, *, has_version: bool = True) -> str | None:
            (place / "judges/words.py").write_text(f"def judge(examples, responses):\n    return [{weight}]\n")
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: judges\nVersion: {version}\n")
            (info / "top_level.txt").write_text("judges\n" if has_version else "others\n")
            _distribution.cache_clear()
            importlib.invalidate_caches()
            return reference_hash("judges:judge")

        assert hashed("1.0", 1.0) == hashed("1.0", 2.0) != hashed("1.1", 2.0)
        assert hashed("1.0", 1.0, has_version=False) != hashed("1.0", 2.0, has_version=False)


class TestRegisteringAgain:
    def test_a_cell_that_is_run_again_replaces_its_reward_and_its_task(self) -> None:
        for weight in (1.0, 2.0):
            register_reward("mine")(cell(CELL.format(body=weight)))
            cell("tasks.add('mine', replace(tasks.get('mr'), name='mine', question=question))\nmine = 1",
                 tasks=tasks, replace=__import__("dataclasses").replace, question=f"{weight}?")  # fmt: skip
        assert find_reward("mine").build(None)([], ["a"])[0].score == 2.0  # type: ignore[arg-type]  # needs no context
        assert [task.question for task in resolve_tasks("mine")] == ["2.0?"]

    def test_a_function_that_registers_may_be_called_again(self) -> None:
        def registered(weight: float) -> None:
            @register_reward("mine")
            def mine(examples: object, responses: list[str]) -> list[float]:
                """Constant."""
                return [weight] * len(responses)

        for weight in (1.0, 2.0):
            registered(weight)
        assert find_reward("mine").build(None)([], ["a"])[0].score == 2.0  # type: ignore[arg-type]

    def test_a_reloaded_file_replaces_its_rewards(self) -> None:
        head = "from rewardlab.rewards import register_reward\n@register_reward('mine')\n"
        files({"polite": head + "def first(a, b):\n    return [1.0]\n"})
        importlib.import_module("polite")
        Path("polite.py").write_text(head + "def renamed(a, b):\n    return [22.0]\n")
        importlib.reload(sys.modules["polite"])
        assert find_reward("mine").build(None)([], ["a"])[0].score == 22.0  # type: ignore[arg-type]

    @pytest.mark.parametrize("name", ["rule", "length", "ranked"])
    def test_rewards_of_our_own_are_not_replaced(self, name: str) -> None:
        with pytest.raises(ConfigError, match=f"{name}' is registered already by rewardlab itself; choose another"):
            register_reward(name)(cell(CELL.format(body="1.0")))

    def test_tasks_of_our_own_are_not_replaced(self) -> None:
        with pytest.raises(ConfigError, match="'mr' is registered already by rewardlab itself"):
            cell("tasks.add('mr', tasks.get('sst2'))\nmine = 1", tasks=tasks)

    def test_a_reward_of_another_module_is_not_replaced(self) -> None:
        files(
            {
                "polite": "from rewardlab.rewards import register_reward\n@register_reward('mine')\n"
                "def mine(a, b):\n    pass\n"
            }
        )
        importlib.import_module("polite")
        with pytest.raises(ConfigError, match=r"registered already by .*polite\.py"):
            register_reward("mine")(cell(CELL.format(body="1.0")))

    def test_rewardlab_does_not_replace_what_a_cell_registered(self) -> None:
        """Tasks of the sandbox register themselves when somebody first asks for one."""
        assert Place(None).may_replace(Place(None))
        assert not Place(OWN_CODE / "sandbox" / "tasks.py").may_replace(Place(None))

    def test_two_entries_of_one_file_are_a_mistake(self) -> None:
        words: Registry[object] = Registry("word")
        words.add("a", object())
        with pytest.raises(ConfigError, match="registered already by"):
            words.add("a", object())
        for function in (one, other)[:1]:
            register_reward("mine")(function)
        with pytest.raises(ConfigError, match="registered already by"):
            register_reward("mine")(other)


def one(examples: object, responses: object) -> list[float]:
    return []


def other(examples: object, responses: object) -> list[float]:
    return []


def test_bound_arguments_and_methods_count() -> None:
    def weighed(weight: float, examples: object, responses: object) -> list[float]:
        return []

    made: list[Callable[..., Any]] = [partial(weighed, 1.0), partial(weighed, 1.0), partial(weighed, 2.0)]
    hashes = [code_hash(each) for each in made]
    assert hashes[0] == hashes[1] != hashes[2]
