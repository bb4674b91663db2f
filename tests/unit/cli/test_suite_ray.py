"""``suite run --ray``: what is refused before anything is planned; on a cluster: ``suites/test_on_ray.py``."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from pathlib import Path

import pytest

import rewardlab as rl
from rewardlab.suites.on_ray import RayPlaces
from tests.support.commands import Command


def test_without_ray_the_command_says_in_one_line_what_to_install(
    rewardlab: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rewardlab.suites.on_ray.find_spec", lambda name: None)
    outcome = rewardlab("suite", "run", "no-such.toml", "--ray", "auto")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.strip() == "error: --ray: Ray is not installed; run `pip install 'rewardlab[ray]'`"


@pytest.fixture
def _has_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the checks before a plan can see."""
    monkeypatch.setattr("rewardlab.suites.on_ray.find_spec", lambda name: True)


@pytest.mark.usefixtures("_has_ray")
@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265", "head", "head:", ":6379"])
def test_addresses_of_clients_and_jobs_are_refused(rewardlab: Command, address: str) -> None:
    outcome = rewardlab("suite", "run", "no-such.toml", "--ray", address)
    assert outcome.code == 2
    assert f"--ray {address}: expected auto or HOST:PORT; run the command on a machine of the cluster" in outcome.err


@pytest.mark.usefixtures("_has_ray")
def test_jobs_and_ray_are_not_given_together(rewardlab: Command) -> None:
    outcome = rewardlab("suite", "run", "no-such.toml", "--ray", "auto", "--jobs", "2")
    assert outcome.code == 2
    assert "--ray auto --jobs 2: the nodes say how many stages run; give one of both" in outcome.err
    with pytest.raises(rl.InputError, match="give one of both"):
        rl.run_suite("no-such.toml", ray="auto", jobs=2)


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install -e '.[ray]'")
def test_a_head_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """Nobody listens at a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    places = RayPlaces(address, lambda root, fetch: lambda name: None, tmp_path, pytest.fail)
    with pytest.raises(
        rl.InputError, match=f"--ray {address}: no cluster that can be used .*refused.* `ray start --head`"
    ):
        places.__enter__()
