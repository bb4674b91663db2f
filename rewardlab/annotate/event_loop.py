"""Running a coroutine from code that is not asynchronous, in a notebook too, whose own event loop runs already."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from threading import Event, Thread
from typing import Any, TypeVar

T = TypeVar("T")


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine; where an event loop runs in this thread, another one runs it in a thread of its own.

    An interrupt cancels it, and is raised when it has ended, so that what it writes is whole.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine)
    is_over = Event()

    def work() -> None:
        try:
            loop.run_until_complete(asyncio.wait([task]))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            is_over.set()

    try:
        Thread(target=work, name="rewardlab-annotate").start()
        is_over.wait()  # not Thread.join: interrupted, it takes a running thread for ended (Python 3.11)
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(task.cancel)
        is_over.wait()
        raise
    return task.result()
