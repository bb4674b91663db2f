"""Awaiting from code that is not asynchronous, on one event loop in a thread of its own.

One loop for all calls, as TRL's trainers have one: a client that an asynchronous reward keeps open belongs to the loop
of its first call.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Awaitable
from functools import cache
from threading import Thread
from typing import Any


def wait_for(awaitable: Awaitable[Any]) -> Any:
    """The result of an awaitable; may be called where another event loop runs, such as in a notebook."""

    async def awaited() -> Any:
        return await awaitable

    return asyncio.run_coroutine_threadsafe(awaited(), _loop()).result()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="rewardlab-rewards", daemon=True)
    thread.start()

    def end() -> None:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    atexit.register(end)
    return loop
