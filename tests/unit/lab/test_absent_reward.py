"""A run that was trained on a reward of a notebook, opened by a process that never ran the cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rewardlab as rl
from rewardlab.cli import main as cli
from rewardlab.rewards import rewards
from tests.support.studio import client_of, studio_of

SMALL = {
    **{f"data.{part}": 8 for part in ("labelled", "prompts", "validation", "test")},
    "ppo.batch": 8,
    "ppo.micro_batch": 8,
    "dpo.epochs": 1,
    "pairs.samples": 4,
    "sft.epochs": 1,
    "sft.batch": 8,
    "model.max_new_tokens": 8,
}
CELL = '''
@rl.reward
def fewer_letters(examples, responses):
    """Fewer letters."""
    return [-float(len(response)) for response in responses]
'''


def small() -> rl.Lab:
    return rl.Lab("runs", task="sandbox-topic", format="label", settings=SMALL, quiet=True)


def forget() -> None:
    """What another process begins with: the cell was not run there."""
    rewards._entries.pop("fewer_letters", None)
    rewards._places.pop("fewer_letters", None)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, rl.Run]]:
    """Two runs on the reward; afterwards nobody knows it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("notebook"))
        patch.setenv("REWARDLAB_CACHE", "cache")
        patch.delenv("REWARDLAB_DATA", raising=False)
        exec(compile(CELL, "<cell>", "exec"), {"rl": rl, "__name__": "__main__"})
        reward = "rule + 0.1 * fewer_letters"
        made = {"ppo": small().train(reward, steps=1, init="base")}
        made["dpo"] = small().train(reward, "dpo", pairs="sampled", init="base")
        forget()
        yield made
        forget()


@pytest.mark.slow
class TestAbsentReward:
    @pytest.mark.parametrize("method", ["ppo", "dpo"])
    def test_what_was_trained_on_it_is_evaluated(self, runs: dict[str, rl.Run], method: str) -> None:
        found = small().evaluate(runs[method])
        assert found.result["columns"]["sandbox-topic"]["greedy"]["n"] == 8
        assert found.result["reward"] == "rule + 0.1 * fewer_letters"
        assert "fewer_letters" not in rewards, "it is lent for the plan alone"

    def test_the_commands_do_so_too(self, runs: dict[str, rl.Run], capfd: pytest.CaptureFixture[str]) -> None:
        run = str(runs["ppo"].folder)
        assert cli.run(["eval", "--run", run, "--set=data.test=4"]) == 0, capfd.readouterr().err
        assert cli.run(["eval", "--run", run, "--dry-run"]) == 0
        assert cli.run(["compare", run]) == 0
        assert cli.run(["export", run, "--to", "model"]) == 0
        assert "fewer_letters" in Path("model/README.md").read_text()
        assert cli.run(["reward", "rescore", run, "--reward", "rule + fewer_letters"]) == 0
        assert "error" not in capfd.readouterr().err

    def test_the_studio_shows_the_run_and_tries_other_rewards(self, runs: dict[str, rl.Run]) -> None:
        client, run = client_of(studio_of(Path("runs"))), runs["ppo"].folder
        assert "fewer_letters" in client.get(f"/run/ppo/{run.name}").text
        page = client.get(f"/expression/ppo/{run.name}", params={"reward": "rule - fewer_letters"})
        assert "pairs of one step that swap" in page.text

    @pytest.mark.parametrize(
        "call",
        [
            lambda run: small().train("rule + 0.1 * fewer_letters", steps=2),
            lambda run: small().evaluate(run, best_of=2, reward="fewer_letters"),
            lambda run: rl.score("fewer_letters", "sandbox-topic", ["sport"]),
        ],
    )
    def test_what_asks_it_is_refused_by_its_name(self, runs: dict[str, rl.Run], call: Any) -> None:
        with pytest.raises(rl.InputError, match="unknown reward 'fewer_letters'") as refused:
            call(runs["ppo"])
        assert "\n" not in str(refused.value)
