"""Suite files: what they may hold, what does not fit together, and that one extends another."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from rewardlab.errors import ConfigError
from rewardlab.suites.file import Method, Suite, load_suite

ROOT = Path(__file__).parents[3]
BASE = 'name = "base"\nseeds = [3]\n[[method]]\nstage = "base"\n'


def test_a_suite_takes_what_it_does_not_say_from_the_one_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "more.toml").write_text('extends = "base.toml"\nname = "more"\nseeds = [0, 1]\n')
    suite = load_suite(tmp_path / "more.toml")
    assert (suite.name, suite.seeds, suite.method[0].stage) == ("more", (0, 1), "base")


@pytest.mark.parametrize("name", ["suites/base.toml", "../shared/base.toml"])
def test_a_suite_may_extend_one_in_another_folder(tmp_path: Path, name: str) -> None:
    here = tmp_path / "here"
    extended = here / name
    extended.parent.mkdir(parents=True)
    extended.write_text(BASE)
    here.mkdir(exist_ok=True)
    for number, written in enumerate((name, extended.resolve())):
        (here / f"{number}.toml").write_text(f'extends = "{written}"\nname = "more"\n')
        assert load_suite(here / f"{number}.toml").seeds == (3,)


@pytest.mark.parametrize("nested", [True, False])
def test_tasks_and_models_take_the_place_of_those_of_the_extended_file(tmp_path: Path, nested: bool) -> None:
    model = '"model.name" = "one"' if not nested else 'model = { name = "one", dtype = "float32" }'
    (tmp_path / "base.toml").write_text(f'{BASE}[settings]\ntask = "mr"\ndata.test = 4\n{model}\n')
    (tmp_path / "more.toml").write_text('extends = "base.toml"\nname = "more"\ntasks = ["sst2"]\nmodels = ["two"]\n')
    suite = load_suite(tmp_path / "more.toml")
    assert (suite.tasks, suite.models) == (("sst2",), ("two",))
    assert suite.settings == {"data.test": 4} | ({"model.dtype": "float32"} if nested else {})


def test_what_all_are_compared_with_is_a_method(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(f'against = ["zero"]\n{BASE}name = "zero-shot"\n')
    with pytest.raises(ConfigError, match="against: unknown name of a method 'zero'; did you mean zero-shot"):
        load_suite(tmp_path / "bad.toml")


def test_suites_that_come_along_are_found_by_name_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_suite(Path("claims-sandbox.toml")).name == "claims-sandbox"
    Path("claims-sandbox.toml").write_text(BASE)
    assert load_suite(Path("claims-sandbox.toml")).name == "base"
    with pytest.raises(ConfigError, match=r"no-such\.toml: cannot be read \(No such file or directory\)"):
        load_suite(Path("no-such.toml"))


@pytest.mark.parametrize("chain", [["a"], ["a", "b"]])
def test_a_suite_that_leads_back_to_itself_is_refused(tmp_path: Path, chain: list[str]) -> None:
    for name, following in zip(chain, [*chain[1:], chain[0]], strict=True):
        (tmp_path / f"{name}.toml").write_text(f'extends = "{following}.toml"\nname = "{name}"\n')
    with pytest.raises(ConfigError, match="extends itself"):
        load_suite(tmp_path / "a.toml")


def test_all_problems_of_a_suite_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('seeds = []\n[[method]]\nstage = "train"\n')
    with pytest.raises(ConfigError) as caught:
        load_suite(tmp_path / "bad.toml")
    assert all(word in str(caught.value) for word in ("name", "seeds", "method.0.stage"))


def test_the_example_of_the_documentation_is_a_suite(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "suites.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mine.toml").write_text(example)
    (tmp_path / "demo.toml").write_bytes((ROOT / "experiments" / "demo.toml").read_bytes())
    suite = load_suite(tmp_path / "mine.toml")
    assert [method.name for method in suite.method] == ["PPO, rule reward", "SFT, as long as PPO"]
    assert suite.grid == {"ppo.lr": (1e-5, 1e-4)}
    assert set(re.findall(r"^\[*(\w+)", example, re.MULTILINE)) >= {*Suite.model_fields}  # every key stands in it


METHODS = """
[[method]]
name = "PPO"
stage = "ppo"
settings = { "ppo.lr" = 1e-4 }
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds = [0, 1, 0]", "seeds: 0 more than once"),
        ('models = ["a", "a"]', "models: a more than once"),
        ('tasks = ["agnews,sst2", "mr, sst2"]', "tasks: sst2 more than once"),
        ('[[method]]\nname = "PPO"\nstage = "base"', "method names: PPO more than once"),
        (
            '[[method]]\nstage = "rm"\nscope = "each"',
            "method.0: scope belongs to methods that train a policy, found rm",
        ),
        ('[[method]]\nstage = "sft"\nscope = "each"\nmatch_seconds_of = "PPO"', "found sft with match_seconds_of"),
        ('[[method]]\nstage = "ppo"\nmatch_seconds_of = "PPO"', "match_seconds_of belongs to methods of stage sft"),
        ('[[method]]\nstage = "sft"\nmatch_seconds_of = "PQO"', "match_seconds_of: 'PQO' is no name .* known: PPO"),
        ('[grid]\n"ppo.steps" = []', "grid: ppo.steps has no values"),
        ('[grid]\n"ppo.lr" = [1e-5]', "grid: method PPO sets ppo.lr itself"),
        (
            '[grid]\n"ppo.kl_coef" = [1]\n[[method]]\nname = "own"\nstage = "ppo"\nsettings = { ppo.kl_coef = 0 }',
            "grid: method own sets ppo.kl_coef itself",
        ),
        (
            '[[method]]\nname = "S"\nstage = "sft"\ngrid = { sft.lr = [1, 2] }\n'
            '[[method]]\nname = "T"\nstage = "sft"\ngrid = { sft.lr = [1, 2], sft.batch = [1, 2] }',
            "grid: S has 2 tries, T has 4 tries; give every method as many",
        ),
        (
            '[[method]]\nstage = "base"\ngrid = { sft.lr = [1] }',
            "grid belongs to methods that train a policy, found base",
        ),
        (
            '[[method]]\nstage = "sft"\nmatch_seconds_of = "PPO"\ngrid = { sft.lr = [1] }',
            "grid belongs to methods that train a policy, found sft with match_seconds_of",
        ),
        ('[[method]]\nname = "S"\nstage = "sft"\ngrid = { seed = [1] }', "grid of method S sets seed, but each cell"),
        ("grid_seeds = [0]", "grid_seeds: 0 is one of seeds; choose settings on seeds that are not reported"),
        ("grid_seeds = [7, 7]", "grid_seeds: 7 more than once"),
        ("only_grid = true", "only_grid: method PPO has no values to choose from"),
        ('[unseen]\nmr = "emotion"', "unseen: 'mr' is no task of the suite"),
        ('tasks = ["mr", "sst2"]\n[unseen]\nmr = "emotion,sst2"', "unseen: sst2 is a task of the suite"),
        ('tasks = ["mr", "sst2"]\n[unseen]\nmr = "sick"\nsst2 = "sick"', "unseen: sick stands in it 2 times"),
        ('convention = "glue"', "convention: input should be 'rllr', 'ppo-nlu' or 'leaderboard'"),
        ("[settings]\nseed = 1", r"\[settings\] sets seed, but each cell has its own from seeds"),
        ('[[method]]\nname = "own"\nstage = "base"\nsettings = { seed = 1 }', "method own sets seed, but"),
        ('models = ["a"]\n[settings]\nmodel = { name = "b" }', r"\[settings\] sets model.name, but .* from models"),
        (
            'models = ["a"]\n[[method]]\nstage = "rm"\nsettings = { "model.name" = "b" }',
            "method 1 sets model.name, but .* from models",
        ),
        ('tasks = ["mr"]\n[settings]\ntask = "sst2"', r"\[settings\] sets task, but each cell has its own from tasks"),
        ('tasks = ["mr"]\n[[method]]\nstage = "rm"\nsettings = { task = "sst2" }', "method 1 sets task, but"),
        ("[grid]\nseed = [1, 2]", r"\[grid\] sets seed, but each cell has its own from seeds"),
        ("[grid]\n'ppo.max_tokens' = [1, 2]", r"\[grid\] sets ppo.max_tokens, but budget = 'updates'"),
        ("[settings]\nppo.lr = 1\n'ppo.lr' = 2", "settings: ppo.lr given twice, by its dotted key and in a table"),
        ("settings = 3", "settings: input should be a valid dictionary"),
        (
            '[[method]]\nstage = "sft"\nformat = "label"\nsettings = { format = "rationale" }',
            "method.0: format stands beside settings and in them",
        ),
        ('budget = "dollars"', "budget: input should be 'updates', 'tokens' or 'seconds'"),
        ('[[claim]]\nid = "C1"', "claim.0.says: field required"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.toml").write_text(f'name = "bad"\n{text}\n{METHODS}')
    with pytest.raises(ConfigError, match=said):
        load_suite(tmp_path / "bad.toml")


@pytest.mark.parametrize("name", ["ppo", "eval", "judge", "annotations"])
def test_a_name_that_is_a_folder_of_runs_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=f"name: '{name}' is the folder of such runs"):
        Suite(name=name, method=(Method(stage="base"),))


@pytest.mark.parametrize("name", ["", "..", ".", " ", "a/b", "../a", "a\\b", "a\0b"])
def test_a_name_that_leads_out_of_the_runs_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="cannot name a folder of reports"):
        Suite(name=name, method=(Method(stage="base"),))


def test_settings_are_dotted_keys_however_they_are_nested(tmp_path: Path) -> None:
    """So that a method's own key of a section leaves the others of [settings] alone."""
    text = 'task = "mr"\n[settings.ppo]\nsteps = 5\n[[method]]\nstage = "ppo"\n'
    own = 'settings = { ppo.lr = 0.5, "model.name" = "mine" }\n'
    (tmp_path / "n.toml").write_text(f'name = "n"\n[settings]\n{text}{own}')
    suite = load_suite(tmp_path / "n.toml")
    assert suite.settings == {"task": "mr", "ppo.steps": 5}
    assert suite.method[0].settings == {"ppo.lr": 0.5, "model.name": "mine"}


def test_a_suite_holds_its_grid_its_claims_and_its_places(tmp_path: Path) -> None:
    text = """
name = "full"
budget = "tokens"
tasks = ["agnews,sst2", "mr"]
models = ["one", "two"]
[settings]
"ppo.max_tokens" = 1000
[grid]
"ppo.batch" = [4, 8]
[[method]]
name = "PPO-ST"
stage = "ppo"
scope = "each"
[[method]]
name = "as long"
stage = "sft"
match_seconds_of = "PPO-ST"
[[claim]]
id = "C11"
says = "PPO beats SFT"
published = "+1.54"
better = "PPO-ST"
than = "as long"
decoding = "greedy"
"""
    (tmp_path / "full.toml").write_text(text)
    suite = load_suite(tmp_path / "full.toml")
    assert (suite.budget, suite.tasks, suite.models) == ("tokens", ("agnews,sst2", "mr"), ("one", "two"))
    assert suite.grid == {"ppo.batch": (4, 8)}
    assert [(method.scope, method.match_seconds_of) for method in suite.method] == [
        ("each", None),
        ("together", "PPO-ST"),
    ]
    claim = suite.claim[0]
    assert (claim.id, claim.column, claim.decoding) == ("C11", "average", "greedy")


BUDGETS = [
    ("tokens", "", "", "budget = 'tokens' needs ppo.max_tokens in [settings]"),
    ("updates", "", "ppo = { max_tokens = 99 }", "method mine sets ppo.max_tokens, but budget = 'updates'"),
    ("seconds", "ppo = { max_seconds = 9, max_tokens = 8 }", "", "[settings] sets ppo.max_tokens"),
    ("updates", '"ppo.max_tokens" = 9', "", "[settings] sets ppo.max_tokens, but budget = 'updates'"),
    ("seconds", '"ppo.max_seconds" = 9', '"ppo.max_seconds" = 8', "method mine sets ppo.max_seconds"),
    ("seconds", '"ppo.max_seconds" = 9', '"ppo.max_tokens" = 8', "method mine sets ppo.max_tokens"),
]


@pytest.mark.parametrize(("budget", "shared", "own", "problem"), BUDGETS)
def test_a_budget_is_one_amount_for_all_ppo_methods(
    tmp_path: Path, budget: str, shared: str, own: str, problem: str
) -> None:
    method = f'[[method]]\nname = "mine"\nstage = "ppo"\n[method.settings]\n{own}\n'
    (tmp_path / "b.toml").write_text(f'name = "b"\nbudget = "{budget}"\n[settings]\n{shared}\n{method}')
    with pytest.raises(ConfigError) as caught:
        load_suite(tmp_path / "b.toml")
    assert problem in str(caught.value)


def test_a_task_file_whose_path_has_commas_is_one_task(tmp_path: Path) -> None:
    for name in ("big, old", "small, old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a,b.toml").write_text("")
    entries = [str(tmp_path / name / "a,b.toml") for name in ("big, old", "small, old")]
    path = tmp_path / "suite.toml"
    path.write_text(f'name = "s"\ntasks = {json.dumps(entries)}\n[[method]]\nstage = "base"\n')
    assert load_suite(path).tasks == tuple(entries)
    path.write_text(f'name = "s"\ntasks = {json.dumps(entries[:1] * 2)}\n[[method]]\nstage = "base"\n')
    with pytest.raises(ConfigError, match=r"tasks: .*big, old/a,b\.toml more than once"):
        load_suite(path)
