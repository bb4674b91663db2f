"""What a server that draws the responses changes of a run's identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.errors import ConfigError
from rewardlab.pipeline import Pipeline
from rewardlab.pipeline.stage import Stage

ONLINE = ("ppo", "grpo", "rloo", "reinforce")


def stage(root: Path, method: str, **settings: Any) -> Stage:
    given = {"data.labelled": 8, "data.prompts": 8, "data.validation": 8, "init": "base"}
    named = {key.replace("__", "."): value for key, value in settings.items()}
    return Pipeline(load_config({**given, **named}, NO_FILE), root).train(method)


@pytest.mark.parametrize("method", ONLINE)
def test_a_run_that_draws_here_has_no_setting_of_it(tmp_path: Path, method: str) -> None:
    plain = stage(tmp_path, method)
    assert "sampler" not in plain.settings
    assert stage(tmp_path, method, sampler__cap=3.0).fingerprint == plain.fingerprint


@pytest.mark.parametrize("method", ONLINE)
def test_that_a_server_draws_counts_and_where_it_is_does_not(tmp_path: Path, method: str) -> None:
    one = stage(tmp_path, method, sampler__url="http://one:8000")
    assert one.settings["sampler"] == {"cap": 2.0}
    two = stage(tmp_path, method, sampler__url="http://two:9000/v1", sampler__timeout_s=5.0, sampler__model="m")
    assert two.fingerprint == one.fingerprint
    others = (stage(tmp_path, method), stage(tmp_path, method, sampler__url="http://one:8000", sampler__cap=3.0))
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 3


def test_raft_draws_here(tmp_path: Path) -> None:
    assert stage(tmp_path, "raft", sampler__url="http://one:8000").fingerprint == stage(tmp_path, "raft").fingerprint


def test_biases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="servers apply adapters without biases"):
        stage(tmp_path, "ppo", sampler__url="http://one:8000", lora__bias="all")
    stage(tmp_path, "ppo", lora__bias="all")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://host:8000", "http://host:8000"),
        ("http://host:8000/v1/", "http://host:8000"),
        ("https://host/models/v1", "https://host/models"),
        ("none", None),
    ],
)
def test_the_address_is_that_of_the_root(given: str, kept: str | None) -> None:
    assert load_config({"sampler.url": given}, NO_FILE).sampler.url == kept


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("host:8000", "expected a web address such as http://127.0.0.1:8000, found 'host:8000'"),
        ("http://host:70000", "expected a web address"),
        ("http://me:word@host:8000", "a key belongs into the environment"),
    ],
)
def test_what_is_no_address_is_refused(given: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"sampler.url: .*{said}"):
        load_config({"sampler.url": given}, NO_FILE)
