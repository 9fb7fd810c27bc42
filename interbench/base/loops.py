"""From ordinary code into asynchronous code, also where an event loop runs already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from interbench.base import termination

T = TypeVar("T")

_START_S = 10.0
"""How long a thread that was started may take to run."""


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives; a signal that ends the program cancels it.

    In a thread that runs an event loop, as every cell of a notebook does, ``work`` gets a thread and a loop of its own;
    an interrupt cancels it and waits for it to clean up.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return termination.run(work)
    done: Future[T] = Future()
    begun = threading.Event()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)

    def drive() -> None:
        begun.set()
        asyncio.set_event_loop(loop)
        try:
            done.set_result(loop.run_until_complete(task))
        except BaseException as error:
            done.set_exception(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    thread = threading.Thread(target=drive, name="interbench-run")
    try:
        thread.start()
        return done.result()
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        # An interrupt may also come in the middle of starting the thread.
        if begun.wait(_START_S):
            thread.join()
