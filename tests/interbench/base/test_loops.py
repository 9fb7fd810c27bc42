"""From ordinary code into asynchronous code."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from interbench.base.loops import run_to_end


async def where() -> str:
    await asyncio.sleep(0)
    return threading.current_thread().name


async def wrong() -> None:
    raise LookupError("nothing there")


def test_without_a_loop_it_stays_in_this_thread() -> None:
    assert run_to_end(where()) == threading.current_thread().name


async def test_where_a_loop_runs_it_gets_a_thread_of_its_own() -> None:
    assert run_to_end(where()) == "interbench-run"
    with pytest.raises(LookupError, match="nothing there"):
        run_to_end(wrong())


INTERRUPTED = """
import asyncio, os, signal
from interbench.base.loops import run_to_end

async def work():
    os.kill(os.getpid(), signal.SIGINT)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        print("cleaned up", flush=True)

async def cell():
    run_to_end(work())

signal.signal(signal.SIGINT, signal.default_int_handler)  # as a notebook has it
try:
    asyncio.new_event_loop().run_until_complete(cell())
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_in_a_notebook_cancels_it_and_waits() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["cleaned up", "interrupted"], done.stderr
