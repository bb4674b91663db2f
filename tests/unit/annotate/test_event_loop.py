"""A coroutine run from code that is not asynchronous, with and without an event loop around it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from rewardlab.annotate.event_loop import run_to_end


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("no answer")


def test_without_a_loop_it_runs_in_this_thread() -> None:
    async def thread() -> int:
        return threading.get_ident()

    assert run_to_end(thread()) == threading.get_ident()


def test_inside_a_loop_as_in_a_notebook() -> None:
    async def cell() -> list[int]:
        return [run_to_end(double(2)), run_to_end(double(3))]

    assert asyncio.run(cell()) == [4, 6]


def test_errors_come_through() -> None:
    async def cell() -> None:
        run_to_end(fail())

    with pytest.raises(ValueError, match="no answer"):
        asyncio.run(cell())


def test_an_interrupt_lets_it_end_first() -> None:
    ended: list[str] = []

    async def asking() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)  # long enough that who does not wait is seen
            ended.append("written")

    async def cell() -> None:
        run_to_end(asking())

    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(cell())
    finally:
        loop.close()
    assert ended == ["written"]
