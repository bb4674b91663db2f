"""What every test runs under: one thread, so that numbers repeat and a busy machine does not stall; no network."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch; subprocesses inherit it
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("REWARDLAB_PRODUCTS", "onednn")  # timings must not decide about the last bits of a number

import pytest
from hypothesis import HealthCheck, settings

from tests.support.network import close_network

settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")  # a busy machine is not a bug, nor is a first call that loads or fits something
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; tests and their children send it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Start every test from the same random state."""
    random.seed(0)
    for name, seed in (("numpy.random", "seed"), ("torch", "manual_seed")):
        if name in sys.modules:
            getattr(sys.modules[name], seed)(0)


@pytest.fixture(autouse=True, scope="session")
def _network() -> Iterator[None]:
    """Loopback alone, for fixtures too. Processes that tests start are told by ``HF_HUB_OFFLINE`` where it matters."""
    with pytest.MonkeyPatch.context() as patch:
        close_network(patch)
        yield
